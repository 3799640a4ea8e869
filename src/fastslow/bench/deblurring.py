"""The question: do fast weights bring old memories back without harm to new ones? Hinton and Plaut 1987, "Using fast
weights to deblur old memories".

A linear associator W = slow + fast learns a set A of pairs exactly, then B, which blurs A. Then most of A is rehearsed
with the fast weights alone. The claim: what was *not* rehearsed comes back too, and B is untouched once the fast
weights have decayed. For isotropic patterns theory says that the error of what was not rehearsed falls to 1 - R/n.

`fastslow bench deblurring --json docs/results/deblurring.json`
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastslow.bench import experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE, OLD, NEW, REHEARSED = 100, 80, 20, 70  # inputs, pairs of A, pairs of B, pairs of A that are rehearsed
KEPT, REST = 0.999, 20_000  # of the fast weights at each presentation, and presentations until the last measurement
STAGES = ("A learned", "B learned", "A rehearsed", "fast weights faded")


def run(file: Path | None = None, *, seed: int = 0, long: bool = False) -> dict[str, Any]:
    """Five draws of patterns; ``long`` takes fifty."""
    trials = [trial(seed + n) for n in experiment.progress(range(50 if long else 5), "drawings")]
    groups = ("rehearsed", "unrehearsed", "new")
    errors = {g: [_over([t[stage][g] for t in trials]) for stage in STAGES] for g in groups}
    bits = {g: [_over([t[stage][f"{g} bits"] for t in trials]) for stage in STAGES] for g in groups}
    law = 1 - REHEARSED / SIZE
    ratio = errors["unrehearsed"][2]["mean"] / errors["unrehearsed"][1]["mean"]
    lost = max(abs(errors[g][3]["mean"] - errors[g][1]["mean"]) for g in groups)
    result = {
        "bench": "deblurring",
        "settings": {"seed": seed, "draws": len(trials), "inputs": SIZE, "A": OLD, "B": NEW, "rehearsed": REHEARSED},
        "squared error": errors,
        "bits right": bits,
        "unrehearsed after over before": {"measured": ratio, "theory": law},
        "change once the fast weights have faded": lost,
    }
    rows = [
        [stage, *(f"{errors[g][n]['mean']:.3f} ({bits[g][n]['mean']:.3f})" for g in groups)]
        for n, stage in enumerate(STAGES)
    ]
    text = f"""# Deblurring old memories with fast weights

`fastslow bench deblurring --json docs/results/deblurring.json`: {SIZE} inputs, {OLD} pairs of A, {NEW} of B;
{REHEARSED} of A are rehearsed by the fast weights alone, for ten sweeps. Mean squared error (share of bits right),
mean of {len(trials)} draws.

{experiment.table(["", "A, rehearsed", "A, not rehearsed", "B"], rows)}

The error of what was not rehearsed falls to {ratio:.2f} of what it was; theory, after endless rehearsal, says
{law:.2f}.
Once the fast weights have faded ({REST:,} presentations later, {KEPT} kept at each) everything is as it was before the
rehearsal, within {lost:.0e}. The paper (read: abstract) claims that "all the original associations can be deblurred by
rehearsing on just a few of them".
"""
    return experiment.publish(file, result, text, lambda figure: _draw(figure, errors))


def trial(seed: int) -> dict[str, dict[str, float]]:
    """Errors and right bits of each group after each stage."""
    random = torch.Generator().manual_seed(seed)

    def pairs(count: int) -> tuple[Tensor, Tensor]:
        return tuple(torch.randn(count, SIZE, generator=random, dtype=torch.float64).sign() for _ in range(2))  # type: ignore[return-value]

    (old_in, old_out), (new_in, new_out) = pairs(OLD), pairs(NEW)
    groups = {
        "rehearsed": (old_in[:REHEARSED], old_out[:REHEARSED]),
        "unrehearsed": (old_in[REHEARSED:], old_out[REHEARSED:]),
        "new": (new_in, new_out),
    }
    slow = torch.linalg.lstsq(old_in, old_out).solution  # A learned exactly
    fast = torch.zeros_like(slow)
    found = {STAGES[0]: _measured(slow, groups)}
    slow = _learned(slow, new_in, new_out, rate=0.05, sweeps=60, kept=1.0)
    found[STAGES[1]] = _measured(slow, groups)
    fast = _learned(fast, *groups["rehearsed"], rate=0.3, sweeps=10, kept=KEPT, beside=slow)
    found[STAGES[2]] = _measured(slow + fast, groups)
    found[STAGES[3]] = _measured(slow + KEPT**REST * fast, groups)
    return found


def _learned(
    weights: Tensor, x: Tensor, y: Tensor, *, rate: float, sweeps: int, kept: float, beside: Tensor | None = None
) -> Tensor:
    """Weights after sweeps of the normalised delta rule, of which ``kept`` survives each presentation; what the weights
    ``beside`` them already give counts."""
    for _ in range(sweeps):
        for inputs, wanted in zip(x, y, strict=True):
            weights = kept * weights
            given = inputs @ (weights if beside is None else weights + beside)
            weights = weights + rate * torch.outer(inputs, wanted - given) / len(inputs)
    return weights


def _measured(weights: Tensor, groups: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    found = {}
    for name, (x, y) in groups.items():
        found[name] = float((x @ weights - y).square().mean())
        found[f"{name} bits"] = float(((x @ weights).sign() == y).double().mean())
    return found


def _over(values: list[float]) -> dict[str, float]:
    found = torch.tensor(values, dtype=torch.float64)
    return {"mean": float(found.mean()), "std": float(found.std())}


def _draw(figure: Figure, errors: dict[str, list[dict[str, float]]]) -> None:
    axes, stages = figure.subplots(), STAGES[1:]  # before B was learned its error says nothing and hides the others
    for name, label in (("rehearsed", "A, rehearsed"), ("unrehearsed", "A, not rehearsed"), ("new", "B")):
        means, spread = ([stage[key] for stage in errors[name][1:]] for key in ("mean", "std"))
        axes.errorbar(stages, means, spread, marker="o", capsize=3, label=label)
    axes.set(
        ylim=(0, None),
        ylabel="mean squared error",
        title="Fast weights bring back what was not rehearsed, and nothing is lost",
    )
    axes.legend(frameon=False)
