"""What every layer of fast weights and every recurrent cell shares: whose state is whose, and one token at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastslow.errors import InputError, StoreError
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
        if (state.layout, state.version) != (self.layout, VERSION):
            raise StoreError(
                f"a state of {state.layout!r} version {state.version} was given to a memory of {self.layout!r} version"
                f" {VERSION}: begin with its init_state"
            )
        batch, seen = next(iter(state.tensors.values())).shape[0], state.numbers["seen"]
        if x.ndim != 3 or x.shape[0] != batch or x.shape[2] != self.width:
            raise InputError(f"x has shape {tuple(x.shape)}: give ({batch}, tokens, {self.width})")
        out, held = self.run(x, state.tensors, seen, single=single)
        return out, State(self.layout, VERSION, held, {"seen": seen + x.shape[1]})
