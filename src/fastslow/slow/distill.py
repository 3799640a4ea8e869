"""Distilling a context into slow weights, so that the text can go: the policy without it learns to answer as with it.

On-policy: the student answers without the context, and on every token of its answer its distribution is drawn to the
teacher's, which is the policy as it was at the beginning, with the context in sight (reverse KL; on-policy context
distillation, arXiv 2602.12275). Only problems on which the context helps are learned from (the filter of Experience
Funnel): what a context does elsewhere is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fastslow.errors import InputError
from fastslow.slow.contexts import Context
from fastslow.slow.fast_slow import FSTConfig
from fastslow.slow.rollouts import Answer, Policy
from fastslow.slow.verifying import Judge
from fastslow.worlds.tasks import Problem, Task


class Distillable(Policy, Protocol):
    """A policy that tells its whole distributions."""

    def distributions(self, prompts: Sequence[Any], answers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """For each prompt, the log-probabilities (L, N) of all tokens in each place of each of its answers."""
        ...


@dataclass(frozen=True)
class DistillReport:
    """One step: the KL to the teacher in nats a token, problems on which the context helped, and the mean scores with
    and without it."""

    step: int
    loss: float
    helped: int
    told: float
    alone: float


def distill(
    policy: Distillable,
    task: Task,
    prompt: Callable[[tuple[str, ...], str], Any],
    context: Context,
    *,
    steps: int,
    config: FSTConfig | None = None,
    progress: Callable[[DistillReport], None] | None = None,
) -> list[DistillReport]:
    """Trains ``policy`` in place, on the problems of the first ``steps`` steps. Of ``config`` it uses the problems of a
    step, the group (answers to each, with and without), rate, warm-up and seed.

    Raises InputError for a context that says nothing.
    """
    if not context.lines():
        raise InputError("this context is empty, so there is nothing to distil: evolve one first (fastslow train fst)")
    config = config or FSTConfig()
    teacher, judge, reports = policy.frozen(), Judge(task), list[DistillReport]()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=config.rate, weight_decay=0.0)
    for step in range(steps):
        problems = [task.problem(index) for index in range(step * config.problems, (step + 1) * config.problems)]
        told = [prompt(context.lines(problem.id), problem.question) for problem in problems]
        alone = [prompt((), problem.question) for problem in problems]
        seed = config.seed * 1_000_003 + step
        with_it, without = teacher.sample(told, config.group, seed), policy.sample(alone, config.group, seed)
        scores = [_scores(judge, problems, answers) for answers in (with_it, without)]
        helped = [n for n, (yes, no) in enumerate(zip(*scores, strict=True)) if yes > no]
        loss = 0.0
        if helped:
            for settings in optimizer.param_groups:
                settings["lr"] = config.rate * min(1.0, (step + 1) / max(1, config.warm))
            tokens = [[answer.tokens for answer in without[n]] for n in helped]
            with torch.no_grad():
                wanted = _joined(teacher.distributions([told[n] for n in helped], tokens))
            now = _joined(policy.distributions([alone[n] for n in helped], tokens))
            apart = (now.exp() * (now - wanted)).sum(-1).mean()
            optimizer.zero_grad()
            apart.backward()
            optimizer.step()
            loss = float(apart.detach())
        means = [sum(each) / len(each) for each in scores]
        reports.append(DistillReport(step + 1, loss, len(helped), *means))
        if progress:
            progress(reports[-1])
    return reports


def _scores(judge: Judge, problems: Sequence[Problem], answers: Sequence[Sequence[Answer]]) -> list[float]:
    """The mean score of each problem's answers; where the verifier failed, 0."""
    return [
        sum(verdict.score for a in each if (verdict := judge(problem, a.text))) / len(each)
        for problem, each in zip(problems, answers, strict=True)
    ]


def _joined(groups: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.cat([each for group in groups for each in group])
