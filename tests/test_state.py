import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastslow.errors import StoreError
from fastslow.state import State

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
names = st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable() and name != "__metadata__")


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = draw(st.sampled_from(DTYPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return (torch.randn(shape, generator=generator) * 50).to(torch.float32).abs().to(dtype)


@st.composite
def states(draw: st.DrawFn) -> State:
    return State(
        draw(names),
        draw(st.integers(0, 9)),
        draw(st.dictionaries(names, tensors(), max_size=4)),
        draw(st.dictionaries(names, st.integers(), max_size=3)),
    )


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


@settings(max_examples=50)
@given(states())
def test_a_reloaded_state_is_bit_equal(state: State) -> None:
    data = state.to_bytes()
    again = State.from_bytes(data, layout=state.layout, version=state.version)
    assert list(again.tensors) == list(state.tensors)
    for name, tensor in state.tensors.items():
        assert again.tensors[name].dtype == tensor.dtype
        assert again.tensors[name].shape == tensor.shape
        assert bits(again.tensors[name]) == bits(tensor)
    assert again.numbers == state.numbers
    assert again.hash() == state.hash()
    assert again.to_bytes() == data


@settings(max_examples=50)
@given(states())
def test_a_fork_is_equal_and_shares_nothing(state: State) -> None:
    before = state.hash()
    fork = state.fork()
    assert fork.hash() == before
    for tensor in fork.tensors.values():
        tensor.copy_(~tensor if tensor.dtype == torch.bool else tensor + 1)
    fork.numbers["new"] = 1
    assert state.hash() == before


def test_nan_minus_zero_and_strides_survive_a_reload() -> None:
    odd = torch.tensor([[float("nan"), -0.0, float("inf")], [1.0, 2.0, 3.0]]).T
    state = State("a", 1, {"x": odd, "view": odd[1:]})
    again = State.from_bytes(state.to_bytes(), layout="a", version=1)
    assert bits(again.tensors["x"]) == bits(odd.contiguous())
    assert again.tensors["x"].stride() == state.tensors["x"].stride()


@pytest.mark.parametrize(
    "other",
    [
        State("b", 1, {"x": torch.zeros(2, 3)}, {"n": 1}),
        State("a", 2, {"x": torch.zeros(2, 3)}, {"n": 1}),
        State("a", 1, {"y": torch.zeros(2, 3)}, {"n": 1}),
        State("a", 1, {"x": torch.zeros(3, 2)}, {"n": 1}),
        State("a", 1, {"x": torch.zeros(2, 3, dtype=torch.int32)}, {"n": 1}),
        State("a", 1, {"x": -torch.zeros(2, 3)}, {"n": 1}),
        State("a", 1, {"x": torch.zeros(2, 3)}, {"n": 2}),
        State("a", 1, {"x": torch.zeros(2, 3)}),
        State("a", 1, {"x": torch.zeros(2, 3), "z": torch.zeros(0)}, {"n": 1}),
    ],
)
def test_any_difference_changes_the_hash(other: State) -> None:
    assert State("a", 1, {"x": torch.zeros(2, 3)}, {"n": 1}).hash() != other.hash()


def test_the_hash_does_not_change_between_releases() -> None:
    state = State("a", 1, {"x": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}, {"n": 7})
    assert state.hash() == "eaf9f7a90760a036de7c79b4ec6ca423eb053933921633081fe4e172e0cfd761"


def test_order_and_autograd_do_not_matter() -> None:
    one, two = torch.ones(2, requires_grad=True), torch.zeros(3)
    left = State("a", 1, {"x": one, "y": two}, {"n": 1, "m": 2})
    right = State("a", 1, {"y": two, "x": one.detach()}, {"m": 2, "n": 1})
    assert left.hash() == right.hash()
    assert left.to_bytes() == right.to_bytes()
    assert list(left.tensors) == list(right.tensors)
    assert not left.fork().tensors["x"].requires_grad


def test_size_counts_bytes() -> None:
    assert State("a", 1, {"x": torch.zeros(2, 3), "y": torch.zeros(5, dtype=torch.bfloat16)}).size_bytes() == 34


@pytest.mark.parametrize(("layout", "version"), [("slow/other", 1), ("fast/down_proj-lora", 2)])
def test_another_layout_or_version_is_refused_by_name(layout: str, version: int) -> None:
    data = State("fast/down_proj-lora", 1, {"x": torch.zeros(1)}).to_bytes()
    with pytest.raises(StoreError) as caught:
        State.from_bytes(data, layout=layout, version=version)
    assert "'fast/down_proj-lora' version 1" in str(caught.value)
    assert f"{layout!r} version {version}" in str(caught.value)


def test_only_tensors_and_integers_are_held() -> None:
    with pytest.raises(TypeError, match="give a torch Tensor"):
        State("a", 1, {"x": [1.0]})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="give an int"):
        State("a", 1, {}, {"n": True})


@given(st.binary(max_size=200))
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(StoreError):
        State.from_bytes(data, layout="a", version=1)


@pytest.mark.parametrize("about", [None, {}, [], {"layout": "a", "version": 1, "numbers": {"n": 1.5}}, "text"])
def test_safetensors_of_another_program_are_refused(about: object) -> None:
    metadata = {} if about is None else {"fastslow": json.dumps(about)}
    header = json.dumps({"__metadata__": metadata}).encode()
    with pytest.raises(StoreError):
        State.from_bytes(len(header).to_bytes(8, "little") + header, layout="a", version=1)
