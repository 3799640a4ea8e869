"""Train a decoder on text as bytes: one plain loop, with checkpoints from which it goes on bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from fastslow.errors import InputError, StoreError
from fastslow.models.decoder import Decoder, DecoderConfig
from fastslow.state import State
from fastslow.store import io

BYTES = 256
LAYOUT, VERSION = "models/training", 1
CONFIG, CHECKPOINT = "decoder.json", "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainingRecipe:
    """``batch`` windows of ``window`` bytes a step, drawn by ``seed``; AdamW at ``rate``, warmed up over ``warm`` steps
    and lowered to a tenth by a cosine; a checkpoint every ``keep`` steps. The last ``unseen`` of the text is not
    trained on."""

    steps: int = 1000
    batch: int = 8
    window: int = 256
    rate: float = 3e-3
    warm: int = 50
    keep: int = 100
    unseen: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.window, self.keep) < 1 or not 0 < self.unseen < 1 or self.rate <= 0:
            raise InputError(f"steps, batch, window, keep and rate are positive, unseen lies between 0 and 1: {self}")


@dataclass(frozen=True)
class Training:
    """What a training gave: bits per byte of the unseen text before and after, and the loss of every step in nats."""

    steps: int
    bits_before: float
    bits: float
    losses: list[float]


def as_tokens(text: str) -> Tensor:
    """The bytes of a text, (T,)."""
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()


def parts(text: Tensor, recipe: TrainingRecipe) -> tuple[Tensor, Tensor]:
    """What is trained on and what is not. Raises InputError where either is shorter than a window."""
    cut = round(len(text) * (1 - recipe.unseen))
    seen, unseen = text[:cut], text[cut:]
    if min(len(seen), len(unseen)) <= recipe.window:
        raise InputError(
            f"{len(text)} bytes are too few for windows of {recipe.window}: give a longer text or a smaller --window"
        )
    return seen, unseen


def train(
    config: DecoderConfig,
    text: Tensor,
    recipe: TrainingRecipe,
    *,
    folder: Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Decoder, Training]:
    """A decoder trained on the bytes ``text`` (T,). With a ``folder`` it is kept there, and a training that was cut off
    goes on from its last checkpoint to the same weights; ``stop`` ends it early at a checkpoint. ``progress`` gets
    (step, steps, loss).

    Raises InputError where the folder holds a training of other settings or another text.
    """
    seen, unseen = parts(text, recipe)
    torch.manual_seed(recipe.seed)
    decoder = Decoder(config)
    bits_before = bits_per_byte(decoder, unseen, recipe.window)
    optimizer = torch.optim.AdamW(_groups(decoder), lr=recipe.rate, betas=(0.9, 0.95))
    kept = _Kept(folder, config, recipe, text)
    first, losses = kept.resume(decoder, optimizer)
    for step in range(first, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _share(step, recipe)
        batch = _batch(seen, recipe, step)
        logits, _ = decoder(batch[:, :-1], decoder.init_state(len(batch)))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise InputError(f"the loss is {losses[-1]} at step {step}: train with a smaller --rate")
        if progress:
            progress(step + 1, recipe.steps, losses[-1])
        stopped = stop()  # asked once, so that no training ends without a checkpoint
        if stopped or step + 1 == recipe.steps or (step + 1) % recipe.keep == 0:
            kept.keep(decoder, optimizer, losses)
        if stopped:
            break
    return decoder, Training(len(losses), bits_before, bits_per_byte(decoder, unseen, recipe.window), losses)


@torch.no_grad()
def bits_per_byte(decoder: Decoder, text: Tensor, window: int, state: State | None = None) -> float:
    """Of a text (T,) read from its start to its end with one state, ``window`` bytes at a time."""
    state = decoder.init_state(1) if state is None else state
    total = 0.0
    for start in range(0, len(text) - 1, window):
        inside = text[start : start + window + 1][None]
        logits, state = decoder(inside[:, :-1], state)
        total += float(nn.functional.cross_entropy(logits[0], inside[0, 1:], reduction="sum"))
    return total / math.log(2) / (len(text) - 1)


def load(folder: Path) -> Decoder:
    """The decoder that a training left in ``folder``. Raises InputError where there is none."""
    decoder = Decoder(DecoderConfig.from_dict(_about(folder)["decoder"]))
    try:
        data = (folder / CHECKPOINT).read_bytes()
    except OSError as error:
        raise InputError(f"{folder} holds no trained decoder ({error.strerror}): fastslow train makes one") from error
    _Kept.fill(decoder, State.from_bytes(data, layout=LAYOUT, version=VERSION))
    return decoder


def _about(folder: Path) -> dict[str, Any]:
    """The settings of the training in ``folder``."""
    try:
        about = json.loads((folder / CONFIG).read_text())
        return {name: about[name] for name in ("decoder", "recipe", "text")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no trained decoder ({error}): fastslow train makes one") from error


class _Kept:
    """The folder of a training: settings as JSON, and weights, moments and losses as one state."""

    def __init__(self, folder: Path | None, config: DecoderConfig, recipe: TrainingRecipe, text: Tensor) -> None:
        read = sha256(text.numpy().tobytes()).hexdigest()
        self.folder, self.about = folder, {"decoder": config.to_dict(), "recipe": asdict(recipe), "text": read}

    def resume(self, decoder: Decoder, optimizer: torch.optim.Optimizer) -> tuple[int, list[float]]:
        """The step to go on with and the losses so far."""
        if self.folder is None:
            return 0, []
        io.make_dir(self.folder)
        if not (self.folder / CHECKPOINT).exists():
            io.write_atomic(self.folder / CONFIG, json.dumps(self.about, indent=2).encode())
            return 0, []
        if _about(self.folder) != self.about:
            raise InputError(
                f"{self.folder} holds a training with other settings or of another text: "
                "take another --out, or remove it"
            )
        state = State.from_bytes((self.folder / CHECKPOINT).read_bytes(), layout=LAYOUT, version=VERSION)
        self.fill(decoder, state)
        for n, p in enumerate(_trained(optimizer)):
            moments = {name: state.tensors[f"{name}.{n}"] for name in ("exp_avg", "exp_avg_sq")}
            optimizer.state[p] = {"step": torch.tensor(float(state.numbers["step"])), **moments}
        return state.numbers["step"], state.tensors["losses"].tolist()

    def keep(self, decoder: Decoder, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
        if self.folder is None:
            return
        tensors = {f"weight.{name}": p.detach() for name, p in decoder.named_parameters()}
        for n, p in enumerate(_trained(optimizer)):
            for name in ("exp_avg", "exp_avg_sq"):
                tensors[f"{name}.{n}"] = optimizer.state[p].get(name, torch.zeros_like(p))
        tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
        state = State(LAYOUT, VERSION, tensors, {"step": len(losses)})
        io.write_atomic(self.folder / CHECKPOINT, state.to_bytes())

    @staticmethod
    def fill(decoder: Decoder, state: State) -> None:
        """Raises StoreError where the checkpoint is of another decoder."""
        weights = {n.removeprefix("weight."): t for n, t in state.tensors.items() if n.startswith("weight.")}
        try:
            decoder.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            raise StoreError(f"the checkpoint is of another decoder ({error}): train it anew") from error


def _groups(decoder: Decoder) -> list[dict[str, object]]:
    """Matrices decay; gains, biases and the numbers of gates do not."""
    matrices = [p for p in decoder.parameters() if p.ndim >= 2]
    others = [p for p in decoder.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]


def _trained(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _share(step: int, recipe: TrainingRecipe) -> float:
    along = step / recipe.steps
    return min(1.0, (step + 1) / max(1, recipe.warm)) * (0.1 + 0.45 * (1 + math.cos(math.pi * along)))


def _batch(text: Tensor, recipe: TrainingRecipe, step: int) -> Tensor:
    """Windows (batch, window + 1); the step alone decides which, so that a training can go on anywhere."""
    draw = Random(f"{recipe.seed}-{step}")
    starts = [draw.randrange(len(text) - recipe.window) for _ in range(recipe.batch)]
    return torch.stack([text[s : s + recipe.window + 1] for s in starts])
