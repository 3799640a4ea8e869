"""The step in C: equal to the step of torch whatever the sizes, and refused where it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
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
    fused._library.cache_clear()
    yield tmp_path
    fused._library.cache_clear()


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
    fused._library.cache_clear()
    fused.step(*drawn(1, 4, 4, "none"))
    assert made.stat().st_mtime_ns == stamp


def test_without_a_compiler_it_says_what_to_do(anew: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(InputError, match=r"no-such-compiler.*install a C compiler.*take kernel='chunk'"):
        fused.step(*drawn(1, 4, 4, "none"))
    assert not list((anew / "native").iterdir())
