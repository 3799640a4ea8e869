"""The question: which memory makes the better small language model in the same time, and which comes back faster to a
text after another one?

Decoders of two blocks with about as many parameters each read bytes for as much CPU time each: first text A, Python's
language reference, then B, source code, then A again. What they would have to pay for an unseen part of either is
measured on the way. `fastslow bench characters --json docs/results/characters.json`
"""

from __future__ import annotations

import argparse
import inspect
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastslow.bench import experiment
from fastslow.bench.fast import reference
from fastslow.errors import InputError
from fastslow.fast.frame import LayerConfig
from fastslow.models.decoder import Decoder, DecoderConfig
from fastslow.models.training import BYTES, as_tokens, bits_per_byte

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULES = ("linear_attention", "mamba2", "gated_delta_net", "kda", "mlstm", "rwkv7", "ttt_linear", "titans", "mesa_net",
         "hebbian_rnn", "lstm", "clockwork_rnn", "attention")  # fmt: skip
WIDTH, PARAMETERS = 64, 150_000
BATCH, WINDOW, UNSEEN = 8, 128, 8192  # sequences and bytes of a step; bytes that are judged on
RATES = (3e-3, 1e-3, 3e-4)  # each is tried for a turn, and the one with the least training loss is kept
PARTS = (("A", 4), ("B", 2), ("A", 2))  # what is read, and for how many turns; after each turn it is judged


def run(
    file: Path | None = None,
    *,
    seed: int = 0,
    long: bool = False,
    rules: Sequence[str] = RULES,
    seconds: float | None = None,
    unseen: int = UNSEEN,
) -> dict[str, Any]:
    """``seconds`` of CPU a turn; ``long`` takes ten times as many."""
    turn = seconds or (50.0 if long else 5.0)
    texts = {"A": as_tokens(reference("tune")), "B": as_tokens(inspect.getsource(argparse))}
    found, diverged = {}, []
    for rule in experiment.progress(rules, "memories"):
        try:
            found[rule] = life(rule, seed, turn, texts, unseen)
        except InputError:  # a memory refuses what is not finite, which is what a training that diverged gives it
            diverged.append(rule)
    settings = {
        "seed": seed,
        "seconds": turn,
        "rates": list(RATES),
        "bytes": {n: len(t) for n, t in texts.items()},
        "unseen": unseen,
    }
    result = {"bench": "characters", "settings": settings, "memories": found, "diverged": diverged}
    return experiment.publish(file, result, _text(result), partial(_draw, result=result))


def model(rule: str) -> Decoder:
    """Two blocks, the maps behind the memories as wide as PARAMETERS allows."""

    # attention sees as far as it was trained to see: beyond, its positions are new to it
    layer = LayerConfig(WIDTH, heads=2, key=32, value=32, depth=1, window=WINDOW if rule == "attention" else None)

    def sized(hidden: int) -> DecoderConfig:
        return DecoderConfig(BYTES, (rule, rule), layer, hidden)

    bare = sum(p.numel() for p in Decoder(sized(1)).parameters())
    return Decoder(sized(1 + max(0, PARAMETERS - bare) // (2 * 3 * WIDTH)))


def life(rule: str, seed: int, turn: float, texts: dict[str, Tensor], unseen: int) -> dict[str, Any]:
    """Bits per byte of the unseen end of both texts before and after every turn, and the steps that each part took.

    Raises InputError where the training diverges at every rate."""
    seen, ends = ({n: part(t) for n, t in texts.items()} for part in (lambda t: t[:-unseen], lambda t: t[-unseen:]))
    rate = min(RATES, key=lambda rate: _tried(rule, seed, rate, seen["A"], turn))
    decoder, random = _born(rule, seed)
    curve, steps = [_bits(decoder, ends)], []
    for name, turns in PARTS:
        steps.append(0)
        for _ in range(turns):
            steps[-1] += len(_read(decoder, random, seen[name], turn, rate))
            curve.append(_bits(decoder, ends))
    parameters = sum(p.numel() for p in decoder.parameters())
    return {"parameters": parameters, "rate": rate, "steps": steps, **{n: [bits[n] for bits in curve] for n in texts}}


def _born(rule: str, seed: int) -> tuple[Decoder, Random]:
    torch.manual_seed(seed)
    return model(rule), Random(seed)


def _tried(rule: str, seed: int, rate: float, text: Tensor, seconds: float) -> float:
    """The training loss after a turn at this rate."""
    try:
        last = _read(*_born(rule, seed), text, seconds, rate)[-50:]
    except InputError:
        return math.inf
    return sum(last) / len(last)


def _bits(decoder: Decoder, ends: dict[str, Tensor]) -> dict[str, float]:
    return {name: bits_per_byte(decoder, end, 1024) for name, end in ends.items()}


def _read(decoder: Decoder, random: Random, text: Tensor, seconds: float, rate: float) -> list[float]:
    """Trained for ``seconds`` of CPU time: the loss of every step."""

    def loss(step: int) -> Tensor:
        starts = [random.randrange(len(text) - WINDOW) for _ in range(BATCH)]
        batch = torch.stack([text[s : s + WINDOW + 1] for s in starts])
        logits, _ = decoder(batch[:, :-1], decoder.init_state(BATCH))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())

    end = time.process_time() + seconds
    return experiment.fit(
        decoder.parameters(), loss, steps=1_000_000, rate=rate, done=lambda step, now: time.process_time() > end
    )


def _text(result: dict[str, Any]) -> str:
    found, settings = result["memories"], result["settings"]
    learned, after = PARTS[0][1], PARTS[0][1] + PARTS[1][1]
    rows = []
    for rule in sorted(found, key=lambda rule: found[rule]["A"][learned]):
        m = found[rule]
        numbers = (m["A"][learned], m["B"][after], m["A"][after], m["A"][after + 1], m["A"][-1])
        rows.append([rule, *(f"{n:.2f}" for n in numbers), sum(m["steps"]), f"{m['rate']:g}", f"{m['parameters']:,}"])
    header = ["memory", "A", "B after B", "A after B", "A, a turn later", "A at the end", "steps", "rate", "parameters"]
    return f"""# A small language model with each memory

`fastslow bench characters --json docs/results/characters.json`: bits per byte of unseen text. Two blocks of width
{WIDTH}, windows of {WINDOW} bytes; every memory gets the same CPU time: {PARTS[0][1]} turns of {settings["seconds"]:g}
seconds on A (Python's language reference, {settings["bytes"]["A"]:,} bytes), {PARTS[1][1]} on B (source code,
{settings["bytes"]["B"]:,} bytes), {PARTS[2][1]} on A again. Seed {settings["seed"]}.

{experiment.table(header, rows)}

The rate is the one of {", ".join(f"{r:g}" for r in settings["rates"])} with the least training loss in a first turn; it
is never lowered. Diverged: {", ".join(result["diverged"]) or "none"}. Attention sees the last {WINDOW} bytes, as many
as it is trained on; the others carry their state through the whole unseen text.

Time and not steps is what is equal here: what is slow on this machine has had fewer steps.
"""


def _draw(figure: Figure, result: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    turn = result["settings"]["seconds"]
    for n, (rule, m) in enumerate(result["memories"].items()):
        for axes, name in ((left, "A"), (right, "B")):
            at = [turn * i for i in range(len(m[name]))]
            axes.plot(at, m[name], label=rule, color=f"C{n % 10}", linestyle="-" if n < 10 else "--", linewidth=1.2)
    for axes, name in ((left, "A"), (right, "B")):
        axes.axvspan(turn * PARTS[0][1], turn * (PARTS[0][1] + PARTS[1][1]), color="0.92")
        axes.set(xlabel="CPU seconds", title=f"Unseen part of {name} (grey: while B is read)", ylim=(None, 6))
    left.set(ylabel="bits per byte")
    right.legend(frameon=False, fontsize=7, bbox_to_anchor=(1, 1), loc="upper left")
