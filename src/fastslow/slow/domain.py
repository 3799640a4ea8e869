"""A domain into slow weights: one expert trained on plain text, behind a gate that knows the domain when it sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fastslow import anchors
from fastslow.core import Core
from fastslow.errors import InputError
from fastslow.gate import Gate
from fastslow.slow.audit import Bounds, Outcome, Report, broken, measure, probes, prompt_hidden, training_anchors
from fastslow.slow.experts import Expert
from fastslow.slow.training import (
    Hooks,
    Material,
    Training,
    TrainingConfig,
    TrainingDiverged,
    loss_of,
    pack,
    seed_of,
    text_material,
    train,
)
from fastslow.state import State

WINDOW = 32  # tokens of a window that a gate is fitted on


@dataclass(frozen=True)
class DomainConfig:
    """How a domain is consolidated. One window in ``keep_every`` is kept from training; the loss on these must fall by
    ``gain`` nats per token, or nothing is accepted. ``share``: how much of what was trained is kept; between the core
    and an expert that has begun to know its pages by heart lies one that serves other pages better (Wortsman et al.
    2022, arXiv 2109.01903). ``windows``: how many the gate is fitted on."""

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            lr=3e-3, epochs=2, batch_tokens=512, row_tokens=256, anchor_weight=1.0, anchor_rows=1, anchor_every=8
        )
    )
    share: float = 0.7
    keep_every: int = 24
    gain: float = 0.05
    windows: int = 400
    anchors: int = 16
    probes: int = 12
    bounds: Bounds = field(default_factory=Bounds)


def consolidate_domain(
    core: Core,
    episodes: Sequence[tuple[str, str]],
    config: DomainConfig | None = None,
    *,
    seed: int = 0,
    resume: State | None = None,
    hooks: Hooks | None = None,
) -> Outcome:
    """Consolidate ``episodes`` (id, text) of one domain into an expert with a gate of its own.

    A pure function of (core, episodes in order, config, seed), which rejects them where there is too little text for a
    gate. Raises InputError where the saved sleep was about something else.
    """
    config = config or DomainConfig()
    data = seed_of(seed, config, list(episodes))
    material = text_material(core, [text for _, text in episodes], config.training.row_tokens)
    if len(material.pieces) < 2:
        return Outcome(None, _rejected(episodes, "a domain needs some pages of text: learn more of it", 0, {}))
    try:
        gate = Gate.fit(_windows(material, config.windows), unrelated(core))
    except InputError as error:
        return Outcome(None, _rejected(episodes, str(error), 0, {}))
    studied, kept = _split(material, config.keep_every)
    training = Training.begin(core, f"domain-{data:014x}", replace(config.training, first_layer=None), data)
    if resume is not None:
        if resume.numbers.get("data") != data:
            raise InputError("the saved sleep was about other episodes or settings: start the sleep afresh")
        training.restore(resume)
    hooks = hooks or Hooks()
    save = hooks.save
    if save is not None:
        hooks = replace(hooks, save=lambda state: save(_about(state, data)))
    hold = training_anchors(core, core, config.anchors) if config.anchors else []
    try:
        if not train(core, training, [studied], hold, config.training, seed=data, stage="domain", hooks=hooks):
            return Outcome(None, None, _about(training.state(), data))
        expert = Expert.make(training.delta.scaled(config.share), gate, [e for e, _ in episodes])
    except (TrainingDiverged, InputError) as error:
        return Outcome(None, _rejected(episodes, str(error), training.step, {}))
    return _judge(core, expert, kept, config, training.step)


def unrelated(core: Core) -> list[Tensor]:
    """Hidden states (T, width) at the cut of everything a gate must stay shut on: general text, whole and in halves,
    and questions behind the chat template."""
    passages = [core.hidden(text) for text in anchors.general()]
    halves = [h[i : i + len(h) // 2] for h in passages for i in (0, len(h) // 2)]
    return [*passages, *halves, *(prompt_hidden(core, question) for question in anchors.chat())]


def _windows(material: Material, count: int) -> list[Tensor]:
    found = [s[i : i + WINDOW] for s in material.states for i in range(0, len(s) - WINDOW // 2, WINDOW)]
    every = max(1, len(found) // count)
    return found[::every][:count]


def _split(material: Material, keep_every: int) -> tuple[Material, Material]:
    """What is studied, and what is kept to see whether it helped (at least one piece)."""
    kept = list(range(keep_every - 1, len(material.pieces), keep_every)) or [len(material.pieces) - 1]
    studied = [i for i in range(len(material.pieces)) if i not in set(kept)]

    def take(which: list[int]) -> Material:
        pieces, states = [material.pieces[i] for i in which], [material.states[i] for i in which]
        return Material(material.prefix, pieces, states)

    return take(studied), take(kept)


def _judge(core: Core, expert: Expert, kept: Material, config: DomainConfig, steps: int) -> Outcome:
    """Accept all episodes, or none."""
    found = measure(core, expert, probes(core, core, config.probes), None)
    before, after = _loss(core, kept, None), _loss(core, kept, expert)
    losses = {"loss_before": before, "loss_after": after}
    reason = broken(config.bounds, found)
    if not reason and not before - after >= config.gain:
        reason = f"kept windows went from {before:.3f} to {after:.3f} nats per token: there is nothing to gain"
    names = [(episode, "") for episode in expert.episodes]
    if reason:
        return Outcome(None, _rejected(names, reason, steps, found | losses))
    report = Report(expert.episodes, {}, "", steps, **found, **losses)
    return Outcome(Expert.make(expert.delta, expert.gate, expert.episodes, report.plain()), report)


@torch.no_grad()
def _loss(core: Core, kept: Material, expert: Expert | None) -> float:
    rows = pack(kept, range(len(kept.pieces)), 1)
    with core.using([expert.delta] if expert else []):
        losses = [float(loss_of(core, [row])) for row in rows]
    return sum(losses) / len(losses)


def _rejected(episodes: Sequence[tuple[str, str]], reason: str, steps: int, found: dict[str, float]) -> Report:
    found = {"kl": 0.0, "kl_ungated": 0.0, "drift": 0.0, "false_open": 0.0} | found
    return Report((), {e: "the sleep was rolled back" for e, _ in episodes}, reason, steps, **found)


def _about(state: State, data: int) -> State:
    return State(state.layout, state.version, state.tensors, {**state.numbers, "data": data})
