"""Episodes: the pages of everything learned, how strong each still is, and which of them a question reads.

A record depends on its own text and the core alone. Nothing is shared between records, so one more disturbs none of
the others, and taking one out leaves exactly what there would be without it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastslow.core import Core
from fastslow.medium.pages import Standard, compress, expand
from fastslow.medium.router import WORD, Key, KeyTable, RouterWeights, Tokens, stem, word_codes
from fastslow.state import State

DAY = 86_400.0


@dataclass(frozen=True)
class RecallConfig:
    """How records are chosen and how they fade.

    ``direct`` records at most match the question itself, within ``margin`` of the best. Each of these is heard alone,
    and the one that answers is read. Where none surely does, those that have every name in the question are heard in
    pairs with each of the ``hops`` records that they lead on to over a name. Where that leaves the reader in doubt too,
    it reads the best ``witnesses``, but a score below ``certain`` means that the question is about something else. As
    many ``hops`` are looked at for what may have changed the one that is read.
    ``budget`` bounds the tokens in sight, and those of the matches that are heard.
    ``half_life`` (seconds) is that of a record used once; every further use doubles it (spacing effect). ``fade`` lists
    (strength below which, bits kept); the page of a record that sleeps is dropped below ``drop``.
    """

    bits: int = 8
    direct: int = 10
    margin: float = 0.3
    witnesses: int = 2
    certain: float = 0.8
    hops: int = 3
    budget: int = 400
    half_life: float = 30 * DAY
    fade: tuple[tuple[float, int], ...] = ((0.25, 4),)
    drop: float = 0.05


@dataclass(frozen=True, eq=False)
class Record:
    """One episode in the medium tier: its page (None once it was dropped), what it answers to, when it was told and
    used, and whether a sleep has moved it to the slow tier."""

    episode: str
    page: State | None
    key: Key
    told: int
    last_use: float
    uses: int = 1
    asleep: bool = False

    @property
    def tokens(self) -> int:
        """How many tokens its text has."""
        return len(self.key.words)

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

    def write(self, text: str) -> State:
        """The page of a text: one pass of the bottom half, and rounding."""
        words, rarity = word_codes(self.core, text)
        return compress(self.core.hidden(text), self.standard, self.config.bits, words=words, rarity=rarity)

    def add(self, episode: str, page: State, told: int, time: float) -> None:
        """Take a page in, as told at ``told`` (a number that only grows) and at ``time`` (seconds)."""
        self._put(Record(episode, page, self.weights.keys(self._tokens(page)), told, time))

    def used(self, episode: str, time: float, told: int | None = None) -> None:
        """A record was read, or told again (then it counts as told at ``told``, later than all others)."""
        old = self.records[episode]
        told = old.told if told is None else told
        self.records[episode] = replace(old, uses=old.uses + 1, last_use=time, told=told)

    def faded(self, episode: str) -> bool:
        """Whether a record's page was compressed further or dropped."""
        page = self.records[episode].page
        return page is None or page.numbers["bits"] < self.config.bits

    def renew(self, episode: str, page: State) -> None:
        """Put back the page of a record that had faded."""
        self._put(replace(self.records[episode], page=page, key=self.weights.keys(self._tokens(page))))

    def fade(self, now: float) -> None:
        """Compress further what has become weak, and drop the pages of what is weak and asleep."""
        for record in list(self.records.values()):
            strength = record.strength(now, self.config.half_life)
            bits = min([b for below, b in self.config.fade if strength < below], default=16)
            if record.page is None:
                continue
            if record.asleep and strength < self.config.drop:
                self._put(replace(record, page=None))
            elif bits < record.page.numbers["bits"]:
                labels = {name: record.page.tensors[name] for name in ("words", "rarity")}
                page = compress(self.states(record.page), self.standard, bits, **labels)
                self._put(replace(record, page=page, key=self.weights.keys(self._tokens(page))))

    def fall_asleep(self, episode: str) -> None:
        """A sleep has moved what the record says to the slow tier."""
        self.records[episode] = replace(self.records[episode], asleep=True)

    def _put(self, record: Record) -> None:
        self.records[record.episode] = record
        self._table = None

    def _tokens(self, page: State | None) -> Tokens:
        if page is None:
            raise ValueError("a page that was dropped has no tokens: ask only for what can be heard")
        z = self.standard.apply(self.states(page))
        return Tokens(z, page.tensors["words"].long(), page.tensors["rarity"].float())

    # ------------------------------------------------------------------ reading

    def states(self, page: State) -> Tensor:
        """The hidden states (T, width) a page stands for."""
        return expand(page, self.standard, self.core.dtype)

    def pages(self, episodes: Sequence[str]) -> tuple[Tensor, ...]:
        """The pages of these episodes as the top half reads them: told first to told last, dropped ones left out."""
        ordered = sorted((self.records[e] for e in episodes), key=lambda r: r.told)
        return tuple(self.states(r.page) for r in ordered if r.page is not None)

    def question(self, text: str) -> Tokens:
        """A question as the router sees it."""
        words, rarity = word_codes(self.core, text)
        return Tokens(self.standard.apply(self.core.hidden(text)), words, rarity)

    def select(self, question: Tokens) -> list[Hit]:
        """The records that match a question, best first; none where no score reaches the router's threshold."""
        names, table = self._keys()
        if not names or not len(question.words):
            return []
        scores = self.weights.scores(question, table)
        best = float(scores.max())
        if best < self.weights.threshold:
            return []
        floor = max(self.weights.threshold, best - self.config.margin)
        order = scores.argsort(descending=True, stable=True)[: self.config.direct].tolist()
        return self.within_budget([Hit(names[i], float(scores[i])) for i in order if float(scores[i]) >= floor])

    def onward(self, question: Tokens, hit: Hit, middle: Collection[str]) -> list[Hit]:
        """The records that the question and the ``hit`` together point to, best first, of those that hold one of the
        words of the ``middle``, which the hit leads to and the question does not name."""
        names, table = self._keys()
        record = self._tokens(self.records[hit.episode].page)
        scores = self.weights.onward(question, record, middle, table)
        scores[names.index(hit.episode)] = -torch.inf
        return self._best(scores, scores >= self.weights.threshold, hit, self.config.hops)

    def later(self, hit: Hit) -> list[Hit]:
        """The records told after the ``hit`` that match it best, best first: what changes or takes back a statement is
        nearer to it than to a question."""
        names, table = self._keys()
        record = self.records[hit.episode]
        scores = self.weights.scores(self._tokens(record.page), table)
        told = torch.tensor([self.records[name].told for name in names])
        reached = (told > record.told) & (scores >= self.weights.threshold)
        return self._best(scores, reached, hit, len(names))

    def _best(self, scores: Tensor, reached: Tensor, hit: Hit, most: int) -> list[Hit]:
        """The best records ``reached`` through a ``hit``, ``most`` at most; a page that was dropped cannot be heard."""
        names, _ = self._keys()
        reached = reached & torch.tensor([self.records[name].page is not None for name in names])
        order = scores.masked_fill(~reached, -torch.inf).argsort(descending=True, stable=True)
        return [Hit(names[i], float(scores[i]), hit.episode) for i in order[:most].tolist() if reached[i]]

    def within_budget(self, hits: list[Hit]) -> list[Hit]:
        """As many of the hits, in order, as fit in sight together."""
        kept: list[Hit] = []
        left = self.config.budget
        for hit in hits:
            size = self.records[hit.episode].tokens
            if not kept or size <= left:
                kept.append(hit)
                left -= size
        return kept

    def _keys(self) -> tuple[list[str], KeyTable]:
        if self._table is None:
            names = list(self.records)
            self._table = (names, KeyTable.stack([self.records[n].key for n in names]))
        return self._table


SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the is are was were be been being of in on at to by for from with as and or it its this that has have had"
        " does do did there which who whom whose",
    )
)


ARTICLES = frozenset({"a", "an", "the"})
# Words, the sign of a number, and what is neither a letter nor punctuation: "$5" is not "€5", nor "C++" "C".
SAID = re.compile(rf"(?<!\w)-(?=\d)|{WORD.pattern}|[^\w\s.,;:!?'\"’‘“”„«»()\[\]{{}}…–—`*-]")
DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d{1,2}(?!\d)|\d{4})")  # any other is one of thousands


def telling_words(text: str) -> frozenset[str]:
    """The words that carry what a text says."""
    return frozenset(stem(m[0]) for m in WORD.finditer(text)) - SMALL_WORDS


def saying(text: str) -> tuple[str, ...]:
    """What a text says, to compare by: its words in order, so that "opens at 5, closes at 9" updates "opens at 9,
    closes at 5" and does not repeat it; of the small words only articles say nothing, for "was the mayor" updates "is
    the mayor". What stands first may also stand last ("in May it starts"), so of all rotations the least is taken,
    unless a word is said twice: "on Monday 5 came, on Tuesday 6 came" would be "5 came on Tuesday, 6 came on Monday".
    A text without words says all of itself."""
    spelled = DECIMAL_COMMA.sub(".", text)
    words = [w for w in (stem(m[0]) for m in SAID.finditer(spelled)) if w not in ARTICLES]
    if len(words) < 3 or len({*words}) < len(words):  # turned round, "Bo is a cook" would be "a cook is Bo"
        return tuple(words) or (text,)
    return min(tuple(words[i:] + words[:i]) for i in range(len(words)))
