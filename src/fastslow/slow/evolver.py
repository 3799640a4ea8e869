"""Evolving contexts from what a verifier says, without a language model that reflects.

The loop is GEPA's (arXiv 2507.19457): take a context of the frontier, change it, keep the change where a few problems
say so, and only then score it on all. What changes a context are edits of items, drawn by how often each was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from fastslow.errors import InputError
from fastslow.slow.contexts import Context, Item, frontier, survivors
from fastslow.slow.rollouts import Rollout
from fastslow.worlds.tasks import Problem

EDITS = ("rule", "demonstration", "contrast", "drop", "crossover")
IDLE = 20  # edits in a row that change nothing, before a cycle ends early


Roll = Callable[[Sequence[tuple[Context, Problem]]], list[Rollout]]


class Evolver(Protocol):
    """What makes the contexts of the next cycle. ``credit`` is what it carries from cycle to cycle, as JSON has it."""

    credit: dict[str, list[int]]

    def evolve(
        self,
        population: Sequence[Context],
        problems: Sequence[Problem],
        roll: Roll,
        cells: int,
        count: int,
        random: Random,
    ) -> list[Context]:
        """At most ``count`` contexts, the best first, each of which was rolled on all problems."""
        ...


class ItemEvolver:
    """Contexts of at most ``budget`` characters, changed on ``minibatch`` problems at a time. ``credit`` holds how
    often each edit was kept and tried, and is carried from cycle to cycle; ``shown`` is how a question and its answer
    are written down."""

    def __init__(self, budget: int, minibatch: int = 8, shown: str = "{question} {answer}") -> None:
        if budget < 1 or minibatch < 1:
            raise InputError(f"a budget of {budget} characters and minibatches of {minibatch}: give at least 1 of each")
        self.budget, self.minibatch, self.shown = budget, minibatch, shown
        self.credit: dict[str, list[int]] = {edit: [1, 2] for edit in EDITS}

    def evolve(
        self,
        population: Sequence[Context],
        problems: Sequence[Problem],
        roll: Roll,
        cells: int,
        count: int,
        random: Random,
    ) -> list[Context]:
        """At most ``count`` contexts, the best first. The population carried over is scored anew, since the weights
        have moved; then at most ``cells`` further rollouts are spent, and no change is begun that could not be scored
        on all problems.

        Raises InputError for an empty population or no problems.
        """
        if not population or not problems:
            raise InputError(f"{len(population)} contexts and {len(problems)} problems: give at least one of each")
        pool = {context.id: context for context in population}
        grid = {name: {r.problem.id: r for r in roll([(c, p) for p in problems])} for name, c in pool.items()}
        idle = 0
        while cells >= len(problems) and idle < IDLE:
            parent = self._parent(grid, random)
            batch = random.sample(list(problems), min(self.minibatch, len(problems)))
            edit, child = self._edited(pool, grid, parent, batch, random)
            if child is None or child.id in pool or child.size() > self.budget:
                idle += 1
                continue
            tried = roll([(child, p) for p in batch])
            cells -= len(batch)
            gain = sum(r.score for r in tried) - sum(grid[parent][p.id].score for p in batch)
            kept = gain > 0 or (gain == 0 and child.size() < pool[parent].size())
            self.credit[edit][0] += kept
            self.credit[edit][1] += 1
            idle = 0 if kept else idle + 1
            if not kept:
                continue
            rest = [p for p in problems if p not in batch]
            found = [*tried, *roll([(child, p) for p in rest])]
            cells -= len(rest)
            pool[child.id], grid[child.id] = child, {r.problem.id: r for r in found}
        return [pool[name] for name in survivors(_scores(grid), count)]

    def _parent(self, grid: dict[str, dict[str, Rollout]], random: Random) -> str:
        """One of the frontier, by the number of problems on which it is best."""
        scores = _scores(grid)
        front = frontier(scores)
        best = {p: max(each[p] for each in scores.values()) for p in next(iter(scores.values()))}
        return random.choices(front, [sum(scores[n][p] == best[p] for p in best) for n in front])[0]

    def _edited(
        self,
        pool: dict[str, Context],
        grid: dict[str, dict[str, Rollout]],
        parent: str,
        batch: Sequence[Problem],
        random: Random,
    ) -> tuple[str, Context | None]:
        """An edit, and the context it makes of the parent, None where there is nothing for it to work on."""
        edit = random.choices(EDITS, [kept / tried for kept, tried in self.credit.values()])[0]
        context, seen = pool[parent], [grid[parent][p.id] for p in batch]
        wrong = [r for r in seen if r.verdict and r.score < 1]
        right = [r for r in seen if r.score == 1]
        new: list[Item] = []
        if edit == "rule":
            new = [_item("rule", v.feedback, r, v.about) for r in wrong if (v := r.verdict) and v.feedback]
        elif edit == "demonstration" and right:
            shown = random.choice(right)
            new = [_item("demonstration", self._written(shown), shown)]
        elif edit == "contrast":  # what this one missed and another context got right
            pairs = [(r, o) for r in wrong for each in grid.values() if (o := each[r.problem.id]).score == 1]
            if pairs:
                missed, shown = random.choice(pairs)
                new = [_item("contrast", f"{self._written(shown)}, not {missed.answer.text}", shown)]
        elif edit == "drop" and context.items:
            return edit, context.without(random.choice(context.items))
        elif edit == "crossover" and len(pool) > 1:
            other = pool[random.choice([name for name in pool if name != parent])]
            return edit, context.plus(other.items, self.budget, edit)
        return edit, context.plus(new, self.budget, edit) if new else None

    def _written(self, rollout: Rollout) -> str:
        return self.shown.format(question=rollout.problem.question, answer=rollout.answer.text)


def _item(kind: Any, text: str, rollout: Rollout, about: str = "") -> Item:
    return Item(kind, text, about, frozenset({rollout.problem.id}))


def _scores(grid: dict[str, dict[str, Rollout]]) -> dict[str, dict[str, float]]:
    return {name: {p: r.score for p, r in each.items()} for name, each in grid.items()}
