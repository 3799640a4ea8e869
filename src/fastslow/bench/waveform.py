"""The question: does a network whose units tick at different rates keep a long waveform better than one whose units all
tick at every token? Koutnik, Greff, Gomez and Schmidhuber 2014, "A Clockwork RNN" (arXiv 1402.3511), section 4.1.

A network hears nothing but a constant and has to say 320 samples by heart. The paper takes samples of speech; here a
wave is a sum of sines with periods of 8, 32, 80 and 160 samples and phases of its own for each seed, scaled to [-1, 1]
as the paper's. A Clockwork RNN, an RNN and an LSTM have equally many weights, not counting those that the clockwork
masks.

`fastslow bench waveform --json docs/results/waveform.json`

Letters of shapes: T samples, U units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastslow.bench import experiment
from fastslow.fast.recurrent import LSTM, RNN, Cell, ClockworkRNN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PERIODS = (8, 32, 80, 160)
STUCK = 0.6  # a normalised error above which a model has learned next to nothing: none in the paper is above .46


@dataclass(frozen=True)
class Model:
    """A cell by name and its ``rate``, the better of .003 and .01 after 150 epochs on seed 100; the ``published``
    normalised error on speech, mean and spread of 100 runs, from memory of the paper, unverified."""

    name: str
    built: Callable[[], Cell]
    rate: float
    published: str


MODELS = (
    Model("Clockwork RNN", lambda: ClockworkRNN(1, 64, 8), 1e-2, ".007 ± .004"),
    Model("RNN", lambda: RNN(1, 48), 1e-2, ".46 ± .08"),
    Model("LSTM", lambda: LSTM(1, 24), 1e-2, ".04 ± .01"),
)


@dataclass(frozen=True)
class Plan:
    """``seeds`` waves of ``length`` samples, each learned for ``epochs`` steps."""

    seeds: int
    length: int
    epochs: int


SHORT = Plan(seeds=3, length=320, epochs=350)
LONG = Plan(seeds=5, length=320, epochs=1500)


def run(file: Path | None = None, *, seed: int = 0, long: bool = False) -> dict[str, Any]:
    """Three waves and 350 epochs; ``long`` takes five waves and 1,500 epochs."""
    return measure(file, LONG if long else SHORT, MODELS, seed=seed)


def measure(file: Path | None, plan: Plan, models: Sequence[Model], *, seed: int) -> dict[str, Any]:
    waves = [wave(plan.length, seed + n) for n in range(plan.seeds)]
    todo = [(model, n) for model in models for n in range(plan.seeds)]
    trials = [memorised(model, waves[n], plan.epochs, seed + n) for model, n in experiment.progress(todo, "waves")]
    found = [summary(model, trials[n * plan.seeds : (n + 1) * plan.seeds], waves) for n, model in enumerate(models)]
    result = {
        "bench": "waveform",
        "settings": {"seed": seed, **vars(plan), "periods": list(PERIODS)},
        "wave": waves[0].tolist(),
        "models": found,
    }
    return experiment.publish(file, result, _text(plan, found), lambda figure: _draw(figure, waves[0], found))


def wave(length: int, seed: int) -> Tensor:
    """A sum of sines (T,), its largest sample 1 or -1."""
    phases = 2 * math.pi * torch.rand(len(PERIODS), 1, generator=torch.Generator().manual_seed(seed))
    turns = torch.arange(length) / torch.tensor(PERIODS)[:, None]
    samples = (2 * math.pi * turns + phases).sin().sum(0)
    return samples / samples.abs().max()


def weights(cell: Cell) -> int:
    """How many numbers are learned; those that a mask keeps at nothing are not there."""
    masked = int((cell.heard == 0).sum()) if isinstance(cell, ClockworkRNN) else 0
    return sum(p.numel() for p in cell.parameters()) - masked


def said(cell: Cell, length: int) -> Tensor:
    """What the cell says (T,) to a constant 1."""
    out, _ = cell(torch.ones(1, length, 1), cell.init_state(1))
    return out[0, :, 0]  # type: ignore[no-any-return]


def memorised(model: Model, wanted: Tensor, epochs: int, seed: int) -> dict[str, Any]:
    """What one cell says in the end, and its mean squared error before every epoch and in the end."""
    torch.manual_seed(seed)
    cell = model.built()
    losses = experiment.fit(
        cell.parameters(),
        lambda _: nn.functional.mse_loss(said(cell, len(wanted)), wanted),
        steps=epochs,
        rate=model.rate,
    )
    with torch.no_grad():
        samples = said(cell, len(wanted))
    return {"errors": [*losses, float(nn.functional.mse_loss(samples, wanted))], "said": samples.tolist()}


def summary(model: Model, trials: list[dict[str, Any]], waves: list[Tensor]) -> dict[str, Any]:
    """The errors of a model over its seeds; normalised, they are 1 for a cell that says the mean of its wave."""
    errors = torch.tensor([trial["errors"] for trial in trials], dtype=torch.float64)  # (seeds, epochs + 1)
    spread = torch.stack([samples.double().var(correction=0) for samples in waves])
    normalised = errors / spread[:, None]
    return {
        "name": model.name,
        "rate": model.rate,
        "parameters": weights(model.built()),
        "error": [float(x) for x in errors[:, -1]],
        "normalised": [float(x) for x in normalised[:, -1]],
        "curve": normalised.mean(0).tolist(),
        "said": trials[0]["said"],
        "published": model.published,
    }


def _text(plan: Plan, found: list[dict[str, Any]]) -> str:
    rows = [
        [
            model["name"],
            _spread(model["normalised"]),
            model["published"],
            _spread(model["error"]),
            model["rate"],
            f"{model['parameters']:,}",
        ]
        for model in found
    ]
    stuck = [model["name"] for model in found if _mean(model["normalised"]) > STUCK]
    header = ["", "normalised error", "published, on speech", "mean squared error", "rate", "parameters"]
    return f"""# A waveform by heart

`fastslow bench waveform --json docs/results/waveform.json`: {plan.length} samples of a sum of sines, periods
{", ".join(map(str, PERIODS))}, from a constant input. {plan.epochs:,} epochs of Adam, mean ± standard deviation over
{plan.seeds} seeds, each with a wave of its own. The normalised error is the mean squared error over the variance of the
wave: 1 for a network that says the mean.

{experiment.table(header, rows)}

Models that say little more than the mean after {plan.epochs:,} epochs (a normalised error above {STUCK}; none in the
paper is above .46): {", ".join(stuck) or "none"}.

The published numbers (unverified) are on 320 samples of speech with about 1,000 weights. Two others, as mean squared
errors on scales of their own (read): a Clockwork RNN and an RNN of this size on sines of these periods reach .1125 ±
.0153 and .2454 ± .0036 after 1,500 epochs of plain gradient descent, where the RNN too stays at the variance of its
wave (cybertronai/schmidhuber-problems); a Clockwork RNN and an LSTM of about 800 weights .0017 and .088 on a sound, one
run (buffer51/Clockwork-RNN).
"""


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _spread(values: list[float]) -> str:
    return f"{_mean(values):.5f} ± {float(torch.tensor(values, dtype=torch.float64).std()):.5f}"


def _draw(figure: Figure, wanted: Tensor, found: list[dict[str, Any]]) -> None:
    curves, waves = figure.subplots(1, 2, width_ratios=(2, 3))
    waves.plot(wanted, color="black", linewidth=2.5, alpha=0.3, label="wave")
    for model in found:
        curves.plot(model["curve"], label=model["name"])
        waves.plot(model["said"], linewidth=1, label=model["name"])
    curves.set(yscale="log", xlabel="epochs", ylabel="normalised error", title="Mean over the seeds")
    curves.legend(frameon=False)
    waves.set(xlabel="sample", title="What is said in the end (first seed)")
