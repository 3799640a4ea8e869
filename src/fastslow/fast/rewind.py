"""Sequences that do not go straight on: taking back the last tokens, and batches of rows of different lengths.

Both work for every memory and every decoder, because all they need is that any cut gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from fastslow.errors import InputError
from fastslow.fast.frame import VERSION
from fastslow.state import State


class Sequential(Protocol):
    """A memory over (B, T, width) or a decoder over tokens (B, T)."""

    @property
    def layout(self) -> str: ...

    def init_state(self, batch_size: int) -> State: ...

    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, State]: ...

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]: ...


class Rewindable:
    """A memory whose last tokens can be taken back: at least ``window`` of them, once there were so many.

    The state holds, beside what the memory holds now, what it held some tokens ago and the inputs since, so that its
    size does not grow with the sequence.
    """

    def __init__(self, memory: Sequential, window: int) -> None:
        if window < 1:
            raise InputError(f"a window of {window} tokens keeps nothing: give at least 1")
        self.memory, self.window = memory, window

    @property
    def layout(self) -> str:
        return f"{self.memory.layout} rewindable{self.window}"

    def init_state(self, batch_size: int) -> State:
        empty = self.memory.init_state(batch_size)
        return self._state(empty, empty, None)

    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """As the memory itself, with the state of this one."""
        now, then, since = self._parts(state)
        ahead = x.shape[1] - self.window
        if ahead < 1:
            out, now = self.memory(x, now)
            return out, self._advanced(now, then, x if since is None else torch.cat([since, x], 1))
        first, then = self.memory(x[:, :ahead], now)
        second, now = self.memory(x[:, ahead:], then)
        return torch.cat([first, second], 1), self._state(now, then, x[:, ahead:])

    forward = __call__

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """One token."""
        now, then, since = self._parts(state)
        out, now = self.memory.step(x_t, now)
        return out, self._advanced(now, then, x_t[:, None] if since is None else torch.cat([since, x_t[:, None]], 1))

    def rollback(self, state: State, count: int) -> State:
        """The state as if the last ``count`` tokens had never been seen.

        Raises InputError where fewer are kept.
        """
        _, then, since = self._parts(state)
        kept = 0 if since is None else since.shape[1]
        if not 0 <= count <= kept:
            raise InputError(
                f"{count} tokens cannot be taken back, only the last {kept} are kept: give a longer window"
            )
        if since is None or count == 0:
            return state
        since = since[:, : kept - count]
        return self._state(self.memory(since, then)[1], then, since) if count < kept else self._state(then, then, None)

    def _advanced(self, now: State, then: State, since: Tensor) -> State:
        """With the older state moved on by a window where two are kept, so that every token is read twice at most."""
        if since.shape[1] >= 2 * self.window:
            then, since = self.memory(since[:, : self.window], then)[1], since[:, self.window :]
        return self._state(now, then, since)

    def _state(self, now: State, then: State, since: Tensor | None) -> State:
        joined = State.join(self.layout, VERSION, {"now": now, "then": then})
        return (
            joined if since is None else State(self.layout, VERSION, {**joined.tensors, "since": since}, joined.numbers)
        )

    def _parts(self, state: State) -> tuple[State, State, Tensor | None]:
        now, then = (state.part(name, self.memory.layout, VERSION) for name in ("now", "then"))
        return now, then, state.tensors.get("since")


def ragged(
    memory: Sequential, rows: Sequence[Tensor], states: Sequence[State] | None = None
) -> tuple[list[Tensor], list[State]]:
    """Rows of different lengths, each (T_i, ..), with a state of one row each (the empty one by default): what the
    memory says to each (T_i, ..), and each row's state after it.

    Nothing is padded: the batch goes on together as far as its shortest row, then without it.
    """
    kept = list(states) if states is not None else [memory.init_state(1) for _ in rows]
    if len(kept) != len(rows) or any(len(row) < 1 for row in rows):
        raise InputError(f"{len(rows)} rows with {len(kept)} states: give a state for each row, and no empty row")
    said: list[list[Tensor]] = [[] for _ in rows]
    left = list(range(len(rows)))
    at = [0] * len(rows)
    while left:
        left.sort(key=lambda i: repr(kept[i].numbers))  # only rows that have seen as much go side by side
        for _, group in groupby(left, key=lambda i: repr(kept[i].numbers)):
            together = list(group)
            length = min(len(rows[i]) - at[i] for i in together)
            batch = torch.stack([rows[i][at[i] : at[i] + length] for i in together])
            out, after = memory(batch, State.stack([kept[i] for i in together]))
            for i, part, state in zip(together, out, after.rows(), strict=True):
                said[i].append(part)
                kept[i], at[i] = state, at[i] + length
        left = [i for i in left if at[i] < len(rows[i])]
    return [torch.cat(parts) for parts in said], kept
