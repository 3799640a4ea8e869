"""Training a delta of the top half on lessons and texts, a pure function of (core, data, config, seed).

Three things make it cheap on a CPU. The part of the core below the first adapted layer never changes, so its hidden
states are computed once. Short lessons share their chat prefix: many stand in one row behind one copy of it, each
seeing the prefix and itself. And only the learned tokens pay for the vocabulary.

The whole state of a training (factors, Adam's moments, step) is a `State`; order and anchors of every step follow from
(seed, step) alone, so a training that was cut off goes on from a saved state with the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.decode import LIVE, PAD, SINK, masks
from fastslow.errors import CoreError, InputError
from fastslow.lessons import Lesson
from fastslow.state import State

LAYOUT, VERSION = "slow/training", 1
CHUNK = 128  # learned tokens whose logits are in memory at once


@dataclass(frozen=True)
class TrainingConfig:
    """How one expert is trained. ``first_layer`` None starts at the core's cut; ``epochs`` passes over all pieces;
    ``anchor_weight`` times the KL (nats per token) to the bare core on ``anchor_rows`` rows every ``anchor_every``
    steps; ``save_every`` steps a state is offered for saving."""

    rank: int = 16
    targets: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    first_layer: int | None = None
    lr: float = 2e-3
    epochs: int = 1
    batch_tokens: int = 1024
    row_tokens: int = 512
    warmup: int = 4
    final_lr: float = 0.1
    clip: float = 1.0
    anchor_weight: float = 1.0
    anchor_rows: int = 2
    anchor_every: int = 2
    save_every: int = 20


@dataclass(frozen=True)
class Piece:
    """Token ids that stand behind a shared prefix; those from index ``first`` on are learned, each from its past."""

    ids: tuple[int, ...]
    first: int


@dataclass
class Material:
    """Pieces behind one prefix (which may be empty), with their hidden states where the delta begins.

    ``prefix`` is (P, width), ``states[i]`` is (len(ids), width).
    """

    prefix: Tensor
    pieces: list[Piece]
    states: list[Tensor] = field(repr=False)


@dataclass(frozen=True)
class Row:
    material: Material
    members: tuple[int, ...]  # indices of pieces


class TrainingDiverged(CoreError):
    """A loss or a gradient was not finite; the factors are as they were before the step."""


def seed_of(*parts: object) -> int:
    """A seed that depends on the content of its parts and on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


# ---------------------------------------------------------------------------------------------------------- material


def deep_core(core: Core, first_layer: int | None) -> Core:
    """The same core (all parameters shared), cut where the delta begins: what lies below is computed once."""
    if first_layer is None or first_layer <= core.split:
        return core
    return Core(core.name, core.model, core.tokenizer, first_layer)


def chat_prefix(core: Core) -> tuple[int, ...]:
    """The tokens with which every prompt of this core's chat template begins (system message, role)."""
    one, two = core.prompt("Apples"), core.prompt("7 zebras")
    same = 0
    while same < min(len(one), len(two)) and one[same] == two[same]:
        same += 1
    return tuple(one[:same])


def lesson_material(core: Core, lessons: Sequence[Lesson], row_tokens: int) -> Material:
    """Lessons (without pages) behind the chat prefix, which all must share."""
    prefix = chat_prefix(core)
    pieces = []
    for lesson in lessons:
        if lesson.pages or lesson.prompt[: len(prefix)] != prefix or len(lesson.prompt) <= len(prefix):
            raise InputError("a lesson of the slow tier goes through the chat template and has no pages in sight")
        ids = (*lesson.prompt[len(prefix) :], *lesson.answer)
        pieces.append(Piece(ids, len(lesson.prompt) - len(prefix)))
    return _material(core, prefix, pieces, row_tokens)


def text_material(core: Core, texts: Sequence[str], row_tokens: int) -> Material:
    """Plain texts in windows of at most ``row_tokens`` tokens, every token but a window's first learned."""
    pieces = []
    for text in texts:
        ids = core.encode(text)
        windows = [tuple(ids[i : i + row_tokens]) for i in range(0, len(ids), row_tokens)]
        pieces += [Piece(w, 1) for w in windows if len(w) > 1]
    return _material(core, (), pieces, row_tokens)


def _material(core: Core, prefix: tuple[int, ...], pieces: list[Piece], row_tokens: int) -> Material:
    material = Material(torch.zeros(len(prefix), core.width, dtype=core.dtype), pieces, [])
    with torch.no_grad():
        if prefix:
            material.prefix = core.bottom(input_ids=torch.tensor([prefix])).last_hidden_state[0]
        found: dict[int, Tensor] = {}
        order = sorted(range(len(pieces)), key=lambda i: (len(pieces[i].ids), i))  # rows of like length: no padding
        rows = pack(material, order, row_tokens)
        for batch in batches(rows, 2048):
            ids = [[*prefix, *(t for i in row.members for t in pieces[i].ids)] for row in batch]
            segments, position = _segments(batch)
            length = segments.shape[1]
            padded = torch.tensor([[*r, *[core.sink_id] * (length - len(r))] for r in ids])
            hidden = core.bottom(
                input_ids=padded, attention_mask=_mask(core, segments, position), position_ids=position
            )
            for row, states in zip(batch, hidden.last_hidden_state, strict=True):
                at = len(prefix)
                for i in row.members:
                    found[i] = states[at : at + len(pieces[i].ids)].clone()
                    at += len(pieces[i].ids)
    material.states = [found[i] for i in range(len(pieces))]
    return material


def pack(material: Material, order: Sequence[int], row_tokens: int) -> list[Row]:
    """Rows of whole pieces in the given order, each as full as ``row_tokens`` allows (one piece at least)."""
    rows: list[Row] = []
    members: list[int] = []
    used = len(material.prefix)
    for i in order:
        size = len(material.pieces[i].ids)
        if members and used + size > row_tokens:
            rows.append(Row(material, tuple(members)))
            members, used = [], len(material.prefix)
        members.append(i)
        used += size
    return [*rows, Row(material, tuple(members))] if members else rows


def row_length(row: Row) -> int:
    return len(row.material.prefix) + sum(len(row.material.pieces[i].ids) for i in row.members)


def batches(rows: Sequence[Row], tokens: int) -> list[list[Row]]:
    """Consecutive rows, at most ``tokens`` tokens of padded width together (one row at least)."""
    found: list[list[Row]] = []
    for row in rows:
        widest = max([row_length(r) for r in found[-1]] + [row_length(row)]) if found else 0
        if found and widest * (len(found[-1]) + 1) <= tokens:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _segments(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Segments and positions (B, S), padded on the right: the prefix is the sink that every piece sees, and a
    piece is a branch, live text that sees nothing after it."""
    labels, positions = [], []
    for row in rows:
        prefix = len(row.material.prefix)
        label, position = [SINK] * prefix, list(range(prefix))
        for n, i in enumerate(row.members):
            size = len(row.material.pieces[i].ids)
            label += [LIVE + 1 + n] * size
            position += range(prefix, prefix + size)
        labels.append(label)
        positions.append(position)
    length = max(len(label) for label in labels)
    segment = torch.tensor([label + [PAD] * (length - len(label)) for label in labels])
    return segment, torch.tensor([p + [0] * (length - len(p)) for p in positions])


def _mask(core: Core, segments: Tensor, position: Tensor) -> Tensor | dict[str, Tensor] | None:
    # Whole rows of one piece take the plain causal path, which is faster than a mask of the same meaning.
    if bool((segments == LIVE + 1).all()):
        return None
    found = masks(core, segments, segments.shape[1])
    if isinstance(found, dict) and core.top.config.sliding_window is not None:
        # Pages stay in sight of a sliding window; lessons are live text, so for them it slides.
        far = position[:, :, None] - position[:, None, :] >= core.top.config.sliding_window
        sliding = found["sliding_attention"]
        found["sliding_attention"] = sliding.masked_fill(far[:, None], torch.finfo(sliding.dtype).min)
    return found


def predictions(core: Core, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """The last hidden states (N, width) that predict the learned tokens of the rows, and those tokens (N,).

    Differentiable in the deltas that are live.
    """
    segments, position = _segments(rows)
    length = segments.shape[1]
    hidden = []
    for row in rows:
        parts = torch.cat([row.material.prefix, *(row.material.states[i] for i in row.members)])
        hidden.append(torch.nn.functional.pad(parts, (0, 0, 0, length - len(parts))))
    output = core.upper(
        inputs_embeds=torch.stack(hidden),
        attention_mask=_mask(core, segments, position),
        position_ids=position,
        use_cache=False,
    ).last_hidden_state
    where: list[int] = []
    targets: list[int] = []
    for n, row in enumerate(rows):
        at = n * length + len(row.material.prefix)
        for i in row.members:
            piece = row.material.pieces[i]
            where += range(at + piece.first - 1, at + len(piece.ids) - 1)
            targets += piece.ids[piece.first :]
            at += len(piece.ids)
    return output.flatten(0, 1)[torch.tensor(where)], torch.tensor(targets)


class _InChunks(torch.autograd.Function):
    """The mean of ``losses(states[i:j], i, j)`` over all rows of states, a chunk at a time.

    The logits of a large vocabulary are hundreds of megabytes; in chunks they stay in reused memory, and the gradient
    of each is taken at once. Only ``states`` gets a gradient.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, losses: Callable[[Tensor, int, int], Tensor]) -> Tensor:
        total, gradients = torch.zeros(()), []
        for i in range(0, len(states), CHUNK):
            part = states[i : i + CHUNK].detach().requires_grad_(ctx.needs_input_grad[0])
            with torch.set_grad_enabled(ctx.needs_input_grad[0]):
                loss = losses(part, i, i + CHUNK)
            if ctx.needs_input_grad[0]:
                gradients.append(torch.autograd.grad(loss, part)[0])
            total += loss.detach()
        if gradients:
            ctx.save_for_backward(torch.cat(gradients).div_(len(states)))
        return total / len(states)

    @staticmethod
    def backward(ctx: Any, *grad: Any) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0] * grad[0].to(ctx.saved_tensors[0].dtype), None


def loss_of(core: Core, rows: Sequence[Row]) -> Tensor:
    """Mean cross-entropy (nats per learned token) of the rows."""
    states, targets = predictions(core, rows)

    def losses(part: Tensor, i: int, j: int) -> Tensor:
        return torch.nn.functional.cross_entropy(core.head(part), targets[i:j], reduction="sum")

    return cast(Tensor, _InChunks.apply(states, losses))


# ---------------------------------------------------------------------------------------------------------- anchors


@dataclass(frozen=True)
class Anchor:
    """A row on which the delta should change nothing, and what the bare core predicts there."""

    row: Row
    bare: Tensor  # (N, width): last hidden states of the bare core


@torch.no_grad()
def make_anchors(core: Core, material: Material) -> list[Anchor]:
    """One anchor for each piece."""
    rows = [Row(material, (i,)) for i in range(len(material.pieces))]
    return [Anchor(row, predictions(core, [row])[0]) for row in rows]


def anchor_kl(core: Core, anchors: Sequence[Anchor]) -> Tensor:
    """Mean KL (nats per token) from the bare core's next-token distribution to the one with the live deltas."""
    states, _ = predictions(core, [a.row for a in anchors])
    before = torch.cat([a.bare for a in anchors])

    def divergences(part: Tensor, i: int, j: int) -> Tensor:
        with torch.no_grad():
            bare = torch.log_softmax(core.head(before[i:j]), -1)
        live = torch.log_softmax(core.head(part), -1)
        return torch.nn.functional.kl_div(live, bare, log_target=True, reduction="sum")

    return cast(Tensor, _InChunks.apply(states, divergences))


# ---------------------------------------------------------------------------------------------------------- training


@dataclass
class Training:
    """A delta in training with Adam's two moments; ``step`` counts updates made."""

    delta: Delta
    first: list[Tensor]
    second: list[Tensor]
    step: int = 0

    @classmethod
    def begin(cls, core: Core, name: str, config: TrainingConfig, seed: int, start: Delta | None = None) -> Training:
        """A fresh delta that changes nothing yet, or one that goes on from ``start``."""
        first_layer = core.split if config.first_layer is None else config.first_layer
        delta = core.new_delta(name, config.targets, config.rank, first_layer=first_layer, seed=seed)
        if start is not None:
            own, given = ({k: b.shape for k, (_, b) in d.factors.items()} for d in (delta, start))
            if own != given:
                raise InputError("the expert to go on from has other layers or another rank: train a new one")
            with torch.no_grad():
                for key, pair in start.factors.items():
                    for mine, theirs in zip(delta.factors[key], pair, strict=True):
                        mine.copy_(theirs)
        zeros = [torch.zeros_like(p) for p in delta.parameters()]
        return cls(delta, zeros, [z.clone() for z in zeros])

    def state(self) -> State:
        """Everything a resumed training needs; a copy."""
        tensors: dict[str, Tensor] = {}
        for n, (key, pair) in enumerate(self.delta.factors.items()):
            for m, which in enumerate("AB"):
                tensors[f"{key}.{which}"] = pair[m].detach().clone()
                tensors[f"{key}.{which}.first"] = self.first[2 * n + m].clone()
                tensors[f"{key}.{which}.second"] = self.second[2 * n + m].clone()
        return State(LAYOUT, VERSION, tensors, {"step": self.step})

    def restore(self, state: State) -> None:
        """Become what :meth:`state` saved; raises InputError where it belongs to another delta."""
        own = self.state()
        shapes = {k: (t.shape, t.dtype) for k, t in state.tensors.items()}
        if state.layout != LAYOUT or shapes != {k: (t.shape, t.dtype) for k, t in own.tensors.items()}:
            raise InputError("this training state belongs to another expert: start the sleep afresh")
        with torch.no_grad():
            for n, (key, pair) in enumerate(self.delta.factors.items()):
                for m, which in enumerate("AB"):
                    pair[m].copy_(state.tensors[f"{key}.{which}"])
                    self.first[2 * n + m].copy_(state.tensors[f"{key}.{which}.first"])
                    self.second[2 * n + m].copy_(state.tensors[f"{key}.{which}.second"])
        self.step = state.numbers["step"]

    def update(self, loss: Tensor, lr: float, clip: float) -> None:
        """One Adam step (Kingma and Ba 2014, arXiv 1412.6980, algorithm 1; betas 0.9 and 0.99).

        Raises TrainingDiverged, the factors unchanged, where the loss or a gradient is not finite.
        """
        parameters = self.delta.parameters()
        gradients = torch.autograd.grad(loss, parameters)
        norm = torch.stack([g.norm() for g in gradients]).norm()
        if not bool(torch.isfinite(norm) & torch.isfinite(loss.detach())):
            raise TrainingDiverged(f"step {self.step} gave a loss of {float(loss.detach())}: lower the learning rate")
        self.step += 1
        scale = min(1.0, clip / (float(norm) + 1e-12))
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, self.first, self.second, strict=True):
                g = g * scale
                m.lerp_(g, 0.1)
                v.mul_(0.99).addcmul_(g, g, value=0.01)
                size = (v / (1 - 0.99**self.step)).sqrt_().add_(1e-8)
                p.addcdiv_(m, size, value=-lr / (1 - 0.9**self.step))


@dataclass(frozen=True)
class Hooks:
    """How a long sleep talks to its caller; none of it changes the result.

    ``progress`` gets (stage, steps done, steps in all, loss); ``save`` a state that resumes from here, every
    ``save_every`` steps; where ``stop`` says True between two steps, the sleep is left and can be resumed.
    """

    progress: Callable[[str, int, int, float], None] | None = None
    save: Callable[[State], None] | None = None
    stop: Callable[[], bool] | None = None


def epoch_batches(materials: Sequence[Material], config: TrainingConfig, seed: int, epoch: int) -> list[list[Row]]:
    """The batches of one epoch: pieces shuffled and packed anew, batches of all materials interleaved."""
    generator = torch.Generator().manual_seed(seed_of("epoch", seed, epoch))
    found: list[list[Row]] = []
    for material in materials:
        order = torch.randperm(len(material.pieces), generator=generator).tolist()
        rows = pack(material, order, config.row_tokens)
        # Rows of like length share a batch, so that the mask and the padding of one short row cost no other.
        rows.sort(key=row_length)
        found += batches(rows, config.batch_tokens)
    return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]


def schedule(config: TrainingConfig, step: int, total: int) -> float:
    """The learning rate of a step: a short linear warm-up, then linear down to ``final_lr`` of the peak."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, total - config.warmup)
    return config.lr * (1 - (1 - config.final_lr) * done)


def train(
    core: Core,
    training: Training,
    materials: Sequence[Material],
    anchors: Sequence[Anchor],
    config: TrainingConfig,
    *,
    seed: int,
    from_step: int = 0,
    stage: str = "training",
    hooks: Hooks | None = None,
) -> bool:
    """Run ``config.epochs`` epochs on ``training``, in place; steps below ``training.step`` are skipped as done.

    ``core`` is the one the materials were made with. ``from_step`` is the step at which this run of epochs began.
    Returns False where the hooks cut it off between two steps.
    """
    hooks = hooks or Hooks()
    plan = [b for e in range(config.epochs) for b in epoch_batches(materials, config, seed_of(seed, from_step), e)]
    for step, batch in _left(plan, training.step - from_step):
        if hooks.stop is not None and hooks.stop():
            return False
        with core.using([training.delta], merge=False):
            loss = loss_of(core, batch)
            whole = loss
            if anchors and config.anchor_weight and step % config.anchor_every == 0:
                whole = loss + config.anchor_weight * anchor_kl(core, _anchors_of(anchors, config, seed, step))
            training.update(whole, schedule(config, step, len(plan)), config.clip)
        if hooks.progress is not None:
            hooks.progress(stage, step + 1, len(plan), float(loss.detach()))
        if hooks.save is not None and training.step % config.save_every == 0:
            hooks.save(training.state())
    return True


def _left(plan: list[list[Row]], done: int) -> Iterator[tuple[int, list[Row]]]:
    return ((step, batch) for step, batch in enumerate(plan) if step >= done)


def _anchors_of(anchors: Sequence[Anchor], config: TrainingConfig, seed: int, step: int) -> list[Anchor]:
    turn = step // config.anchor_every
    generator = torch.Generator().manual_seed(seed_of("anchors", seed, turn))
    return [anchors[i] for i in torch.randperm(len(anchors), generator=generator)[: config.anchor_rows].tolist()]
