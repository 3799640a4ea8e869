"""The kernel of fast weights: chunk, step and every cut equal the reference, in outputs, state and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastslow.errors import InputError
from fastslow.fast.kernel import Inputs, chunk, reference, step

KINDS = ("none", "scalar", "channels", "hard")
B, H, K, V = 2, 3, 8, 5


def inputs(kind: str, length: int, *, erase: bool = True, dtype: torch.dtype = torch.float64, seed: int = 0) -> Inputs:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(B, H, length, *shape, generator=random, dtype=torch.float64)

    k = torch.nn.functional.normalize(normal(K), dim=-1)
    strength = torch.sigmoid(normal(1))
    g = None if kind == "none" else torch.nn.functional.logsigmoid(normal(1 if kind == "scalar" else K) + 2)
    if g is not None and kind == "hard":
        g = torch.where(normal(K) > 1, -torch.inf, g)
    found = Inputs(normal(K), k, strength * normal(V), strength * k if erase else None, g)
    return found.map(lambda x: x.to(dtype))


def start(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(B, H, K, V, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(dtype)


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().norm() / wanted.detach().norm().clamp(min=1e-30))


@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 5, 16, 32])
def test_chunk_equals_the_reference_with_its_gradients(kind: str, erase: bool, size: int) -> None:
    x, state = inputs(kind, 45, erase=erase).map(lambda t: t.requires_grad_()), start().requires_grad_()
    leaves = [t for t in (x.q, x.k, x.u, x.e, x.g, state) if t is not None]
    results = []
    for run in (reference(x, state), chunk(x, state, size)):
        gradients = torch.autograd.grad(sum((t * t).sum() for t in run), leaves)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        results.append([*run, *gradients])
    for wanted, found in zip(*results, strict=True):
        assert error(found, wanted) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_is_within_1e_5(kind: str) -> None:
    x, state = inputs(kind, 100), start()
    wanted = reference(x, state)
    single = x.map(lambda t: t.float())
    for found in (chunk(single, state.float()), reference(single, state.float())):
        assert all(error(f.double(), w) < 1e-5 for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_cut_anywhere_gives_the_same(kind: str) -> None:
    x, state, size = inputs(kind, 37, dtype=torch.float32), start(torch.float32), 8
    whole, last = chunk(x, state, size)
    for cut in range(1, 2 * size + 1):
        first, middle = chunk(x.map(lambda t, cut=cut: t[:, :, :cut]), state, size)
        second, end = chunk(x.map(lambda t, cut=cut: t[:, :, cut:]), middle, size)
        joined = torch.cat([first, second], 2)
        assert error(joined, whole) < 1e-5 and error(end, last) < 1e-5
        if cut % size == 0:
            assert joined.equal(whole) and end.equal(last)


@pytest.mark.parametrize("erase", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_the_reference_with_their_gradients(kind: str, erase: bool) -> None:
    x, state = inputs(kind, 9, erase=erase).map(lambda t: t.requires_grad_()), start().requires_grad_()
    leaves = [t for t in (x.q, x.k, x.u, x.e, x.g, state) if t is not None]
    out, now = [], state
    for t in range(9):
        y, now = step(x.at(t), now)
        out.append(y)
    results = []
    for run in ((torch.cat(out, 2), now), reference(x, state)):
        results.append([*run, *torch.autograd.grad(sum((t * t).sum() for t in run), leaves)])
    assert all(error(found, wanted) < 1e-12 for found, wanted in zip(*results, strict=True))
    with pytest.raises(InputError, match="one token, not 9"):
        step(x, state)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch's own tracing does so
@pytest.mark.parametrize("run", [step, reference, chunk])
def test_a_compiled_kernel_gives_the_same(run: Callable[[Inputs, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Traced and lowered by torch.compile, but without a compiler for C++, which a machine may not have."""
    x, state = inputs("channels", 1 if run is step else 37), start()
    compiled = torch.compile(run, backend="aot_eager")
    for found, wanted in zip(compiled(x, state), run(x, state), strict=True):
        assert error(found, wanted) < 1e-12


@pytest.mark.parametrize("length", [0, 1])
def test_short_sequences(length: int) -> None:
    x, state = inputs("channels", length), start()
    for run in (reference, chunk):
        out, last = run(x, state)
        assert out.shape == (B, H, length, V) and last.shape == state.shape
        assert length or last.equal(state)


def test_rows_do_not_see_each_other() -> None:
    x, state = inputs("scalar", 33, dtype=torch.float32), start(torch.float32)
    both, _ = chunk(x, state)
    alone, _ = chunk(x.map(lambda t: t[:1]), state[:1])
    assert error(alone, both[:1]) < 1e-6


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS), length=st.integers(1, 40))
@settings(max_examples=25)
def test_nothing_that_goes_in_is_changed(seed: int, kind: str, length: int) -> None:
    x, state = inputs(kind, length, seed=seed), start()
    before = [t.clone() for t in (x.q, x.k, x.u, x.e, x.g, state) if t is not None]
    chunk(x, state, 8), reference(x, state)
    after = [t for t in (x.q, x.k, x.u, x.e, x.g, state) if t is not None]
    assert all(a.equal(b) for a, b in zip(after, before, strict=True))


def test_repeated_keys_at_write_strength_two() -> None:
    """Peers that invert by powers of the erase matrix give NaN here."""
    k = torch.nn.functional.normalize(torch.ones(1, 1, 64, K), dim=-1)
    u = torch.randn(1, 1, 64, V, generator=torch.Generator().manual_seed(1))
    x, state = Inputs(k, k, 2 * u, 2 * k), torch.zeros(1, 1, K, V)
    wanted = reference(x.map(Tensor.double), state.double())
    assert all(error(f.double(), w) < 1e-4 for f, w in zip(chunk(x, state), wanted, strict=True))


def test_a_hard_forget_leaves_nothing_of_before() -> None:
    x, state = inputs("scalar", 20), start()
    assert x.g is not None
    x.g[:, :, 10] = -torch.inf
    late = x.map(lambda t: t[:, :, 10:])
    whole, fresh = chunk(x, state), chunk(late, torch.zeros_like(state))
    assert error(whole[0][:, :, 10:], fresh[0]) < 1e-12 and error(whole[1], fresh[1]) < 1e-12


def test_wrong_shapes_are_refused() -> None:
    x = inputs("scalar", 4)
    with pytest.raises(InputError, match="give q, k, e as"):
        Inputs(x.q, x.k[:, :, :3], x.u)
    with pytest.raises(InputError, match="g as"):
        Inputs(x.q, x.k, x.u, g=x.u)
    for run in (step, reference, chunk):
        with pytest.raises(InputError, match="the state has shape"):
            run(x, start().mT)
