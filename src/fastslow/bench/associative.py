"""The question: does a network with fast weights retrieve what was paired where an LSTM of as many units cannot? Ba,
Hinton, Mnih, Leibo and Ionescu 2016, "Using fast weights to attend to the recent past" (arXiv 1610.06258), section 4.1.

A sequence names four pairs of a letter and a digit, then asks for one letter: `c9k8j3f1??c`, and the answer is 9. The
letters differ, the digits may be equal. An RNN has to keep all four pairs in its few units; fast weights keep them in
the matrix between the units.

`fastslow bench associative --json docs/results/associative.json`

Letters of shapes: B sequences, T = 11 tokens, D width, U units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastslow.bench import experiment
from fastslow.fast.frame import Held
from fastslow.fast.recurrent import LSTM, RNN, Cell, HebbianRNN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LETTERS, DIGITS, PAIRS = 26, 10, 4
ASK = LETTERS + DIGITS  # the token "?", after the letters and the digits
WIDTH, BATCH = 100, 128  # of embeddings and of the layer before the softmax, and of sequences, as published
SOLVED = 0.01  # an error below which the task counts as solved


class IRNN(RNN):
    """An RNN of rectified units that starts as the identity. Le, Jaitly and Hinton 2015 (arXiv 1504.00941)."""

    rule = "irnn"

    def __init__(self, width: int, units: int) -> None:
        super().__init__(width, units)
        nn.init.eye_(self.from_h.weight)
        nn.init.zeros_(self.from_x.bias)

    def cell(self, x: Tensor, held: Held, seen: int) -> Held:
        return {"h": torch.relu(self.from_x(x) + self.from_h(held["h"]))}


@dataclass(frozen=True)
class Model:
    """A cell by name and its ``rate``, the best of .001, .003 and .01 after 1,500 steps with 50 units on seed 1;
    ``published`` errors by the number of units. These are from memory of the paper's table 1, unverified."""

    name: str
    cell: type[Cell]
    rate: float
    published: dict[int, float]


MODELS = (
    Model("fast weights", HebbianRNN, 1e-3, {20: 0.0181, 50: 0.0, 100: 0.0}),
    Model("LSTM", LSTM, 1e-2, {20: 0.6081, 50: 0.0185, 100: 0.0}),
    Model("IRNN", IRNN, 1e-3, {20: 0.6211, 50: 0.6023, 100: 0.0034}),
)


@dataclass(frozen=True)
class Plan:
    """``units`` of every cell, ``steps`` of training with a test after ``every`` so many, sequences to ``train`` with
    and to ``test`` with, of which ``quick`` are taken while training."""

    units: int
    steps: int
    every: int
    train: int = 100_000
    test: int = 20_000
    quick: int = 2_000


SHORT = Plan(units=50, steps=5_000, every=250)
LONG = Plan(units=20, steps=100_000, every=1_000)


def run(file: Path | None = None, *, seed: int = 0, long: bool = False) -> dict[str, Any]:
    """50 units; ``long`` takes 20 units and many more steps."""
    return measure(file, LONG if long else SHORT, MODELS, seed=seed)


def measure(file: Path | None, plan: Plan, models: Sequence[Model], *, seed: int) -> dict[str, Any]:
    train, test = split(plan, torch.Generator().manual_seed(seed))
    found = [retrieved(model, plan, train, test, seed) for model in experiment.progress(models, "memories")]
    result = {
        "bench": "associative",
        "settings": {"seed": seed, **vars(plan), "batch": BATCH, "width": WIDTH},
        "guessing": guessing(),
        "models": found,
    }
    return experiment.publish(file, result, _text(plan, found), lambda figure: _draw(figure, plan, found))


def sequences(count: int, random: torch.Generator) -> Tensor:
    """Four pairs, two "?" and one of the letters: tokens (count, 11)."""
    letters = torch.rand(count, LETTERS, generator=random).argsort(-1)[:, :PAIRS]
    digits = LETTERS + torch.randint(DIGITS, (count, PAIRS), generator=random)
    asked = letters.gather(1, torch.randint(PAIRS, (count, 1), generator=random))
    pairs = torch.stack([letters, digits], -1).flatten(1)
    return torch.cat([pairs, torch.full((count, 2), ASK), asked], 1)


def answers(tokens: Tensor) -> Tensor:
    """The digit (B,) that was paired with the last token of (B, T), from 0 to 9."""
    letters, digits = tokens[:, : 2 * PAIRS : 2], tokens[:, 1 : 2 * PAIRS : 2]
    place = (letters == tokens[:, -1:]).int().argmax(-1, keepdim=True)
    return digits.gather(1, place)[:, 0] - LETTERS


def split(plan: Plan, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences to train with and others to test with, of which no two are equal."""
    drawn = torch.unique(sequences(plan.train + 2 * plan.test, random), dim=0)  # more than enough: few are equal
    drawn = drawn[torch.randperm(len(drawn), generator=random)]
    return drawn[: plan.train], drawn[plan.train : plan.train + plan.test]


def guessing() -> float:
    """The error of one who knows the four digits but not their letters, and says the most frequent one."""
    most = [max(Counter(digits).values()) for digits in product(range(DIGITS), repeat=PAIRS)]
    return 1 - sum(most) / len(most) / PAIRS


class Reader(nn.Module):
    """Embeddings, a cell, and a rectified layer before the softmax, as published."""

    def __init__(self, cell: type[Cell], units: int) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(ASK + 1, WIDTH), cell(WIDTH, units)
        self.head = nn.Linear(WIDTH, DIGITS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, 10) of the answer after the last of the tokens (B, T)."""
        out, _ = self.cell(self.embed(tokens), self.cell.init_state(len(tokens)))
        return self.head(torch.relu(out[:, -1]))  # type: ignore[no-any-return]


def retrieved(model: Model, plan: Plan, train: Tensor, test: Tensor, seed: int) -> dict[str, Any]:
    """One model trained, its error on unseen sequences on the way and in the end."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    reader = Reader(model.cell, plan.units)
    errors = [tested(reader, test[: plan.quick])]

    def loss(_: int) -> Tensor:
        tokens = train[torch.randint(len(train), (BATCH,), generator=random)]
        return nn.functional.cross_entropy(reader(tokens), answers(tokens))

    def done(step: int, _: float) -> bool:
        if (step + 1) % plan.every == 0:
            errors.append(tested(reader, test[: plan.quick]))
        return False  # all models take the same steps

    experiment.fit(reader.parameters(), loss, steps=plan.steps, rate=model.rate, done=done)
    return {
        "name": model.name,
        "rate": model.rate,
        "parameters": sum(p.numel() for p in reader.parameters()),
        "errors": errors,
        "error": tested(reader, test),
        "solved at step": next((n * plan.every for n, error in enumerate(errors) if error < SOLVED), None),
        "published": {f"{units} units": error for units, error in model.published.items()},
    }


@torch.no_grad()
def tested(reader: Reader, tokens: Tensor) -> float:
    """The share of wrong answers."""
    wrong = [reader(part).argmax(-1) != answers(part) for part in tokens.split(1000)]
    return float(torch.cat(wrong).float().mean())


def _text(plan: Plan, found: list[dict[str, Any]]) -> str:
    rows = [
        [
            model["name"],
            f"{model['error']:.2%}",
            *(f"{error:.2%}" for error in model["published"].values()),
            "not solved" if model["solved at step"] is None else f"{model['solved at step']:,}",
            model["rate"],
            f"{model['parameters']:,}",
        ]
        for model in found
    ]
    published = [f"published, {units}" for units in found[0]["published"]]
    header = ["", f"error, {plan.units} units", *published, "solved at step", "rate", "parameters"]
    return f"""# Associative retrieval

`fastslow bench associative --json docs/results/associative.json`: `c9k8j3f1??c` asks for 9. {plan.train:,} sequences to
train with, {plan.test:,} others to test with, {plan.steps:,} steps of {BATCH} for every model, one seed. Solved: the
first test, of {plan.quick:,} sequences after every {plan.every:,} steps, with an error below {SOLVED:.0%}.

{experiment.table(header, rows)}

Who knows the four digits but not their letters, and says the most frequent one, errs in {guessing():.2%}. Published
numbers are those of the paper's table 1 from memory, unverified; for how long the paper trains is not known here.
"""


def _draw(figure: Figure, plan: Plan, found: list[dict[str, Any]]) -> None:
    axes = figure.subplots()
    for model in found:
        axes.plot([n * plan.every for n in range(len(model["errors"]))], model["errors"], label=model["name"])
    axes.axhline(guessing(), color="gray", linestyle=":", label="guessing among the four digits")
    axes.set(
        ylim=(0, 1),
        xlim=(0, plan.steps),
        xlabel=f"steps of {BATCH} sequences",
        ylabel="share of wrong answers",
        title=f"Associative retrieval with {plan.units} units",
    )
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
