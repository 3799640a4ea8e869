"""The question: does a model get better at a task sooner, and stay nearer to what it was, when contexts learn beside
its weights (Fast-Slow Training, arXiv 2605.12484) than when only one of the two learns?

Tier 0 is the speller, a character model of a million parameters, on hidden tables, whose rows can be written down, and
on sums, which have no room in a context. Tier 1 is the default core on tasks of reasoning-gym.
`fastslow bench fst --tier 0 --json docs/results/fst-0.json`
"""

from __future__ import annotations

import math
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from fastslow.bench import experiment, fst_report
from fastslow.models import speller
from fastslow.models.policy import DecoderPolicy, Prompt
from fastslow.slow.contexts import Context, Item
from fastslow.slow.core_policy import Asked, CorePolicy
from fastslow.slow.evolver import ItemEvolver
from fastslow.slow.fast_slow import BUDGET, FastSlowTrainer, FSTConfig, mean_at
from fastslow.slow.rollouts import Answer
from fastslow.state import State
from fastslow.worlds import ciphers
from fastslow.worlds.gym import EASY, GymTask
from fastslow.worlds.tasks import Problem, Stream, Task, Verdict

STAGES = ("first", "skill", "second")
SAMPLES, LEFT_ZERO = 4, 0.1  # answers to an unseen problem: mean@4; a reward that is no longer zero
POINTS = 6  # of a curve whose asymptote is fitted


@dataclass(frozen=True)
class Tier:
    """What is trained, on what and for how long: ``stage`` steps of each task of the stream; every ``every`` steps a
    point, judged on ``judged`` problems drawn for that. The rate was chosen on RL alone, with a seed that does not
    judge."""

    about: str
    config: FSTConfig
    seeds: int
    steps: int
    stage: int
    every: int
    judged: int
    start: Callable[[int], Any]
    prompt: Callable[[tuple[str, ...], str], Any]
    evolver: Callable[[], ItemEvolver]
    tasks: Callable[[int], dict[str, Task]]
    paraphrases: tuple[str, ...]


def _ciphers(seed: int) -> dict[str, Task]:
    """A hidden table asked for one letter at a time, another one, one asked for four letters at once, of which chance
    gets one answer in ten thousand right, and sums."""
    first, second = ciphers.Cipher(seed, letters=1), ciphers.Cipher(seed + 100, letters=1)
    return {"first": first, "second": second, "zero": ciphers.Cipher(seed, letters=4), "skill": ciphers.Sums(seed)}


def _gym(seed: int) -> dict[str, Task]:
    """Letters of words, divisors, legs of animals, of which this core gets next to nothing right, and sums."""
    names = {"first": "letter_counting", "second": "gcd", "zero": "leg_counting", "skill": "chain_sum"}
    return {part: GymTask(name, EASY[name], seed) for part, name in names.items()}


@cache
def _core() -> Any:
    from fastslow.core import Core

    return Core.load()


TIERS = (
    Tier(
        "the speller, a character model of a million parameters",
        FSTConfig(rate=1e-3),
        seeds=5,
        steps=96,
        stage=36,
        every=6,
        judged=64,
        start=lambda seed: speller.load(),
        prompt=speller.prompt,
        evolver=lambda: ItemEvolver(ciphers.WIDTH, shown="{question}>{answer}"),
        tasks=_ciphers,
        paraphrases=("go", "hi", "yes", "well"),
    ),
    Tier(
        "SmolLM2-135M-Instruct with a delta of rank 16 on its last ten layers",
        FSTConfig(problems=6, passes=3.0, rate=1e-3),
        seeds=3,
        steps=24,
        stage=12,
        every=6,
        judged=24,
        start=lambda seed: CorePolicy(_core(), seed=seed),
        prompt=Asked,
        evolver=lambda: ItemEvolver(BUDGET),
        tasks=_gym,
        paraphrases=("Answer the question.", "Please answer.", "Give the answer.", "What is the answer?"),
    ),
)


@dataclass(frozen=True)
class Phase:
    """A part of an arm: its share of the steps and what differs in the settings."""

    share: float
    changes: dict[str, Any]


PARAPHRASED = "RL, 4 paraphrases"
RL = {"evolve": False, "contexts": 1}
ARMS: dict[str, tuple[Phase, ...]] = {
    "FST": (Phase(1, {}),),
    "RL": (Phase(1, RL),),
    "contexts": (Phase(1, {"learn": False}),),
    "contexts, then RL": (Phase(0.5, {"learn": False}), Phase(0.5, RL)),
    "RL, then contexts": (Phase(0.5, RL), Phase(0.5, {"learn": False})),
    PARAPHRASED: (Phase(1, {"evolve": False}),),
    "FST, 1 context": (Phase(1, {"contexts": 1}),),
}


@dataclass(frozen=True)
class Later:
    """A task from its ``first`` problem on."""

    task: Task
    first: int

    @property
    def name(self) -> str:
        return self.task.name

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        return self.task.problem(index if unseen else index + self.first, unseen=unseen)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        return self.task.verify(problem, answer)


@dataclass(frozen=True)
class Point:
    """What was spent, and what is then right of the unseen: under the best context, in the mean of all contexts and
    under none; and the KL divergence to the start, in nats a token, under none and under the best."""

    problems: int
    rollouts: int
    seconds: float
    best: float
    mean: float
    none: float
    kl_none: float
    kl_best: float


class Judgement:
    """Judges a policy on problems that are drawn for judging alone."""

    def __init__(self, tier: Tier, base: Any, task: Task, seed: int) -> None:
        self.tier, self.base, self.task, self.seed = tier, base, task, seed
        self.problems = [task.problem(index, unseen=True) for index in range(tier.judged)]

    def point(self, policy: Any, contexts: Sequence[Context], spent: tuple[int, int, float]) -> Point:
        known = {context.lines(): self.score(policy, context) for context in (*contexts, Context())}
        drifts = {context.lines(): self.divergence(policy, context) for context in (contexts[0], Context())}
        best, none = contexts[0].lines(), Context().lines()
        average = mean(known[context.lines()] for context in contexts)
        return Point(*spent, known[best], average, known[none], drifts[none], drifts[best])

    def score(self, policy: Any, context: Context) -> float:
        """mean@4."""
        sizes = {"problems": self.tier.judged, "samples": SAMPLES, "seed": self.seed}
        return mean_at(policy, self.tier.prompt, self.task, context, **sizes)

    @torch.no_grad()
    def divergence(self, policy: Any, context: Context) -> float:
        """KL(policy || start) of a token, exact over the vocabulary, on what the policy answers."""
        prompts = self._prompts(context)
        answers = [[a.tokens for a in each] for each in policy.sample(prompts, 1, self.seed)]
        now, base = (
            torch.cat([each for group in p.distributions(prompts, answers) for each in group])
            for p in (policy, self.base)
        )
        return float((now.exp() * (now - base)).sum(-1).mean())

    def _prompts(self, context: Context) -> list[Any]:
        return [self.tier.prompt(context.lines(), problem.question) for problem in self.problems]


@dataclass(frozen=True)
class Trained:
    """What an arm leaves."""

    policy: Any
    contexts: list[Context]
    points: list[Point]


def train(tier: Tier, arm: str, task: Task, seed: int, steps: int, start: Any, judged: Sequence[Task] = ()) -> Trained:
    """Trains a copy of ``start``, judged every few steps on ``task``, or on the task of ``judged`` whose turn it is."""
    policy, contexts = start.copy(), [Context()]
    if arm == PARAPHRASED:
        contexts = [Context((Item("role", text),)) for text in tier.paraphrases]
    judges = [Judgement(tier, start, each, seed) for each in (judged or (task,))]
    points: list[Point] = []
    problems = rollouts = 0
    seconds = 0.0
    for phase in ARMS[arm]:
        config = replace(tier.config, seed=seed, **phase.changes)
        if not config.evolve:
            contexts = contexts[: config.contexts]
        trainer = FastSlowTrainer(
            policy,
            Later(task, problems),
            config,
            prompt=tier.prompt,
            evolver=tier.evolver(),
            population=contexts,
        )
        before = problems, rollouts
        for step in range(tier.every, round(phase.share * steps) + 1, tier.every):
            began = time.process_time()
            report = trainer.run(step)[-1]
            seconds += time.process_time() - began
            # a cycle looks at all of its problems before its first step
            looked_at = math.ceil(step / config.cycle_steps) * config.cycle_steps if config.evolve else step
            problems = before[0] + looked_at * config.problems
            rollouts = before[1] + report.slow_rollouts + report.fast_rollouts
            judge = judges[min(len(judges) - 1, len(points) * tier.every * len(judges) // steps)]
            points.append(judge.point(policy, trainer.contexts, (problems, rollouts, seconds)))
        contexts = trainer.contexts
    return Trained(policy, contexts, points)


def life(tier: Tier, arm: str, seed: int) -> dict[str, Any]:
    """One arm, and what its weights are then worth: under no and under FST's contexts, and for a second task that is
    learned by reinforcement alone. The arm "none" has nothing but the second task."""
    start, of = tier.start(seed), tier.tasks(seed)

    def second(policy: Any) -> list[dict[str, Any]]:
        return _told(train(tier, "RL", of["second"], seed, tier.steps, policy).points)

    if arm == "none":
        return {"second": second(start)}
    done = train(tier, arm, of["first"], seed, tier.steps, start)
    found: dict[str, Any] = {"points": _told(done.points), "contexts": [c.to_dict() for c in done.contexts]}
    if arm in ("FST", "RL"):
        judge = Judgement(tier, start, of["first"], seed)
        found["alone"] = {"start": judge.score(start, Context()), "trained": judge.score(done.policy, Context())}
        found["second"] = second(done.policy)
    if arm == "FST":
        found["alone"] |= {
            "start, best context": judge.score(start, done.contexts[0]),
            "trained, best context": judge.score(done.policy, done.contexts[0]),
        }
    return found


def from_zero(tier: Tier, arm: str, seed: int) -> dict[str, Any]:
    """A task of which the start gets next to nothing right."""
    return {"points": _told(train(tier, arm, tier.tasks(seed)["zero"], seed, tier.steps, tier.start(seed)).points)}


def stream(tier: Tier, arm: str, seed: int) -> dict[str, Any]:
    """Three tasks, without a word on the change."""
    of = tier.tasks(seed)
    stages = tuple(of[name] for name in STAGES)
    whole, steps = Stream(stages, every=tier.stage * tier.config.problems), len(stages) * tier.stage
    return {"points": _told(train(tier, arm, whole, seed, steps, tier.start(seed), stages).points)}


def _told(points: Sequence[Point]) -> list[dict[str, Any]]:
    return [asdict(point) for point in points]


JOBS: dict[str, Callable[[Tier, str, int], dict[str, Any]]] = {"life": life, "zero": from_zero, "stream": stream}


def run(
    file: Path | None = None,
    *,
    tier: int = 0,
    seeds: Sequence[int] | None = None,
    arms: Sequence[str] = tuple(ARMS),
    kinds: Sequence[str] = tuple(JOBS),
    **changes: Any,
) -> dict[str, Any]:
    """Every arm with every seed, two at a time; ``changes`` are of the tier's own settings."""
    began = time.perf_counter()
    settings = replace(TIERS[tier], **changes)
    chosen = list(seeds or range(settings.seeds))
    jobs = [("life", arm, seed) for arm in (*arms, "none") for seed in chosen]
    jobs += [(kind, arm, seed) for kind in kinds if kind != "life" for arm in ("FST", "RL") for seed in chosen]
    found: dict[str, dict[str, list[Any]]] = {kind: {} for kind in kinds}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        results = pool.map(partial(_done, tier=tier, changes=changes), jobs)
        for kind, arm, _ in experiment.progress(jobs, "arms and seeds"):
            found[kind].setdefault(arm, []).append(next(results))
    sizes = {name: getattr(settings, name) for name in ("about", "steps", "stage", "every", "judged")}
    names = {part: task.name for part, task in settings.tasks(chosen[0]).items()}
    told = {"tier": tier, "seeds": chosen, "samples": SAMPLES, "stages": STAGES, "tasks": names, **sizes}
    told |= {"config": asdict(settings.config), "asked before": asked_before(settings, chosen)}
    result: dict[str, Any] = {"bench": f"fst-{tier}", "settings": told, "prefixes": prefixes(), **found}
    result["seconds"] = time.perf_counter() - began
    result["summary"] = summary(result)
    return experiment.publish(file, result, fst_report.text(result), partial(fst_report.draw, result=result))


def asked_before(tier: Tier, seeds: Sequence[int]) -> float:
    """The share of the judging problems whose question a training problem asks too: in a task of few questions, all."""
    shares = []
    for task in (tier.tasks(seed)["first"] for seed in seeds):
        known = {task.problem(index).question for index in range(tier.steps * tier.config.problems)}
        shares.append(mean(task.problem(n, unseen=True).question in known for n in range(tier.judged)))
    return mean(shares)


def _done(job: tuple[str, str, int], tier: int, changes: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    kind, arm, seed = job
    return JOBS[kind](replace(TIERS[tier], **changes), arm, seed)


def prefixes(repeats: int = 5) -> dict[str, float]:
    """The seconds of a slow step (rollouts, loss and gradients) with shared prefixes and with whole rows, and how far
    the gradients are apart."""
    seconds: dict[str, list[float]] = {"shared": [], "whole": []}
    gradients: dict[str, Tensor] = {}
    config, problems = FSTConfig(), [ciphers.Cipher(1).problem(n) for n in range(FSTConfig().problems)]
    contexts = [("a=1", "b=2"), ("c=3",), ("d=4", "e=5", "f=6"), ()]
    prompts = [speller.prompt(lines, p.question) for p in problems for lines in contexts]
    share = config.group // len(contexts)
    policies = {"shared": speller.load(), "whole": WholeRows(speller.load().decoder, speller.LONGEST)}
    drawn = policies["shared"].sample(prompts, share, 1)
    for _ in range(repeats):
        for name, policy in policies.items():
            began = time.process_time()
            policy.sample(prompts, share, 1)
            likely = policy.log_probs(prompts, [[a.tokens for a in each] for each in drawn])
            loss = torch.stack([each.sum() for group in likely for each in group]).sum()
            found = torch.autograd.grad(loss, list(policy.parameters()))
            seconds[name].append(time.process_time() - began)
            gradients[name] = torch.cat([g.flatten() for g in found])
    apart = float((gradients["shared"] - gradients["whole"]).norm() / gradients["whole"].norm())
    return {name: min(each) for name, each in seconds.items()} | {"apart": apart}


class WholeRows(DecoderPolicy):
    """The same policy as it would be without shared prefixes: every answer reads its prompt from the start."""

    def sample(self, prompts: Sequence[Prompt], count: int, seed: int) -> list[list[Answer]]:
        each = iter(super().sample([prompt for prompt in prompts for _ in range(count)], 1, seed))
        return [[next(each)[0] for _ in range(count)] for _ in prompts]

    def distributions(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        rows = [(prompt, said) for prompt, own in zip(prompts, answers, strict=True) for said in own]
        each = iter(super().distributions([prompt for prompt, _ in rows], [[said] for _, said in rows]))
        return [[next(each)[0] for _ in own] for own in answers]

    def _read(self, prompts: Sequence[Prompt]) -> Iterator[tuple[list[int], Tensor, State]]:
        assert len({len(prompt.context + prompt.question) for prompt in prompts}) == 1
        read = torch.tensor([list((prompt.context + prompt.question).encode()) for prompt in prompts])
        logits, state = self.decoder(read, self.decoder.init_state(len(read)))
        yield list(range(len(prompts))), logits[:, -1], state


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the table, each as one value a seed."""
    lives = {arm: [each["points"] for each in found] for arm, found in result["life"].items() if arm != "none"}
    peaks = [max(point["best"] for point in points) for points in lives["RL"]]
    reached = {
        arm: [first(points, peak) for points, peak in zip(each, peaks, strict=True)] for arm, each in lives.items()
    }
    stages = range(len(STAGES))
    return {
        "peaks": peaks,
        "reached": reached,
        "final": {arm: [points[-1]["best"] for points in each] for arm, each in lives.items()},
        "asymptote": {arm: asymptote(each) for arm, each in lives.items()},
        "left zero": {
            arm: [first(each["points"], LEFT_ZERO) for each in found] for arm, found in result.get("zero", {}).items()
        },
        "second": {
            arm: [mean(point["none"] for point in each["second"][-3:]) for each in found]
            for arm, found in result["life"].items()
            if "second" in found[0]
        },
        "stream": {
            arm: [[share(result["stream"], arm, seed, stage) for stage in stages] for seed in range(len(found))]
            for arm, found in result.get("stream", {}).items()
        },
    }


def first(points: Sequence[dict[str, Any]], reward: float) -> dict[str, Any] | None:
    """The first point whose best context earns as much, None where none does."""
    return next((point for point in points if point["best"] >= reward), None)


def share(found: dict[str, list[Any]], arm: str, seed: int, stage: int) -> float:
    """What is right at the end of a stage, by the best of any arm in that stage."""

    def within(name: str) -> list[float]:
        points = found[name][seed]["points"]
        size = len(points) // len(STAGES)
        return [point["best"] for point in points[stage * size : (stage + 1) * size]]

    return within(arm)[-1] / max(max(within(name)) for name in found)


def asymptote(curves: Sequence[Sequence[dict[str, Any]]]) -> float | None:
    """A of R = R0 + (A - R0) / (1 + (C_mid / C)^B) in the mean curve (ScaleRL, arXiv 2510.13786, eq. 1), None where it
    cannot be fitted: four unknowns need POINTS or more."""
    import numpy as np
    from scipy.optimize import OptimizeWarning, curve_fit

    if len(curves[0]) < POINTS:
        return None
    at = np.array([point["problems"] for point in curves[0]], dtype=float)
    found = np.array([[point["best"] for point in points] for points in curves]).mean(0)

    def curve(c: Any, end: float, begin: float, middle: float, steep: float) -> Any:
        return begin + (end - begin) / (1 + (middle / c) ** steep)

    with warnings.catch_warnings():
        warnings.simplefilter("error", OptimizeWarning)
        try:
            low, high = [0, 0, 1, 0.1], [1, 1, 10 * at[-1], 20]
            fitted, _ = curve_fit(curve, at, found, (found.max(), found[0], at[len(at) // 2], 2), bounds=(low, high))
        except (RuntimeError, OptimizeWarning):
            return None
    return float(fitted[0])
