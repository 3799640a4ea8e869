"""Every fast-weight layer: cut anywhere, step by step, saved and loaded, row by row, always the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from contract import assert_any_cut_gives_the_same

from fastslow.errors import InputError, StoreError
from fastslow.fast.frame import VERSION, LayerConfig
from fastslow.fast.layers import LAYERS, FastWeightLayer
from fastslow.memory import SequenceMemory
from fastslow.state import State

CONFIG = LayerConfig(width=12, heads=2, key=6, value=5, chunk=4)
CASES = [(rule, CONFIG) for rule in LAYERS] + [
    (rule, LayerConfig(width=12, heads=2, key=6, value=5, chunk=4, features="dpfp2"))
    for rule in ("linear_attention", "delta_net")
]
every = pytest.mark.parametrize(("rule", "config"), CASES, ids=[f"{r}-{c.features}" for r, c in CASES])


def layer(rule: str, config: LayerConfig = CONFIG, dtype: torch.dtype = torch.float64) -> FastWeightLayer:
    torch.manual_seed(0)
    return LAYERS[rule](config).to(dtype)  # type: ignore[call-arg]


def stream(length: int = 19, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(batch, length, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


@every
def test_any_cut_and_every_step_give_the_same(rule: str, config: LayerConfig) -> None:
    memory, x = layer(rule, config), stream()
    assert isinstance(memory, SequenceMemory)
    assert_any_cut_gives_the_same(memory, x, range(1, 2 * config.chunk + 1), aligned=config.chunk)


@pytest.mark.parametrize("rule", LAYERS)
def test_single_precision_is_within_1e_5_of_the_reference_in_double(rule: str) -> None:
    """Relative, in norm: outputs, state, and the gradients of both in the input and in all parameters together."""
    config, found = LayerConfig(width=32, heads=2, key=16, value=16, chunk=16), []
    for kind, dtype in (("chunk", torch.float32), ("reference", torch.float64)):
        memory = layer(rule, replace(config, kernel=kind), torch.float32).to(dtype)
        x = torch.randn(2, 80, 32, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
        out, state = memory(x, memory.init_state(2))
        held, parameters = state.tensors["memory"], list(memory.parameters())
        gradient, *rest = torch.autograd.grad(out.square().sum() + held.square().sum(), [x, *parameters])
        found.append([t.detach().double() for t in (out, held, gradient, torch.cat([g.flatten() for g in rest]))])
    for ours, exact in zip(*found, strict=True):
        assert float((ours - exact).norm() / exact.norm()) < 1e-5


@every
def test_the_reference_kernel_gives_the_same_with_its_gradients(rule: str, config: LayerConfig) -> None:
    memory, x = layer(rule, config), stream().requires_grad_()
    found = []
    for kind in ("chunk", "reference"):
        memory.config = LayerConfig(**{**vars(config), "kernel": kind})
        out, _ = memory(x, memory.init_state(2))
        found.append([out, *torch.autograd.grad(out.square().sum(), [x, *memory.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@every
def test_the_past_alone_decides_and_rows_are_apart(rule: str, config: LayerConfig) -> None:
    memory, x = layer(rule, config), stream()
    whole, _ = memory(x, memory.init_state(2))
    changed = x.clone()
    changed[:, 11:] += 1
    torch.testing.assert_close(memory(changed, memory.init_state(2))[0][:, :11], whole[:, :11], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(memory(x[:1], memory.init_state(1))[0], whole[:1], rtol=1e-10, atol=1e-12)


@every
def test_a_state_is_saved_forked_and_of_constant_size(rule: str, config: LayerConfig) -> None:
    memory, x = layer(rule, config, torch.float32), stream(dtype=torch.float32)
    with torch.no_grad():
        _, state = memory(x, memory.init_state(2))
        loaded = State.from_bytes(state.to_bytes(), layout=memory.layout, version=VERSION)
        assert loaded.hash() == state.hash() and state.size_bytes() == memory.init_state(2).size_bytes()
        before, fork = state.hash(), state.fork()
        out, after = memory(x, state)
        assert state.hash() == before  # what goes in is not changed
        again, same_after = memory(x, loaded)
        assert again.equal(out) and same_after.hash() == after.hash()
        assert memory(x, fork)[1].hash() == after.hash()


def test_a_state_of_another_layer_is_refused() -> None:
    memory, other = layer("delta_net"), layer("gated_delta_net")
    with pytest.raises(StoreError, match=r"delta_net.*was given to a memory of 'fast/gated_delta_net"):
        other(stream(), memory.init_state(2))
    wider = layer("delta_net", LayerConfig(width=12, heads=2, key=7, value=5))
    with pytest.raises(StoreError, match=r"K6.*K7"):
        wider(stream(), memory.init_state(2))
    with pytest.raises(InputError, match="x has shape"):
        memory(stream(batch=3), memory.init_state(2))
    with pytest.raises(InputError, match="at least 1"):
        LayerConfig(width=12, heads=0)


@pytest.mark.parametrize("rule", LAYERS)
def test_half_precision_keeps_its_state_in_single(rule: str) -> None:
    memory, x = layer(rule, dtype=torch.bfloat16), stream(dtype=torch.bfloat16)
    out, state = memory(x, memory.init_state(2))
    assert out.dtype == torch.bfloat16 and torch.isfinite(out).all()
    assert all(t.dtype == torch.float32 for t in state.tensors.values())


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
@pytest.mark.parametrize("rule", ["gated_delta_net", "kda", "mlstm"])
def test_a_compiled_layer_gives_the_same(rule: str) -> None:
    """Traced and lowered by torch.compile; its state too."""
    memory, x = layer(rule), stream()
    out, state = torch.compile(memory, backend="aot_eager")(x, memory.init_state(2))
    wanted, last = memory(x, memory.init_state(2))
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(state.tensors, last.tensors, rtol=1e-10, atol=1e-12)
    assert (state.layout, state.numbers) == (last.layout, last.numbers)
