"""RWKV-7's layer: equal to the paper's recurrence, in any cut."""

from __future__ import annotations

import math

import pytest
import torch
from contract import assert_any_cut_gives_the_same
from torch import Tensor
from torch.nn import functional

from fastslow.errors import InputError
from fastslow.fast.frame import LayerConfig
from fastslow.fast.rwkv import RWKV7
from fastslow.memory import SequenceMemory


def make(dtype: torch.dtype = torch.float64) -> RWKV7:
    torch.manual_seed(0)
    layer = RWKV7(LayerConfig(width=12, heads=2, key=4, value=4, chunk=4)).to(dtype)
    torch.nn.init.normal_(layer.bonus)
    return layer


def stream(length: int = 11, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, length, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def test_it_equals_the_recurrence_of_the_paper() -> None:
    """Row by row and token by token, the state with values in its rows as the paper writes it."""
    layer, x = make(), stream()
    out, last = layer(x, layer.init_state(2))
    for b in range(2):
        state, before = torch.zeros(2, 4, 4, dtype=torch.float64), torch.zeros(12, dtype=torch.float64)
        for t in range(11):
            now = x[b, t]
            r_, w_, k_, v_, a_, g_ = (now + (before - now) * layer.mix[name] for name in "rwkvag")
            r, k, v = layer.to_r(r_), layer.to_k(k_), layer.to_v(v_)
            w = torch.exp(-math.exp(-0.5) * layer.to_decay(w_).sigmoid())
            a, gate = layer.to_rate(a_).sigmoid(), layer.to_gate(g_)
            kappa = functional.normalize((k * layer.removal).view(2, 4), dim=-1)
            k = (k * (1 + (a - 1) * layer.kept)).view(2, 4)
            r, w, v, a = (y.view(2, 4) for y in (r, w, v, a))
            transition = torch.diag_embed(w) - kappa[:, :, None] @ (a * kappa)[:, None]
            state = state @ transition + v[:, :, None] @ k[:, None]
            read = functional.group_norm((state @ r[:, :, None]).view(1, 8), 2, eps=64e-5)[0]
            read = read * layer.norm.weight + layer.norm.bias
            said = read + ((r * k * layer.bonus).sum(-1, keepdim=True) * v).view(8)
            torch.testing.assert_close(out[b, t], layer.to_out(said * gate), rtol=1e-9, atol=1e-11)
            before = now
        torch.testing.assert_close(last.tensors["memory"][b], state.mT, rtol=1e-9, atol=1e-11)


def test_any_cut_and_every_step_give_the_same() -> None:
    layer = make()
    assert isinstance(layer, SequenceMemory)
    assert_any_cut_gives_the_same(layer, stream(), range(1, 8), aligned=4)


def test_every_part_is_trained_and_half_precision_works() -> None:
    layer, x = make(torch.bfloat16), stream(dtype=torch.bfloat16)
    out, state = layer(x, layer.init_state(2))
    out.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any() for p in layer.parameters())
    assert state.tensors["memory"].dtype == torch.float32
    with pytest.raises(InputError, match="one size"):
        RWKV7(LayerConfig(width=12, heads=2, key=4, value=5))
