"""What every memory of a sequence offers: a protocol that it satisfies by having the methods, without inheriting.

State goes in and comes out. A memory keeps nothing on itself and never changes what it was given, so that a state
can be saved, hashed, forked and replayed (:class:`fastslow.state.State`).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from fastslow.state import State


@runtime_checkable
class SequenceMemory(Protocol):
    """A memory written by every token or chunk of a sequence.

    ``forward`` over a sequence, ``forward`` over any cut of it, and repeated ``step`` give the same outputs and the
    same final state. A rule in which the chunk is part of the meaning keeps its unfinished chunk in the state.
    """

    def init_state(self, batch_size: int) -> State:
        """The state before the first token, for ``batch_size`` rows that never see each other."""
        ...

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """A whole chunk (B, T, width), parallel where the rule allows: the outputs (B, T, width) and the next state."""
        ...

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """One token (B, width): the output (B, width) and the next state; the same answer as ``forward``."""
        ...
