"""Attention as a memory: equal to attention over the whole, in any cut, with a window that forgets."""

from __future__ import annotations

import pytest
import torch
from contract import assert_any_cut_gives_the_same
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from fastslow.errors import InputError
from fastslow.fast.attention import Attention, rotated
from fastslow.fast.frame import LayerConfig
from fastslow.memory import SequenceMemory

kinds = pytest.mark.parametrize(("window", "persistent"), [(None, 0), (3, 0), (1, 0), (4, 2)])


def make(window: int | None = None, persistent: int = 0, **more: int) -> Attention:
    torch.manual_seed(0)
    return Attention(LayerConfig(width=12, heads=2, key=4, value=5, window=window, **more), persistent).double()


def stream(length: int = 11) -> Tensor:
    return torch.randn(2, length, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@kinds
def test_it_equals_attention_token_by_token(window: int | None, persistent: int) -> None:
    memory, x = make(window, persistent), stream()
    out, _ = memory(x, memory.init_state(2))
    q, k, v = (p.unflatten(-1, (2, -1)).transpose(1, 2) for p in memory.to_qkv(x).split(memory.sizes, -1))
    q, k = rotated(q, 0), rotated(k, 0)
    for t in range(x.shape[1]):
        first = 0 if window is None else max(0, t + 1 - window)
        keys, values = k[:, :, first : t + 1], v[:, :, first : t + 1]
        if persistent:
            keys = torch.cat([memory.keys.expand(2, -1, -1, -1), keys], 2)
            values = torch.cat([memory.values.expand(2, -1, -1, -1), values], 2)
        weights = (q[:, :, t : t + 1] @ keys.mT / 4**0.5).softmax(-1)
        torch.testing.assert_close(out[:, t], memory.to_out((weights @ values).flatten(1)), rtol=1e-10, atol=1e-12)


def test_rotary_positions_equal_those_of_llama() -> None:
    x = stream().unflatten(-1, (2, 6)).transpose(1, 2).float()
    config = LlamaConfig(hidden_size=12, num_attention_heads=2, rope_theta=10_000.0)
    cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(5, 16)[None])
    theirs, _ = apply_rotary_pos_emb(x, x, cos, sin)
    torch.testing.assert_close(rotated(x, 5), theirs, rtol=1e-4, atol=1e-5)


@kinds
def test_any_cut_and_every_step_give_the_same(window: int | None, persistent: int) -> None:
    memory = make(window, persistent, chunk=4)
    assert isinstance(memory, SequenceMemory)
    assert_any_cut_gives_the_same(memory, stream(), range(1, 11), aligned=4)


def test_the_cache_grows_only_without_a_window() -> None:
    for window, kept in ((None, 11), (4, 3)):
        memory = make(window)
        _, state = memory(stream(), memory.init_state(2))
        assert state.tensors["keys"].shape == (2, 2, kept, 4)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="even size"):
        Attention(LayerConfig(width=12, heads=2, key=5))
    with pytest.raises(InputError, match="at least 1"):
        make(window=0)
