"""Train a reader: the router first, then an adapter for statements, and from there one for pairs of them and one for
prose, on pages as the router and the choice would put them together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import torch
from torch import Tensor

from fastslow import anchors
from fastslow.core import Core, Delta
from fastslow.errors import InputError
from fastslow.lessons import UNKNOWN, Lesson, answer_loss, make_lesson
from fastslow.medium import corpus
from fastslow.medium.choice import CHANGE, DENIAL, leads_to, names_in
from fastslow.medium.corpus import Ask, Stream
from fastslow.medium.pages import Standard, compress, expand
from fastslow.medium.reader import POSE, Reader, frozen, mixed, new_adapter, reshaped
from fastslow.medium.router import WORD, KeyTable, RouterWeights
from fastslow.medium.train_router import RoutingTask, train_router

# How often each kind of question is drawn; what is hard or rare in a stream is drawn more often than it occurs.
SHARES = {
    "direct": 0.18,
    "paraphrase": 0.24,
    "reverse": 0.2,
    "two_hop": 0.22,
    "updated": 0.22,
    "retracted": 0.12,
    "never_taught": 0.03,
    "neighbour": 0.2,
    "turned": 0.15,
}
# How often which pairs of pages are drawn: those that answer a question of two hops, those beside which an unknown
# thing is asked, those of which one page answers, and those with what was told later: a withdrawal, an update, or
# something else about the same thing. And how much likelier such a pair is asked what it does not answer.
PAIRS = {
    "two_hop": 0.4,
    "neighbour": 0.23,
    "direct": 0.12,
    "retracted": 0.075,
    "updated": 0.05,
    "later": 0.125,
}
MISLED = {"neighbour": 3.0, "retracted": 3.0, "two_hop": 1.5}
# What each adapter hears, in which shares.
Diet = dict[corpus.Genre, float]
STATEMENTS: Diet = {"lines": 0.8, "paragraphs": 0.2}
PAIRED: Diet = {"lines": 1.0}
PROSE: Diet = {"passages": 0.75, "manual": 0.15, "paragraphs": 0.1}


@dataclass(frozen=True)
class ReaderRecipe:
    """Everything that decides what a reader becomes. The adapter for statements is trained for ``steps``; from there
    the one for pairs, of ranks ``pair_rank`` and ``pair_mlp_rank``, for ``pair_steps``, and the one for prose for
    ``prose_steps``. A sitting has up to ``pages`` pages (half as many of prose) and ``questions``
    on them, of which the share ``withheld`` has no answer in sight; ``pose`` is the share of sittings with one page in
    which it also asks a question itself. ``batch`` counts sittings.

    The share ``alone`` of all batches has one page a sitting, as `Tiers.choose` hears it, and one and a half times as
    many questions, and one more about anything in the world; where that page is a statement, ``withheld_alone`` of
    them have no answer there. ``first`` is the weight of an answer's first token. Of an adapter that was trained on,
    the result has this ``share``, and the rest is the one it began with.
    """

    seed: int = 0
    worlds: int = 12
    facts: int = 120
    router_steps: int = 2000
    steps: int = 600
    pair_steps: int = 600
    prose_steps: int = 600
    batch: int = 8
    questions: int = 6
    rank: int = 12
    mlp_rank: int = 4
    pair_rank: int = 8
    pair_mlp_rank: int = 3
    rate: float = 1.5e-3
    pages: int = 5
    pose: float = 0.25
    withheld: float = 0.33
    alone: float = 0.6
    withheld_alone: float = 0.5
    first: float = 3.0
    share: float = 0.5


def train_reader(
    core: Core,
    recipe: ReaderRecipe,
    *,
    progress: Callable[[str, int, int, float], None],
    start: Reader | None = None,
) -> Reader:
    """A reader for this core; ``progress`` gets (phase, step, steps, loss). ``start`` is a reader whose adapters are
    trained on and whose router is kept. Deterministic in (core, recipe, start) on one machine; about 5 s a step for the
    default core on two threads.

    Raises InputError for a ``start`` that was made for another core."""
    made_for = {key: core.fingerprint[key] for key in ("weights", "split")}
    if start is not None and {key: start.about.get(key) for key in made_for} != made_for:
        raise InputError("the reader to begin with was made for another core: give one made for this core, or none")
    standard = Standard.of(core)
    seeds = [1000 * (recipe.seed + 1) + i for i in range(recipe.worlds)]
    fresh = new_adapter(core, recipe.rank, recipe.mlp_rank, recipe.seed)
    smaller = new_adapter(core, recipe.pair_rank, recipe.pair_mlp_rank, recipe.seed)
    plan = (
        ("statements", STATEMENTS, recipe.steps, fresh),
        ("pairs", PAIRED, recipe.pair_steps, smaller),
        ("prose", PROSE, recipe.prose_steps, fresh),
    )
    heard = {genre for _, diet, steps, _ in plan if steps for genre in diet}
    streams = corpus.streams(core, standard, seeds, recipe.facts, heard if start else corpus.GENRES)
    router = start.router if start else _router(core, standard, recipe, streams, progress)
    about = {"core": core.fingerprint["name"], **made_for}
    steps_of_all = " + ".join(str(steps) for _, _, steps, _ in plan)
    about |= {"seed": str(recipe.seed), "steps": steps_of_all, "recipe": repr(recipe)}
    if start:
        about["began_with"] = f"seed {start.about['seed']}, {start.about['steps']} steps"
    made: list[Delta] = []
    for name, diet, steps, shape in plan:
        begun: Delta = getattr(start, name) if start else made[0] if made else fresh
        adapter = begun
        if steps:
            grow = steps if begun is fresh else 0
            draw = _Drawer(core, standard, router, streams, diet, recipe, grow)
            adapter = reshaped(begun, shape)
            _train(core, adapter, draw, recipe, steps, partial(progress, name))
            if start:
                adapter = reshaped(mixed(adapter, begun, recipe.share), shape)
        made.append(Delta(name, frozen(adapter).factors))
    statements, pairs, prose = made
    return Reader(statements, pairs, prose, router, about)


def _train(
    core: Core,
    adapter: Delta,
    draw: _Drawer,
    recipe: ReaderRecipe,
    steps: int,
    progress: Callable[[int, int, float], None],
) -> None:
    """Train the adapter, in place."""
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=recipe.rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _rate(s, steps))
    for step in range(steps):
        lessons = draw.batch(step)
        optimizer.zero_grad()
        with core.using([adapter], merge=False):
            loss = answer_loss(core, lessons, recipe.first)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step, steps, float(loss.detach()))


def _router(
    core: Core,
    standard: Standard,
    recipe: ReaderRecipe,
    streams: Sequence[Stream],
    progress: Callable[[str, int, int, float], None],
) -> RouterWeights:
    """Trained on all streams but the passages, whose many common words taught it worse (docs/lab/medium.md)."""
    return train_router(
        [_routing(s) for s in streams if len(s.records) > 30 and s.genre != "passages"],
        corpus.tokens(core, standard, anchors.chat() + [p[:200] for p in anchors.general()]),
        width=core.width,
        steps=recipe.router_steps,
        seed=recipe.seed,
        progress=lambda step, loss: progress("router", step, recipe.router_steps, loss),
    )


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def _routing(stream: Stream) -> RoutingTask:
    keep = [i for i, ask in enumerate(stream.asks) if ask.records]
    asks = [stream.asks[i] for i in keep]
    hops = [ask.records[1] if ask.probe.kind == "two_hop" else -1 for ask in asks]
    return RoutingTask(stream.records, [stream.questions[i] for i in keep], [a.records[0] for a in asks], hops)


class _Drawer:
    """Draws sittings: a few pages that look alike, and questions on each of them and on what only looks like them."""

    def __init__(
        self,
        core: Core,
        standard: Standard,
        router: RouterWeights,
        streams: Sequence[Stream],
        diet: Diet,
        recipe: ReaderRecipe,
        grow: int,
    ):
        self.core, self.standard, self.diet, self.recipe, self.grow = core, standard, diet, recipe, grow
        self.rng = Random(recipe.seed)
        self.courses = [_Course.of(s, router) for s in streams if s.asks and s.genre in diet]
        self.pairs = [_Pairs.of(core, course) for course in self.courses] if diet is PAIRED else []
        self.elsewhere = corpus.elsewhere()

    def batch(self, step: int) -> list[Lesson]:
        """Sittings of one batch have about as many pages as each other, so that little of it is padding. In the first
        third of the steps that it grows, they grow from one page to all."""
        if self.pairs:
            return [x for _ in range(self.recipe.batch) for x in self._pair(self.rng.choice(self.pairs))]
        most = self.recipe.pages
        if self.grow:
            most = min(most, 1 + 3 * most * step // self.grow)
        if most == 1 or self.rng.random() < self.recipe.alone:
            return [x for _ in range(self.recipe.batch) for x in self._sitting(1)]
        pages = self.rng.randint(2, most)
        return [x for _ in range(self.recipe.batch) for x in self._sitting(max(2, pages + self.rng.randint(-1, 1)))]

    def _sitting(self, limit: int) -> list[Lesson]:
        rng, recipe, genre = self.rng, self.recipe, self.rng.choices(list(self.diet), list(self.diet.values()))[0]
        course = rng.choice([c for c in self.courses if c.stream.genre == genre])
        kind = rng.choices(list(course.kinds), [SHARES[k] for k in course.kinds])[0]
        chosen = self._choose(course, rng.choice(course.kinds[kind]), limit if genre == "lines" else max(1, limit // 2))
        known, unknown = course.around(chosen)
        count, withheld = recipe.questions, recipe.withheld
        if len(chosen) == 1:
            count = round(1.5 * count)
            withheld = recipe.withheld_alone if genre == "lines" else withheld
        asked = self._draw(course, known, round(count * (1 - withheld)))
        asked += self._draw(course, unknown, count - len(asked), {_sort(course.stream.asks[n]) for n in known})
        asks, pages = course.stream.asks, self._pages(course.stream, chosen)
        prose = self.diet is PROSE
        answers = [answer_text(asks[n], prose) if n in known else UNKNOWN for n in asked]
        lessons = [
            make_lesson(self.core, asks[n].probe.question, text, pages) for n, text in zip(asked, answers, strict=True)
        ]
        if len(chosen) == 1:
            lessons.append(make_lesson(self.core, rng.choice(self.elsewhere), UNKNOWN, pages))
            if known and rng.random() < recipe.pose:
                lessons.append(make_lesson(self.core, POSE, asks[rng.choice(known)].probe.question, pages))
        return lessons

    def _pair(self, pairs: _Pairs) -> list[Lesson]:
        """Questions for which a choice would hear these two pages, those that they answer and those that not."""
        kind = self.rng.choices(list(pairs.kinds), [PAIRS[k] for k in pairs.kinds])[0]
        pages = self.rng.choice(pairs.kinds[kind])
        course, held, asks = pairs.course, pairs.heard[pages], pairs.course.stream.asks
        known = [n for n in held if held[n]]
        hops = [n for n in known if asks[n].probe.kind == "two_hop"]
        asked = self.rng.sample(hops, min(2, len(hops)))
        asked += self._draw(course, [n for n in known if n not in hops], 1)
        asked += self._draw(course, [n for n in held if not held[n]], 3, shares=MISLED)
        states = self._pages(course.stream, pages)
        return [
            make_lesson(self.core, asks[n].probe.question, answer_text(asks[n]) if held[n] else UNKNOWN, states)
            for n in asked
        ]

    def _choose(self, course: _Course, n: int, limit: int) -> list[int]:
        """The records of a question among those that the router would put beside them."""
        ask, likely = course.stream.asks[n], list(course.likely[n])
        chosen = list(ask.records)[: max(limit, 1)] if self.rng.random() < 0.9 else []
        if ask.probe.kind == "two_hop" or self.rng.random() < 0.3:
            likely[2:2] = course.onward(n, ask.records[0] if ask.records else likely[0])
        for i in likely:
            if len(chosen) < limit and i not in chosen:
                chosen.append(i)
        return sorted(chosen)

    def _draw(
        self,
        course: _Course,
        asks: Sequence[int],
        count: int,
        alike: Collection[str] = frozenset(),
        shares: Mapping[str, float] = SHARES,
    ) -> list[int]:
        """Different questions, the kinds in their shares; those that ask for a sort of value that is ``alike`` to what
        the pages have three times as often."""
        found = {n: course.stream.asks[n] for n in asks}
        weight = {n: shares.get(ask.probe.kind, 1.0) * (3 if _sort(ask) in alike else 1) for n, ask in found.items()}
        order = sorted(asks, key=lambda n: self.rng.random() ** (1 / weight[n]), reverse=True)
        return order[:count]

    def _pages(self, stream: Stream, chosen: Sequence[int]) -> tuple[Tensor, ...]:
        bits = self.rng.choice((8, 8, 8, 4))
        states = [stream.states[i] for i in chosen]
        return tuple(expand(compress(h, self.standard, bits), self.standard, self.core.dtype) for h in states)


@dataclass(frozen=True, eq=False)
class _Course:
    """A stream with what its router makes of it: the records that look likely for each question, best first."""

    stream: Stream
    router: RouterWeights
    table: KeyTable
    likely: list[list[int]]
    kinds: dict[str, list[int]]

    @classmethod
    def of(cls, stream: Stream, router: RouterWeights) -> _Course:
        table = KeyTable.stack([router.keys(r) for r in stream.records])
        likely = [router.scores(q, table).argsort(descending=True, stable=True)[:10].tolist() for q in stream.questions]
        kinds: dict[str, list[int]] = {}
        for n, ask in enumerate(stream.asks):
            kinds.setdefault(ask.probe.kind, []).append(n)
        return cls(stream, router, table, likely, kinds)

    def onward(self, n: int, first: int) -> list[int]:
        """The records that a question leads to once the ``first`` has been read."""
        left = self.stream.questions[n].onward(self.stream.records[first])
        return [int(i) for i in self.router.scores(left, self.table).topk(min(3, self.table.records)).indices]

    def named(self, core: Core, n: int) -> list[int]:
        """The likely records that have every name in a question; none where it has no name."""
        names = names_in(core, self.stream.asks[n].probe.question)
        return [i for i in self.likely[n] if names and names <= set(WORD.findall(self.stream.texts[i]))]

    def leading(self, core: Core, n: int, first: int) -> list[int]:
        """The records that a question and its ``first`` page lead on to over a name, as `Episodes.onward`."""
        stream = self.stream
        middle = leads_to(core, stream.asks[n].probe.question, stream.texts[first])
        scores = self.router.onward(stream.questions[n], stream.records[first], middle, self.table)
        scores[first] = -torch.inf
        best = scores.topk(min(3, self.table.records)).indices.tolist()
        return [i for i in best if scores[i] >= self.router.threshold]

    def around(self, chosen: Sequence[int]) -> tuple[list[int], list[int]]:
        """The questions that look as if they asked for the chosen records: those that these answer, and those not. One
        alone is heard for every question that it may answer, several are read for what they match best.

        Of a fact with two versions the later record decides; where only the earlier one is in sight the question is
        left out, because there a wrong answer is the honest one.
        """
        inside, known, unknown = set(chosen), [], []
        near = 8 if len(inside) == 1 else 3
        for n, ask in enumerate(self.stream.asks):
            versions = ask.probe.kind in ("updated", "retracted")
            if not inside & {*self.likely[n][:near], *ask.records}:
                continue
            if ask.records and (ask.records[0] in inside if versions else inside >= set(ask.records)):
                known.append(n)
            elif not (versions and inside & set(ask.records)):
                unknown.append(n)
        return known, unknown


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The pairs of a course's records, in the order of time, that a choice would hear together, with the questions for
    which it would and whether they hold the answer; and the pairs of every kind in `PAIRS`.

    A later version of a record decides. But for the questions about that, a pair with an earlier one is left out,
    because there a wrong answer is the honest one."""

    course: _Course
    heard: dict[tuple[int, ...], dict[int, bool]]
    kinds: dict[str, list[tuple[int, ...]]]

    @classmethod
    def of(cls, core: Core, course: _Course) -> _Pairs:
        heard = defaultdict[tuple[int, ...], dict[int, bool]](dict)
        kinds = defaultdict[str, dict[tuple[int, ...], None]](dict)
        changes = [a.records for a in course.stream.asks if a.probe.kind in ("updated", "retracted")]
        earlier = {late: {*early} for late, *early in changes}
        replaced = set().union(*earlier.values())
        for n, ask in enumerate(course.stream.asks):
            decides = {*ask.records[:1]} if ask.probe.kind == "updated" else {*ask.records}
            for kind, pair in cls._found(core, course, n, earlier, replaced):
                pages = tuple(sorted(pair))
                known = bool(decides) and pair >= decides and ask.probe.kind != "retracted"
                heard[pages][n] = known
                if kind in ("neighbour", "retracted") or known:
                    kinds[kind][pages] = None
        return cls(course, dict(heard), {kind: list(pages) for kind, pages in kinds.items()})

    @staticmethod
    def _found(
        core: Core, course: _Course, n: int, earlier: Mapping[int, Collection[int]], replaced: Collection[int]
    ) -> Iterator[tuple[str, set[int]]]:
        """The pairs for one question: each likely record that has all its names, beside those that it leads on to; and
        what answers it, beside what it replaces and what was told later, first what speaks of a change."""
        stream, ask, named = course.stream, course.stream.asks[n], course.named(core, n)
        kind, records = ask.probe.kind, ask.records
        if kind in ("direct", "paraphrase", "two_hop", "neighbour"):
            old = set().union(*(earlier.get(record, ()) for record in records))
            led = [{first, other} for first in named for other in course.leading(core, n, first)]
            for pair in [*led, {*records}] if kind == "two_hop" else led:
                if not pair & old:
                    yield "direct" if kind == "paraphrase" else kind, pair
        if kind in ("updated", "retracted"):
            yield from ((kind, {records[0], record}) for record in records[1:])
        if kind in ("direct", "paraphrase", "reverse", "updated") and records[0] not in replaced:
            words = {i: {word.lower() for word in WORD.findall(stream.texts[i])} for i in named if i > records[0]}
            later = sorted(words, key=lambda i: (not words[i] & DENIAL, not words[i] & CHANGE))
            yield from (("later", {records[0], i}) for i in later[:3])


def _sort(ask: Ask) -> str:
    """What can be mistaken for each other: names of whatever kind, or plain values of one kind."""
    return "name" if ask.probe.value_kind in corpus.NAMED else ask.probe.value_kind


def answer_text(ask: Ask, prose: bool = False) -> str:
    """The answer as a reader should give it: the value and a full stop, of ``prose`` the sentence that says so behind
    it, unless that begins with the value anyhow; or that it is not known."""
    text, sentence = ask.probe.answer, ask.probe.sentence
    if text is None:
        return UNKNOWN
    if prose and sentence and sentence.casefold().startswith(text.casefold()):
        return sentence
    value = text + "." if ask.probe.value_kind == "code" else text[:1].upper() + text[1:] + "."
    return f"{value} {sentence}" if prose and sentence else value
