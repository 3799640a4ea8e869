"""Episodes: the pages of everything learned, how strong each still is, and which of them a question reads.

A record depends on its own text and the core alone. Nothing is shared between records, so one more disturbs none of
the others, and taking one out leaves exactly what there would be without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastslow.core import Core
from fastslow.medium.pages import Standard, compress, expand
from fastslow.medium.router import KeyTable, RouterWeights
from fastslow.state import State

DAY = 86_400.0


@dataclass(frozen=True)
class RecallConfig:
    """How records are chosen and how they fade.

    ``direct`` records at most match the question itself, within ``margin`` of the best; ``hops`` more are reached
    through what those say. ``budget`` bounds the tokens in sight. ``half_life`` (seconds) is that of a record used
    once; every further use doubles it (spacing effect). ``fade`` lists (strength below which, bits kept).
    """

    bits: int = 8
    direct: int = 3
    margin: float = 0.12
    hops: int = 2
    budget: int = 360
    half_life: float = 30 * DAY
    fade: tuple[tuple[float, int], ...] = ((0.25, 4),)


@dataclass(frozen=True, eq=False)
class Record:
    """One episode in the medium tier: its page, its match vectors (T, m), when it was told and used."""

    episode: str
    page: State
    keys: Tensor
    told: int
    last_use: float
    uses: int = 1
    awake: bool = True

    def strength(self, now: float, half_life: float) -> float:
        """1 right after a use, halved after every half-life without one; each use doubles the half-life."""
        grown = half_life * 2.0 ** min(self.uses - 1, 30)
        return 0.5 ** (max(0.0, now - self.last_use) / grown)


@dataclass(frozen=True)
class Hit:
    """One record that a question reads: its score, and the record it was reached through (None: the question)."""

    episode: str
    score: float
    through: str | None = None


class Episodes:
    """The medium tier of one learner, in memory; the log is what survives."""

    def __init__(self, core: Core, weights: RouterWeights | None = None, config: RecallConfig | None = None):
        self.core = core
        self.config = config or RecallConfig()
        self.weights = weights or RouterWeights.untrained(core.width)
        self.standard = Standard.of(core)
        self.records: dict[str, Record] = {}
        self._table: tuple[list[str], KeyTable] | None = None

    # ------------------------------------------------------------------ writing

    def write(self, text: str, bits: int | None = None) -> State:
        """The page of a text: one pass of the bottom half, and rounding."""
        return compress(self.core.hidden(text), self.standard, bits or self.config.bits)

    def put(self, record: Record) -> None:
        self.records[record.episode] = record
        self._table = None

    def record(self, episode: str, page: State, told: int, time: float) -> Record:
        keys = self.weights.keys(self.standard.apply(self.states(page)))
        return Record(episode, page, keys, told, time)

    def remove(self, episode: str) -> None:
        del self.records[episode]
        self._table = None

    def used(self, episode: str, time: float, told: int | None = None) -> None:
        """A record was read, or told again (then it counts as told at ``told``, later than all others)."""
        old = self.records[episode]
        told = old.told if told is None else told
        self.records[episode] = replace(old, uses=old.uses + 1, last_use=time, told=told)

    def fade(self, now: float) -> list[str]:
        """Compress further what has become weak; returns the episodes whose page changed."""
        changed = []
        for record in list(self.records.values()):
            strength = record.strength(now, self.config.half_life)
            bits = min([b for below, b in self.config.fade if strength < below], default=16)
            if bits < record.page.numbers["bits"]:
                page = compress(self.states(record.page), self.standard, bits)
                keys = self.weights.keys(self.standard.apply(self.states(page)))
                self.put(replace(record, page=page, keys=keys))
                changed.append(record.episode)
        return changed

    def set_awake(self, episode: str, awake: bool) -> None:
        """A record that sleeps is not read any more: what it said has moved to the slow tier."""
        self.put(replace(self.records[episode], awake=awake))

    # ------------------------------------------------------------------ reading

    def states(self, page: State) -> Tensor:
        """The hidden states (T, width) a page stands for."""
        return expand(page, self.standard, self.core.dtype)

    def states_of(self, episodes: Sequence[str]) -> tuple[Tensor, ...]:
        """The pages of these episodes as the top half reads them: the longest known first, the newest last."""
        ordered = sorted(episodes, key=lambda e: self.records[e].told)
        return tuple(self.states(self.records[e].page) for e in ordered)

    def question(self, text: str) -> Tensor:
        """The standardised states (Q, width) of a question, as the router compares them."""
        return self.standard.apply(self.core.hidden(text))

    def select(self, question: Tensor, *, asleep: bool = False) -> list[Hit]:
        """The records that a question reads, best first; none where no score reaches the router's threshold.

        ``asleep`` looks among the consolidated records instead of the awake ones.
        """
        names, table = self._keys(awake=not asleep)
        if not names:
            return []
        scores = table.scores(*self.weights.queries(question))
        best = float(scores.max())
        if best < self.weights.threshold:
            return []
        floor = max(self.weights.threshold, best - self.config.margin)
        order = scores.argsort(descending=True, stable=True)[: self.config.direct].tolist()
        hits = [Hit(names[i], float(scores[i])) for i in order if float(scores[i]) >= floor]
        hits += self._hops(question, hits, names, table)
        return self._within_budget(hits)

    def _hops(self, question: Tensor, hits: list[Hit], names: list[str], table: KeyTable) -> list[Hit]:
        """Records that the question and the best record together point to, but the question alone does not."""
        if not self.config.hops:
            return []
        first = hits[0]
        states = self.standard.apply(self.states(self.records[first.episode].page))
        scores = table.scores(*self.weights.queries(torch.cat([question, states])))
        taken = {hit.episode for hit in hits}
        order = scores.argsort(descending=True, stable=True)[: self.config.hops + len(taken)].tolist()
        new = [Hit(names[i], float(scores[i]), first.episode) for i in order if names[i] not in taken]
        return [hit for hit in new if hit.score >= self.weights.threshold][: self.config.hops]

    def _within_budget(self, hits: list[Hit]) -> list[Hit]:
        kept, left = [], self.config.budget
        for hit in hits:
            size = self.records[hit.episode].page.numbers["tokens"]
            if not kept or size <= left:
                kept.append(hit)
                left -= size
        return kept

    def _keys(self, awake: bool) -> tuple[list[str], KeyTable]:
        if not awake:
            names = [r.episode for r in self.records.values() if not r.awake]
            return names, KeyTable.stack([self.records[n].keys for n in names])
        if self._table is None:
            names = [r.episode for r in self.records.values() if r.awake]
            self._table = (names, KeyTable.stack([self.records[n].keys for n in names]))
        return self._table

    # ------------------------------------------------------------------ restating

    def restates(self, text: str, texts: Iterator[tuple[str, str]]) -> str | None:
        """The episode among ``texts`` (id, text) that already says this: the same words apart from case, order,
        punctuation and small words. Numbers and names must agree, or it is an update and no repetition."""
        wanted = telling_words(text)
        if not wanted:
            return None
        return next((episode for episode, known in texts if telling_words(known) == wanted), None)


SMALL_WORDS = frozenset(
    "a an the is are was were be been being of in on at to by for from with as and or it its this that has have had"
    " does do did there which who whom whose".split()
)


def telling_words(text: str) -> frozenset[str]:
    """The words of a text that carry what it says, roughly stemmed."""
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=\d),(?=\d)", "", text.lower()))
    return frozenset(_stem(w) for w in words if w not in SMALL_WORDS)


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


