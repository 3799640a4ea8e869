"""What the train split alone hears: more ways to speak of its common relations (`rewordings.txt`), more frames for all
of them (`frames.txt`), changes told in a relation's own words, and what people say around a sentence.

A reader is as good as the variety of what it heard. Test keeps the few wordings that it has, so that a judgement
stays a judgement of wordings that nobody has trained on.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

_LINES = Path(__file__).with_name("rewordings.txt").read_text(encoding="utf-8").splitlines()
_ROWS = [line.split("|") for line in _LINES if not line.startswith("#")]
# relation -> statements, direct questions, paraphrases, reverse questions
REWORDINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    name.strip(): tuple(tuple(wording.strip() for wording in part.split("/")) for part in parts)
    for name, *parts in _ROWS
}


def _sections(table: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for line in Path(__file__).with_name(table).read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            found[line[2:]] = lines = []
        else:
            lines.append(line)
    return {name: tuple(lines) for name, lines in found.items()}


# teach, direct, paraphrase, change, correct or retract -> frames with the slots of `templates`
FRAMES = _sections("frames.txt")
# The same of a change as it is told in a relation's own words: {old} and {new} are statements of it.
RETOLD: dict[str, tuple[str, ...]] = {
    "change": (
        "{old} That was before. {new}",
        "Until recently: {old} Now: {new}",
        "We used to write: {old} By now it reads: {new}",
        "{new} Earlier it was otherwise: {old}",
        "Not any longer: {old} But this: {new}",
        "{new} This is new.",
        "{new} That was different before.",
        "Things are not as they were. {new}",
        "As things stand today: {new}",
        "{new} It takes the place of what was noted earlier.",
        "{new} What was said earlier no longer holds.",
        "Latest: {new}",
        "{new} It has been so since Monday.",
    ),
    "correct": (
        "{old} That was an error. {new}",
        "Wrong: {old} Right: {new}",
        "{new} We had it like this: {old} Sorry.",
        "{new} What was noted before was wrong.",
        "Erratum: {new}",
        "On a second look: {new}",
        "{new} Please mend your notes.",
    ),
    "retract": (
        "{old} This is not so, and nobody knows how it is.",
        "This was wrong: {old} We know no better.",
        "{old} That was invented, and nothing else is known about it.",
        "Unfounded: {old} There is nothing to put in its place.",
        "{old} This line was taken out, and no other was put in.",
        "Not true: {old} How it is really, nobody has found out.",
        "{old} Do not rely on this any more. It is open.",
    ),
}

QUESTION_AROUND: tuple[str, ...] = (
    "{q} Thank you.",
    "{q} Please be brief.",
    "Quick question: {q}",
    "Hello! {q}",
    "For my notes: {q}",
    "One more thing. {q}",
    "I have to know this for tomorrow. {q}",
    "Maybe you can help. {q}",
    "{q} I cannot find it anywhere.",
    "Let me ask you something. {q}",
    "{q} Just the answer, please.",
    "A friend asks: {q}",
    "Now to something else. {q}",
    "Question: {q}",
    "{q} You told me once.",
    "What do you remember of this? {q}",
)
STATEMENT_AROUND: tuple[str, ...] = (
    "For the record: {t}",
    "Here is what I read. {t}",
    "{t} This is all that we know.",
    "{t} I saw it myself.",
    "Listen. {t}",
    "{t} Write that down.",
    "Monday. {t}",
    "News from the office: {t}",
    "Somebody told me the following. {t}",
    "- {t}",
    "{t} (From a letter.)",
    "Remember this: {t}",
)


def around(sentence: str, frames: tuple[str, ...], slot: str, rng: Random, share: float) -> str:
    """The sentence, in ``share`` of all cases with something said around it."""
    return rng.choice(frames).format(**{slot: sentence}) if rng.random() < share else sentence
