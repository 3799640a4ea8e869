"""What a learner tells about itself: plain, frozen data that prints, compares and turns into JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Episode:
    """One thing learned. ``time`` is in seconds since 1970; ``strength`` is 1 right after a use and decays; ``stage``
    is "awake" or "asleep" (consolidated); ``bits`` is 0 once the page was dropped."""

    id: str
    text: str
    source: str
    heading: str
    time: float
    strength: float
    uses: int
    stage: str
    bytes: int
    bits: int


@dataclass(frozen=True)
class Read:
    """One record an answer read: the router's score, and the record it was reached through (None: the question)."""

    episode: str
    score: float
    through: str | None = None


@dataclass(frozen=True)
class Answer:
    """What was answered, and what it read. Pages stand beside the prompt and add nothing to it; the context of a skill
    adds ``prompt_tokens_added``."""

    text: str
    hits: tuple[Read, ...] = ()
    experts: tuple[str, ...] = ()
    fast: bool = False
    prompt_tokens: int = 0
    prompt_tokens_added: int = 0

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class TraceLine:
    """One thing the answer rests on. ``weight`` is the router's score (1 for what is simply on); ``effect`` is how many
    nats the log-probability of the answer falls when this alone is taken away."""

    tier: str
    what: str
    text: str
    weight: float
    effect: float
    through: str | None = None


@dataclass(frozen=True)
class Trace:
    """An answer, what the bare core would have said, and what made the difference."""

    answer: Answer
    bare: str
    lines: tuple[TraceLine, ...]


@dataclass(frozen=True)
class Receipt:
    """What forgetting took away, or would take away in a dry run."""

    episodes: tuple[str, ...]
    events: int
    tiers: dict[str, str]
    replayed_sleeps: int
    state_hash: str
    dry_run: bool


@dataclass(frozen=True)
class SleepReport:
    """What a sleep consolidated, what it left and why, and whether it was rolled back or interrupted."""

    consolidated: tuple[str, ...] = ()
    rejected: dict[str, str] = field(default_factory=dict)
    rolled_back: str = ""
    seconds: float = 0.0
    interrupted: bool = False
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """What a home holds, tier by tier."""

    home: str
    core: str
    reader: str
    episodes: int
    awake: int
    asleep: int
    bytes: dict[str, int]
    strengths: tuple[int, ...]
    fast: dict[str, float]
    experts: tuple[str, ...]
    skills: tuple[str, ...]
    events: int
    size_bytes: int
