"""The router: which pages a question reads, and exactly none for unrelated input.

Late interaction (ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832): every token of the question finds its best match
among the tokens of a record, and the matches are averaged by how telling the token is,

    score(q, r) = sum_i s_i max_j cos(Wq q_i, Wk r_j) / sum_i s_i,     s_i = softplus(w . q_i + b).

`Wq`, `Wk` and `w` are slow weights, trained once per core beside the reader on worlds of their own. They are constants
while learning goes on, and nothing is shared between records, so a record can be taken out without a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

CLIP = 8.0  # standard deviations; massive activations would otherwise decide every match


@dataclass(frozen=True, eq=False)
class RouterWeights:
    """``query`` and ``key`` (m, width), ``salience`` (width + 1,), and the score ``threshold`` below which the gate is
    shut."""

    query: Tensor
    key: Tensor
    salience: Tensor
    threshold: float

    @classmethod
    def untrained(cls, width: int, threshold: float = 0.62) -> RouterWeights:
        """Matches plain standardised states: what a core without a trained reader gets."""
        eye = torch.eye(width)
        return cls(eye, eye, torch.zeros(width + 1), threshold)

    def keys(self, z: Tensor) -> Tensor:
        """Match vectors (T, m) of a record's standardised states (T, width)."""
        return normalize(z.float().clamp(-CLIP, CLIP) @ self.key.T, dim=-1)

    def queries(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Match vectors (Q, m) and salience (Q,) of a question's standardised states (Q, width)."""
        z = z.float().clamp(-CLIP, CLIP)
        return normalize(z @ self.query.T, dim=-1), softplus(z @ self.salience[:-1] + self.salience[-1])


@dataclass(frozen=True, eq=False)
class KeyTable:
    """The match vectors of many records, one after the other: keys (N, m) and the record each belongs to (N,)."""

    keys: Tensor
    owner: Tensor
    records: int

    @classmethod
    def stack(cls, keys: Sequence[Tensor]) -> KeyTable:
        owner = torch.cat([torch.full((len(k),), i) for i, k in enumerate(keys)]) if keys else torch.empty(0).long()
        return cls(torch.cat(list(keys)) if keys else torch.empty(0, 0), owner, len(keys))

    def scores(self, query: Tensor, salience: Tensor) -> Tensor:
        """Late-interaction score of every record (records,) for one question's query (Q, m) and salience (Q,)."""
        if not self.records:
            return torch.zeros(0)
        best = torch.full((len(query), self.records), -1.0)
        best = best.scatter_reduce(1, self.owner.expand(len(query), -1), query @ self.keys.T, "amax")
        return (salience[:, None] * best).sum(0) / salience.sum().clamp(min=1e-6)
