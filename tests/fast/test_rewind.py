"""Cuts at chunks, tokens taken back, rows of different lengths, merged states: exact in every memory that has them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastslow.errors import InputError, StoreError
from fastslow.fast.frame import VERSION, LayerConfig, Memory
from fastslow.fast.rewind import Rewindable, ragged
from fastslow.models.decoder import MEMORIES, Decoder, DecoderConfig
from fastslow.state import State

WIDTH, WINDOW = 12, 5
CONFIG = LayerConfig(width=WIDTH, heads=2, key=6, value=6, chunk=4)
PLAIN = LayerConfig(width=WIDTH, heads=2, key=6, value=6, chunk=4, conv=1)
every = pytest.mark.parametrize("rule", MEMORIES)


def make(rule: str, config: LayerConfig = CONFIG) -> Memory:
    torch.manual_seed(0)
    return MEMORIES[rule](config).double()


def stream(length: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def assert_same(found: State, wanted: State) -> None:
    assert (found.layout, found.numbers) == (wanted.layout, wanted.numbers)
    torch.testing.assert_close(found.tensors, wanted.tensors, rtol=1e-9, atol=1e-11)


@every
@torch.no_grad()
def test_an_aligned_cut_gives_the_same_bits(rule: str) -> None:
    """In single precision and at usual sizes."""
    torch.manual_seed(0)
    memory = MEMORIES[rule](LayerConfig(width=64, heads=2, key=16, value=16))
    x = torch.randn(2, 160, 64, generator=torch.Generator().manual_seed(1))
    whole, last = memory(x, memory.init_state(2))
    for cut in range(32, 160, 32):
        first, state = memory(x[:, :cut], memory.init_state(2))
        second, after = memory(x[:, cut:], state)
        assert torch.cat([first, second], 1).equal(whole) and after.hash() == last.hash()


@every
@torch.no_grad()
def test_tokens_are_taken_back_as_if_they_had_never_been_seen(rule: str) -> None:
    memory, x = make(rule), stream(17)
    rewindable = Rewindable(memory, WINDOW)
    _, state = rewindable(x[:, :9], rewindable.init_state(2))
    for t in range(9, 15):
        _, state = rewindable.step(x[:, t], state)
    for count in range(WINDOW + 1):
        back = rewindable.rollback(state, count)
        _, wanted = memory(x[:, : 15 - count], memory.init_state(2))
        assert_same(back.part("now", memory.layout, VERSION), wanted)
        again, after = rewindable(x[:, 15 - count :], back)
        torch.testing.assert_close(again, memory(x[:, 15 - count :], wanted)[0], rtol=1e-9, atol=1e-11)
        assert rewindable.rollback(after, 2).part("now", memory.layout, VERSION).numbers == {"seen": 15}


@torch.no_grad()
def test_a_rewindable_decoder_says_the_same_and_its_state_does_not_grow() -> None:
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(11, ("gated_delta_net", "lstm"), CONFIG)).double()
    ids = torch.randint(11, (2, 64), generator=torch.Generator().manual_seed(1))
    rewindable = Rewindable(decoder, WINDOW)
    wanted, _ = decoder(ids, decoder.init_state(2))
    state, sizes = rewindable.init_state(2), []
    for t in range(64):
        out, state = rewindable.step(ids[:, t], state)
        torch.testing.assert_close(out, wanted[:, t], rtol=1e-9, atol=1e-11)
        sizes.append(state.size_bytes())
    assert max(sizes[20:]) == max(sizes[:20])
    loaded = State.from_bytes(state.to_bytes(), layout=rewindable.layout, version=VERSION)
    assert rewindable.rollback(loaded, 3).hash() == rewindable.rollback(state, 3).hash()
    with pytest.raises(InputError, match="only the last"):
        rewindable.rollback(state, 2 * WINDOW)
    with pytest.raises(InputError, match="keeps nothing"):
        Rewindable(decoder, 0)


@every
@torch.no_grad()
def test_rows_of_different_lengths_are_each_as_if_alone(rule: str) -> None:
    memory, rows = make(rule), [*stream(11, 3)]
    rows = [rows[0][:7], rows[1], rows[2][:3]]
    said, states = ragged(memory, rows)
    for row, out, state in zip(rows, said, states, strict=True):
        alone, wanted = memory(row[None], memory.init_state(1))
        torch.testing.assert_close(out, alone[0], rtol=1e-9, atol=1e-11)
        assert_same(state, wanted)
    more = [*stream(4, 3)]
    said, states = ragged(memory, more, states)  # rows that have seen different numbers of tokens go on
    for row, first, out in zip(more, rows, said, strict=True):
        whole, _ = memory(torch.cat([first, row])[None], memory.init_state(1))
        torch.testing.assert_close(out, whole[0, len(first) :], rtol=1e-9, atol=1e-11)


def test_ragged_refuses_what_is_no_batch() -> None:
    memory, row = make("retnet"), stream(3)[0]
    with pytest.raises(InputError, match="a state for each row, and no empty row"):
        ragged(memory, [row, row[:0]])
    other = make("gla")
    with pytest.raises(InputError, match="does not go beside"):
        State.stack([memory.init_state(1), other.init_state(1)])


@pytest.mark.parametrize(
    ("rule", "window"), [("linear_attention", None), ("retnet", None), ("attention", None), ("attention", 6)]
)
@torch.no_grad()
def test_merged_states_are_those_of_one_text_after_the_other(rule: str, window: int | None) -> None:
    memory = make(rule, LayerConfig(**{**vars(PLAIN), "window": window}))
    x, y = stream(9), stream(21)[:, 9:]
    _, first = memory(x, memory.init_state(2))
    _, second = memory(y, memory.init_state(2))
    _, wanted = memory(torch.cat([x, y], 1), memory.init_state(2))
    assert_same(memory.merge(first, second), wanted)


def test_what_cannot_be_merged_says_why() -> None:
    memory = make("delta_net", PLAIN)
    with pytest.raises(InputError, match="delta_net cannot be merged: what it writes depends on what it holds"):
        memory.merge(memory.init_state(1), memory.init_state(1))
    memory = make("retnet")
    with pytest.raises(InputError, match="conv=1"):
        memory.merge(memory.init_state(1), memory.init_state(1))
    with pytest.raises(StoreError, match="was given to a memory of"):
        memory.merge(memory.init_state(1), make("gla").init_state(1))


@every
def test_bad_input_is_refused_and_named(rule: str) -> None:
    memory, x = make(rule), stream(4)
    state = memory.init_state(2)
    for bad, said in (
        (x.float(), "x is torch.float32 and this memory torch.float64"),
        (x[:, :0], "at least 1 token"),
        (x[:, :, :3], "x has shape"),
        (x[:1], "x has shape"),
        (torch.where(x > 1, torch.nan, x), "x holds values that are not finite"),
        (torch.where(x > 1, torch.inf, x), "x holds values that are not finite"),
    ):
        with pytest.raises(InputError, match=said):
            memory(bad, state)
