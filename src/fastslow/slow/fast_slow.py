"""Fast-Slow Training (arXiv 2605.12484): textual fast weights and reinforced slow weights, learned together.

A cycle looks ahead at the problems of its next T steps, evolves the contexts on them with the weights still, and then
takes T steps of policy gradient with the contexts still. The G rollouts of a problem are spread over all contexts and
are one group, so that a context that helps is what the weights learn from, and the weights need not learn what a
context already says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from fastslow.core import Core
from fastslow.errors import InputError, StoreError
from fastslow.slow.contexts import Context
from fastslow.slow.core_policy import Asked, CorePolicy
from fastslow.slow.evolver import Evolver, ItemEvolver
from fastslow.slow.policy_gradient import advantages, cispo, drift
from fastslow.slow.rollouts import Kept, Policy, Rollout
from fastslow.slow.verifying import Judge
from fastslow.state import State
from fastslow.store import io
from fastslow.worlds.tasks import Problem, Task

LAYOUT, VERSION, CHECKPOINT = "slow/fast-slow", 2, "fast-slow.safetensors"
BUDGET = 600  # characters of a core's context


@dataclass(frozen=True)
class FSTConfig:
    """``cycle_steps`` T, ``contexts`` K, ``group`` G rollouts of a problem in all, ``problems`` B of a step; ``passes``
    over a cycle's problems for evolving; without ``evolve`` the contexts stay, without ``learn`` the weights. With
    ``reuse`` what was drawn for evolving is learned from too. ``tau``, ``kl`` and ``warm`` as published; ``rate`` of
    AdamW."""

    cycle_steps: int = 6
    contexts: int = 4
    group: int = 8
    problems: int = 8
    passes: float = 5.0
    evolve: bool = True
    learn: bool = True
    reuse: bool = True
    tau: float = 4.0
    kl: float = 1e-3
    rate: float = 1e-3
    warm: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.cycle_steps, self.contexts, self.group, self.problems) < 1 or self.passes < 0:
            raise InputError(f"cycle_steps, contexts, group and problems are at least 1, passes not negative: {self}")
        if self.group % self.contexts:
            raise InputError(
                f"{self.group} rollouts do not spread evenly over {self.contexts} contexts: give a multiple"
            )
        if self.learn and self.group < 2:
            raise InputError("weights learn from how the rollouts of a problem differ: give a group of at least 2")
        if not (self.evolve or self.learn):
            raise InputError("with neither evolve nor learn there is nothing to train: leave one on")
        if min(self.rate, self.tau) <= 0 or self.kl < 0:
            raise InputError(f"rate and tau are positive, kl not negative: {self}")


@dataclass(frozen=True)
class StepReport:
    """One step: the mean reward, problems whose rollouts differed, and the rollouts spent so far in each phase."""

    step: int
    reward: float
    taught: int
    slow_rollouts: int
    fast_rollouts: int


class FastSlowTrainer:
    """Trains a policy on ``task``; a core is made a :class:`fastslow.slow.core_policy.CorePolicy`. ``prompt`` makes
    what the policy reads of a context's lines and a question, and ``evolver`` makes the contexts: by default those of
    a core. ``population`` is what the contexts begin with, one empty context by default.

    Everything drawn depends on the seed and the step alone, so that a training that was cut off goes on bit for bit.
    """

    def __init__(
        self,
        policy: Policy | Core,
        task: Task,
        config: FSTConfig | None = None,
        *,
        prompt: Callable[[tuple[str, ...], str], Any] = Asked,
        evolver: Evolver | None = None,
        population: Sequence[Context] = (Context(),),
    ) -> None:
        self.config = config or FSTConfig()
        if not population or self.config.group % len(population):
            raise InputError(f"{len(population)} contexts to begin with: give a number that divides the group")
        self.policy: Policy = CorePolicy(policy, seed=self.config.seed) if isinstance(policy, Core) else policy
        self.task, self.prompt, self.evolver = task, prompt, evolver or ItemEvolver(BUDGET)
        self.base, self.judge, self.contexts = self.policy.frozen(), Judge(task), list(population)
        self.parameters = list(self.policy.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.config.rate, weight_decay=0.0)
        self.reports: list[StepReport] = []
        self._spent = {"fast": 0, "slow": 0}
        self._kept, self._evolved_at = Kept(), -1
        self._about = {
            "config": asdict(self.config),
            "task": [task.name, *(p.question for p in self._problems(0, 1))],
            "evolver": type(self.evolver).__name__,
            "core": self.policy.core.fingerprint if isinstance(self.policy, CorePolicy) else "",
            "base": sha256(b"".join(p.detach().numpy().tobytes() for p in self.parameters)).hexdigest(),
        }

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.reports)

    def run(
        self,
        steps: int,
        *,
        folder: Path | None = None,
        progress: Callable[[StepReport], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[StepReport]:
        """Until ``steps`` steps are done in all. With a ``folder`` every step is kept there, and a training that was
        cut off goes on from what is kept."""
        if folder is not None and not self.reports and (folder / CHECKPOINT).exists():
            self.load(folder)
        while self.step < steps and not stop():
            if self.config.evolve and self.step % self.config.cycle_steps == 0 and self._evolved_at != self.step:
                self.contexts, self._evolved_at = self._evolved(), self.step
                if folder is not None:
                    self.save(folder)
            self.reports.append(self._step())
            if folder is not None:
                self.save(folder)
            if progress:
                progress(self.reports[-1])
        return self.reports

    def _problems(self, first: int, steps: int) -> list[Problem]:
        """Those of ``steps`` steps from the step ``first`` on."""
        size = self.config.problems
        return [self.task.problem(index) for index in range(first * size, (first + steps) * size)]

    def _random(self, what: str) -> Random:
        return Random(f"{self.config.seed}-{self.step}-{what}")

    def _evolved(self) -> list[Context]:
        anchors, random = self._problems(self.step, self.config.cycle_steps), self._random("evolve")
        self._kept = Kept()  # the weights have moved since the cycle before

        def roll(pairs: Sequence[tuple[Context, Problem]]) -> list[Rollout]:
            self._spent["fast"] += len(pairs)
            rolled = [each[0] for each in self._rolled(pairs, 1, random.randrange(2**31))]
            self._kept.put(rolled)
            return rolled

        cells = round(self.config.passes * len(anchors))
        return self.evolver.evolve(self.contexts, anchors, roll, cells, self.config.contexts, random)

    def _rolled(self, pairs: Sequence[tuple[Context, Problem]], count: int, seed: int) -> list[list[Rollout]]:
        lines = [context.lines(problem.id) for context, problem in pairs]
        prompts = [self.prompt(told, problem.question) for told, (_, problem) in zip(lines, pairs, strict=True)]
        answers = self.policy.sample(prompts, count, seed)
        return [
            [Rollout(problem, told, answer, self.judge(problem, answer.text)) for answer in each]
            for told, (_, problem), each in zip(lines, pairs, answers, strict=True)
        ]

    def _step(self) -> StepReport:
        """Rollouts of every problem under every context, and one step of the weights."""
        problems = self._problems(self.step, 1)
        # the contexts may be fewer than asked for, and then the first have a rollout more
        shares = [len(range(n, self.config.group, len(self.contexts))) for n in range(len(self.contexts))]
        groups: list[list[Rollout]] = [[] for _ in problems]
        missing: dict[int, list[tuple[int, Context]]] = {}
        for context, share in zip(self.contexts, shares, strict=True):
            for place, problem in enumerate(problems):
                held: list[Rollout] = []
                if self.config.reuse or not self.config.learn:
                    held = self._kept.claim(problem, context.lines(problem.id), share)
                groups[place] += held
                if self.config.learn and len(held) < share:
                    missing.setdefault(share - len(held), []).append((place, context))
        for count, at in missing.items():
            self._spent["slow"] += count * len(at)
            seed = self._random(f"slow-{count}").randrange(2**31)
            rolled = self._rolled([(context, problems[place]) for place, context in at], count, seed)
            for (place, _), found in zip(at, rolled, strict=True):
                groups[place] += found
        taught = self._learn(groups) if self.config.learn else 0
        scores = [r.score for group in groups for r in group]
        reward = sum(scores) / max(1, len(scores))
        return StepReport(self.step + 1, reward, taught, self._spent["slow"], self._spent["fast"])

    def _learn(self, groups: Sequence[Sequence[Rollout]]) -> int:
        """Rollouts whose verifier failed say nothing, and groups in which all rewards are the same are dropped."""
        taught: list[tuple[list[Rollout], list[float]]] = []
        for group in groups:
            told = [r for r in group if r.verdict is not None]
            worth = advantages([r.score for r in told]) if told else None
            if worth is not None:
                taught.append((told, worth))
        if not taught:
            return 0
        rollouts = [r for told, _ in taught for r in told]
        now, base = self._likely(self.policy, rollouts), self._likely(self.base, rollouts, learning=False)
        loss, at = self.config.kl * drift(now, base), 0
        for told, worth in taught:
            mine = now[at : at + len(told)]
            loss = loss + cispo(mine, [r.answer.log_probs for r in told], worth, self.config.tau) / len(taught)
            at += len(told)
        for settings in self.optimizer.param_groups:
            settings["lr"] = self.config.rate * min(1.0, (self.step + 1) / max(1, self.config.warm))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return len(taught)

    def _likely(self, policy: Policy, rollouts: Sequence[Rollout], learning: bool = True) -> list[Tensor]:
        """The log-probabilities of each rollout's tokens, every prompt read once."""
        prompts: dict[Any, list[int]] = {}
        for n, rollout in enumerate(rollouts):
            prompts.setdefault(self.prompt(rollout.lines, rollout.problem.question), []).append(n)
        with torch.set_grad_enabled(learning):
            found = policy.log_probs(
                list(prompts), [[rollouts[n].answer.tokens for n in at] for at in prompts.values()]
            )
        by_rollout = {
            n: each
            for at, group in zip(prompts.values(), found, strict=True)
            for n, each in zip(at, group, strict=True)
        }
        return [by_rollout[n] for n in range(len(rollouts))]

    def save(self, folder: Path | str) -> None:
        """Weights, moments, contexts and counts as one file, written whole or not at all."""
        folder = Path(folder)
        io.make_dir(folder)
        about = self._about | {
            "contexts": [context.to_dict() for context in self.contexts],
            "credit": self.evolver.credit,
            "reports": [asdict(report) for report in self.reports],
            "spent": self._spent,
            "evolved_at": self._evolved_at,
            "kept": self._kept.to_list(),
        }
        tensors = {f"weight.{n}": p.detach() for n, p in enumerate(self.parameters)}
        for n, p in enumerate(self.parameters):
            for name, value in self.optimizer.state[p].items():
                tensors[f"{name}.{n}"] = value
        tensors["about"] = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
        io.write_atomic(folder / CHECKPOINT, State(LAYOUT, VERSION, tensors).to_bytes())

    def load(self, folder: Path | str) -> None:
        """Goes on from what ``save`` kept.

        Raises StoreError where it cannot be read, InputError where it is of another training.
        """
        try:
            data = (Path(folder) / CHECKPOINT).read_bytes()
        except OSError as error:
            raise StoreError(f"{folder} holds no fast-slow training ({error.strerror})") from error
        tensors = State.from_bytes(data, layout=LAYOUT, version=VERSION).tensors
        about = json.loads(bytes(tensors["about"].tolist()))
        if {name: about[name] for name in self._about} != self._about:
            raise InputError(
                f"{folder} holds a training of another task, another start or with other settings: take another folder"
            )
        self.contexts = [Context.from_dict(each) for each in about["contexts"]]
        self.evolver.credit, self._spent = about["credit"], about["spent"]
        self._evolved_at = about["evolved_at"]
        cycle = {p.id: p for p in self._problems(max(0, self._evolved_at), self.config.cycle_steps)}
        self._kept = Kept.from_list(about["kept"], cycle)
        self.reports = [StepReport(**report) for report in about["reports"]]
        with torch.no_grad():
            for n, p in enumerate(self.parameters):
                p.copy_(tensors[f"weight.{n}"])
                moments = {k: tensors[f"{k}.{n}"] for k in ("step", "exp_avg", "exp_avg_sq") if f"{k}.{n}" in tensors}
                if moments:
                    self.optimizer.state[p] = moments


def mean_at(
    policy: Policy,
    prompt: Callable[[tuple[str, ...], str], Any],
    task: Task,
    context: Context,
    *,
    problems: int = 32,
    samples: int = 4,
    seed: int = 0,
) -> float:
    """mean@samples: the mean score of ``samples`` answers to each of ``problems`` problems drawn for judging, under a
    context. A verifier that fails scores 0."""
    judge, asked = Judge(task), [task.problem(index, unseen=True) for index in range(problems)]
    answers = policy.sample([prompt(context.lines(), problem.question) for problem in asked], samples, seed)
    verdicts = [judge(problem, a.text) for problem, each in zip(asked, answers, strict=True) for a in each]
    return sum(verdict.score for verdict in verdicts if verdict) / len(verdicts)
