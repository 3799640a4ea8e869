"""Pages: what is stored for one episode, its hidden states at the cut, compressed.

A page is one vector for every token of the episode. The same vectors serve twice: the router compares them with those
of a question, and the top half, run over them again, turns them into keys and values to attend to. Keeping one vector
instead of the keys and values of all the layers above it is what makes a page small: 576 numbers a token instead of
9,984 for the default core.

A few dimensions of a residual stream carry massive activations (Sun et al. 2024, arXiv 2402.17762), so each dimension
is standardised with constants of the core before it is rounded, and each token has its own scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fastslow import anchors
from fastslow.core import Core
from fastslow.errors import InputError
from fastslow.state import State

LAYOUT, VERSION = "medium/page", 1
BITS = (16, 8, 4, 2)


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and standard deviation of every dimension at the cut, (width,) each: constants of the core, measured over
    the built-in anchor texts, never over what is learned, so that no episode leaves a trace in another's page."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, core: Core) -> Standard:
        if "standard" not in core.constants:
            states = torch.cat([core.hidden(text) for text in anchors.general()]).float()
            core.constants["standard"] = cls(states.mean(0), states.std(0).clamp(min=1e-4))
        found: Standard = core.constants["standard"]
        return found

    def apply(self, hidden: Tensor) -> Tensor:
        return (hidden.float() - self.mean) / self.std

    def undo(self, z: Tensor) -> Tensor:
        return z * self.std + self.mean


def compress(hidden: Tensor, standard: Standard, bits: int, **labels: Tensor) -> State:
    """Store hidden states (T, width) with ``bits`` per number: 16 keeps them as bf16, fewer round to 2^bits - 1 even
    levels, symmetric around zero, with one scale per token. ``labels`` are tensors to keep with it as they are."""
    if bits not in BITS:
        raise InputError(f"a page keeps {BITS} bits a number, not {bits}: choose one of these")
    if not torch.isfinite(hidden).all():
        raise InputError("the core's hidden states of this text are not finite: the episode was not written")
    numbers = {"bits": bits, "tokens": len(hidden), "width": hidden.shape[1]}
    if bits == 16:
        return State(LAYOUT, VERSION, {"states": hidden.to(torch.bfloat16), **labels}, numbers)
    z = standard.apply(hidden)
    top = 2 ** (bits - 1) - 1
    # 4- and 2-bit rounding clips at a quantile: one far number would otherwise flatten the other 575.
    reach = z.abs().amax(1) if bits == 8 else torch.quantile(z.abs(), 0.995 if bits == 4 else 0.9, dim=1)
    scale = (reach / top).clamp(1e-6, 6e4).half()  # what half precision holds
    codes = (z / scale.float()[:, None]).round().clamp(-top, top).to(torch.int8)
    return State(LAYOUT, VERSION, {"codes": _pack(codes, bits), "scale": scale, **labels}, numbers)


def expand(page: State, standard: Standard, dtype: torch.dtype) -> Tensor:
    """The hidden states (T, width) of a stored page."""
    if page.numbers["bits"] == 16:
        return page.tensors["states"].to(dtype)
    codes = _unpack(page.tensors["codes"], page.numbers["bits"], page.numbers["width"])
    return standard.undo(codes.float() * page.tensors["scale"].float()[:, None]).to(dtype)


def _pack(codes: Tensor, bits: int) -> Tensor:
    """(T, width) int8 codes as (T, width * bits / 8) bytes."""
    if bits == 8:
        return codes
    per_byte = 8 // bits
    width = codes.shape[1]
    padded = torch.nn.functional.pad(codes, (0, -width % per_byte))
    parts = (padded.int() & (2**bits - 1)).unflatten(1, (padded.shape[1] // per_byte, per_byte))
    shifts = torch.arange(per_byte) * bits
    return (parts << shifts).sum(-1).to(torch.uint8)


def _unpack(packed: Tensor, bits: int, width: int) -> Tensor:
    if bits == 8:
        return packed
    shifts = torch.arange(8 // bits) * bits
    codes = (packed.int()[:, :, None] >> shifts) & (2**bits - 1)
    signed = codes - ((codes >> (bits - 1)) << bits)
    return signed.flatten(1)[:, :width]
