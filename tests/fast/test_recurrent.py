"""Recurrent cells: each equals its reference, and is a memory that can be cut, saved and stepped."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from contract import assert_any_cut_gives_the_same
from torch import Tensor, nn

from fastslow.errors import InputError, StoreError
from fastslow.fast.frame import VERSION
from fastslow.fast.recurrent import CELLS, LSTM, RNN, Cell, ClockworkRNN, HebbianRNN, HierarchicalRNN, PlasticRNN
from fastslow.memory import SequenceMemory
from fastslow.state import State

every = pytest.mark.parametrize("rule", CELLS)


def make(rule: str) -> Cell:
    torch.manual_seed(0)
    return CELLS[rule](5, 8).double()


def stream(length: int = 11) -> Tensor:
    return torch.randn(2, length, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@every
def test_any_cut_and_every_step_give_the_same_bits(rule: str) -> None:
    cell, x = make(rule), stream()
    assert isinstance(cell, SequenceMemory)
    assert_any_cut_gives_the_same(cell, x, range(1, 11), aligned=1)
    assert cell(x, cell.init_state(2))[1].size_bytes() == cell.init_state(2).size_bytes()


@every
def test_a_state_is_saved_and_another_refused(rule: str) -> None:
    cell, x = make(rule), stream()
    _, state = cell(x, cell.init_state(2))
    loaded = State.from_bytes(state.to_bytes(), layout=cell.layout, version=VERSION)
    before = state.hash()
    assert cell(x, loaded)[1].hash() == cell(x, state.fork())[1].hash() and state.hash() == before
    wrong = State("fast/other", VERSION, state.tensors, state.numbers)
    with pytest.raises(StoreError, match="begin with its init_state"):
        cell(x, wrong)
    with pytest.raises(InputError, match="x has shape"):
        cell(x[:1], state)


@pytest.mark.parametrize(("ours", "theirs"), [(RNN, nn.RNN), (LSTM, nn.LSTM)])
def test_rnn_and_lstm_equal_torch(ours: type[Cell], theirs: type[nn.RNNBase]) -> None:
    cell, x = make(ours.rule), stream()
    reference = theirs(5, 8, batch_first=True).double()  # type: ignore[call-arg]
    with torch.no_grad():
        reference.weight_ih_l0.copy_(cell.from_x.weight)  # type: ignore[union-attr,arg-type]
        reference.bias_ih_l0.copy_(cell.from_x.bias)  # type: ignore[union-attr,arg-type]
        reference.weight_hh_l0.copy_(cell.from_h.weight)  # type: ignore[union-attr,arg-type]
        reference.bias_hh_l0.zero_()
    out, _ = cell(x, cell.init_state(2))
    torch.testing.assert_close(out, cell.to_out(reference(x)[0]))


def test_a_slow_module_keeps_its_state_and_hears_no_faster_one() -> None:
    torch.manual_seed(0)
    cell, x = ClockworkRNN(5, 8, modules=4).double(), stream(8)
    states = []
    state = cell.init_state(2)
    for t in range(8):
        _, state = cell.step(x[:, t], state)
        states.append(state.tensors["h"])
    for t in range(1, 8):
        for module, period in enumerate((1, 2, 4, 8)):
            part = slice(2 * module, 2 * module + 2)
            assert states[t][:, part].equal(states[t - 1][:, part]) == (t % period != 0)
    changed = cell.init_state(2).fork()
    changed.tensors["h"][:, :2] = 1.0  # the fastest module alone
    other = cell.step(x[:, 0], changed)[1].tensors["h"]
    assert other[:, 2:].equal(states[0][:, 2:]) and not other[:, :2].equal(states[0][:, :2])
    with pytest.raises(InputError, match="modules of one size"):
        ClockworkRNN(5, 9, modules=4)


def test_hebbian_fast_weights_are_a_decayed_sum_of_outer_products() -> None:
    torch.manual_seed(0)
    cell, x = HebbianRNN(5, 8, decay=0.9, rate=0.5, inner=2).double(), stream()
    state, past = cell.init_state(2), []
    for t in range(11):
        past.append(state.tensors["h"])
        _, state = cell.step(x[:, t], state)
        wanted = sum(0.5 * 0.9 ** (t - s) * h[:, :, None] * h[:, None, :] for s, h in enumerate(past))
        torch.testing.assert_close(state.tensors["fast"], wanted)
        # Equation 2 as attention over the past: A h = sum of rate decay^(t-s) h_s (h_s . h)
        boundary = cell.from_x(x[:, t]) + cell.from_h(past[-1])
        h = torch.relu(boundary)
        for _ in range(2):
            weights = [0.5 * 0.9 ** (t - s) * (p * h).sum(-1, keepdim=True) for s, p in enumerate(past)]
            h = torch.relu(cell.norm(boundary + sum(w * p for w, p in zip(weights, past, strict=True))))
        torch.testing.assert_close(state.tensors["h"], h)


def test_plastic_weights_start_fixed_and_remember_what_fired_together() -> None:
    torch.manual_seed(0)
    cell, x = PlasticRNN(5, 8).double(), stream(2)
    _, first = cell.step(x[:, 0], cell.init_state(2))
    torch.testing.assert_close(first.tensors["h"], torch.tanh(cell.from_x(x[:, 0])))
    assert not first.tensors["hebb"].any()
    _, second = cell.step(x[:, 1], first)
    wanted = 0.01 * second.tensors["h"][:, :, None] * first.tensors["h"][:, None, :]
    torch.testing.assert_close(second.tensors["hebb"], wanted)


def test_a_level_updates_copies_or_flushes_as_the_boundaries_say() -> None:
    torch.manual_seed(0)
    cell, x = HierarchicalRNN(5, 8, levels=2).double(), stream(40)
    states, met = [cell.init_state(2)], set()
    with torch.no_grad():
        for t in range(40):
            states.append(cell.step(x[:, t], states[-1])[1])
    for t, (old, state) in enumerate(pairwise(states)):
        before = old.tensors
        for b in range(2):
            below, arrived = x[b, t], 1.0
            for n in range(2):
                part = slice(4 * n, 4 * n + 4)
                c, h, ended = before["c"][b, part], before["h"][b, part], float(before["z"][b, n])
                total = cell.from_self[n](h) + arrived * cell.from_below[n](below)
                if n == 0 and ended:
                    total = total + cell.from_above[0](before["h"][b, 4:])
                i, f, new, o = total[:-1].chunk(4)
                if not ended and not arrived:
                    kind = "copy"
                else:
                    kind = "flush" if ended else "update"
                    c = i.sigmoid() * new.tanh() + (0 if ended else f.sigmoid() * c)
                    h = o.sigmoid() * c.tanh()
                met.add(kind)
                torch.testing.assert_close(state.tensors["c"][b, part], c)
                torch.testing.assert_close(state.tensors["h"][b, part], h)
                arrived = float(total[-1].detach() > 0)
                assert state.tensors["z"][b, n] == arrived
                below = h
    assert met == {"copy", "flush", "update"}
    cell(x, cell.init_state(2))[0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in cell.parameters())
    with pytest.raises(InputError, match="levels of one size"):
        HierarchicalRNN(5, 9, levels=2)
