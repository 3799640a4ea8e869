"""A gate: a linear discriminant on hidden states at the cut that decides whether something is switched on at all.

Shut is exact: whoever asks a gate runs the bare core when it says no, so the logits are the bare core's bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastslow.errors import InputError
from fastslow.state import State

LAYOUT, VERSION = "gate", 1


@dataclass(frozen=True, eq=False)
class Gate:
    """Open where ``weight . features(hidden) > threshold``; all tensors are fp32 of shape (width,), threshold (1,).

    ``center`` and ``scale`` standardise each dimension. A score of 0 is the mean of what is unrelated, 1 the mean of
    what belongs. A threshold of infinity never opens.
    """

    center: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    threshold: Tensor

    @classmethod
    def fit(
        cls, positive: Sequence[Tensor], negative: Sequence[Tensor], *, margin: float = 0.3, shrinkage: float = 0.2
    ) -> Gate:
        """The gate that opens on windows like ``positive`` and stays shut on all like ``negative``.

        Each window is hidden states at the cut, (T, width). Fisher's linear discriminant with its covariance shrunk
        towards the identity (Friedman 1989, regularised discriminant analysis, eq. 18). The threshold stands above
        every negative as a discriminant fitted without it scores it (five folds): ``margin`` of the way from the
        highest negative to the median positive. Where they overlap, the gate never opens.

        Raises InputError with fewer than five windows of either kind, or where one is not finite.
        """
        if min(len(positive), len(negative)) < 5:
            raise InputError("a gate needs at least five windows of either kind: give it more text")
        tokens = torch.cat([w[1:].float() for w in negative])
        center, scale = tokens.mean(0), tokens.std(0) + 1e-6
        yes = torch.stack([_features(w, center, scale) for w in positive])  # (n, width)
        no = torch.stack([_features(w, center, scale) for w in negative])  # (m, width)
        if not bool(torch.isfinite(yes).all() & torch.isfinite(no).all()):
            raise InputError("a window's hidden states are not finite: the core or the text is damaged")
        unseen_yes, unseen_no = [], []
        for fold in range(5):
            weight, bias = _discriminant(_without(yes, fold), _without(no, fold), shrinkage)
            unseen_yes.append(yes[fold::5] @ weight + bias)
            unseen_no.append(no[fold::5] @ weight + bias)
        weight, bias = _discriminant(yes, no, shrinkage)
        highest = max(float(torch.cat(unseen_no).max()), float((no @ weight + bias).max()))
        typical = float(torch.cat(unseen_yes).median())
        threshold = highest + margin * (typical - highest) if typical > highest else math.inf
        return cls(center, scale, weight, torch.tensor([bias]), torch.tensor([threshold]))

    def score(self, hidden: Tensor) -> float:
        """About 0 for unrelated and 1 for related hidden states (T, width); minus infinity for fewer than 2 tokens."""
        if len(hidden) < 2:
            return -math.inf
        return float(_features(hidden, self.center, self.scale) @ self.weight + self.bias[0])

    def is_open(self, hidden: Tensor) -> bool:
        """Whether hidden states (T, width) at the cut belong to what the gate was fitted on."""
        return self.score(hidden) > float(self.threshold[0])  # NaN compares as shut

    def state(self) -> State:
        tensors = {
            "center": self.center,
            "scale": self.scale,
            "weight": self.weight,
            "bias": self.bias,
            "threshold": self.threshold,
        }
        return State(LAYOUT, VERSION, tensors)

    @classmethod
    def from_state(cls, state: State) -> Gate:
        return cls(**{name: state.tensors[name] for name in ("center", "scale", "weight", "bias", "threshold")})


def _features(hidden: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """The mean over tokens of standardised states. The first token is an attention sink, and a few dimensions carry
    activations a thousand times larger than the rest (Sun et al. 2024, arXiv 2402.17762): the one is left out, the
    others are clipped."""
    return ((hidden[1:].float() - center) / scale).clamp_(-4.0, 4.0).mean(0)


def _without(rows: Tensor, fold: int) -> Tensor:
    return rows[[i for i in range(len(rows)) if i % 5 != fold]]


def _discriminant(yes: Tensor, no: Tensor, shrinkage: float) -> tuple[Tensor, float]:
    """Weight (width,) and bias of the discriminant, scaled to a mean of 1 on ``yes`` and 0 on ``no``."""
    within = (yes - yes.mean(0)).T @ (yes - yes.mean(0)) / len(yes) + (no - no.mean(0)).T @ (no - no.mean(0)) / len(no)
    ridge = shrinkage * within.diagonal().mean() + 1e-8
    covariance = (1 - shrinkage) * within + ridge * torch.eye(within.shape[0])
    difference = yes.mean(0) - no.mean(0)
    weight = torch.linalg.solve(covariance, difference)
    weight = weight / (weight @ difference).clamp(min=1e-12)
    return weight, -float(no.mean(0) @ weight)
