"""The question: how many pairs does a memory of fast weights hold, and can it replace one of them? Schlag et al. 2021,
"Linear transformers are secretly fast weight programmers" (arXiv 2102.11174), section 6.1.

A sequence of pairs (key, value) is written, then one key is asked for. In the first task every key comes once, N pairs
of N keys: a sum of outer products runs full at about as many pairs as its features have dimensions. In the second 2N
pairs are drawn with replacement and the last value of a key is right: the sum rule cannot take back what it wrote, the
delta rule can.

The rules, the features and the kernel are the library's; around them is the paper's small model, trained for every N
anew. Beside every number stands the authors' own at the same N for each channel of a key (they took d = 64).

`fastslow bench capacity --json docs/results/capacity.json`

Letters of shapes: B batch, T pairs, N keys (and as many values), Q queries, P features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastslow.bench import experiment
from fastslow.fast import kernel, rules

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "ELU+1": rules.elu_features,
    **{f"DPFP-{nu}": partial(rules.dpfp_features, nu=nu) for nu in (1, 2, 3)},
}
CHANNELS = 64  # of a key before the features, as published
SOLVED, EVERY, PATIENCE = 0.001, 100, 10  # the loss that ends training, steps between tests, tests without progress
NOTHING = 0.5  # the loss of a memory that says nothing
HELD = 0.015  # a loss below which N pairs count as held: the published ones are below .011 before the knee

SIZES = {  # N as published
    "unique": (20, 40, 60, 80, 100, 120, 140, 160, 200, 300, 400),
    "replaced": (20, 40, 60, 80, 100, 120, 160, 200),
}
# Final losses, read from the logs of the authors (ischlag/fast-weight-transformers at ebe13ea, synthetic/logs).
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "unique": {
        "sum ELU+1": (0.0009, 0.0008, 0.0246, 0.1101, 0.1715, 0.2324, 0.2724, 0.3012, 0.3426, 0.4001, 0.4222),
        "sum DPFP-1": (0.0008, 0.0003, 0.0004, 0.0002, 0.0002, 0.0086, 0.0532, 0.1023, 0.1751, 0.2881, 0.3464),
        "sum DPFP-2": (0.0003, 0.0006, 0.0010, 0.0006, 0.0005, 0.0003, 0.0005, 0.0004, 0.0004, 0.0681, 0.1662),
        "sum DPFP-3": (0.0005, 0.0009, 0.0005, 0.0007, 0.0005, 0.0005, 0.0009, 0.0002, 0.0009, 0.0003, 0.0361),
    },
    "replaced": {
        "sum DPFP-1": (0.1048, 0.1136, 0.1229, 0.1190, 0.1165, 0.1332, 0.1828, 0.2386),
        "delta ELU+1": (0.0008, 0.0007, 0.0005, 0.1014, 0.1615, 0.2229, 0.2909, 0.3425),
        "delta DPFP-1": (0.0008, 0.0010, 0.0061, 0.0106, 0.0001, 0.0183, 0.1142, 0.1855),
        "delta DPFP-2": (0.0010, 0.0005, 0.0005, 0.0008, 0.0854, 0.0007, 0.0004, 0.0008),
    },
}


@dataclass(frozen=True)
class Plan:
    """``channels`` of a key, the most ``steps`` of training, and for each task the methods and the published N, of
    which the same number for each channel is taken."""

    channels: int
    steps: int
    methods: dict[str, tuple[str, ...]]
    sizes: dict[str, tuple[int, ...]]

    def size(self, published: int) -> int:
        return published * self.channels // CHANNELS


SHORT = Plan(
    channels=32,
    steps=1500,
    methods={
        "unique": ("sum ELU+1", "sum DPFP-1", "sum DPFP-2"),
        "replaced": ("sum DPFP-1", "delta ELU+1", "delta DPFP-1"),
    },
    sizes={"unique": (40, 60, 80, 120, 160), "replaced": (20, 40, 60, 80)},
)
LONG = Plan(
    channels=CHANNELS,
    steps=100_000,
    methods={task: tuple(losses) for task, losses in PUBLISHED.items()},
    sizes=SIZES,
)


def run(file: Path | None = None, *, seed: int = 0, long: bool = False) -> dict[str, Any]:
    """Half the published channels and N, and 1,500 steps at most; ``long`` is as published."""
    return measure(file, LONG if long else SHORT, seed=seed)


def measure(file: Path | None, plan: Plan, *, seed: int) -> dict[str, Any]:
    """The losses of every method and N of the ``plan``, beside the published ones."""
    cells = [(task, name, size) for task in plan.sizes for name in plan.methods[task] for size in plan.sizes[task]]
    losses = [
        cell(name, Task(plan.size(size), task == "replaced"), channels=plan.channels, steps=plan.steps, seed=seed)
        | {"task": task, "method": name, "published N": size, "published loss": published(task, name, size)}
        for task, name, size in experiment.progress(cells, "memories")
    ]
    held = [holding(plan, losses, task, name) for task in plan.methods for name in plan.methods[task]]
    result = {
        "bench": "capacity",
        "settings": {"seed": seed, "channels": plan.channels, "steps at most": plan.steps, "batch": 32, "rate": 1e-3},
        "losses": losses,
        "held": held,
    }
    return experiment.publish(file, result, _text(plan, losses, held), lambda figure: _draw(figure, plan, losses))


def published(task: str, method: str, size: int) -> float:
    return PUBLISHED[task][method][SIZES[task].index(size)]


def holding(plan: Plan, losses: list[dict[str, Any]], task: str, method: str) -> dict[str, Any]:
    """The largest N of which the loss is below ``HELD``, ours and that of the authors among the same N, 0 for none."""
    mine = [x for x in losses if (x["task"], x["method"]) == (task, method)]
    return {
        "task": task,
        "method": method,
        "features": features_of(method, plan.channels),
        "N": max((x["N"] for x in mine if x["loss"] < HELD), default=0),
        "published features": features_of(method, CHANNELS),
        "published N": max((x["published N"] for x in mine if x["published loss"] < HELD), default=0),
    }


def features_of(method: str, channels: int) -> int:
    """How many features a method makes of ``channels``."""
    return FEATURES[method.split()[1]](torch.zeros(1, channels)).shape[-1]


@dataclass(frozen=True)
class Task:
    """``size`` keys and as many values; every key once, or twice as many pairs drawn with replacement."""

    size: int
    replaced: bool

    def pairs(self, count: int, length: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Keys and values (count, length)."""
        keys, values = (self._drawn(count, length, random) for _ in range(2))
        return keys, values

    def _drawn(self, count: int, length: int, random: torch.Generator) -> Tensor:
        if self.replaced:
            return torch.randint(self.size, (count, length), generator=random)
        return torch.rand(count, self.size, generator=random).argsort(-1)[:, :length]

    @property
    def length(self) -> int:
        return 2 * self.size if self.replaced else self.size


def last_values(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
    """The last value (B, Q) that each key ``asked`` for (B, Q) was paired with in (B, T), -1 where it never came."""
    places = torch.arange(1, keys.shape[1] + 1) * (keys[:, None] == asked[..., None])  # (B, Q, T), 0 where it is not
    last = places.amax(-1)
    return torch.where(last > 0, values.gather(1, (last - 1).clamp(min=0)), -1)


class Retriever(nn.Module):
    """The paper's model: learned embeddings of keys, values as they are (one-hot), and a memory with one head whose
    rule is ``method``: "sum" or "delta" and the name of its features."""

    def __init__(self, size: int, width: int, method: str) -> None:
        super().__init__()
        self.rule, features = method.split()
        self.features, self.size = FEATURES[features], size
        channels = int(2.2 * size)  # of an embedding: 1.1 times the number of keys and values
        self.embed = nn.Embedding(size, channels)
        self.to_key, self.to_query = nn.Linear(size + channels, width), nn.Linear(channels, width)
        self.to_beta = nn.Linear(size + channels, 1)
        for projection in (self.to_key, self.to_query):
            nn.init.uniform_(projection.weight, -(width**-0.5), width**-0.5)

    def forward(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        """What it has for each of ``asked`` (B, Q) after the pairs (B, T): (B, Q, N)."""
        v = nn.functional.one_hot(values, self.size).float()
        pairs = torch.cat([v, self.embed(keys)], -1)
        k, q = self.mapped(self.to_key(pairs)), self.mapped(self.to_query(self.embed(asked)))
        if self.rule == "sum":
            return rules.normalised(q @ _written(rules.linear_attention(k, k, rules.with_ones(v)[:, None])))[:, 0]
        # The state is read without the K ** -0.5 of delta_net's queries: values of 1 are to come back as 1.
        beta = self.to_beta(pairs).sigmoid()
        return (q @ _written(rules.delta_net(k, k, v[:, None], beta[:, None])))[:, 0]

    def mapped(self, x: Tensor) -> Tensor:
        """The features (B, 1, T, P) of keys or queries (B, T, d); those of the delta rule sum to 1."""
        features = self.features(x)[:, None]
        return features if self.rule == "sum" else rules.sum_normalised(features)


def _written(inputs: kernel.Inputs) -> Tensor:
    """The state (B, 1, P, V) after all pairs."""
    empty = inputs.k.new_zeros(len(inputs.k), 1, inputs.k.shape[-1], inputs.u.shape[-1])
    return kernel.chunk(inputs, empty)[1]


def cell(method: str, task: Task, *, channels: int, steps: int, seed: int) -> dict[str, Any]:
    """One memory trained on one task: its loss with sequences of N pairs, as the authors test it, and with as many as
    it was trained with, which is twice as many where keys are replaced."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    model = Retriever(task.size, channels, method)
    taken = trained(model, task, random, steps)
    return {
        "N": task.size,
        "steps": taken,
        "loss": tested(model, task, task.size, random),
        "loss as trained": tested(model, task, task.length, random),
    }


def trained(model: Retriever, task: Task, random: torch.Generator, steps: int) -> int:
    """The steps it took until the loss was below ``SOLVED`` or no longer got better."""
    best, strikes = math.inf, 0

    def loss(_: int) -> Tensor:
        keys, values = task.pairs(32, task.length, random)
        asked = keys.gather(1, torch.randint(task.length, (32, 1), generator=random))
        return squared(model(keys, values, asked), last_values(keys, values, asked)).mean()

    def done(step: int, _: float) -> bool:
        nonlocal best, strikes
        if (step + 1) % EVERY:
            return False
        now = tested(model, task, task.size, random)
        strikes = 0 if now < best else strikes + 1
        best = min(best, now)
        return now <= SOLVED or strikes > PATIENCE

    return len(experiment.fit(model.parameters(), loss, steps=steps, rate=1e-3, clip=math.inf, done=done))


@torch.no_grad()
def tested(model: Retriever, task: Task, length: int, random: torch.Generator) -> float:
    """The mean loss over every key that came in each of 20 sequences of ``length`` pairs."""
    keys, values = task.pairs(20, length, random)
    asked = torch.arange(task.size).expand(20, -1)
    right = last_values(keys, values, asked)
    return float(squared(model(keys, values, asked), right)[right >= 0].mean())


def squared(said: Tensor, right: Tensor) -> Tensor:
    """Half the sum of squares between what was said (B, Q, N) and the one-hot of what is right (B, Q)."""
    return 0.5 * (said - nn.functional.one_hot(right.clamp(min=0), said.shape[-1])).square().sum(-1)


def _text(plan: Plan, losses: list[dict[str, Any]], held: list[dict[str, Any]]) -> str:
    ours = [
        [
            f"{x['task']}, {x['method']}",
            *(x[key] or "none" for key in ("features", "N", "published features", "published N")),
        ]
        for x in held
    ]
    apart = max(losses, key=lambda x: abs(x["loss"] - x["published loss"]))
    return f"""# How many pairs a memory holds, and whether it can replace one

`fastslow bench capacity --json docs/results/capacity.json`: keys of {plan.channels} channels (published: {CHANNELS})
and N in the same proportion, at most {plan.steps:,} steps (published: 100,000), one seed here and there. The loss is
half the sum of squares: {NOTHING} where nothing comes back. Published numbers are read from the logs of the authors.
*: training ended with the last step, before the loss fell below {SOLVED} or no longer got better.

Every key once, N pairs of N keys:

{_losses(plan, losses, "unique")}

Keys with replacement, 2N pairs, the last value is right. The authors train with 2N pairs and test with N; what the
same memory does with 2N is below.

{_losses(plan, losses, "replaced")}

The largest N above whose loss is below {HELD}, and the dimensions of the features:

{experiment.table(["", "features", "N", "published: features", "N"], ours)}

The published loss that lies farthest from ours: {apart["published loss"]:.3f} at N = {apart["published N"]}
({apart["task"]}, {apart["method"]}), where ours is {apart["loss"]:.3f} after {apart["steps"]:,} steps.

One thing differs from the paper's code: the library's DPFP features sum to 1 under the sum rule too.
"""


def _losses(plan: Plan, losses: list[dict[str, Any]], task: str) -> str:
    rows = []
    for name in plan.methods[task]:
        mine = [x for x in losses if (x["task"], x["method"]) == (task, name)]
        rows.append(
            [name, *(f"{x['loss']:.4f}{'*' * (x['steps'] == plan.steps and x['loss'] > SOLVED)}" for x in mine)]
        )
        if task == "replaced":
            rows.append([f"{name}, with 2N pairs", *(f"{x['loss as trained']:.4f}" for x in mine)])
        rows.append([f"{name}, published", *(f"{x['published loss']:.4f}" for x in mine)])
    header = [f"{plan.size(size)} (published: {size})" for size in plan.sizes[task]]
    return experiment.table(["N", *header], rows)


def _draw(figure: Figure, plan: Plan, losses: list[dict[str, Any]]) -> None:
    titles = {"unique": "Every key once, N pairs", "replaced": "With replacement, 2N pairs"}
    names = list(dict.fromkeys(name for task in plan.methods.values() for name in task))
    for axes, (task, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for name in plan.methods[task]:
            mine = [x for x in losses if (x["task"], x["method"]) == (task, name)]
            _curve(axes, plan, mine, f"C{names.index(name)}", name)
        axes.plot([], [], "x--", color="gray", label=f"published, {CHANNELS} channels")
        axes.plot([], [], ":", color="gray", label="N = number of features")
        axes.set(title=title, xlabel=f"N at {plan.channels} channels", ylim=(-0.01, 0.5))
        axes.legend(edgecolor="none", framealpha=1)
    figure.axes[0].set(ylabel=f"loss ({NOTHING}: nothing comes back)")


def _curve(axes: Axes, plan: Plan, mine: list[dict[str, Any]], color: str, name: str) -> None:
    """Ours, the published losses at the same share of N, and where N is the number of features."""
    sizes = [x["N"] for x in mine]
    features = features_of(name, plan.channels)
    axes.plot(sizes, [x["loss"] for x in mine], "o-", color=color, label=f"{name} ({features} features)")
    axes.plot(sizes, [x["published loss"] for x in mine], "x--", color=color, alpha=0.5)
    if features <= max(sizes):
        axes.axvline(features, color=color, linestyle=":", linewidth=1)
