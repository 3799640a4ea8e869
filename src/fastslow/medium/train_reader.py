"""Train a reader: the router first, then the adapter, on pages as the router would choose them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from fastslow import anchors
from fastslow.core import Core
from fastslow.lessons import Lesson, answer_loss, make_lesson
from fastslow.medium import corpus
from fastslow.medium.corpus import Ask, Stream
from fastslow.medium.pages import Standard, compress, expand
from fastslow.medium.reader import POSE, UNKNOWN, Reader, frozen, new_adapter, trainable
from fastslow.medium.router import KeyTable, RouterWeights
from fastslow.medium.train_router import RoutingTask, shut_for, train_router

# How often each kind of question is drawn; what is hard or rare in a stream is drawn more often than it occurs.
SHARES = {
    "direct": 0.2,
    "paraphrase": 0.24,
    "reverse": 0.14,
    "two_hop": 0.22,
    "updated": 0.1,
    "retracted": 0.02,
    "never_taught": 0.03,
    "neighbour": 0.05,
}


@dataclass(frozen=True)
class ReaderRecipe:
    """Everything that decides what a reader becomes. ``pages`` is the most that are in sight of one question;
    ``pose`` is the share of lessons that ask for a question instead of an answer, ``withheld`` of those whose answer is
    not in sight, ``paragraphs`` of those on prose."""

    seed: int = 0
    worlds: int = 8
    facts: int = 110
    router_steps: int = 400
    steps: int = 300
    batch: int = 16
    rank: int = 16
    rate: float = 2e-3
    pages: int = 8
    pose: float = 0.06
    withheld: float = 0.08
    paragraphs: float = 0.25


def train_reader(
    core: Core,
    recipe: ReaderRecipe,
    *,
    progress: Callable[[str, int, int, float], None],
    start: Reader | None = None,
) -> Reader:
    """A reader for this core; ``progress`` gets (phase, step, steps, loss). ``start`` is a reader to train on, with its
    router as it is. Deterministic in (core, recipe, start) on one machine; about 5 s a step for the default core on two
    threads."""
    standard = Standard.of(core)
    seeds = [1000 * (recipe.seed + 1) + i for i in range(recipe.worlds)]
    streams = corpus.streams(core, standard, seeds, recipe.facts)
    unrelated = corpus.tokens(core, standard, anchors.chat() + [p[:200] for p in anchors.general()])
    tasks = [_routing(s) for s in streams if len(s.records) > 30]
    if start is None:
        router = train_router(
            tasks,
            unrelated,
            width=core.width,
            steps=recipe.router_steps,
            seed=recipe.seed,
            progress=lambda step, loss: progress("router", step, recipe.router_steps, loss),
        )
    else:
        router = shut_for(start.router, tasks, unrelated)
    about = {"core": core.fingerprint["name"], **{k: core.fingerprint[k] for k in ("weights", "split")}}
    about |= {"seed": str(recipe.seed), "steps": str(recipe.steps), "recipe": repr(recipe)}
    if start is not None:
        about["began_with"] = f"seed {start.about['seed']}, {start.about['steps']} steps"
    adapter = new_adapter(core, recipe.rank, recipe.seed) if start is None else trainable(start.delta)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=recipe.rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _rate(s, recipe.steps))
    draw = _Drawer(core, standard, router, streams, recipe)
    for step in range(recipe.steps):
        lessons = draw.batch()
        optimizer.zero_grad()
        with core.using([adapter], merge=False):
            loss = answer_loss(core, lessons)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress("reader", step, recipe.steps, float(loss.detach()))
    return Reader(frozen(adapter), router, about)


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def _routing(stream: Stream) -> RoutingTask:
    keep = [i for i, ask in enumerate(stream.asks) if ask.records]
    asks = [stream.asks[i] for i in keep]
    hops = [ask.records[1] if ask.probe.kind == "two_hop" else -1 for ask in asks]
    return RoutingTask(stream.records, [stream.questions[i] for i in keep], [a.records[0] for a in asks], hops)


class _Drawer:
    """Draws batches of lessons: questions with the pages that answer them among those that only look like it."""

    def __init__(
        self, core: Core, standard: Standard, router: RouterWeights, streams: Sequence[Stream], recipe: ReaderRecipe
    ):
        self.core, self.standard, self.router, self.recipe = core, standard, router, recipe
        self.streams = [s for s in streams if s.asks]
        self.tables = {id(s): KeyTable.stack([router.keys(r) for r in s.records]) for s in self.streams}
        self.rng = Random(recipe.seed)
        self.by_kind = {id(s): _group(s) for s in self.streams}

    def batch(self) -> list[Lesson]:
        """Lessons of one batch have about as many pages as each other, so that little of it is padding."""
        pages = self.rng.randint(1, self.recipe.pages)
        return [self._lesson(max(1, pages + self.rng.randint(-1, 1))) for _ in range(self.recipe.batch)]

    def _lesson(self, pages: int) -> Lesson:
        prose = self.rng.random() < self.recipe.paragraphs
        stream = self.rng.choice([s for s in self.streams if s.prose == prose])
        groups = self.by_kind[id(stream)]
        kind = self.rng.choices(list(groups), [SHARES[k] for k in groups])[0]
        n = self.rng.choice(groups[kind])
        ask = stream.asks[n]
        if ask.probe.kind in ("direct", "paraphrase", "reverse") and self.rng.random() < self.recipe.pose:
            return make_lesson(self.core, POSE, ask.probe.question, self._pages(stream, [ask.records[0]]))
        limit = max(1, pages // 4) if prose else pages
        chosen = self._choose(stream, n, ask, limit)
        answer = answer_text(ask)
        if kind in ("direct", "paraphrase") and not prose and self.rng.random() < self.recipe.withheld:
            chosen, answer = [i for i in chosen if i not in ask.records], UNKNOWN
        return make_lesson(self.core, ask.probe.question, answer, self._pages(stream, chosen))

    def _choose(self, stream: Stream, n: int, ask: Ask, limit: int) -> list[int]:
        chosen = list(ask.records)
        scores = self.router.scores(stream.questions[n], self.tables[id(stream)])
        likely = scores.argsort(descending=True, stable=True)[: limit + 2].tolist()
        if ask.probe.kind == "two_hop" or self.rng.random() < 0.3:
            first = ask.records[0] if ask.records else likely[0]
            onward = stream.questions[n].onward(stream.records[first])
            likely[2:2] = self.router.scores(onward, self.tables[id(stream)]).topk(3).indices.tolist()
        # An update that is not asked about must not stand in for one that is: keep both versions or neither.
        for i in likely:
            if len(chosen) < limit and i not in chosen:
                chosen.append(i)
        return sorted(chosen)

    def _pages(self, stream: Stream, chosen: list[int]) -> list[Tensor]:
        bits = self.rng.choice((8, 8, 8, 4))
        states = [stream.states[i] for i in chosen]
        return [expand(compress(h, self.standard, bits), self.standard, self.core.dtype) for h in states]


def answer_text(ask: Ask) -> str:
    """The answer as a reader should give it: the value and a full stop, or that it is not known."""
    if ask.probe.answer is None:
        return UNKNOWN
    return ask.probe.answer[:1].upper() + ask.probe.answer[1:] + "."


def _group(stream: Stream) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for n, ask in enumerate(stream.asks):
        groups.setdefault(ask.probe.kind, []).append(n)
    return groups
