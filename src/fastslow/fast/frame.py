"""What every layer of fast weights and every recurrent cell shares: whose state is whose, and one token at a time; and
what layers share beyond that: queries, keys and values through a short convolution, norms and gates.

Letters of shapes: B batch, T tokens, D width, H heads, K and V channels of a key and of a value.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fastslow.errors import InputError, StoreError
from fastslow.fast import fla, fused, kernel
from fastslow.fast.kernel import CHUNK, Inputs
from fastslow.state import State

VERSION = 1
Held = dict[str, Tensor]


class Memory(nn.Module, ABC):
    """A SequenceMemory (:mod:`fastslow.memory`) over a stream of ``width``, as a module with parameters."""

    rule: ClassVar[str]
    width: int

    @property
    @abstractmethod
    def layout(self) -> str:
        """What a state of this memory means; a state of another rule or shape is refused by this name."""

    @abstractmethod
    def empty(self, batch: int) -> Held:
        """What it holds before the first token, every tensor with ``batch`` rows."""

    @abstractmethod
    def run(self, x: Tensor, held: Held, seen: int, *, single: bool) -> tuple[Tensor, Held]:
        """The outputs for ``x`` (B, T, width) and what is held after it, ``seen`` tokens having gone before; ``single``
        where T is 1 and the form for one token should run."""

    def init_state(self, batch_size: int) -> State:
        like = next(self.parameters())
        kept = torch.promote_types(like.dtype, torch.float32)  # the state stays in single precision under bf16
        held = {name: tensor.to(like.device, kept) for name, tensor in self.empty(batch_size).items()}
        return State(self.layout, VERSION, held, {"seen": 0})

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, T, width) and the state before it: the outputs (B, T, width) and the state after it.

        Raises StoreError for a state of another rule or shape, InputError for an ``x`` that does not fit.
        """
        return self._go(x, state, single=False)

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """One token (B, width)."""
        out, state = self._go(x_t[:, None], state, single=True)
        return out[:, 0], state

    def _go(self, x: Tensor, state: State, *, single: bool) -> tuple[Tensor, State]:
        self._mine(state)
        batch, seen = next(iter(state.tensors.values())).shape[0], state.numbers["seen"]
        self._check(x, batch)
        out, held = self.run(x, state.tensors, seen, single=single)
        return out, State(self.layout, VERSION, held, {"seen": seen + x.shape[1]})

    def _mine(self, state: State) -> None:
        if (state.layout, state.version) != (self.layout, VERSION):
            raise StoreError(
                f"a state of {state.layout!r} version {state.version} was given to a memory of {self.layout!r} version"
                f" {VERSION}: begin with its init_state"
            )

    def _check(self, x: Tensor, batch: int) -> None:
        if x.ndim != 3 or x.shape[0] != batch or x.shape[1] < 1 or x.shape[2] != self.width:
            raise InputError(f"x has shape {tuple(x.shape)}: give ({batch}, at least 1 token, {self.width})")
        wanted = next(self.parameters()).dtype
        if x.dtype != wanted and not torch.is_autocast_enabled(x.device.type):
            raise InputError(f"x is {x.dtype} and this memory {wanted}: convert one of them")
        # What is not finite would stay in the state for good. A compiled graph cannot look into its values.
        if not torch.compiler.is_compiling() and not bool(torch.isfinite(x).all()):
            raise InputError("x holds values that are not finite (NaN or infinite): nothing was written")

    def merge(self, earlier: State, later: State) -> State:
        """The state of the tokens behind ``earlier`` followed by those behind ``later``, which began with nothing:
        exact, and defined where the rule is a sum whose parts do not see each other.

        Raises InputError where it is not defined, StoreError for a state of another memory.
        """
        for state in (earlier, later):
            self._mine(state)
        held = self.merged(earlier.tensors, later.tensors, earlier.numbers["seen"], later.numbers["seen"])
        return State(self.layout, VERSION, held, {"seen": earlier.numbers["seen"] + later.numbers["seen"]})

    def merged(self, earlier: Held, later: Held, before: int, after: int) -> Held:
        """What is held after both, which saw ``before`` and ``after`` tokens."""
        raise InputError(f"states of {self.rule} cannot be merged: what it writes depends on what it holds")


@dataclass(frozen=True)
class LayerConfig:
    """``width`` D of the stream; ``heads`` H with ``key`` K and ``value`` V channels each; ``conv`` taps of the causal
    convolution (1: none); ``chunk`` tokens that the kernel takes at once; ``kernel``: which form of it runs, of
    which "fla" needs a GPU (:mod:`fastslow.fast.fla`) and "fused" is "chunk" in C (:mod:`fastslow.fast.fused`): single
    tokens, which then have no gradients, and chunks where they fit. A rule may have more to choose: ``features`` of
    the linear rules (DeltaNet has keys of length 1 where they are elu), and the ``steps`` of DeltaProduct."""

    width: int
    heads: int = 4
    key: int = 32
    value: int = 32
    conv: int = 4
    chunk: int = CHUNK
    kernel: Literal["chunk", "reference", "fla", "fused"] = "chunk"
    features: Literal["elu", "dpfp1", "dpfp2", "dpfp3"] = "elu"
    steps: int = 2
    depth: int = 2
    window: int | None = None

    def __post_init__(self) -> None:
        sizes = (self.width, self.heads, self.key, self.value, self.conv, self.chunk, self.steps, self.depth)
        if min(sizes) < 1 or (self.window is not None and self.window < 1):
            raise InputError(f"every size of a layer must be at least 1: {self}")
        if self.kernel not in ("chunk", "reference", "fla", "fused") or self.features not in (
            "elu",
            "dpfp1",
            "dpfp2",
            "dpfp3",
        ):
            raise InputError(f"kernel is chunk, reference, fla or fused, features elu, dpfp1, dpfp2 or dpfp3: {self}")

    def through(self, inputs: Inputs, state: Tensor, *, single: bool, size: int) -> tuple[Tensor, Tensor]:
        """The inputs through the form of the kernel that was chosen, but one step as a step: a chunk would be padded,
        and so would be the few steps of a ``single`` token."""
        if inputs.length == 1 and self.kernel != "reference":
            return (fused if self.kernel == "fused" else kernel).step(inputs, state)
        if single or self.kernel == "reference":
            return kernel.reference(inputs, state)
        if self.kernel == "fla":
            return fla.chunk(inputs, state)
        fits = self.kernel == "fused" and fused.fits(inputs, size)
        return fused.chunk(inputs, state, size) if fits else kernel.chunk(inputs, state, size)


def unit(x: Tensor) -> Tensor:
    """Keys and queries (.., K) of length 1, as fla has it: at tiny norms it goes to 0 and not to a random direction."""
    x = x.contiguous()  # the order of a sum over strided channels depends on how many tokens there are
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def per_head(x: Tensor, heads: int) -> Tensor:
    """(B, T, H * C) as (B, H, T, C)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class Layer(Memory):
    """The frame of a layer: queries, keys and values through a short causal convolution and SiLU, a norm on what each
    head reads, an output gate, and a projection back (Yang et al. 2024, arXiv 2406.06484, section 3.3). ``writes``: how
    many keys and values a token has."""

    sigmoid_gate: ClassVar[bool] = False  # of the output; SiLU otherwise

    def __init__(self, config: LayerConfig, writes: int = 1) -> None:
        super().__init__()
        self.config, self.writes, self.width = config, writes, config.width
        heads, key, value = config.heads, config.key, config.value
        self.sizes = [heads * key, writes * heads * key, writes * heads * value]
        self.to_qkv = nn.Linear(config.width, sum(self.sizes), bias=False)
        self.conv = nn.Parameter(torch.empty(sum(self.sizes), config.conv).uniform_(-1, 1) / math.sqrt(config.conv))
        self.norm = nn.RMSNorm(value, eps=1e-5)
        self.to_gate = nn.Linear(config.width, heads * value, bias=False)
        self.to_out = nn.Linear(heads * value, config.width, bias=False)

    @abstractmethod
    def remember(
        self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held, seen: int, *, single: bool
    ) -> tuple[Tensor, Held]:
        """What each head reads (B, H, T, V) and what is held anew, from ``x`` (B, T, D), ``q`` and each ``k`` (B, H, T,
        K) and each ``v`` (B, H, T, V)."""

    def empty(self, batch: int) -> Held:
        return {"conv": torch.zeros(batch, sum(self.sizes), self.config.conv - 1)}

    def run(self, x: Tensor, held: Held, seen: int, *, single: bool) -> tuple[Tensor, Held]:
        q, k, v, tail = self._projected(x, held["conv"])
        read, anew = self.remember(x, q, k, v, held, seen, single=single)
        said, gate = self.norm(read.to(x.dtype)), self.to_gate(x)
        gate = gate.sigmoid() if self.sigmoid_gate else nn.functional.silu(gate)
        return self.to_out(said.transpose(1, 2).flatten(2) * gate), {**held, **anew, "conv": tail}

    def _projected(self, x: Tensor, tail: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """Queries, keys and values of the heads, and the last inputs of the convolution (B, channels, conv - 1)."""
        raw = torch.cat([tail.to(x.dtype), self.to_qkv(x).mT], -1)
        taps = self.conv[:, None].to(x.dtype)
        mixed = nn.functional.conv1d(raw, taps, groups=len(self.conv)) if x.shape[1] else raw[..., :0]
        q, k, v = nn.functional.silu(mixed).mT.split(self.sizes, -1)
        last = raw[..., raw.shape[-1] - tail.shape[-1] :].to(tail.dtype)
        return self.per_head(q), self._writes(k), self._writes(v), last

    def _writes(self, x: Tensor) -> list[Tensor]:
        """(B, T, writes * H * C) as a (B, H, T, C) for each write."""
        return [self.per_head(part) for part in x.chunk(self.writes, -1)]

    def per_head(self, x: Tensor) -> Tensor:
        return per_head(x, self.config.heads)

    def gate(self, channels: int = 1, bias: bool = True) -> nn.Linear:
        """A map from the stream to ``channels`` numbers for each head."""
        return nn.Linear(self.config.width, self.config.heads * channels, bias=bias)
