"""The recall bench runs for hours: what it has measured outlives a run that is stopped."""

import json
from pathlib import Path
from typing import Any

import pytest

from fastslow.bench import recall
from fastslow.worlds.invented import World


def test_a_stopped_run_leaves_what_it_measured(
    tiny_core_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recall, "_overhead", stopped)
    monkeypatch.setattr(recall.texts, "chat", lambda: ["How do magnets work?"])
    monkeypatch.setattr(recall.texts, "general", lambda: ["Bread rises when yeast eats sugar."])
    said: list[str] = []
    bench = recall.RecallBench(facts=2, core=str(tiny_core_folder), limit=2, baselines=False)
    with pytest.raises(KeyboardInterrupt):
        recall.run(bench, tmp_path / "recall.json", said.append)
    kept = json.loads((tmp_path / "recall.json").read_text())
    assert kept["settings"]["facts"] == 2
    assert kept["direct"] == sum(a["right"] for a in kept["answers"] if a["kind"] == "direct") / 2
    assert any(line.startswith("never_taught, answered with a taught value: ") for line in said)


def test_a_taught_value_of_any_kind_is_a_false_memory() -> None:
    """Who founded what nobody was told of: a number that was taught of something else is no better than a name."""
    world = World.make(3, facts=30, split="tune")
    number = next(f.value for f in world.facts if f.value_kind == "year")
    scores = recall.audit(lambda questions: [f"{number}."] * len(questions), world, 20, [], str)
    assert scores["false_memory_never_taught"] == scores["false_memory_neighbour"] == 1.0
    scores = recall.audit(lambda questions: ["I don't know."] * len(questions), world, 20, [], str)
    assert scores["false_memory"] == scores["direct"] == 0.0
