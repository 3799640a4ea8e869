"""Rollouts: what a policy answered to a problem under a context, and what the verifier said of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from fastslow.worlds.tasks import Problem, Verdict


@dataclass(frozen=True, eq=False)
class Answer:
    """Tokens (L,), the end among them unless the answer was cut off, and their log-probabilities when drawn."""

    tokens: Tensor
    log_probs: Tensor
    text: str


class Policy(Protocol):
    """What answers and learns. A prompt is whatever the trainer's ``prompt`` makes of a context's lines and a
    question, and can be a key of a dict."""

    def sample(self, prompts: Sequence[Any], count: int, seed: int) -> list[list[Answer]]:
        """``count`` answers to each prompt; the same seed gives the same answers."""
        ...

    def log_probs(self, prompts: Sequence[Any], answers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """For each prompt, the log-probabilities (L,) of the tokens of each of its answers, with their gradients."""
        ...

    def parameters(self) -> Iterable[Tensor]:
        """What learns."""
        ...

    def frozen(self) -> Self:
        """A policy that stays as this one is now."""
        ...


@dataclass(frozen=True, eq=False)
class Rollout:
    """One answer to one problem under one context, as it was put there; the verdict is None where the verifier
    failed."""

    problem: Problem
    lines: tuple[str, ...]
    answer: Answer
    verdict: Verdict | None

    @property
    def score(self) -> float:
        return self.verdict.score if self.verdict else 0.0


class Kept:
    """The rollouts of a fast phase, for the slow steps of the same cycle. Each is bound to its problem and to the exact
    lines it was drawn under, and is handed out once."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, tuple[str, ...]], list[Rollout]] = {}

    def put(self, rollouts: Iterable[Rollout]) -> None:
        for rollout in rollouts:
            self._held.setdefault((rollout.problem.id, rollout.lines), []).append(rollout)

    def claim(self, problem: Problem, lines: tuple[str, ...], count: int) -> list[Rollout]:
        """At most ``count`` of this problem under these lines."""
        held = self._held.get((problem.id, lines), [])
        claimed, held[:] = held[:count], held[count:]
        return claimed

    def to_list(self) -> list[dict[str, Any]]:
        """As JSON has it. A log-probability keeps all its digits."""
        return [
            {
                "problem": rollout.problem.id,
                "lines": rollout.lines,
                "tokens": rollout.answer.tokens.tolist(),
                "log_probs": rollout.answer.log_probs.tolist(),
                "text": rollout.answer.text,
                "verdict": rollout.verdict and asdict(rollout.verdict),
            }
            for held in self._held.values()
            for rollout in held
        ]

    @classmethod
    def from_list(cls, rollouts: Sequence[Mapping[str, Any]], problems: Mapping[str, Problem]) -> Kept:
        """``problems`` by their ids."""
        kept = cls()
        kept.put(
            Rollout(
                problems[each["problem"]],
                tuple(each["lines"]),
                Answer(torch.tensor(each["tokens"]), torch.tensor(each["log_probs"]), each["text"]),
                each["verdict"] and Verdict(**each["verdict"]),
            )
            for each in rollouts
        )
        return kept
