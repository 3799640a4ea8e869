"""Pages: packing is exact, rounding errs less with more bits, and what is not finite is refused."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastslow.core import Core
from fastslow.errors import InputError
from fastslow.medium.pages import BITS, LAYOUT, VERSION, Standard, _pack, _unpack, compress, expand
from fastslow.state import State


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def standard(core: Core) -> Standard:
    return Standard.of(core)


@given(st.sampled_from([8, 4, 2]), st.integers(0, 5), st.integers(1, 23), st.integers(0, 2**32 - 1))
def test_packing_is_exact(bits: int, tokens: int, width: int, seed: int) -> None:
    top = 2 ** (bits - 1) - 1
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-top, top + 1, (tokens, width), generator=generator).to(torch.int8)
    packed = _pack(codes, bits)
    assert packed.shape == (tokens, -(-width * bits // 8))
    assert torch.equal(_unpack(packed, bits, width).to(torch.int8), codes)


def test_error_falls_and_size_grows_with_bits(core: Core, standard: Standard) -> None:
    hidden = core.hidden("Mira lives in Tolvar and works at the old harbour.")
    pages = [compress(hidden, standard, bits) for bits in sorted(BITS)]
    errors = [float((expand(p, standard, torch.float32) - hidden).norm() / hidden.norm()) for p in pages]
    assert errors == sorted(errors, reverse=True) and errors[0] < 1 and errors[2] < 0.02 and errors[3] < 0.005
    sizes = [p.size_bytes() for p in pages]
    assert sizes == sorted(sizes)
    tokens, width = hidden.shape
    assert sizes == [tokens * (width // 4 + 2), tokens * (width // 2 + 2), tokens * (width + 2), tokens * width * 2]


def test_rounding_what_was_rounded_changes_little_more(core: Core, standard: Standard) -> None:
    """A page fades from its own numbers, not from the text: that must not add errors up."""
    hidden = core.hidden("The library opens at nine and closes at six.")
    twice = compress(expand(compress(hidden, standard, 8), standard, torch.float32), standard, 4)
    once = compress(hidden, standard, 4)
    errors = [float((expand(p, standard, torch.float32) - hidden).norm()) for p in (once, twice)]
    assert errors[1] < 1.1 * errors[0]


@pytest.mark.parametrize("bits", BITS)
def test_a_page_survives_its_bytes(core: Core, standard: Standard, bits: int) -> None:
    page = compress(core.hidden("When was it founded?"), standard, bits, words=torch.arange(3))
    again = State.from_bytes(page.to_bytes(), layout=LAYOUT, version=VERSION)
    assert again.hash() == page.hash() and again.tensors["words"].tolist() == [0, 1, 2]
    assert torch.equal(expand(again, standard, torch.float32), expand(page, standard, torch.float32))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(core: Core, standard: Standard, bits: int, value: float) -> None:
    hidden = core.hidden("Mira lives").clone()
    hidden[1, 3] = value
    with pytest.raises(InputError, match="not finite"):
        compress(hidden, standard, bits)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_extreme_but_finite_states_stay_finite(core: Core, standard: Standard, bits: int, size: float) -> None:
    page = compress(torch.full((2, core.width), size), standard, bits)
    assert bool(expand(page, standard, torch.float32).isfinite().all())


@pytest.mark.parametrize("bits", [0, 1, 3, 32])
def test_other_numbers_of_bits_are_refused(standard: Standard, bits: int) -> None:
    with pytest.raises(InputError, match="a page keeps"):
        compress(torch.zeros(1, 64), standard, bits)


def test_standardising_is_undone(core: Core, standard: Standard) -> None:
    hidden = core.hidden("Mira lives in Tolvar")
    torch.testing.assert_close(standard.undo(standard.apply(hidden)), hidden, atol=1e-4, rtol=1e-4)
    z = torch.cat(
        [standard.apply(core.hidden(t)) for t in ("The quick brown fox jumps.", "She met him in the garden.")]
    )
    assert 0.3 < float(z.std()) < 3
