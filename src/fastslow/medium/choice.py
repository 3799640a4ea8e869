"""Which of the records that match a question are read.

Every match is first heard alone, because the reader tells best from one page whether it holds the answer, and reads few
pages together better than many. The rules and their bounds were chosen on the tune split (docs/lab/medium.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from fastslow.copying import rare_words
from fastslow.core import Core, Delta
from fastslow.decode import Row, answer_log_probability, generate
from fastslow.lessons import UNKNOWN
from fastslow.medium.episodes import Episodes, Hit, telling_words
from fastslow.medium.reader import LONG, Reader
from fastslow.medium.router import stem

# The probability of "I don't know." from which a page is no witness, or no longer one beside a later page that takes
# it back; from which one that hardly matches is none; from which one that has every name in the question is none, at
# first and where nothing else answers; from which two pages read together are none; and below which others are heard
# beside the surest one.
DOUBT, FAINT, DOUBT_OF_NAMED, DOUBT_OF_LAST, DOUBT_OF_TWO, SURE = 0.5, 0.05, 0.7, 0.9, 0.3, 0.15
COMMON = 0.1  # share of all records in which a word tells no longer what one of them is about
TOGETHER = 3  # witnesses that are read together where several are sure
SUREST, FAR = -14.0, 16.0  # log-odds of doubt; nats of it for a point of the router's score that a page of prose lacks
NEARLY = 2.0  # nats by which a newer one's own answer may be less likely than another's
NEAR = 4.0  # nats by which a later statement may be less sure, where it does not name the older answer
OWN_ANSWER = 24  # tokens of what each of them answers alone


@dataclass(frozen=True, eq=False)
class Choice:
    """A question with what it can choose from: ``row`` is the question's prompt with the pages of some episodes,
    ``written`` the text of one, and ``spread`` says in how many records each telling word is."""

    question: str
    episodes: Episodes
    reader: Reader
    row: Callable[[Sequence[str]], Row]
    written: Callable[[str], str]
    spread: Mapping[str, int]
    _own: dict[tuple[str, tuple[int, ...]], list[int]] = field(default_factory=dict, repr=False)

    @property
    def core(self) -> Core:
        return self.episodes.core

    @cached_property
    def unknown(self) -> tuple[int, ...]:
        return tuple(self.core.encode(UNKNOWN))

    @cached_property
    def names(self) -> set[str]:
        """The names in the question: rare words with a capital or a figure behind its first word."""
        return {word for word in rare_words(self.core, self.question.partition(" ")[2]) if not word[0].islower()}

    def made(self, hits: Sequence[Hit]) -> tuple[list[Hit], bool]:
        """Of the ``hits``, best first, the records to read together, and whether they hold the answer: the one that
        answers the question by itself, or what takes it back; or, where none does, a match and what it leads on to; or
        else the one that comes nearest and has every name in the question; or the best matches, in which the reader
        will find nothing, where they are surely what the question is about; or none."""
        config = self.episodes.config
        heard = list(zip(self.doubts([[hit] for hit in hits]), hits, strict=True))
        heard.sort(key=lambda pair: self.far(pair[0], pair[1], hits[0].score))
        named = [hit for hit in hits if self.names and self.names <= rare_words(self.core, self.written(hit.episode))]
        likely = hits[0].score >= config.likely and not self.names
        if heard[0][0] < (DOUBT_OF_NAMED if heard[0][1] in named else DOUBT if likely else FAINT):
            return self.standing(heard)
        tokens, leads = self.episodes.question(self.question), hits if likely else named
        pairs = [[hit, onward] for hit in leads for onward in self.episodes.onward(tokens, [hit])]
        if pairs:
            doubt, pair = min(zip(self.doubts(pairs), pairs, strict=True), key=lambda found: found[0])
            if doubt < DOUBT_OF_TWO:
                return self.episodes.within_budget(pair), True
        if heard[0][0] < DOUBT_OF_LAST and heard[0][1] in named:
            return self.standing(heard)
        certain = hits[0].score >= config.certain
        return self.episodes.within_budget(list(hits[: config.witnesses])) if certain else [], False

    # ------------------------------------------------------------------ how sure

    def doubts(self, groups: Sequence[Sequence[Hit]]) -> list[float]:
        """For each group of records, read together, how probable it is that the reader says it does not know."""
        rows = [self.row([hit.episode for hit in group]) for group in groups]
        doubts = [0.0] * len(rows)
        members: dict[Delta, list[int]] = {}
        for i, row in enumerate(rows):
            if row.pages:  # a page that was dropped cannot be heard: its expert may hold the answer
                members.setdefault(self.reader.adapter(row.pages), []).append(i)
        for adapter, own in members.items():
            found = answer_log_probability(self.core, [rows[i] for i in own], self.unknown, [adapter]).exp().tolist()
            for i, doubt in zip(own, found, strict=True):
                doubts[i] = doubt
        return doubts

    def far(self, doubt: float, hit: Hit, best: float) -> tuple[bool, float]:
        """How far a record is from answering: whether it is in doubt, and the log-odds of that. A page of prose can be
        no surer than `SUREST`, and by how much it matches less than the ``best`` counts too: of a long text the reader
        is soon sure, so the router is heard as well."""
        odds = _odds(doubt)
        if self._prose(hit):
            odds = max(odds, SUREST) + FAR * (best - hit.score)
        return doubt >= DOUBT, odds

    # ------------------------------------------------------------------ what was told later

    def standing(self, heard: Sequence[tuple[float, Hit]]) -> tuple[list[Hit], bool]:
        """What the surest of those ``heard`` say, unless it was updated or taken back later. What a later statement
        answers anew is an update, surely so where it names the older answer. A withdrawal names what it takes back and
        raises the doubt: it is read only where the reader finds no answer in it."""
        hits, known = [hit for _, hit in heard], {hit: doubt for doubt, hit in heard}
        witness = self.agreed(heard)
        near = min(DOUBT, _probability(_odds(known[witness]) + NEAR))
        later = [(d, h) for d, h in heard if self._told(h) > self._told(witness) and self.named_too(witness, h)]
        naming = self.naming(witness, [hit for _, hit in later])
        later = [(d, h) for d, h in later if h in naming or self.alike(witness, h, hits)]
        news = [h for d, h in later if d < (DOUBT_OF_LAST if h in naming else near) and self.new(witness, h)]
        if news:
            return [max(news, key=self._told)], True
        denying = [(d, h) for d, h in later if h in naming or self._prose(witness)]
        beside = self.doubts([[witness, hit] for _, hit in denying]) if denying else []
        for together, (doubt, hit) in sorted(zip(beside, denying, strict=True), key=lambda found: -found[0]):
            raised = together >= max(FAINT, 2 * known[witness]) and doubt >= DOUBT
            if together >= DOUBT or (raised and hit in naming and not self.new(witness, hit)):
                return [hit] if doubt >= DOUBT else [], False
        return [witness], True

    def agreed(self, heard: Sequence[tuple[float, Hit]]) -> Hit:
        """The surest record; or, where others are sure too, the newest of those whose own answer all of them, read
        together, give as well as any other or nearly so. What speaks of something near loses, and an update wins."""
        hits = [hit for _, hit in heard]
        sure = [hits[0], *(h for d, h in heard[1:TOGETHER] if self.rivals(hits[0], h, d, hits))]
        if len(sure) == 1 or any(self.episodes.records[hit.episode].page is None for hit in sure):
            return sure[0]
        end = self.core.tokenizer.eos_token_id
        together = self.row([hit.episode for hit in sure])
        reading = [self.reader.adapter(together.pages)]
        likely = [
            answer_log_probability(self.core, [together], [*self.own_answer(hit), end], reading).item() for hit in sure
        ]
        nearly = [hit for hit, own_likely in zip(sure, likely, strict=True) if own_likely >= max(likely) - NEARLY]
        return max(nearly, key=self._told)

    def rivals(self, surest: Hit, other: Hit, doubt: float, hits: Sequence[Hit]) -> bool:
        """Whether another record may answer in place of the surest: one that is sure too, or on the same thing; of
        prose only another version of the same paragraph, with half of all telling words in both."""
        if not self._prose(surest):
            return doubt < SURE or (doubt < DOUBT and self.alike(surest, other, hits) and self.named_too(surest, other))
        first, second = self._telling(surest), self._telling(other)
        return doubt < DOUBT and 2 * len(first & second) >= len(first | second)

    def alike(self, one: Hit, other: Hit, hits: Sequence[Hit]) -> bool:
        """Whether two records speak of the same thing: they share a telling word that is no name in the question (of
        prose no word in it), no word of many records, as "according to the register" is, and not in half of the other
        ``hits``, because such a word is about who is asked for and not about what."""
        asked = telling_words(self.question) if self._prose(one) else {stem(name) for name in self.names}
        others = [self._telling(hit) for hit in hits if hit not in (one, other)]
        most = max(2.0, COMMON * len(self.episodes.records))

        def tells(word: str) -> bool:
            shared = len(others) > 1 and 2 * sum(word in words for words in others) >= len(others)
            return self.spread.get(word, 0) <= most and not shared

        return any(tells(word) for word in self._telling(one) & self._telling(other) - asked)

    def named_too(self, one: Hit, other: Hit) -> bool:
        """Whether the second record has every name in the question that the first has."""
        first, second = (rare_words(self.core, self.written(hit.episode)) for hit in (one, other))
        return rare_words(self.core, self.question) & first <= second

    def naming(self, witness: Hit, later: Sequence[Hit]) -> list[Hit]:
        """Those of the ``later`` statements that name what the witness answers and the question does not."""
        if not later or self._prose(witness) or self.episodes.records[witness.episode].page is None:
            return []
        said = self._says(witness)
        return [hit for hit in later if not said <= telling_words(self.question) and said <= self._telling(hit)]

    def new(self, witness: Hit, later: Hit) -> bool:
        """Whether a later statement answers with something of its own that the witness does not say."""
        if self._prose(witness) or self.episodes.records[later.episode].page is None:
            return False
        said = self._says(later)
        return said <= self._telling(later) and not said <= self._telling(witness)

    def own_answer(self, hit: Hit, refuse: tuple[int, ...] = ()) -> list[int]:
        """The tokens that a record alone answers, which are not what it must ``refuse`` with."""
        if (hit.episode, refuse) not in self._own:
            row = replace(self.row([hit.episode]), refuse=refuse)
            answer = generate(self.core, [row], [self.reader.adapter(row.pages)], max_tokens=OWN_ANSWER)[0]
            self._own[hit.episode, refuse] = answer
        return self._own[hit.episode, refuse]

    def _says(self, hit: Hit) -> frozenset[str]:
        """The telling words of what a record answers when it is made to answer."""
        return telling_words(self.core.decode(self.own_answer(hit, self.unknown)))

    def _telling(self, hit: Hit) -> frozenset[str]:
        return telling_words(self.written(hit.episode))

    def _prose(self, hit: Hit) -> bool:
        return len(self.episodes.records[hit.episode].tokens.words) > LONG

    def _told(self, hit: Hit) -> int:
        return self.episodes.records[hit.episode].told


def _odds(probability: float) -> float:
    """Log-odds in nats."""
    return math.log(max(probability, 1e-30) / max(1 - probability, 1e-30))


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
