"""What every memory offers: protocols that a memory satisfies by having the methods, without inheriting.

State goes in and comes out. A memory keeps nothing on itself and never changes what it was given, so that a state
can be saved, hashed, forked and replayed (:class:`fastslow.state.State`).
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from fastslow.state import State

EpisodeT = TypeVar("EpisodeT", contravariant=True)


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


@runtime_checkable
class EpisodicMemory(Protocol[EpisodeT]):
    """A memory written by episodes or by sleeps; what one episode wrote can be taken out again."""

    def write(self, state: State, episode: EpisodeT) -> State:
        """The state that also holds ``episode``. Durable only once the learner has logged it."""
        ...

    def forget(self, state: State, episode_id: str) -> State:
        """The state as if the episode had never been written, bit for bit.

        Raises UnknownEpisode where the state holds no such episode.
        """
        ...

    def decay(self, state: State, dt: float) -> State:
        """The state after ``dt`` seconds without use."""
        ...
