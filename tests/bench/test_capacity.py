"""Memories are asked for the last value of a key, which the delta rule can replace (Schlag et al. 2021)."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fastslow.bench import capacity

TINY = capacity.Plan(
    channels=16,
    steps=300,
    methods={"unique": ("sum DPFP-1",), "replaced": ("sum DPFP-1", "delta DPFP-1")},
    sizes={"unique": (20,), "replaced": (20,)},
)


def test_every_key_comes_once_or_the_last_value_wins() -> None:
    random = torch.Generator().manual_seed(0)
    keys, values = capacity.Task(6, replaced=False).pairs(3, 6, random)
    assert all(sorted(row) == list(range(6)) for row in [*keys.tolist(), *values.tolist()])
    task = capacity.Task(6, replaced=True)
    keys, values = task.pairs(50, task.length, random)
    asked = torch.arange(6).expand(50, -1)
    wanted = [
        [dict(zip(k, v, strict=True)).get(key, -1) for key in range(6)]
        for k, v in zip(keys.tolist(), values.tolist(), strict=True)
    ]
    assert capacity.last_values(keys, values, asked).tolist() == wanted
    assert any(-1 in row for row in wanted)


def test_the_delta_rule_replaces_what_a_sum_cannot(tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    result = capacity.measure(file, TINY, seed=0)
    assert json.loads(file.read_text()) == result
    unique, added, replaced = (x["loss as trained"] for x in result["losses"])
    assert unique < 0.01 and replaced < 0.5 * added
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "![capacity](capacity.png)" in file.with_suffix(".md").read_text()
