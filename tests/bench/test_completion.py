"""Patterns that plastic connections complete from their halves (Miconi et al. 2018)."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fastslow.bench import completion

TINY = completion.Plan(bits=20, patterns=2, units=24, steps=60, batch=8, every=30, test=100)


def test_an_episode_shows_its_patterns_and_then_half_of_one() -> None:
    inputs, wanted, hidden = completion.episodes(50, TINY, torch.Generator().manual_seed(0))
    assert inputs.shape == (50, 11, 20) and bool((hidden.sum(-1) == 10).all())
    first, second, probe = inputs[:, 0], inputs[:, 4], inputs[:, -1]
    assert bool((inputs[:, :3] == first[:, None]).all()) and not bool(inputs[:, [3, 7]].any())
    assert bool(((wanted == first).all(-1) | (wanted == second).all(-1)).all())
    assert torch.equal(probe, torch.where(hidden, 0.0, wanted))


def test_plastic_connections_of_one_strength_are_a_hopfield_network_and_complete_patterns() -> None:
    """What training has to find is there; at random, with alphas near 0, nothing comes back."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    assert completion.tested(completion.plastic(completion.SHORT), completion.SHORT, random) > 0.4
    assert completion.by_hand(completion.SHORT, seed=0) < 0.001


def test_the_cells_are_trained_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "completion.json"
    result = completion.measure(file, TINY, completion.MODELS, seed=0)
    assert json.loads(file.read_text()) == result
    assert [len(model["errors"]) for model in result["models"]] == [3, 3, 3]
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "![completion](completion.png)" in file.with_suffix(".md").read_text()
