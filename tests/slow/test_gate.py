"""A gate is shut on everything unrelated, open on what belongs, and survives being saved."""

import math

import pytest
import torch
from torch import Tensor

from fastslow.errors import InputError
from fastslow.gate import Gate

WIDTH = 24


def windows(count: int, seed: int, shift: float = 0.0, tokens: int = 30) -> list[Tensor]:
    """Noise with one massive dimension and a huge first token, as hidden states have."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(count, tokens, WIDTH, generator=generator)
    found[:, :, 3] += 800 + 50 * torch.randn(count, tokens, generator=generator)
    found[:, 0] += 5000
    found[:, :, 5:8] += shift
    return list(found)


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate.fit(windows(80, 1, shift=0.8), windows(60, 2))


def test_shut_on_all_it_was_shown_and_on_the_like(gate: Gate) -> None:
    assert not any(gate.is_open(w) for w in windows(60, 2))
    assert sum(gate.is_open(w) for w in windows(200, 3)) <= 1


def test_open_on_the_like_of_what_belongs(gate: Gate) -> None:
    assert sum(gate.is_open(w) for w in windows(200, 4, shift=0.8)) >= 180


def test_scores_are_about_0_and_1(gate: Gate) -> None:
    no = [gate.score(w) for w in windows(100, 5)]
    yes = [gate.score(w) for w in windows(100, 6, shift=0.8)]
    assert abs(sum(no) / 100) < 0.1 and abs(sum(yes) / 100 - 1) < 0.1


def test_what_cannot_be_told_apart_never_opens() -> None:
    gate = Gate.fit(windows(40, 7), windows(40, 8))
    assert sum(gate.is_open(w) for w in windows(100, 9)) <= 2
    same = windows(40, 7)
    assert math.isinf(float(Gate.fit([w * 0 for w in same], [w * 0 for w in same]).threshold))


def test_too_short_empty_and_damaged_text_is_shut(gate: Gate) -> None:
    belongs = windows(1, 4, shift=0.8)[0]
    assert gate.is_open(belongs)
    assert not gate.is_open(belongs[:1]) and not gate.is_open(belongs[:0])
    assert not gate.is_open(belongs * float("nan"))


def test_half_precision_states_are_welcome(gate: Gate) -> None:
    belongs = windows(1, 4, shift=0.8)[0]
    assert gate.score(belongs.bfloat16()) == pytest.approx(gate.score(belongs), abs=0.1)


def test_saved_gate_is_the_same(gate: Gate) -> None:
    state = gate.state()
    again = Gate.from_state(type(state).from_bytes(state.to_bytes(), layout="gate", version=1))
    assert again.state().hash() == state.hash()
    assert [again.score(w) for w in windows(5, 4)] == [gate.score(w) for w in windows(5, 4)]


def test_too_few_or_damaged_windows_are_refused() -> None:
    with pytest.raises(InputError, match="five"):
        Gate.fit(windows(4, 1), windows(60, 2))
    with pytest.raises(InputError, match="finite"):
        Gate.fit([w * float("nan") for w in windows(6, 1)], windows(60, 2))
