"""The three tiers of one learner, as they follow from its log.

`Tiers.apply` is the only way anything enters them, live and in a replay alike. So the state after any history is the
state of that history replayed, and forgetting is replaying the history without what is forgotten.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from fastslow.copying import copied_words
from fastslow.core import Core, Delta
from fastslow.decode import Row
from fastslow.fast import trajectory
from fastslow.fast.trajectory import FastConfig
from fastslow.lessons import refusal
from fastslow.medium.choice import Choice
from fastslow.medium.episodes import Episodes, Hit, RecallConfig, saying, telling_words
from fastslow.medium.reader import Reader
from fastslow.medium.split import written
from fastslow.slow import DomainConfig, Expert, FactsConfig, open_experts
from fastslow.slow.skills import Skill
from fastslow.state import State
from fastslow.store import Event
from fastslow.store.log import FIRST_HASH

ALL = ("fast", "medium", "slow")
STREAMED = ("learn", "restate", "turn")  # events whose text passes through the fast tier


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
        return written(self.heading, self.text)


@dataclass(frozen=True, eq=False)
class Reading:
    """What one question reads: its row for the decoder, the deltas that are on, and where they come from."""

    row: Row
    deltas: tuple[Delta, ...]
    hits: tuple[Hit, ...]
    experts: tuple[Expert, ...]
    fast: bool
    skill: Skill | None = None


@dataclass(frozen=True, eq=False)
class Mark:
    """The fast tier as it was after the event ``seq``, which was the text in this ``place`` since the home was opened:
    what is forgotten later need not be streamed from the beginning."""

    place: int
    seq: int
    fast: State
    seen: int


class Tiers:
    """Everything that was derived from a log, in memory."""

    def __init__(self, core: Core, reader: Reader | None, config: LearnerConfig):
        self.core, self.reader, self.config = core, reader, config
        self.episodes = Episodes(core, reader.router if reader else None, config.recall)
        self.told: dict[str, Told] = {}
        self.experts: dict[str, Expert] = {}
        self.skills: dict[str, Skill] = {}
        self.studied: set[str] = set()  # episodes whose language a domain expert has
        self.fast = trajectory.init_state(core, config.fast)
        self.seen = 0  # tokens streamed through the fast tier
        self.marks = [Mark(0, 0, self.fast, 0)]
        self._saying: dict[tuple[str, ...], str] = {}
        self._copied: dict[str, frozenset[str]] = {}  # the words that an answer copies from an episode
        self._spread: Counter[str] = Counter()  # in how many records each telling word is
        self.head = FIRST_HASH  # of the last event that was taken in whole; another than the log's must not be saved
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
        if event.kind == "learn" and episode is not None:
            told = Told(payload["text"], payload["source"], payload["heading"], event.time)
            self.episodes.add(episode, page or self.episodes.write(told.written), event.seq, event.time)
            self.told[episode] = told
            self._saying.setdefault(saying(told.written), episode)
            self._spread.update(telling_words(told.written))
        elif event.kind == "restate" and episode is not None:
            if self.episodes.faded(episode):
                kept = page if page and page.numbers["bits"] >= self.config.recall.bits else None
                self.episodes.renew(episode, kept or self.page_of(episode))
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
        self.head = event.hash

    def stream(self, event: Event) -> None:
        """Let what was said in this event pass through the fast tier."""
        ids = self._streamed(event)
        if ids:
            self.fast, _, _ = trajectory.observe(self.core, self.config.fast, self.fast, ids)
            self.seen += len(ids)
            place = self.marks[-1].place + 1
            # The two latest multiples of every power of two, so that few are kept and one is never far back.
            old = [
                mark for mark in self.marks if not mark.place or place - mark.place <= 2 * (mark.place & -mark.place)
            ]
            self.marks = [*old, Mark(place, event.seq, self.fast, self.seen)]

    def resume(self, marks: Sequence[Mark]) -> int:
        """Go on from the last of these marks, where there is one; the number of the first event to stream."""
        if marks:
            self.marks = [*marks]
            self.fast, self.seen = marks[-1].fast, marks[-1].seen
        return self.marks[-1].seq + 1

    def stream_length(self, events: Sequence[Event]) -> int:
        """How many tokens of these events pass through the fast tier."""
        return sum(len(self._streamed(event)) for event in events)

    def _streamed(self, event: Event) -> list[int]:
        if event.kind not in STREAMED:
            return []
        return self.core.encode(written(event.payload.get("heading", ""), event.payload["text"]) + "\n")

    def _slept(self, event: Event, expert: Expert | None) -> None:
        if expert is None:
            return  # lost, and not to be made again: its episodes stay awake
        self.experts[event.payload["expert"]] = expert
        if event.payload["kind"] == "facts":
            for episode in expert.episodes:
                self.episodes.fall_asleep(episode)
        else:
            self.studied |= set(expert.episodes)

    def page_of(self, episode: str) -> State:
        """The page of an episode as it was written first."""
        return self.episodes.write(self.told[episode].written)

    def said_before(self, written: str) -> str | None:
        """The episode that already says this, or None."""
        return self._saying.get(saying(written))

    # ------------------------------------------------------------------ what a sleep takes

    def facts_to_sleep_on(self, now: float) -> list[str]:
        """Short episodes that no sleep has taken yet, the strongest first."""
        half_life = self.config.recall.half_life
        records = [r for r in self.episodes.records.values() if not r.asleep and r.tokens <= self.config.short]
        records.sort(key=lambda r: (-r.strength(now, half_life), r.told))
        return [r.episode for r in records]

    def language_to_sleep_on(self) -> list[str]:
        """Longer episodes whose language no sleep has taken yet, in order, once there is enough of them."""
        records = [
            r for r in self.episodes.records.values() if r.episode not in self.studied and r.tokens > self.config.short
        ]
        if sum(r.tokens for r in records) < self.config.domain:
            return []
        return [r.episode for r in sorted(records, key=lambda r: r.told)]

    # ------------------------------------------------------------------ reading

    @torch.no_grad()
    def read(self, question: str, prompt: list[int], tiers: Sequence[str] = ALL) -> Reading:
        """What a question reads from the ``tiers`` that are on. Where nothing is related it reads nothing at all."""
        hidden = self.core.bottom(input_ids=torch.tensor([prompt])).last_hidden_state[0]
        hits, found = self.choose(question) if "medium" in tiers else (self.match(question), False)
        row = self.row(prompt, [hit.episode for hit in hits] if "medium" in tiers else [])
        if found and row.pages:
            row = replace(row, refuse=refusal(self.core))
        experts = self._open(hidden, hits, bool(row.pages)) if "slow" in tiers else []
        fast = "fast" in tiers and trajectory.related(self.config.fast, self.fast, hidden)
        deltas = [expert.delta for expert in experts]
        if row.pages and self.reader:
            deltas.insert(0, self.reader.adapter(row.pages))
        practised = self.skills.values() if {"medium", "slow"} & {*tiers} else ()
        skill = next((each for each in practised if each.gate.is_open(hidden)), None)
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
        for name in set(seen) - set(self._copied):
            self._copied[name] = copied_words(self.core, self.told[name].written)
        words = [self._copied[name] for name in seen]
        return Row(prompt, self.episodes.pages(seen), frozenset().union(*words))

    def choose(self, question: str) -> tuple[list[Hit], bool]:
        """The records to read together, and whether they hold the answer; without a reader the best matches. They are
        heard on the question alone, as the reader learned it, whatever was said before in a chat."""
        hits = self.match(question)
        if not hits or not self.reader:
            return self.episodes.within_budget(hits[: self.config.recall.witnesses]), False
        heard = [hit for hit in hits if self.episodes.records[hit.episode].page is not None]
        read, found = self.choice(question, self.reader).made(heard) if heard else ([], False)
        if not found and hits[0] not in heard:  # what was dropped cannot be heard: its expert may hold the answer
            return hits[:1], False
        return read, found

    def choice(self, question: str, reader: Reader) -> Choice:
        row = partial(self.row, self.core.prompt(question))
        return Choice(question, self.episodes, reader, row, lambda name: self.told[name].written, self._spread)

    def match(self, question: str) -> list[Hit]:
        """The records that match a question."""
        return self.episodes.select(self.episodes.question(question))

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
