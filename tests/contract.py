"""What every memory promises, checked in one place: any cut, every step and a reload give the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fastslow.fast.frame import VERSION
from fastslow.state import State


@torch.no_grad()
def assert_any_cut_gives_the_same(memory: Any, x: Tensor, cuts: Iterable[int], aligned: int | None = None) -> None:
    """``x`` (B, T, ..) whole, in two parts with a reload of the state between them, and token by token. Within 1e-9,
    and in the same bits where a cut is a multiple of ``aligned``."""
    whole, last = memory(x, memory.init_state(len(x)))
    for cut in cuts:
        first, state = memory(x[:, :cut], memory.init_state(len(x)))
        loaded = State.from_bytes(state.to_bytes(), layout=memory.layout, version=VERSION)
        second, after = memory(x[:, cut:], loaded)
        assert memory(x[:, cut:], state.fork())[1].hash() == after.hash()
        both = torch.cat([first, second], 1)
        torch.testing.assert_close(both, whole, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(after.tensors, last.tensors, rtol=1e-9, atol=1e-11)
        assert after.numbers == last.numbers
        if aligned and cut % aligned == 0:
            assert both.equal(whole) and after.hash() == last.hash()
    state = memory.init_state(len(x))
    for t in range(x.shape[1]):
        y, state = memory.step(x[:, t], state)
        torch.testing.assert_close(y, whole[:, t], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(state.tensors, last.tensors, rtol=1e-9, atol=1e-11)
