"""Passages written one by one, with questions as people ask them, to train a reader on prose: what frames cannot teach
is that a question and the sentence which answers it seldom share their words, and that the sentence beside it does not
answer it.

`passages/*.txt`: passages apart by an empty line. Each is text, then lines of questions:

    The ferry {X} crosses {1=twice|once|three times} a day, except in {m}, when {P} repairs it.
    ? How often does the {X} cross? | How many trips are there? => {1} a day => The {X} crosses {1} a day.
    - Who repaired the boat of {P}? | How often does {P} cross?

``?`` leads questions with an answer, which may stand in a sentence behind it, ``-`` those that the passage does not
answer, ``|`` stands between wordings. What stands in braces is drawn anew for every world: a name, a number, or one of
the choices written out at its first use.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from random import Random

from fastslow.worlds.invented import Paragraph, Probe, ProbeKind
from fastslow.worlds.names import MONTHS

CODE = re.compile(r"[`\-]|\{[xU]|\S*[_/]")  # an answer that begins so keeps its case
SLOT = re.compile(r"\{(?:(\d)=([^{}]+)|(\w+))\}")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "grey", "brown", "orange", "purple")
DRAWN: dict[str, Callable[[Random, Callable[[Random], str]], str]] = {
    "P": lambda rng, name: f"{name(rng)} {name(rng)}",  # a person
    "F": lambda rng, name: name(rng) + rng.choice(("", "", " Works", " Brothers", " Group", " and Sons")),  # a firm
    "C": lambda rng, name: name(rng),  # a town
    "X": lambda rng, name: name(rng),  # anything else with a name
    "x": lambda rng, name: name(rng).lower(),  # a program, a file, a command
    "U": lambda rng, name: name(rng).upper(),  # a variable of the environment, an acronym
    "n": lambda rng, _: str(rng.choice((rng.randint(2, 99), rng.randint(100, 999), 2 ** rng.randint(5, 11)))),
    "d": lambda rng, _: f"{rng.randint(0, 99)}.{rng.randint(1, 99)}",
    "k": lambda rng, _: rng.choice(("two", "three", "four", "five", "six", "seven", "eight", "nine", "eleven")),
    "y": lambda rng, _: str(rng.randint(1620, 2020)),
    "m": lambda rng, _: rng.choice(MONTHS),
    "w": lambda rng, _: rng.choice(WEEKDAYS),
    "t": lambda rng, _: f"{rng.randint(5, 23)}:{rng.choice(('00', '15', '30', '45', '10', '50'))}",
    "c": lambda rng, _: rng.choice(COLOURS),
}


@cache
def passages() -> tuple[str, ...]:
    """Every passage, as it stands in the files."""
    folder = resources.files("fastslow.worlds") / "passages"
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.iterdir(), key=lambda file: file.name)]
    return tuple(block.strip() for text in texts for block in re.split(r"\n\s*\n", text) if block.strip())


def paragraphs(seed: int, count: int, name: Callable[[Random], str]) -> list[Paragraph]:
    """``count`` of the passages, with names and values of their own; ``name`` invents a name.

    The same seed gives the same passages.
    """
    rng = Random(f"{seed}-passages")
    return [filled(block, rng, name) for block in rng.sample(passages(), min(count, len(passages())))]


def filled(block: str, rng: Random, name: Callable[[Random], str]) -> Paragraph:
    """One passage with everything in braces drawn. Raises ValueError, quoting the line, for one that is not well
    formed: an unknown slot, questions before the text, an answer too few or too many."""
    drawn: dict[str, str] = {}

    def draw(match: re.Match[str]) -> str:
        number, options, slot = match.groups()
        if number:
            drawn[number] = rng.choice(options.split("|"))
            return drawn[number]
        if slot not in drawn:
            kind = DRAWN.get(slot.rstrip("0123456789"))
            if kind is None:
                raise ValueError(f"there is no slot {match[0]} in {block!r}")
            value = kind(rng, name)
            while value in drawn.values():  # two of a kind are never the same
                value = kind(rng, name)
            drawn[slot] = value
        return drawn[slot]

    lines = block.split("\n")
    told = [line for line in lines if line[:2] not in ("? ", "- ")]
    if lines[: len(told)] != told or not told:
        raise ValueError(f"a passage is text first and questions then: {block!r}")
    text = SLOT.sub(draw, " ".join(told))
    probes = [p for line in lines[len(told) :] for p in _asked(line, lambda part: SLOT.sub(draw, part))]
    return Paragraph(text, probes)


def _asked(line: str, fill: Callable[[str], str]) -> list[Probe]:
    wordings, arrow, told = line[2:].partition(" => ")
    answer, _, sentence = told.partition(" => ")
    if (line[0] == "?") != bool(arrow and answer.strip()):
        raise ValueError(f"a question after `?` has an answer behind `=>`, one after `-` has none: {line!r}")
    kinds: tuple[ProbeKind, ...] = ("direct", "paraphrase") if arrow else ("neighbour",)
    questions = [fill(wording.strip()) for wording in wordings.split(" | ")]
    text, value_kind = fill(answer.strip()) or None, "code" if CODE.match(answer.strip()) else "passage"
    whole = fill(sentence.strip()) or None
    return [
        Probe(kinds[min(n, len(kinds) - 1)], question, text, value_kind, (), whole)
        for n, question in enumerate(questions)
    ]
