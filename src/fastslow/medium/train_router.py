"""Train the router's slow weights: which record does a question ask for, and is it asking for any?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastslow.medium.router import KeyTable, RouterWeights, Tokens


@dataclass(frozen=True, eq=False)
class RoutingTask:
    """One stream of records with questions about it.

    ``gold[i]`` is the record that question i asks for. A question with ``hops[i] >= 0`` needs that record too, which
    is found only through what the first one says (its states are then part of the query).
    """

    records: list[Tokens]
    questions: list[Tokens]
    gold: list[int]
    hops: list[int]


def train_router(
    tasks: Sequence[RoutingTask],
    unrelated: Sequence[Tokens],
    *,
    width: int,
    size: int = 96,
    steps: int = 600,
    batch: int = 24,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> RouterWeights:
    """Contrastive training over all records of a task (InfoNCE, van den Oord et al. 2018, arXiv 1807.03748, eq. 4),
    plus a logistic loss that keeps ``unrelated`` inputs below the threshold."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(size, width, generator=generator) / width**0.5
    query, key = start.clone().requires_grad_(), start.clone().requires_grad_()
    log_scale, threshold = torch.tensor(3.0).requires_grad_(), torch.tensor(0.5).requires_grad_()
    parameters = [query, key, log_scale, threshold]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)

    def pick(n: int, count: int) -> list[int]:
        return torch.randint(n, (count,), generator=generator).tolist()

    for step in range(steps):
        task = tasks[pick(len(tasks), 1)[0]]
        weights = RouterWeights(query, key, 0.0)
        table = KeyTable.stack([weights.keys(r) for r in task.records])
        losses, related, strange = [], [], []
        for i in pick(len(task.questions), batch):
            scores = weights.scores(task.questions[i], table)
            losses.append(-(scores * log_scale.exp()).log_softmax(0)[task.gold[i]])
            related.append(scores[task.gold[i]])
            if task.hops[i] >= 0:
                losses.append(-_hop_scores(weights, table, task, i, log_scale).log_softmax(0)[task.hops[i]])
        for i in pick(len(unrelated), batch // 2):
            strange.append(weights.scores(unrelated[i], table).amax())
        gate = torch.nn.functional.softplus(20 * (threshold - torch.stack(related) + 0.05)).mean()
        gate = gate + torch.nn.functional.softplus(20 * (torch.stack(strange) - threshold + 0.05)).mean()
        loss = torch.stack(losses).mean() + gate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress(step, float(loss.detach()))
    return shut_for(RouterWeights(query.detach(), key.detach(), float(threshold.detach())), tasks, unrelated)


@torch.no_grad()
def shut_for(weights: RouterWeights, tasks: Sequence[RoutingTask], unrelated: Sequence[Tokens]) -> RouterWeights:
    """The same weights with the threshold that keeps all but one in a hundred unrelated inputs out of a stream. What
    passes has a rare word in common with a record by chance ("17 times 6"), and the reader's doubt stops it."""
    tables = [KeyTable.stack([weights.keys(r) for r in task.records]) for task in tasks]
    highest = torch.tensor([float(weights.scores(tokens, table).max()) for table in tables for tokens in unrelated])
    return RouterWeights(weights.query, weights.key, float(highest.quantile(0.99)))


def _hop_scores(weights: RouterWeights, table: KeyTable, task: RoutingTask, i: int, log_scale: Tensor) -> Tensor:
    first = task.gold[i]
    scores = weights.scores(task.questions[i].onward(task.records[first]), table) * log_scale.exp()
    return scores.index_fill(0, torch.tensor([first]), float("-inf"))
