"""Associative recall asks what it says it asks, and its models have the room that they are said to have."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fastslow.bench import mqar


def test_every_question_is_answered_by_the_value_of_its_key() -> None:
    tokens, wanted = mqar.drawn(Random(1), batch=5, pairs=4)
    assert tokens.shape == wanted.shape == (5, 12)
    for line, answers in zip(tokens.tolist(), wanted.tolist(), strict=True):
        held = dict(zip(line[:8:2], line[1:8:2], strict=True))
        assert len(held) == 4 and sorted(line[8:]) == sorted(held)
        assert answers == [mqar.IGNORED] * 8 + [held[key] for key in line[8:]]


def test_a_run_trains_each_memory_and_writes_it_down(tmp_path: Path) -> None:
    file = tmp_path / "mqar.json"
    result = mqar.run(file, rules=("delta_net", "lstm", "attention"), steps=2)
    assert json.loads(file.read_text()) == result
    assert [m["state numbers"] for m in result["memories"].values()] == [mqar.ROOM, mqar.ROOM, 0]
    assert all(0 <= share <= 1 for m in result["memories"].values() for share in m["recall"].values())
    assert "| attention |" in file.with_suffix(".md").read_text()
