"""The speller: a character model of a million parameters that looks letters up in its context, for experiments that
must run in minutes. Its weights come with the package, and :func:`pretrained` makes them again."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from fastslow.fast.frame import LayerConfig
from fastslow.models.decoder import Decoder, DecoderConfig
from fastslow.models.policy import DecoderPolicy, Prompt
from fastslow.store import io
from fastslow.worlds import ciphers

FILE = Path(__file__).with_name("speller.safetensors")
CONFIG = DecoderConfig(128, ("gated_delta_net",) * 3, LayerConfig(160, 4, 40, 40, conv=5), hidden=448)
LONGEST = 5  # tokens of an answer: four digits and the end
STEPS, BATCH, QUESTIONS, RATE, WARM = 1000, 32, 8, 5e-3, 50
EASY = 0.25  # of the steps, the first: without easy pages no row was looked up after 1,500 steps


def prompt(lines: tuple[str, ...], question: str) -> Prompt:
    """A question under a context's lines, as the speller reads it."""
    return Prompt(*ciphers.rendered(lines, question))


def load() -> DecoderPolicy:
    """The speller as it comes with the package."""
    decoder = Decoder(CONFIG)
    decoder.load_state_dict({name: t.float() for name, t in _weights().items()})
    return DecoderPolicy(decoder, LONGEST)


@cache
def _weights() -> dict[str, torch.Tensor]:
    return load_file(FILE)


def pretrained(
    seed: int = 0, steps: int = STEPS, progress: Callable[[int, int, float], None] = lambda step, steps, loss: None
) -> Decoder:
    """Reads tables of its own, thousands of them, and learns from what is answered alone. ``progress`` gets (step,
    steps, loss)."""
    torch.manual_seed(seed)
    decoder, random = Decoder(CONFIG), Random(f"speller-{seed}")
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            cosine = 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2
            group["lr"] = RATE * min(1.0, (step + 1) / WARM) * cosine
        pages = [ciphers.page(random, QUESTIONS, step < EASY * steps) for _ in range(BATCH)]
        longest = max(len(text) for text, _ in pages)
        read = torch.tensor([list(text.ljust(longest, ciphers.END).encode()) for text, _ in pages])
        told = torch.tensor([[n in answers for n in range(1, longest)] for _, answers in pages])
        logits, _ = decoder(read[:, :-1], decoder.init_state(BATCH))
        loss = nn.functional.cross_entropy(logits[told], read[:, 1:][told])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        progress(step + 1, steps, float(loss.detach()))
    return decoder


def save(decoder: Decoder, file: Path) -> None:
    """Weights with half of their bits, which is how they come with the package."""
    halved = {name: t.detach().bfloat16().contiguous() for name, t in decoder.state_dict().items()}
    io.write_atomic(file, to_bytes(halved))
