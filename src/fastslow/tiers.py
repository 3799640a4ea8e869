"""The three tiers of one learner, as they follow from its log.

`Tiers.apply` is the only way anything enters them, live and in a replay alike. So the state after any history is the
state of that history replayed, and forgetting is replaying the history without what is forgotten.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fastslow.copying import rare_words
from fastslow.core import Core, Delta
from fastslow.decode import Row, answer_log_probability, generate
from fastslow.fast import trajectory
from fastslow.fast.trajectory import FastConfig
from fastslow.lessons import UNKNOWN
from fastslow.medium.episodes import Episodes, Hit, RecallConfig, saying, telling_words
from fastslow.medium.reader import LONG, Reader
from fastslow.medium.router import Tokens, stem
from fastslow.slow import DomainConfig, Expert, FactsConfig, open_experts
from fastslow.slow.skills import Skill
from fastslow.state import State
from fastslow.store import Event

ALL = ("fast", "medium", "slow")
STREAMED = ("learn", "restate", "turn")  # events whose text passes through the fast tier
# The probability of "I don't know." from which a page is no witness, or no longer one beside a later page that takes
# it back; from which one that hardly matches is none; from which one that has every name in the question is none, at
# first and where nothing else answers; from which two pages read together are none; and below which others are heard
# beside the surest one.
DOUBT, FAINT, DOUBT_OF_NAMED, DOUBT_OF_LAST, DOUBT_OF_TWO, SURE = 0.5, 0.05, 0.7, 0.9, 0.3, 0.15
COMMON = 0.1  # share of all records in which a word tells no longer what one of them is about
TOGETHER = 3  # witnesses that are read together where several are sure
SUREST, FAR = -14.0, 16.0  # log-odds of doubt; nats of it for a point of the router's score that a page of prose lacks
NEARLY = 2.0  # nats by which a newer one's own answer may be less likely than another's
OWN_ANSWER = 24  # tokens of what each of them answers alone


@dataclass(frozen=True)
class LearnerConfig:
    """``page``: most tokens of one episode. A sleep takes episodes of up to ``short`` tokens as facts, and what is
    longer as a domain's language once that has ``domain`` tokens."""

    recall: RecallConfig = field(default_factory=RecallConfig)
    fast: FastConfig = field(default_factory=FastConfig)
    facts: FactsConfig = field(default_factory=FactsConfig)
    language: DomainConfig = field(default_factory=DomainConfig)
    page: int = 96
    short: int = 48
    domain: int = 6000
    seed: int = 0


@dataclass(frozen=True)
class Told:
    """What the log says of an episode."""

    text: str
    source: str
    heading: str
    time: float

    @property
    def written(self) -> str:
        """What the core reads: the text behind its heading."""
        return f"{self.heading}: {self.text}" if self.heading else self.text


@dataclass(frozen=True, eq=False)
class Reading:
    """What one question reads: its row for the decoder, the deltas that are on, and where they come from."""

    row: Row
    deltas: tuple[Delta, ...]
    hits: tuple[Hit, ...]
    experts: tuple[Expert, ...]
    fast: bool
    skill: Skill | None = None


class Tiers:
    """Everything that was derived from a log, in memory."""

    def __init__(self, core: Core, reader: Reader | None, config: LearnerConfig):
        self.core, self.reader, self.config = core, reader, config
        self.unknown = tuple(core.encode(UNKNOWN))
        self.episodes = Episodes(core, reader.router if reader else None, config.recall)
        self.told: dict[str, Told] = {}
        self.experts: dict[str, Expert] = {}
        self.skills: dict[str, Skill] = {}
        self.studied: set[str] = set()  # episodes whose language a domain expert has
        self.fast = trajectory.init_state(core, config.fast)
        self.seen = 0  # tokens streamed through the fast tier
        self._saying: dict[tuple[str, ...], str] = {}
        self._spread: Counter[str] = Counter()  # in how many records each telling word is
        self.sound = True  # False once an event was taken in by half: what is in memory must not be saved
        self._fast_delta: tuple[State, Delta] | None = None

    # ------------------------------------------------------------------ history in

    def apply(
        self,
        event: Event,
        *,
        page: State | None = None,
        expert: Expert | None = None,
        skill: Skill | None = None,
        fast: bool = True,
    ) -> None:
        """Take one event of the log in. ``page`` and ``expert`` are what was derived from it before, where that is at
        hand, and ``skill`` is what it speaks of; ``fast=False`` leaves the fast tier out, because a snapshot already
        has it."""
        payload, episode = event.payload, event.episode
        sound, self.sound = self.sound, False
        if event.kind == "learn" and episode is not None:
            told = Told(payload["text"], payload["source"], payload["heading"], event.time)
            self.told[episode] = told
            self._saying.setdefault(saying(told.written), episode)
            self._spread.update(telling_words(told.written))
            self.episodes.add(episode, page or self.episodes.write(told.written), event.seq, event.time)
        elif event.kind == "restate" and episode is not None:
            self.episodes.used(episode, event.time, told=event.seq)
        elif event.kind == "read":
            for name in payload["episodes"]:
                self.episodes.used(name, event.time)
        elif event.kind == "sleep":
            self._slept(event, expert)
        elif event.kind == "skill" and skill is not None:
            self.skills[skill.task] = skill
        elif event.kind == "fade":
            self.episodes.fade(event.time)
        if fast:
            self.stream(event)
        self.sound = sound

    def stream(self, event: Event) -> None:
        """Let what was said in this event pass through the fast tier."""
        ids = self._streamed(event)
        if ids:
            self.fast, _, _ = trajectory.observe(self.core, self.config.fast, self.fast, ids)
            self.seen += len(ids)

    def stream_length(self, events: Sequence[Event]) -> int:
        """How many tokens of these events pass through the fast tier."""
        return sum(len(self._streamed(event)) for event in events)

    def _streamed(self, event: Event) -> list[int]:
        if event.kind not in STREAMED:
            return []
        heading = event.payload.get("heading", "")
        return self.core.encode((f"{heading}: " if heading else "") + event.payload["text"] + "\n")

    def _slept(self, event: Event, expert: Expert | None) -> None:
        payload = event.payload
        if expert is not None:
            self.experts[payload["expert"]] = expert
        if payload["kind"] == "facts":
            for episode in payload["accepted"]:
                self.episodes.fall_asleep(episode)
        else:
            self.studied |= set(payload["accepted"])

    def said_before(self, written: str) -> str | None:
        """The episode that already says this, or None."""
        return self._saying.get(saying(written))

    # ------------------------------------------------------------------ what a sleep takes

    def facts_to_sleep_on(self, now: float) -> list[str]:
        """Short episodes that no sleep has taken yet, the strongest first."""
        half_life = self.config.recall.half_life
        records = [
            r for r in self.episodes.records.values() if not r.asleep and len(r.tokens.words) <= self.config.short
        ]
        records.sort(key=lambda r: (-r.strength(now, half_life), r.told))
        return [r.episode for r in records]

    def language_to_sleep_on(self) -> list[str]:
        """Longer episodes whose language no sleep has taken yet, in order, once there is enough of them."""
        records = [
            r
            for r in self.episodes.records.values()
            if r.episode not in self.studied and len(r.tokens.words) > self.config.short
        ]
        if sum(len(r.tokens.words) for r in records) < self.config.domain:
            return []
        return [r.episode for r in sorted(records, key=lambda r: r.told)]

    # ------------------------------------------------------------------ reading

    @torch.no_grad()
    def read(self, question: str, prompt: list[int], tiers: Sequence[str] = ALL) -> Reading:
        """What a question reads from the ``tiers`` that are on. Where nothing is related it reads nothing at all."""
        hidden = self.core.bottom(input_ids=torch.tensor([prompt])).last_hidden_state[0]
        hits, found = self.choose(question, prompt) if "medium" in tiers else (self.match(question), False)
        row = self.row(prompt, [hit.episode for hit in hits] if "medium" in tiers else [])
        if found and row.pages:
            row = replace(row, refuse=self.unknown)
        experts = self._open(hidden, hits, bool(row.pages)) if "slow" in tiers else []
        fast = "fast" in tiers and trajectory.related(self.config.fast, self.fast, hidden)
        deltas = [expert.delta for expert in experts]
        if row.pages and self.reader:
            deltas.insert(0, self.reader.adapter(row.pages))
        skill = next((each for each in self.skills.values() if each.gate.is_open(hidden)), None)
        if skill and "slow" in tiers:
            deltas.append(skill.delta)
        if fast:
            deltas.append(self.fast_delta())
        read = {hit.episode for hit in hits if row.pages and self.episodes.records[hit.episode].page is not None}
        read |= {episode for expert in experts if expert.gate is None for episode in expert.episodes}
        shown = tuple(hit for hit in hits if hit.episode in read)
        return Reading(row, tuple(deltas), shown, tuple(experts), fast, skill)

    def row(self, prompt: list[int], episodes: Sequence[str]) -> Row:
        """A prompt with the pages of these episodes in sight, and the words that an answer copies from them."""
        seen = [name for name in episodes if self.episodes.records[name].page is not None]
        words = [rare_words(self.core, self.told[name].written) for name in seen]
        return Row(prompt, self.episodes.pages(seen), frozenset().union(*words))

    def choose(self, question: str, prompt: list[int]) -> tuple[list[Hit], bool]:
        """The records to read together, and whether they hold the answer: the one that answers the question by itself,
        or what takes it back; or, where none does, a match and what it leads on to; or else the one that comes nearest
        and has every name in the question; or the best matches, in which the reader will find nothing, where they are
        surely what the question is about; or none.

        Every match is first heard alone, because the reader tells best from one page whether it holds the answer, and
        reads few pages together better than many (docs/lab/medium.md).
        """
        tokens = self.question(question)
        hits = self.episodes.select(tokens)
        config = self.config.recall
        if not hits or not self.reader:
            return self.episodes.within_budget(hits[: config.witnesses]), False
        heard = list(zip(self._doubts([[hit] for hit in hits], prompt), hits, strict=True))
        heard.sort(key=lambda pair: self._far(pair[0], pair[1], hits[0].score))
        names = self._names(question)
        named = [hit for hit in hits if names and names <= rare_words(self.core, self.told[hit.episode].written)]
        likely = hits[0].score >= config.likely and not names
        if heard[0][0] < (DOUBT_OF_NAMED if heard[0][1] in named else DOUBT if likely else FAINT):
            return self._standing(question, heard, prompt)
        leads = hits if likely else named
        pairs = [[hit, onward] for hit in leads for onward in self.episodes.onward(tokens, [hit])]
        if pairs:
            doubt, pair = min(zip(self._doubts(pairs, prompt), pairs, strict=True), key=lambda found: found[0])
            if doubt < DOUBT_OF_TWO:
                return self.episodes.within_budget(pair), True
        if heard[0][0] < DOUBT_OF_LAST and heard[0][1] in named:
            return self._standing(question, heard, prompt)
        return self.episodes.within_budget(hits[: config.witnesses]) if hits[0].score >= config.certain else [], False

    def _standing(self, question: str, heard: Sequence[tuple[float, Hit]], prompt: list[int]) -> tuple[list[Hit], bool]:
        """What the surest of those ``heard`` say, unless it was updated or taken back later. What a later statement
        answers anew is an update, surely so where it names the older answer. A withdrawal names what it takes back: it
        is read only where the reader finds no answer in it."""
        witness = self._agreed(question, heard, prompt)
        alike = self._alike(question, heard)
        later = [
            (d, h) for d, h in heard if self._told(h) > self._told(witness) and self._named_too(question, witness, h)
        ]
        naming = self._naming(question, witness, [hit for _, hit in later], prompt)
        later = [(d, h) for d, h in later if h in naming or alike(witness, h)]
        news = [h for d, h in later if d < (DOUBT_OF_LAST if h in naming else DOUBT) and self._new(witness, h, prompt)]
        if news:
            return [max(news, key=self._told)], True
        denying = [(d, h) for d, h in later if h in naming or self._prose(witness)]
        beside = self._doubts([[witness, hit] for _, hit in denying], prompt) if denying else []
        for together, (doubt, hit) in sorted(zip(beside, denying, strict=True), key=lambda found: -found[0]):
            weakly = together >= FAINT and doubt >= DOUBT and hit in naming and not self._new(witness, hit, prompt)
            if together >= DOUBT or weakly:
                return [hit] if doubt >= DOUBT else [], False
        return [witness], True

    def _naming(self, question: str, witness: Hit, later: Sequence[Hit], prompt: list[int]) -> list[Hit]:
        """Those of the ``later`` statements that name what the witness answers and the question does not."""
        if not later or self._prose(witness) or self.episodes.records[witness.episode].page is None:
            return []
        said = self._says(witness, prompt)
        if said <= telling_words(question):
            return []
        return [hit for hit in later if said <= telling_words(self.told[hit.episode].written)]

    def _new(self, witness: Hit, later: Hit, prompt: list[int]) -> bool:
        """Whether a later statement answers with something of its own that the witness does not say."""
        if self._prose(witness) or self.episodes.records[later.episode].page is None:
            return False
        said = self._says(later, prompt)
        first, second = (telling_words(self.told[hit.episode].written) for hit in (witness, later))
        return said <= second and not said <= first

    def _says(self, hit: Hit, prompt: list[int]) -> frozenset[str]:
        """The telling words of what a record answers when it is made to answer."""
        row = replace(self.row(prompt, [hit.episode]), refuse=self.unknown)
        return telling_words(self.core.decode(self._own_answer(row)))

    def _names(self, question: str) -> set[str]:
        """The names in a question: rare words with a capital or a figure behind its first word."""
        return {word for word in rare_words(self.core, question.partition(" ")[2]) if not word[0].islower()}

    def _far(self, doubt: float, hit: Hit, best: float) -> tuple[bool, float]:
        """How far a record is from answering: whether it is in doubt, and the log-odds of that. A page of prose can be
        no surer than `SUREST`, and by how much it matches less than the ``best`` counts too: of a long text the reader
        is soon sure, so the router is heard as well."""
        odds = math.log(max(doubt, 1e-30) / max(1 - doubt, 1e-30))
        if self._prose(hit):
            odds = max(odds, SUREST) + FAR * (best - hit.score)
        return doubt >= DOUBT, odds

    def _agreed(self, question: str, heard: Sequence[tuple[float, Hit]], prompt: list[int]) -> Hit:
        """The surest record; or, where others are sure too, the newest of those whose own answer all of them, read
        together, give as well as any other or nearly so. What speaks of something near loses, and an update wins."""
        assert self.reader is not None
        surest, alike = heard[0][1], self._alike(question, heard)
        sure = [surest] + [h for d, h in heard[1:TOGETHER] if self._rivals(question, surest, h, d, alike(surest, h))]
        if len(sure) == 1 or any(self.episodes.records[hit.episode].page is None for hit in sure):
            return sure[0]
        end = self.core.tokenizer.eos_token_id
        together = self.row(prompt, [hit.episode for hit in sure])
        likely = []
        for row in (self.row(prompt, [hit.episode]) for hit in sure):
            own = self._own_answer(row)
            reading = [self.reader.adapter(together.pages)]
            likely.append(answer_log_probability(self.core, [together], [*own, end], reading).item())
        nearly = [hit for hit, own_likely in zip(sure, likely, strict=True) if own_likely >= max(likely) - NEARLY]
        return max(nearly, key=self._told)

    def _own_answer(self, row: Row) -> list[int]:
        assert self.reader is not None
        return generate(self.core, [row], [self.reader.adapter(row.pages)], max_tokens=OWN_ANSWER)[0]

    def _rivals(self, question: str, surest: Hit, other: Hit, doubt: float, alike: bool) -> bool:
        """Whether another record may answer in place of the surest: one that is sure too, or on the same thing; of
        prose only another version of the same paragraph, with half of all telling words in both."""
        if not self._prose(surest):
            return doubt < SURE or (doubt < DOUBT and alike and self._named_too(question, surest, other))
        first, second = (telling_words(self.told[hit.episode].written) for hit in (surest, other))
        return doubt < DOUBT and 2 * len(first & second) >= len(first | second)

    def _prose(self, hit: Hit) -> bool:
        return len(self.episodes.records[hit.episode].tokens.words) > LONG

    def _told(self, hit: Hit) -> int:
        return self.episodes.records[hit.episode].told

    def _alike(self, question: str, heard: Sequence[tuple[float, Hit]]) -> Callable[[Hit, Hit], bool]:
        """Tells whether two records speak of the same thing: they share a telling word that is no name in the question
        (of prose no word in it), no word of many records, as "according to the register" is, and not in half of the
        others that were heard, because such a word is about who is asked for and not about what."""
        said = {hit: telling_words(self.told[hit.episode].written) for _, hit in heard}
        names, asked = {stem(name) for name in self._names(question)}, telling_words(question)
        most = max(2.0, COMMON * len(self.told))

        def alike(one: Hit, other: Hit) -> bool:
            others = [words for hit, words in said.items() if hit not in (one, other)]
            return any(
                self._spread[word] <= most
                and not (len(others) > 1 and 2 * sum(word in o for o in others) >= len(others))
                for word in said[one] & said[other] - (asked if self._prose(one) else names)
            )

        return alike

    def _named_too(self, question: str, one: Hit, other: Hit) -> bool:
        """Whether the second record has every name in the question that the first has."""
        first, second = (rare_words(self.core, self.told[hit.episode].written) for hit in (one, other))
        return rare_words(self.core, question) & first <= second

    def _doubts(self, groups: Sequence[Sequence[Hit]], prompt: list[int]) -> list[float]:
        """For each group of records, read together, how probable it is that the reader says it does not know."""
        assert self.reader is not None
        rows = [self.row(prompt, [hit.episode for hit in group]) for group in groups]
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

    def match(self, question: str) -> list[Hit]:
        """The records that match a question."""
        return self.episodes.select(self.question(question))

    def question(self, text: str) -> Tokens:
        return self.episodes.question(text)

    def _open(self, hidden: Tensor, hits: Sequence[Hit], reading: bool) -> list[Expert]:
        """A page says it better than an expert, so an expert of facts opens only where its episode's page is not read:
        with the medium tier off, or once the page was dropped. Of several matches only the best opens its expert: each
        has learned to give its own fact, and together they give none (docs/lab/slow.md)."""
        dropped = {hit.episode for hit in hits if self.episodes.records[hit.episode].page is None}
        held = {episode for expert in self.experts.values() if expert.gate is None for episode in expert.episodes}
        matched = [hit.episode for hit in hits if hit.through is None and (not reading or hit.episode in dropped)]
        best = [episode for episode in matched if episode in held][:1]
        return open_experts(list(self.experts.values()), hidden, best)

    def fast_delta(self) -> Delta:
        if self._fast_delta is None or self._fast_delta[0] is not self.fast:
            self._fast_delta = (self.fast, trajectory.delta(self.core, self.config.fast, self.fast))
        return self._fast_delta[1]

    # ------------------------------------------------------------------ identity

    def hash(self) -> str:
        """sha256 over every tier: what two histories that should be equal are compared by."""
        digest = hashlib.sha256()
        for record in sorted(self.episodes.records.values(), key=lambda r: r.told):
            page = record.page.hash() if record.page else ""
            line = (record.episode, page, record.last_use, record.uses, record.asleep, self.told[record.episode])
            digest.update(repr(line).encode())
        for expert in self.experts.values():
            digest.update(expert.state().hash().encode())
        for skill in self.skills.values():
            digest.update(skill.hash().encode())
        digest.update(self.fast.hash().encode())
        return digest.hexdigest()


Progress = Callable[[str, int, int, float], None]
