"""Which of the records that match a question are read.

Every match is first heard alone, because the reader tells best from one page whether it holds the answer, and reads few
pages together better than many. The rules and their bounds were chosen on the tune split (docs/lab/medium.md).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.decode import LONG, Row, answer_log_probabilities, generate
from fastslow.lessons import refusal
from fastslow.medium.episodes import Episodes, Hit, telling_words
from fastslow.medium.reader import POSE, Reader
from fastslow.medium.router import WORD, stem

OPENING = re.compile(r"(?:^|[.!?:>]\s+)([^\W_]+)")
# The probability of "I don't know." from which a page is no witness beside a later page that takes it back, and may be
# the first of two; and from which one is none that lacks a name in the question, or that is asked a question without
# names. Where a page has every name: by both kinds of doubt from which it is no sure one; by either from which it is
# none; and from which no two pages are heard further, nor is a later one an update that names the older answer.
DOUBT, FAINT, DOUBT_OF_NAMED, DOUBT_OF_LAST, DOUBT_OF_TWO = 0.5, 0.05, 0.2, 0.9, 0.98
# How much of what is asked of a page counts against doubt; nats that one token of it counts at most; and how many
# tokens are heard.
ASKED, STRANGE, ASKED_TOKENS = 0.4, 4.0, 64
STRAYS = 8.0  # odds of doubt, times the number of records, from which a question without names is about something else
COMMON = 0.1  # share of all records in which a word tells no longer what one of them is about
SURE_TOGETHER = -3.0  # log-odds of both kinds of doubt from which two pages hold no answer together
# Nats, by both kinds of doubt, by which two pages must be surer than a first one that has every name, and by which such
# a one is so far ahead of the next that its own doubt may be greater.
SURER, AHEAD = 8.0, 2.0
SUREST, FAR = -14.0, 16.0  # log-odds of doubt; nats of it for a point of the router's score that a page of prose lacks
NEAR = 5.0  # nats by which a later statement may be less sure, where it does not name the older answer
OWN_ANSWER = 24  # tokens of what a record answers alone
# One of these words is in nearly every statement that changes another without naming its answer, and one of those in
# nearly every statement that takes another back.
CHANGE = frozenset(
    re.findall(
        r"\w+",
        "now nowadays currently today this new newly longer anymore changed changes moved switched replaced replaces"
        " corrected correction amended revised updated update instead henceforth",
    )
)
DENIAL = frozenset(
    re.findall(
        r"\w+",
        "not no nobody nothing never neither cannot wrong wrongly false untrue mistake mistaken error withdraw"
        " withdrawn retracted delete deleted removed strike struck cancelled denied unproven unconfirmed unknown forget"
        " doubt back",
    )
)


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
    _said: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)

    @property
    def core(self) -> Core:
        return self.episodes.core

    @cached_property
    def unknown(self) -> tuple[int, ...]:
        return refusal(self.core)

    @cached_property
    def names(self) -> set[str]:
        """The names in the question."""
        return names_in(self.core, self.question)

    def middle(self, hit: Hit) -> set[str]:
        """What a record may lead on to."""
        return leads_to(self.core, self.question, self.written(hit.episode))

    @property
    def stray(self) -> float:
        """The log-odds below which a question without names is about the record that answers it. The more records there
        are, the surer is the surest that something from anywhere in the world strays upon: a false alarm of odds p is
        met once in 1 / p records (Bonferroni's bound)."""
        return min(_odds(FAINT), math.log(STRAYS / len(self.episodes.records)))

    def made(self, hits: Sequence[Hit]) -> tuple[list[Hit], bool]:
        """Of the ``hits``, best first, the records to read together, and whether they hold the answer: the one that
        surely answers the question by itself, or what changed it or takes it back; or, where none does or its own doubt
        is great, one that has every name in the question with what it leads on to, where the two are sure enough and
        much surer than the nearest one or that is none; or the best matches, in which the reader will find nothing,
        where they are surely what the question is about; or none."""
        config = self.episodes.config
        doubts, asked = self.doubts([[hit] for hit in hits]), self.asked(hits)
        odds = [_odds(d) + ASKED * strange for d, strange in zip(doubts, strangeness(asked[:-1]), strict=True)]
        order = sorted(range(len(hits)), key=lambda i: self.far(odds[i], hits[i], hits[0].score))
        heard = [(doubts[i], hits[i]) for i in order]
        (doubt, first), least = heard[0], odds[order[0]]
        named = self.named(hits)
        if first in named:
            answers = doubt < DOUBT and _probability(least) < DOUBT_OF_NAMED
        elif self.names:
            answers = doubt < FAINT
        else:
            answers = _odds(doubt) - ASKED * lift(asked)[order[0]] < self.stray
        if answers:
            return self.standing(heard)
        together, pair = self.surest_pair(named, dict(zip((hit.episode for hit in hits), asked, strict=False)))
        ahead = len(order) == 1 or odds[order[1]] - least >= AHEAD
        last = first in named and doubt < (DOUBT_OF_TWO if ahead else DOUBT_OF_LAST)
        last &= _probability(least) < DOUBT_OF_LAST
        if last and together >= least - SURER:
            return self.standing(heard)
        if together < SURE_TOGETHER:
            return self.episodes.within_budget(pair), True
        certain = hits[0].score >= config.certain
        return self.episodes.within_budget(list(hits[: config.witnesses])) if certain else [], False

    def named(self, hits: Sequence[Hit]) -> list[Hit]:
        """Those that have every name in the question; none where it has no name."""
        return [hit for hit in hits if self.names and self.names <= set(WORD.findall(self.written(hit.episode)))]

    def surest_pair(self, named: Sequence[Hit], asked: Mapping[str, Tensor]) -> tuple[float, list[Hit]]:
        """Of those that have every name in the question, each with what it leads on to over a name: the pair with the
        least doubt of both kinds, in log-odds, against the matches that were ``asked`` alone. Two pages make a token of
        the question as likely as the likelier of them does."""
        tokens = self.episodes.question(self.question)
        pairs = [[hit, other] for hit in named for other in self.episodes.onward(tokens, hit, self.middle(hit))]
        heard = [(doubt, pair) for doubt, pair in zip(self.doubts(pairs), pairs, strict=True) if doubt < DOUBT_OF_TWO]
        if not heard:
            return math.inf, []
        reached = {other.episode: other for _, (_, other) in heard if other.episode not in asked}
        known = {**asked, **dict(zip(reached, self.asked(list(reached.values())) if reached else (), strict=False))}
        likely = torch.stack([known[one.episode].maximum(known[other.episode]) for _, (one, other) in heard])
        strange = strangeness(likely, torch.stack(list(asked.values())))
        odds = [_odds(doubt) + ASKED * more for (doubt, _), more in zip(heard, strange, strict=True)]
        return min(zip(odds, (pair for _, pair in heard), strict=True), key=lambda found: found[0])

    # ------------------------------------------------------------------ how sure

    def doubts(self, groups: Sequence[Sequence[Hit]]) -> list[float]:
        """For each group of records, read together, how probable it is that the reader says it does not know."""
        rows = [self.row([hit.episode for hit in group]) for group in groups]
        doubts = [0.0] * len(rows)
        members: dict[Delta, list[int]] = {}
        for i, row in enumerate(rows):
            members.setdefault(self.reader.adapter(row.pages), []).append(i)
        for adapter, own in members.items():
            found = answer_log_probabilities(self.core, [rows[i] for i in own], self.unknown, [adapter]).sum(1)
            for i, doubt in zip(own, found.exp().tolist(), strict=True):
                doubts[i] = doubt
        return doubts

    def asked(self, hits: Sequence[Hit]) -> Tensor:
        """The log-probability (nats) of every token of the question where the reader asks about each record alone, and
        in the last row about nothing, (records + 1, tokens). The reader was also taught to ask about what it remembers;
        this is the query likelihood of retrieval (Ponte and Croft 1998; Sachan et al. 2022, arXiv 2204.07496)."""
        alone = [[hit.episode] for hit in hits]
        pose = self.core.prompt(POSE)
        rows = [replace(self.row(seen), prompt=pose) for seen in (*alone, [])]
        question = self.core.encode(self.question)[:ASKED_TOKENS]
        return answer_log_probabilities(self.core, rows, question, [self.reader.prose])

    def far(self, odds: float, hit: Hit, best: float) -> tuple[bool, float]:
        """How far a record is from answering, by the log-``odds`` of doubt: whether it is in doubt, and by how much. A
        page of prose can be no surer than `SUREST`, and by how much it matches less than the ``best`` counts too: of a
        long text the reader is soon sure, so the router is heard as well."""
        doubted = odds >= 0
        if self._prose(hit):
            odds = max(odds, SUREST) + FAR * (best - hit.score)
        return doubted, odds

    # ------------------------------------------------------------------ what was told later

    def standing(self, heard: Sequence[tuple[float, Hit]]) -> tuple[list[Hit], bool]:
        """What the first of those ``heard``, the surest, says, unless it was updated or taken back later, by one of
        them or by what the statement itself finds. What a later statement answers anew is an update if it names the
        older answer, even if hardly where it speaks of the same thing or of a change too. Without that it names no more
        than it must, and speaks of one of them; where only of one, it is nearly as sure. An update may be updated in
        turn. A withdrawal denies, names what it takes back and raises the doubt: it is read only where the reader finds
        no answer in it. Prose is replaced by another version of the same paragraph."""
        (least, witness), known = heard[0], {hit.episode for _, hit in heard}
        hits = [hit for _, hit in heard if hit.through is None]
        found = [hit for hit in self.changing(witness) if hit.episode not in known]
        heard = [*heard, *zip(self.doubts([[hit] for hit in found]), found, strict=True)]
        later = [one for one in heard if self.follows(witness, one[1])]
        naming = self.naming(witness, [hit for _, hit in later])
        alike = [hit for _, hit in later if self.alike(witness, hit, hits)]
        near = min(DOUBT, _probability(_odds(least) + NEAR))

        def updates(doubt: float, hit: Hit) -> bool:
            if self._prose(witness):
                return hit in alike and doubt < DOUBT
            signs = (hit in alike) + self._changes(witness, hit)
            if hit in naming:
                return doubt < (DOUBT_OF_TWO if signs else DOUBT_OF_LAST) and self.new(witness, hit)
            return (
                doubt < (0.0, near, DOUBT_OF_LAST)[signs]
                and self.new(witness, hit)
                and not self.names_more(witness, hit)
            )

        news = [one for one in later if updates(*one)]
        if news:
            latest = max(news, key=lambda found: self._told(found[1]))
            return self.standing([latest, *(found for found in heard if found is not latest)])
        named = alike if self._prose(witness) else naming
        denying = [(d, h) for d, h in later if h in named and self._has(DENIAL, h)]
        beside = self.doubts([[witness, hit] for _, hit in denying])
        for together, (doubt, hit) in sorted(zip(beside, denying, strict=True), key=lambda found: -found[0]):
            raised = together >= max(FAINT, 2 * least) and doubt >= DOUBT
            if together >= DOUBT or (raised and not self.new(witness, hit)):
                return [hit] if doubt >= DOUBT else [], False
        return [witness], True

    def changing(self, witness: Hit) -> list[Hit]:
        """What may change or take back a statement, found by the statement itself: of whom much was told, an update in
        other words than the question is none of its best matches. Changes are worded alike, so what is nearest to one
        that speaks of a change is another, about something else."""
        if not self.names or self._prose(witness) or self._has(CHANGE, witness):
            return []
        later = (hit for hit in self.episodes.later(witness) if self.follows(witness, hit))
        return list(islice((hit for hit in later if self._has(CHANGE | DENIAL, hit)), self.episodes.config.hops))

    def alike(self, one: Hit, other: Hit, hits: Sequence[Hit]) -> bool:
        """Whether two records speak of the same thing: they share a telling word that is no name in the question, no
        word of many records, as "according to the register" is, and not in half of the other ``hits`` (of those that
        have every name, if there are two), because such a word is about who is asked for and not about what: all that
        was told of the Zorvek bell speaks of a bell. Of prose half of all telling words are in both: it is another
        version of the same paragraph."""
        first, second = self._telling(one), self._telling(other)
        if self._prose(one):
            return 2 * len(first & second) >= len(first | second)
        asked = {stem(name) for name in self.names}
        rest = [hit for hit in hits if hit not in (one, other)]
        about = self.named(rest)
        others = [self._telling(hit) for hit in (about if len(about) > 1 else rest)]
        most = max(2.0, COMMON * len(self.episodes.records))

        def tells(word: str) -> bool:
            shared = len(others) > 1 and 2 * sum(word in words for words in others) >= len(others)
            return self.spread.get(word, 0) <= most and not shared

        return any(tells(word) for word in first & second - asked)

    def follows(self, one: Hit, other: Hit) -> bool:
        """Whether the second record was told later and has every rare word of the question, as a name is, that the
        first has: without a name in the question they alone say what it is about."""
        texts = (self.question, self.written(one.episode), self.written(other.episode))
        asked, first, second = (_rare(self.core, set(WORD.findall(text))) for text in texts)
        return self._told(other) > self._told(one) and asked & first <= second

    def naming(self, witness: Hit, later: Sequence[Hit]) -> list[Hit]:
        """Those of the ``later`` statements that name what the witness answers and the question does not."""
        if not later or self._prose(witness):
            return []
        said = self.says(witness)
        return [hit for hit in later if not said <= telling_words(self.question) and said <= self._telling(hit)]

    def new(self, witness: Hit, later: Hit) -> bool:
        """Whether a later statement answers with something of its own that the witness does not say."""
        said = self.says(later)
        return said <= self._telling(later) and not said <= self._telling(witness)

    def names_more(self, witness: Hit, later: Hit) -> bool:
        """Whether a later statement has a name or a figure that is not in the question, in the witness or in its own
        answer: it is about something else."""
        known = self._telling(witness) | self.says(later)
        return any(stem(word) not in known for word in self.middle(later))

    def says(self, hit: Hit) -> frozenset[str]:
        """The telling words of what a record alone answers when it is made to answer."""
        if hit.episode not in self._said:
            row = replace(self.row([hit.episode]), refuse=self.unknown)
            answer = generate(self.core, [row], [self.reader.adapter(row.pages)], max_tokens=OWN_ANSWER)[0]
            self._said[hit.episode] = telling_words(self.core.decode(answer))
        return self._said[hit.episode]

    def _telling(self, hit: Hit) -> frozenset[str]:
        return telling_words(self.written(hit.episode))

    def _changes(self, one: Hit, other: Hit) -> bool:
        """Whether only the second speaks of a change: two that do are worded alike, whatever they are about."""
        return self._has(CHANGE, other) and not self._has(CHANGE, one)

    def _has(self, words: Collection[str], hit: Hit) -> bool:
        return any(word.lower() in words for word in WORD.findall(self.written(hit.episode)))

    def _prose(self, hit: Hit) -> bool:
        return self.episodes.records[hit.episode].tokens > LONG

    def _told(self, hit: Hit) -> int:
        return self.episodes.records[hit.episode].told


def names_in(core: Core, question: str) -> set[str]:
    """The names in a question: behind its first word, rare words with a capital, and figures."""
    asked = set(WORD.findall(question.partition(" ")[2]))
    return {word for word in _rare(core, asked) if not word[0].islower()} | {w for w in asked if w[0].isdigit()}


def leads_to(core: Core, question: str, text: str) -> set[str]:
    """What a record's ``text`` may lead a question on to: its names and figures that are not in the question, the rare
    ones if there are any ("Nanind Trust" leads to no other trust). A sentence begins with a name where the core writes
    its first word in several pieces without the capital."""
    opening = {word for word in OPENING.findall(text) if not core.is_rare(word.lower())}
    names = {word for word in WORD.findall(text) if word[0].isupper() or word[0].isdigit()}
    names -= opening | set(WORD.findall(question))
    return _rare(core, names) or names


def strangeness(likely: Tensor, alone: Tensor | None = None) -> list[float]:
    """How much stranger the question is to each than to the records ``alone`` (those themselves, unless given) on
    average, in nats: every token counts by how much likelier the best of these makes it. Both are log-probabilities
    (n, tokens)."""
    alone = likely if alone is None else alone
    best = alone.amax(0)
    behind, average = ((best - rows).clamp(-STRANGE, STRANGE).sum(1) for rows in (likely, alone))
    return (behind - average.mean()).tolist()


def lift(asked: Tensor) -> list[float]:
    """How much likelier each record makes the question than nothing does, in nats: what is asked about anything in the
    world is hardly lifted by a record that only looks like it."""
    return (asked[:-1] - asked[-1]).clamp(-STRANGE, STRANGE).sum(1).tolist()


def _rare(core: Core, words: Collection[str]) -> set[str]:
    """Those that the core has to write in several pieces."""
    return {word for word in words if core.is_rare(word)}


def _odds(probability: float) -> float:
    """Log-odds in nats."""
    return math.log(max(probability, 1e-30) / max(1 - probability, 1e-30))


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
