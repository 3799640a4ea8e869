"""Titans' memory as context, gate and layer: cut anywhere, and no token sees what comes after it."""

from __future__ import annotations

import pytest
import torch
from contract import assert_any_cut_gives_the_same
from torch import Tensor

from fastslow.fast.frame import LayerConfig
from fastslow.fast.titans import PLACED, MemoryAsContext
from fastslow.memory import SequenceMemory

every = pytest.mark.parametrize("rule", PLACED)


def make(rule: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return PLACED[rule](LayerConfig(width=8, heads=2, key=4, value=4, chunk=4)).double()


def stream(length: int = 11) -> Tensor:
    return torch.randn(2, length, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@every
def test_any_cut_every_step_and_a_reload_give_the_same(rule: str) -> None:
    memory = make(rule)
    assert isinstance(memory, SequenceMemory)
    assert_any_cut_gives_the_same(memory, stream(), range(1, 9), aligned=4)


@every
def test_the_past_alone_decides_and_every_part_is_trained(rule: str) -> None:
    memory, x = make(rule), stream()
    whole, _ = memory(x, memory.init_state(2))
    changed, _ = memory(torch.cat([x[:, :6], x[:, 6:] + 1], 1), memory.init_state(2))
    torch.testing.assert_close(changed[:, :6], whole[:, :6], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(changed[:, 6], whole[:, 6])
    whole.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in memory.parameters())


@every
@torch.no_grad()
def test_the_state_stops_growing_and_the_far_past_is_still_heard(rule: str) -> None:
    memory, x = make(rule), stream(40)
    sizes = []
    for tokens in (20, 40):
        _, state = memory(x[:, :tokens], memory.init_state(2))
        sizes.append(state.size_bytes())
    assert sizes[0] == sizes[1]
    other = torch.cat([x[:, :1] + 1, x[:, 1:]], 1)
    last = [memory(t, memory.init_state(2))[0][:, -1] for t in (x, other)]
    assert not torch.allclose(*last, rtol=1e-9)  # attention alone would have forgotten the first token


@torch.no_grad()
def test_a_segment_reads_the_memory_as_it_was_at_its_start() -> None:
    memory, x = make("titans_mac"), stream(8)
    assert isinstance(memory, MemoryAsContext)
    _, state = memory(x[:, :4], memory.init_state(2))
    for place in range(1, 4):
        _, later = memory(x[:, 4 : 4 + place], state)
        asked = x[:, :3]
        begun, within = memory._recalled(asked, state.tensors, 0), memory._recalled(asked, later.tensors, place)
        torch.testing.assert_close(within, begun)
    _, ended = memory(x[:, 4:8], state)
    assert not torch.allclose(memory._recalled(asked, ended.tensors, 0), begun)
