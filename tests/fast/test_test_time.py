"""Memories that learn at test time: each equals its recurrence token by token, and is a memory that can be cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from contract import assert_any_cut_gives_the_same
from torch import Tensor
from torch.nn import functional

from fastslow.errors import InputError, StoreError
from fastslow.fast.frame import VERSION, LayerConfig, unit
from fastslow.fast.test_time import LEARNERS, TestTimeLayer
from fastslow.memory import SequenceMemory
from fastslow.state import State

CONFIG = LayerConfig(width=12, heads=2, key=4, value=4, chunk=4)
every = pytest.mark.parametrize("rule", LEARNERS)


def layer(rule: str, dtype: torch.dtype = torch.float64, **more: Any) -> TestTimeLayer:
    torch.manual_seed(0)
    made = LEARNERS[rule](LayerConfig(**{**vars(CONFIG), **more})).to(dtype)
    with torch.no_grad():  # larger steps than a layer is born with, so that what is learned shows
        for name, parameter in made.named_parameters():
            if name.startswith("to_rate.bias"):
                parameter.fill_(2.0)
    return made


def stream(length: int = 11, batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, length, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


# ---------------------------------------------------------------------- the recurrences, written down one by one


def forward(rule: str, memory: TestTimeLayer, maps: list[Tensor], x: Tensor) -> Tensor:
    """The small model on one token (K,)."""
    for n, weight in enumerate(maps):
        if n:
            x = functional.gelu(x, approximate="tanh") if rule.startswith("ttt") else functional.silu(x)
        x = x @ weight[:-1] + weight[-1]
    return x


def retained(rule: str, held: Tensor) -> Tensor:
    if rule == "moneta":
        return held / (held.pow(4).sum() + 1e-12).sqrt()
    return held.softmax(-1) * held.shape[-1] ** 0.5 if rule == "memora" else held


def naive(rule: str, memory: TestTimeLayer, x: Tensor) -> Tensor:
    """What each head reads (B, H, T, V), token by token with autograd."""
    q, ks, vs, _ = memory._projected(x, memory.init_state(len(x)).tensors["conv"])
    q, k, v, gates = unit(q), unit(ks[0]), vs[0], memory.gates(x)
    size, rows = memory.config.chunk, []
    for b in range(len(x)):
        for h in range(memory.config.heads):
            now = [first[h] for first in memory.first]
            momentum, start, out = [torch.zeros_like(w) for w in now], now, []
            for t in range(x.shape[1]):
                if t % size == 0:
                    start, total = now, [torch.zeros_like(w) for w in now]
                gate = [g[b, h, t, 0] for g in gates]
                leaves = [retained(rule, w).detach().requires_grad_() for w in start]
                said = forward(rule, memory, leaves, k[b, h, t])
                grads = torch.autograd.grad(loss(rule, memory, said, k[b, h, t], v[b, h, t], gate, h), leaves)
                if rule.startswith("ttt"):
                    total = [s + gate[0] * g for s, g in zip(total, grads, strict=True)]
                    part = (1 / (t % size + 1) + memory.fraction[t % size]).clamp(min=0)
                    now = [w - part * s for w, s in zip(start, total, strict=True)]
                elif rule == "titans":
                    momentum = [gate[2].exp() * s - gate[0] * g for s, g in zip(momentum, grads, strict=True)]
                    now = [gate[1].exp() * w + s for w, s in zip(now, momentum, strict=True)]
                else:
                    now = [gate[1].exp() * w - gate[0] * g for w, g in zip(now, grads, strict=True)]
                read = forward(rule, memory, [retained(rule, w) for w in now], q[b, h, t])
                out.append(q[b, h, t] + normed(memory, read, h) if rule.startswith("ttt") else read)
            rows.append(torch.stack(out))
    return torch.stack(rows).unflatten(0, (len(x), -1))


def normed(memory: TestTimeLayer, x: Tensor, h: int) -> Tensor:
    return memory.gain[h, 0] * functional.layer_norm(x, x.shape, eps=1e-6) + memory.bias[h, 0]


def loss(rule: str, memory: TestTimeLayer, said: Tensor, k: Tensor, v: Tensor, gate: list[Tensor], h: int) -> Tensor:
    error = said - v
    smooth = (error.square() + 1e-6).sqrt()
    kinds: dict[str, Callable[[], Tensor]] = {
        "moneta": lambda: smooth.pow(3).sum(),
        "yaad": lambda: 0.5 * error.square().sum() if error.norm() <= gate[2] else gate[2] * smooth.sum(),
        "ttt": lambda: 0.5 * (normed(memory, said, h) - (v - k)).square().sum(),
    }
    return kinds.get(rule.split("_")[0], lambda: error.square().sum())()


@every
def test_a_layer_equals_its_recurrence(rule: str) -> None:
    memory, x = layer(rule), stream()
    if rule.startswith("ttt"):
        torch.nn.init.normal_(memory.fraction, std=0.1)
        torch.nn.init.normal_(memory.bias, std=0.1)
    found = []
    memory.norm.register_forward_pre_hook(lambda _, read: found.append(read[0]))
    memory(x, memory.init_state(2))
    torch.testing.assert_close(found[0], naive(rule, memory, x), rtol=1e-9, atol=1e-11)


@every
@torch.no_grad()
def test_it_learns_within_the_sequence(rule: str) -> None:
    """After a token was repeated, its value is read with less of a miss than before it was written."""
    memory, x = layer(rule), stream(1).repeat(1, 12, 1)
    _, state = memory(x, memory.init_state(2))
    gates = memory.gates(x)
    _, k, v, _ = memory._projected(x, state.tensors["conv"])
    now, born = ([s.tensors[f"now{n}"] for n in range(memory.depth)] for s in (state, memory.init_state(2)))
    key, value = unit(k[0])[:, :, -1:], v[0][:, :, -1:]
    last = [g[:, :, -1:] for g in gates]

    def miss(maps: list[Tensor]) -> float:
        said = key
        for n, held in enumerate(maps):
            said = torch.cat([memory.act(said) if n else said, torch.ones_like(said[..., :1])], -1)
            said = said @ memory.weights(held)
        return float(memory.loss(said, key, value, last).sum())

    assert miss(now) < miss(born)


# ---------------------------------------------------------------------- the contract of a memory


@every
def test_any_cut_and_every_step_give_the_same(rule: str) -> None:
    memory = layer(rule)
    assert isinstance(memory, SequenceMemory)
    assert_any_cut_gives_the_same(memory, stream(), range(1, 2 * CONFIG.chunk + 1), aligned=CONFIG.chunk)


@every
def test_gradients_of_what_surrounds_the_memory_are_right(rule: str) -> None:
    """The derivative along a direction against a difference quotient, through the gradients inside."""
    memory, x = layer(rule), stream(7, 1)
    parameters = list(memory.parameters())
    generator = torch.Generator().manual_seed(2)
    along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]

    def said() -> Tensor:
        return memory(x, memory.init_state(1))[0].square().sum()

    grads = torch.autograd.grad(said(), parameters)
    slope = sum((g * a).sum() for g, a in zip(grads, along, strict=True))
    found, step = [], 1e-6
    for sign in (1, -1):
        with torch.no_grad():
            for p, a in zip(parameters, along, strict=True):
                p.add_(sign * step * a)
            found.append(said())
            for p, a in zip(parameters, along, strict=True):
                p.sub_(sign * step * a)
    torch.testing.assert_close((found[0] - found[1]) / (2 * step), slope, rtol=1e-5, atol=1e-6)


@every
def test_the_past_alone_decides_rows_are_apart_and_the_state_is_saved(rule: str) -> None:
    memory, x = layer(rule, torch.float32), stream(dtype=torch.float32)
    with torch.no_grad():
        whole, state = memory(x, memory.init_state(2))
        changed = torch.cat([x[:, :6], x[:, 6:] + 1], 1)
        torch.testing.assert_close(memory(changed, memory.init_state(2))[0][:, :6], whole[:, :6])
        torch.testing.assert_close(memory(x[:1], memory.init_state(1))[0], whole[:1], rtol=1e-4, atol=1e-5)
        loaded = State.from_bytes(state.to_bytes(), layout=memory.layout, version=VERSION)
        assert memory(x, loaded)[1].hash() == memory(x, state.fork())[1].hash()
        assert state.size_bytes() == memory.init_state(2).size_bytes()
    other = layer(rule, torch.float32, chunk=8)
    with pytest.raises(StoreError, match=r"chunk4.*chunk8"):
        other(x, state)


def test_a_test_time_layer_refuses_sizes_that_cannot_be() -> None:
    with pytest.raises(InputError, match="one size"):
        layer("ttt_linear", value=5)
    with pytest.raises(InputError, match="at least 1"):
        layer("titans", depth=0)


@every
def test_half_precision_keeps_its_state_in_single(rule: str) -> None:
    memory, x = layer(rule, torch.bfloat16), stream(dtype=torch.bfloat16)
    out, state = memory(x, memory.init_state(2))
    assert out.dtype == torch.bfloat16 and torch.isfinite(out).all()
    assert all(t.dtype == torch.float32 for t in state.tensors.values())
