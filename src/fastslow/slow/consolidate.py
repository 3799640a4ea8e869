"""Facts into slow weights: a small expert for each group of episodes, trained hard because it is silent otherwise.

The router has already told which episode a question is about, so an expert of few episodes need not: with one episode
each, a rank of 4 on one map of the upper layers is enough, one episode's expert depends on that episode alone, and
forgetting it changes no other bit (docs/lab/slow.md has the comparison with one expert for all).

An episode advances only when its checks are answered by free generation with its page off and the expert on. Older
episodes of the same expert are replayed and audited; a broken bound rolls the whole sleep back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from fastslow.core import Core
from fastslow.errors import InputError
from fastslow.lessons import make_lesson
from fastslow.slow.audit import Bounds, Outcome, Probe, Report, broken, measure, probes, recall, training_anchors
from fastslow.slow.experts import Expert
from fastslow.slow.study import Study
from fastslow.slow.training import LAYOUT as TRAINING
from fastslow.slow.training import VERSION as TRAINING_VERSION
from fastslow.slow.training import (
    Anchor,
    Hooks,
    Material,
    Training,
    TrainingConfig,
    TrainingDiverged,
    deep_core,
    lesson_material,
    seed_of,
    text_material,
    train,
)
from fastslow.state import State

LAYOUT, VERSION = "slow/consolidation", 1


@dataclass(frozen=True)
class FactsConfig:
    """How facts are consolidated.

    ``group``: how many episodes share an expert. ``above``: the share of the core's depth that stays as it is.
    ``accept``: the share of an episode's checks that must be recalled. ``rounds``: after each, what is not yet wholly
    recalled is studied again. ``replay``: lessons of each older episode that are mixed in. ``anchors`` and ``probes``:
    how many texts of each kind hold the core still (with an ``anchor_weight``) and judge it.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            rank=4,
            targets=("mlp.down_proj",),
            lr=3e-2,
            epochs=8,
            batch_tokens=1024,
            row_tokens=384,
            warmup=1,
            anchor_weight=0.0,
        )
    )
    group: int = 1
    above: float = 0.45
    rounds: int = 2
    accept: float = 0.5
    replay: int = 6
    anchors: int = 8
    probes: int = 4
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True)
class Ground:
    """What all experts of a sleep stand on: the core cut where they begin, what holds it still, what judges it."""

    deep: Core
    hold: list[Anchor]
    probes: list[Probe]

    @classmethod
    def make(cls, core: Core, config: FactsConfig) -> Ground:
        first = config.training.first_layer
        deep = deep_core(core, int(config.above * core.depth) if first is None else first)
        hold = training_anchors(core, deep, config.anchors) if config.training.anchor_weight else []
        return cls(deep, hold, probes(core, deep, config.probes))


@dataclass(frozen=True)
class _Job:
    """What one consolidation is about. ``data`` names its content."""

    core: Core
    ground: Ground
    new: Sequence[Study]
    older: Sequence[Study]
    config: FactsConfig
    previous: Expert | None
    data: int


@dataclass(frozen=True)
class _Place:
    """Where it stands: its round, the step at which that began, and which of the new studies are still missed."""

    round: int
    from_step: int
    missed: tuple[int, ...]


def consolidate_each(
    core: Core,
    studies: Sequence[Study],
    config: FactsConfig | None = None,
    *,
    seed: int = 0,
    matched: Callable[[str], Collection[str]] | None = None,
    hooks: Hooks | None = None,
) -> Iterator[Outcome]:
    """Consolidate studies in groups of ``config.group``, in order; each outcome is final once it is yielded.

    Where the hooks interrupt it, the last outcome has a state: give it to :func:`consolidate` with that group.
    """
    config = config or FactsConfig()
    ground = Ground.make(core, config)
    for start in range(0, len(studies), config.group):
        part = studies[start : start + config.group]
        outcome = consolidate(core, part, config=config, seed=seed, matched=matched, hooks=hooks, ground=ground)
        yield outcome
        if outcome.state is not None:
            return


def consolidate(
    core: Core,
    new: Sequence[Study],
    older: Sequence[Study] = (),
    config: FactsConfig | None = None,
    *,
    seed: int = 0,
    previous: Expert | None = None,
    matched: Callable[[str], Collection[str]] | None = None,
    resume: State | None = None,
    hooks: Hooks | None = None,
    ground: Ground | None = None,
) -> Outcome:
    """Consolidate the ``new`` studies into an expert, or into ``previous``, whose episodes' studies are ``older``.

    A pure function of (core, studies in order, previous, config, seed). ``matched`` is the router (the episodes a text
    matches), with which the probes decide whether the expert opens. Raises InputError for no studies, older ones that
    are not those of ``previous``, or a ``resume`` of another sleep.
    """
    config = config or FactsConfig()
    if not new:
        raise InputError("there is nothing to consolidate: learn something first")
    if tuple(s.episode for s in older) != (previous.episodes if previous else ()):
        raise InputError("older studies must be those of the previous expert's episodes, in its order")
    data = seed_of(seed, config, [*older, *new], previous.state().hash() if previous else "")
    ground = ground or Ground.make(core, config)
    config = replace(config, training=replace(config.training, first_layer=ground.deep.split))
    job = _Job(core, ground, new, older, config, previous, data)
    start = previous.delta if previous else None
    training = Training.begin(ground.deep, f"facts-{data:014x}", config.training, data, start)
    place = _Place(0, 0, tuple(range(len(new)))) if resume is None else _restore(training, resume, data)
    shares: list[float] = []
    try:
        while place.round < config.rounds and place.missed:
            if not _study_round(job, training, place, hooks or Hooks()):
                return Outcome(previous, None, _state(training, place, data))
            shares = recall(core, new, Expert.make(training.delta, None, ()).delta)
            missed = tuple(i for i, share in enumerate(shares) if share < 1.0)
            place = _Place(place.round + 1, training.step, missed)
    except (TrainingDiverged, InputError) as error:
        return _nothing(previous, new, str(error), training.step)
    return _judge(job, training, shares or recall(core, new, Expert.make(training.delta, None, ()).delta), matched)


def _study_round(job: _Job, training: Training, place: _Place, hooks: Hooks) -> bool:
    """One round on what is missed, with a few lessons of everything that is held; False where it was cut off."""
    missed = [job.new[i] for i in place.missed]
    held = [*job.older, *(s for i, s in enumerate(job.new) if i not in place.missed)]
    # Later rounds start from a good place: a restart at the full rate would undo what is already recalled.
    settings, part = job.config.training, place.round + 1
    settings = replace(settings, lr=settings.lr / part, epochs=max(1, settings.epochs // part))

    def save(_: State) -> None:
        if hooks.save is not None:
            hooks.save(_state(training, place, job.data))

    return train(
        job.ground.deep,
        training,
        _materials(job, missed, held),
        job.ground.hold,
        settings,
        seed=job.data,
        from_step=place.from_step,
        stage=f"round {place.round + 1}",
        hooks=replace(hooks, save=save),
    )


def _materials(job: _Job, missed: Sequence[Study], held: Sequence[Study]) -> list[Material]:
    lessons = [make_lesson(job.core, x.question, x.answer) for study in missed for x in study.lessons]
    for study in held:
        every = max(1, len(study.lessons) // max(1, job.config.replay))
        chosen = study.lessons[::every][: job.config.replay]
        lessons += [make_lesson(job.core, x.question, x.answer) for x in chosen]
    row, deep = job.config.training.row_tokens, job.ground.deep
    texts = [s.text for s in (*missed, *held)]
    found = [lesson_material(deep, lessons, row), text_material(deep, texts, row)]
    return [m for m in found if m.pieces]


def _judge(
    job: _Job, training: Training, shares: Sequence[float], matched: Callable[[str], Collection[str]] | None
) -> Outcome:
    """Accept what is recalled, as the ``shares`` of its checks say, or roll everything back where a bound is broken."""
    accepted = [s.episode for s, share in zip(job.new, shares, strict=True) if share >= job.config.accept]
    held = (*(s.episode for s in job.older), *accepted)
    expert = Expert.make(training.delta, None, held)
    found = measure(job.ground.deep, expert, job.ground.probes, matched)
    before = after = 1.0
    if job.previous is not None:
        before, after = (_mean(recall(job.core, job.older, e.delta)) for e in (job.previous, expert))
    reason = broken(job.config.bounds, found, before, after)
    if reason:
        return _nothing(job.previous, job.new, reason, training.step, found, before, after)
    rejected = {s.episode: "not recalled with its page off" for s in job.new if s.episode not in accepted}
    report = Report(tuple(accepted), rejected, "", training.step, **found, older_before=before, older_after=after)
    if not accepted:
        return Outcome(job.previous, report)
    return Outcome(Expert.make(training.delta, None, held, report.plain()), report)


def _nothing(
    previous: Expert | None,
    new: Sequence[Study],
    reason: str,
    steps: int,
    found: dict[str, float] | None = None,
    before: float = 1.0,
    after: float = 1.0,
) -> Outcome:
    """A sleep that is rolled back: everything stays as it was."""
    found = found or {"kl": 0.0, "kl_ungated": 0.0, "drift": 0.0, "false_open": 0.0}
    rejected = {s.episode: "the sleep was rolled back" for s in new}
    return Outcome(previous, Report((), rejected, reason, steps, **found, older_before=before, older_after=after))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _state(training: Training, place: _Place, data: int) -> State:
    inner = training.state()
    tensors = {f"training.{name}": t for name, t in inner.tensors.items()}
    tensors["missed"] = torch.tensor(place.missed, dtype=torch.int64)
    numbers = {"step": inner.numbers["step"], "round": place.round, "from_step": place.from_step, "data": data}
    return State(LAYOUT, VERSION, tensors, numbers)


def _restore(training: Training, state: State, data: int) -> _Place:
    if state.layout != LAYOUT or state.numbers.get("data") != data:
        raise InputError("the saved sleep was about other episodes or settings: start the sleep afresh")
    inner = {k.removeprefix("training."): t for k, t in state.tensors.items() if k.startswith("training.")}
    training.restore(State(TRAINING, TRAINING_VERSION, inner, {"step": state.numbers["step"]}))
    return _Place(state.numbers["round"], state.numbers["from_step"], tuple(state.tensors["missed"].tolist()))
