"""Learning from rewards alone: advantages of groups and the CISPO loss, as Fast-Slow Training uses them (arXiv
2605.12484). Plain functions; who samples and who scores is not their business.

Letters of shapes: G rollouts of a problem, L tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastslow.errors import InputError

TAU, EPS = 4.0, 1e-4


def advantages(rewards: Sequence[float]) -> list[float] | None:
    """(r - mean) / (std + eps) over ALL rollouts of one problem, whatever context each was drawn under (FST, algorithm
    1). None where all rewards are the same: such a group teaches nothing and is dropped.

    Raises InputError where a reward is not finite.
    """
    group = torch.tensor(rewards, dtype=torch.float64)
    if not len(group) or not bool(group.isfinite().all()):
        raise InputError(f"rewards {list(rewards)}: give a finite one for each rollout of the problem")
    if bool((group == group[0]).all()):
        return None
    return ((group - group.mean()) / (group.std(correction=0) + EPS)).tolist()


def cispo(now: Sequence[Tensor], then: Sequence[Tensor], advantage: Sequence[float], tau: float = TAU) -> Tensor:
    """The loss of one problem: -sum of sg(min(rho, tau)) A log pi over all tokens of its rollouts, by their number
    (CISPO of MiniMax-M1, arXiv 2506.13585, without a lower clip; one mean for each problem, as in FST).

    now, then: for each rollout the log-probabilities (L,) of its tokens under the weights that learn and under those
    that drew it; rho is the exponential of their difference. A clipped token keeps its gradient, unlike in PPO.
    """
    if not len(now) == len(then) == len(advantage) or not now:
        raise InputError(f"{len(now)} rollouts, {len(then)} of before, {len(advantage)} advantages: give one of each")
    total = torch.stack(
        [
            -((mine - old).exp().clamp(max=tau).detach() * mine).sum() * a
            for mine, old, a in zip(now, then, advantage, strict=True)
        ]
    ).sum()
    return total / sum(len(mine) for mine in now)


def drift(now: Sequence[Tensor], base: Sequence[Tensor]) -> Tensor:
    """What anchors the weights: the mean over tokens of exp(d) - 1 - d with d = log base - log now, which is at least 0
    and in the mean the KL divergence from the base (Schulman 2020, "Approximating KL divergence", k3)."""
    away = torch.cat([old.detach() - mine for mine, old in zip(now, base, strict=True)])
    return (away.exp() - 1 - away).mean()
