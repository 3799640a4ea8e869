"""What a reader is trained on: invented streams of the train split, and of the tune split where it speaks of what train
has too, encoded once at the cut.

No name, wording, plain value or seed of it occurs in a world that judges (`fastslow.worlds.invented`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from random import Random
from typing import Literal

import torch
from torch import Tensor

from fastslow import anchors
from fastslow.core import Core
from fastslow.medium.pages import Standard
from fastslow.medium.router import Tokens, word_codes
from fastslow.worlds import manuals, passages
from fastslow.worlds.heard import QUESTION_AROUND, STATEMENT_AROUND, around
from fastslow.worlds.invented import ENTITY, PROBE_KINDS, Paragraph, Probe, ProbeKind, RelationSet, World
from fastslow.worlds.names import FIRM_WORDS, Split
from fastslow.worlds.scoring import contains

NAMED = frozenset(ENTITY.values())
ONSETS = tuple(re.findall(r"\w+", "b c d f g h j k l m n p qu r s t v w y z ch sh th bl cl gl pl br cr fr gr tr st sw"))
LIGHT = "bcdfghjklmnprstvwz"
CLUSTERS = tuple(re.findall(r"\w+", "nd lm rk mb lt nt sp ndr rth lv gn rv ck ll ss nn zz mpt lf rst ngl bb dd xt"))
ENDINGS = ("", "n", "r", "l", "s", "th", "rd", "ck", "lla", "nne", "mer", "son", "ham", "vic", "dez", "tov", "well")
SPEECH: tuple[tuple[Split, RelationSet], ...] = (
    *(("train", "all"), ("train", "shared")),
    *(("train", "all"), ("tune", "shared")),
)
SENTENCE = 20  # words of an answer in a sentence
ASKED: tuple[ProbeKind, ...] = PROBE_KINDS
Genre = Literal["lines", "paragraphs", "manual", "passages"]
GENRES: tuple[Genre, ...] = ("lines", "paragraphs", "manual", "passages")


@dataclass(frozen=True, eq=False)
class Ask:
    """A question with its answer (None: not known) and the records that hold it, the first hop first."""

    probe: Probe
    records: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Stream:
    """One world as a learner would have it: records in the order of time, as tokens and as hidden states at the cut
    (T, width), and questions."""

    texts: list[str]
    states: list[Tensor]
    records: list[Tokens]
    asks: list[Ask]
    questions: list[Tokens]
    genre: Genre


def streams(
    core: Core,
    standard: Standard,
    seeds: Sequence[int],
    facts: int,
    genres: Collection[Genre] = GENRES,
    *,
    progress: Callable[[str], None] | None = None,
) -> list[Stream]:
    """For each seed one stream of each of the ``genres``: lines, paragraphs, a manual, passages written one by one.

    Every second world is about the relations that all splits have, half of these in the wordings of the tune split, so
    that a reader hears many ways of asking for what people ask most. The relations that train lacks stay unheard of,
    and the test split whole.
    """
    built = []
    for n, seed in enumerate(seeds):
        split, relations = SPEECH[n % len(SPEECH)]
        world = World.make(
            seed, facts=facts, split=split, updates=0.15, restates=0.0, retracts=0.12, relations=relations
        )
        made: dict[Genre, Callable[[World], tuple[list[str], list[Ask]]]] = {
            "lines": lambda world: _spoken(world.seed, *_renamed(world, *_lines(world))),
            "paragraphs": lambda world: _renamed(world, *_asked(world.paragraphs())),
            "manual": lambda world: _asked(manuals.paragraphs(world.seed, facts // 3, _name)),
            "passages": lambda world: _asked(passages.paragraphs(world.seed, 3 * facts, _name)),
        }
        for genre in (genre for genre in GENRES if genre in genres):
            texts, asks = made[genre](world)
            if progress:
                progress(f"encoding world {seed}: {len(texts)} records, {len(asks)} questions")
            states = encode(core, texts)
            questions = tokens(core, standard, [ask.probe.question for ask in asks])
            records = [Tokens(standard.apply(h), *word_codes(core, t)) for h, t in zip(states, texts, strict=True)]
            built.append(Stream(texts, states, records, asks, questions, genre))
    return built


def elsewhere() -> list[str]:
    """What people ask about anything in the world: no page of a stream holds the answer."""
    requests = resources.files("fastslow.worlds") / "requests.txt"
    return [*anchors.chat(), *requests.read_text(encoding="utf-8").splitlines()]


def _renamed(world: World, texts: list[str], asks: list[Ask]) -> tuple[list[str], list[Ask]]:
    """The same with most names replaced by others of every sound: a reader that hears names of one stock alone learns
    to spell that stock. A cluster inside the word keeps the new names apart from all that a world can make."""
    rng = Random(f"{world.seed}-names")
    entities = {f.subject for f in world.facts} | {e.fact.value for e in world.events if e.fact.value_kind in NAMED}
    words = sorted({w for name in entities for w in name.split() if w[:1].isupper()} - set(FIRM_WORDS[world.split]))
    new = {word: _name(rng) for word in words if rng.random() < 0.85}
    pattern = re.compile(r"\b(" + "|".join(sorted(new, key=len, reverse=True)) + r")\b")

    def rename(text: str) -> str:
        return pattern.sub(lambda m: new[m[0]], text)

    def ask_renamed(ask: Ask) -> Ask:
        probe = ask.probe
        answer, sentence = (None if text is None else rename(text) for text in (probe.answer, probe.sentence))
        return replace(ask, probe=replace(probe, question=rename(probe.question), answer=answer, sentence=sentence))

    return [rename(text) for text in texts], [ask_renamed(ask) for ask in asks]


def _spoken(seed: int, texts: list[str], asks: list[Ask]) -> tuple[list[str], list[Ask]]:
    """The same with something said around some statements and questions, as people do."""
    rng = Random(f"{seed}-spoken")
    said = [around(text, STATEMENT_AROUND, "t", rng, 0.15) for text in texts]
    questions = [around(ask.probe.question, QUESTION_AROUND, "q", rng, 0.25) for ask in asks]
    return said, [replace(ask, probe=replace(ask.probe, question=q)) for ask, q in zip(asks, questions, strict=True)]


def _name(rng: Random) -> str:
    """Two to four syllables: what is hard to copy is a long name whose syllables resemble each other."""
    light = [rng.choice(LIGHT) + rng.choice("aeiou") for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    word = rng.choice(ONSETS) + rng.choice("aeiou") + "".join(light) + rng.choice(CLUSTERS) + rng.choice("aeiouy")
    return (word + rng.choice(ENDINGS)).capitalize()


def tokens(core: Core, standard: Standard, texts: Sequence[str]) -> list[Tokens]:
    """What the router sees of each text."""
    return [
        Tokens(standard.apply(h), *word_codes(core, text)) for h, text in zip(encode(core, texts), texts, strict=True)
    ]


def _lines(world: World) -> tuple[list[str], list[Ask]]:
    texts = [event.text for event in world.events]
    last = {event.fact.id: i for i, event in enumerate(world.events)}
    first: dict[str, list[int]] = {}
    for i, event in enumerate(world.events):
        first.setdefault(event.fact.id, []).append(i)
    asks = []
    for kind in ASKED:
        for probe in world.probes(kind, 2)[: 2 * len(texts)]:
            # An updated or retracted fact needs both of its records in sight; the later one decides.
            records = tuple(last[f] for f in probe.facts)
            if kind in ("updated", "retracted"):
                records = (last[probe.facts[0]], *[i for i in first[probe.facts[0]] if i != last[probe.facts[0]]])
            asks.append(Ask(probe, records))
    return texts, asks


def _asked(paragraphs: Sequence[Paragraph]) -> tuple[list[str], list[Ask]]:
    asks = [
        Ask(_in_a_sentence(probe, paragraph.text), () if probe.answer is None else (i,))
        for i, paragraph in enumerate(paragraphs)
        for probe in paragraph.probes
    ]
    return [p.text for p in paragraphs], asks


def _in_a_sentence(probe: Probe, text: str) -> Probe:
    """The probe with a sentence: its own, or the first of the text, or clause where that is long, with the answer."""
    if probe.answer is None or probe.sentence:
        return probe
    for ends in (r"(?<=[.!?]) ", r"(?<=[.!?;]) ", r"(?<=[.!?;:]) |, "):
        part = next((part for part in re.split(ends, text) if contains(part, probe.answer)), "")
        if 0 < len(part.split()) <= SENTENCE:
            whole = part.rstrip(".;:,")
            return replace(probe, sentence=whole[:1].upper() + whole[1:] + ".")
    return probe


@torch.no_grad()
def encode(core: Core, texts: Sequence[str], batch: int = 32) -> list[Tensor]:
    """Hidden states at the cut of many short texts, [(T_i, width)], each behind a sink that is dropped again."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out: list[Tensor] = [torch.empty(0)] * len(texts)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        ids = [[core.sink_id, *core.encode(texts[i])] for i in part]
        longest = max(map(len, ids))
        # Padded on the right, so that causality alone keeps the padding out of sight.
        padded = torch.tensor([row + [core.sink_id] * (longest - len(row)) for row in ids])
        states = core.bottom(input_ids=padded).last_hidden_state
        for i, row, h in zip(part, ids, states, strict=True):
            out[i] = h[1 : len(row)].clone()
    return out
