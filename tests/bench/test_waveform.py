"""A waveform that is learned by heart from a constant input (Koutnik et al. 2014)."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fastslow.bench import waveform
from fastslow.fast.recurrent import ClockworkRNN

TINY = waveform.Plan(seeds=2, length=32, epochs=20)


def test_the_models_have_equally_many_weights_without_the_masked_ones() -> None:
    counts = [waveform.weights(model.built()) for model in waveform.MODELS]
    assert counts[0] == 2497 and max(counts) < 1.05 * min(counts)


def test_a_masked_weight_changes_nothing_and_is_not_learned() -> None:
    torch.manual_seed(0)
    cell = ClockworkRNN(1, 8, 4)
    before = waveform.said(cell, 16)
    before.square().sum().backward()
    assert cell.from_h.weight.grad is not None
    assert not bool(cell.from_h.weight.grad[cell.heard == 0].any())
    with torch.no_grad():
        cell.from_h.weight.add_(1 - cell.heard)
    torch.testing.assert_close(waveform.said(cell, 16), before)


def test_a_wave_has_its_periods_and_no_others() -> None:
    found = waveform.wave(320, 3)
    assert float(found.abs().max()) == 1
    power = torch.fft.rfft(found).abs()
    assert sorted(power.topk(4).indices.tolist()) == [320 // period for period in reversed(waveform.PERIODS)]


def test_waves_are_learned_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "waveform.json"
    result = waveform.measure(file, TINY, waveform.MODELS, seed=0)
    assert json.loads(file.read_text()) == result
    for model in result["models"]:
        assert len(model["error"]) == 2 and model["curve"][-1] < model["curve"][0]
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "![waveform](waveform.png)" in file.with_suffix(".md").read_text()
