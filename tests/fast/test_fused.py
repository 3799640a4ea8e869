"""The kernel in C: equal to the one of torch whatever the sizes, and refused where it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastslow.errors import InputError
from fastslow.fast import fused, kernel
from fastslow.fast.frame import LayerConfig
from fastslow.fast.kernel import Inputs
from fastslow.fast.layers import LAYERS


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A cache with nothing in it, for the C function too."""
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path))
    fused._function.cache_clear()
    yield tmp_path
    fused._function.cache_clear()


def drawn(heads: int, rows: int, columns: int, decays: str, *, erase: bool = True) -> tuple[Inputs, Tensor]:
    random = torch.Generator().manual_seed(rows * columns)

    def normal(*shape: int) -> Tensor:
        return torch.randn(2, heads, *shape, generator=random)

    g = None if decays == "none" else -normal(1, 1 if decays == "scalar" else rows).abs()
    if decays == "hard" and g is not None:
        g[..., 0] = -torch.inf
    e = normal(1, rows) if erase else None
    return Inputs(normal(1, rows), normal(1, rows), normal(1, columns), e, g), normal(rows, columns)


@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("decays", ["none", "scalar", "channels", "hard"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (16, 64), (64, 64), (7, 150), (33, 81)])
def test_it_equals_the_step_of_torch(rows: int, columns: int, decays: str, erase: bool) -> None:
    inputs, state = drawn(3, rows, columns, decays, erase=erase)
    kept = state.clone()
    for found, wanted in zip(fused.step(inputs, state), kernel.step(inputs, state), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)
    assert state.equal(kept)


def test_what_is_not_dense_is_read_as_it_is_seen() -> None:
    inputs, state = drawn(4, 8, 6, "channels")
    turned = inputs.map(lambda t: t.transpose(0, 1).contiguous().transpose(0, 1))
    for found, wanted in zip(fused.step(turned, state.mT.contiguous().mT), fused.step(inputs, state), strict=True):
        assert found.equal(wanted) and found.is_contiguous()


@pytest.mark.parametrize("rule", ["delta_net", "gated_delta_net", "kda", "falcon", "mamba2"])
def test_a_layer_decodes_with_it(rule: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[rule](LayerConfig(width=16, heads=2, key=4, value=8))  # type: ignore[call-arg]
    x = torch.randn(2, 9, 16)
    with torch.no_grad():
        wanted, _ = layer(x, layer.init_state(2))
        layer.config = LayerConfig(**{**vars(layer.config), "kernel": "fused"})
        state, out = layer.init_state(2), []
        for t in range(x.shape[1]):
            said, state = layer.step(x[:, t], state)
            out.append(said)
    torch.testing.assert_close(torch.stack(out, 1), wanted, rtol=1e-4, atol=1e-5)


def sequence(tokens: int, rows: int, columns: int, decays: str, *, erase: bool = True) -> tuple[Inputs, Tensor]:
    random = torch.Generator().manual_seed(tokens)

    def normal(*shape: int) -> Tensor:
        return torch.randn(2, 3, *shape, generator=random)

    k = torch.nn.functional.normalize(normal(tokens, rows), dim=-1)
    g = None if decays == "none" else -normal(tokens, 1).abs()
    if decays == "hard" and g is not None:
        g[:, :, ::7] = -torch.inf
    e = k * normal(tokens, 1).sigmoid() if erase else None
    return Inputs(normal(tokens, rows), k, normal(tokens, columns), e, g), normal(rows, columns)


def learned(form: Callable[..., tuple[Tensor, Tensor]], inputs: Inputs, state: Tensor) -> list[Tensor]:
    """Outputs, the last state and the gradients of everything."""
    leaves = inputs.map(lambda t: t.clone().requires_grad_())
    start = state.clone().requires_grad_()
    out, end = form(leaves, start)
    loss = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() + (end * state).sum()
    given = [t for t in vars(leaves).values() if t is not None]
    return [out, end, *torch.autograd.grad(loss, [*given, start])]


@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("decays", ["none", "scalar", "hard"])
@pytest.mark.parametrize(("tokens", "rows", "columns"), [(1, 16, 16), (70, 16, 48), (96, 64, 64), (33, 80, 32)])
def test_a_chunk_equals_the_reference(tokens: int, rows: int, columns: int, decays: str, erase: bool) -> None:
    inputs, state = sequence(tokens, rows, columns, decays, erase=erase)
    found = learned(fused.chunk, inputs, state)
    wanted = learned(kernel.reference, inputs.map(lambda t: t.double()), state.double())
    for n, (one, other) in enumerate(zip(found, wanted, strict=True)):
        error = (one - other).norm() / other.norm().clamp(min=1.0)
        assert one.isfinite().all() and error < 1e-5, (n, error)


def test_a_chunk_cut_where_chunks_end_gives_the_same_bits() -> None:
    inputs, state = sequence(96, 16, 32, "scalar")
    whole, end = fused.chunk(inputs, state)
    parts, last = [], state
    for part in inputs.split(32):
        out, last = fused.chunk(part, last)
        parts.append(out)
    assert torch.cat(parts, 2).equal(whole) and last.equal(end)
    nothing, kept = fused.chunk(inputs.map(lambda t: t[:, :, :0]), state)
    assert nothing.shape[2] == 0 and kept.equal(state)


def test_a_chunk_is_refused_where_it_cannot_be() -> None:
    inputs, state = sequence(40, 16, 16, "scalar")
    with pytest.raises(InputError, match=r"multiples of 16, not k .*take kernel='chunk'"):
        fused.chunk(inputs.map(lambda t: t[..., :8]), state[:, :, :8, :8])
    with pytest.raises(InputError, match="chunks of 20"):
        fused.chunk(inputs, state, 20)
    with pytest.raises(InputError, match="one log decay a token"):
        fused.chunk(Inputs(inputs.q, inputs.k, inputs.u, inputs.e, -inputs.k.abs()), state)
    with pytest.raises(InputError, match=r"float32 on a CPU, not torch\.float64"):
        fused.chunk(inputs.map(lambda t: t.double()), state.double())
    loss = fused.chunk(inputs, state.requires_grad_())[0].square().sum()
    (first,) = torch.autograd.grad(loss, state, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("rule", ["gated_delta_net", "mamba2", "kda"])
def test_a_layer_trains_with_it(rule: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[rule](LayerConfig(width=32, heads=2, key=16, value=16))  # type: ignore[call-arg]
    x = torch.randn(2, 37, 32)
    found = []
    for form in ("chunk", "fused"):
        layer.config = LayerConfig(**{**vars(layer.config), "kernel": form})
        out, _ = layer(x, layer.init_state(2))
        found.append([out, *torch.autograd.grad(out.square().sum(), list(layer.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_it_is_refused_where_it_cannot_be() -> None:
    inputs, state = drawn(1, 4, 4, "scalar")
    with pytest.raises(InputError, match=r"no gradients.*torch\.no_grad"):
        fused.step(inputs, state.clone().requires_grad_())
    with pytest.raises(InputError, match=r"float32 on a CPU, not torch\.float64"):
        fused.step(inputs.map(lambda t: t.double()), state.double())
    with pytest.raises(InputError, match="one token, not 2"):
        fused.step(inputs.map(lambda t: torch.cat([t, t], 2)), state)
    with pytest.raises(InputError, match="the state has shape"):
        fused.step(inputs, state[..., :2])


def test_it_is_compiled_once_into_the_cache(anew: Path) -> None:
    fused.step(*drawn(1, 4, 4, "none"))
    (made,) = (anew / "native").iterdir()
    stamp = made.stat().st_mtime_ns
    fused._function.cache_clear()
    fused.step(*drawn(1, 4, 4, "none"))
    assert made.stat().st_mtime_ns == stamp


def test_without_a_compiler_it_says_what_to_do(anew: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(InputError, match=r"no-such-compiler.*install a C compiler.*take kernel='chunk'"):
        fused.step(*drawn(1, 4, 4, "none"))
    assert not list((anew / "native").iterdir())
