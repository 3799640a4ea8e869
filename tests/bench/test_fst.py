"""The experiment on fast-slow training, short: its numbers are those of what it ran."""

from __future__ import annotations

import json
from pathlib import Path

from fastslow.bench import fst, fst_report


def test_contexts_learn_a_hidden_table_sooner_than_weights(tmp_path: Path) -> None:
    file = tmp_path / "fst.json"
    fst.run(file, seeds=[99], arms=("FST", "RL"), steps=12, stage=6, judged=16)
    result = json.loads(file.read_text())
    told = result["summary"]
    assert set(result["life"]) == {"FST", "RL", "none"} and set(result["stream"]) == set(result["zero"]) == {
        "FST",
        "RL",
    }
    (fast,), (slow,) = told["reached"]["FST"], told["reached"]["RL"]
    assert fast["problems"] <= slow["problems"] and told["final"]["FST"][0] > 0.8 > told["final"]["RL"][0]
    assert result["prefixes"]["whole"] > 1.5 * result["prefixes"]["shared"] and result["prefixes"]["apart"] < 1e-4
    points = result["life"]["RL"][0]["points"]
    assert [p["problems"] for p in points] == [48, 96] and [p["rollouts"] for p in points] == [384, 768]
    shown = file.with_suffix(".md").read_text()
    assert "| FST |" in shown and "a tenth is right" in shown and file.with_suffix(".png").exists()


def points(*best: float) -> list[dict[str, float]]:
    return [{"best": b, "problems": 8 * (n + 1), "kl_none": 0.1, "kl_best": 0.0} for n, b in enumerate(best)]


def test_what_is_reached_first_and_what_is_left_at_a_stage_s_end() -> None:
    assert fst.first(points(0.1, 0.5, 0.5), 0.5) == points(0.1, 0.5)[1] and fst.first(points(0.1), 0.2) is None
    found = {"FST": [{"points": points(0.8, 0.4, 0.1, 0.1, 0.6, 0.6)}], "RL": [{"points": points(0, 0, 0, 0.2, 0, 0)}]}
    assert [fst.share(found, "FST", 0, stage) for stage in range(3)] == [0.5, 0.5, 1.0]
    assert [fst.share(found, "RL", 0, stage) for stage in range(3)] == [0.0, 1.0, 0.0]


def test_a_sigmoid_s_end_is_found() -> None:
    curve = [{"problems": 10.0 * n, "best": 0.1 + 0.6 / (1 + (60 / (10.0 * n)) ** 3)} for n in range(1, 30)]
    end = fst.asymptote([curve])
    assert end is not None and abs(end - 0.7) < 0.01
    assert fst_report.interval([0.5, 0.5, 0.5]) == "0.50 (0.50 to 0.50)"
