"""The small language models are of one size, and a life is judged before and after every turn."""

from __future__ import annotations

import json
from pathlib import Path

from fastslow.bench import characters


def test_all_have_as_many_parameters() -> None:
    counts = [sum(p.numel() for p in characters.model(rule).parameters()) for rule in characters.RULES]
    assert max(counts) < 1.02 * min(counts)


def test_a_life_is_learned_and_judged(tmp_path: Path) -> None:
    file = tmp_path / "characters.json"
    result = characters.run(file, rules=("gated_delta_net", "lstm"), seconds=0.3, unseen=1024)
    assert json.loads(file.read_text()) == result
    for life in result["memories"].values():
        assert len(life["A"]) == len(life["B"]) == 1 + sum(turns for _, turns in characters.PARTS)
        assert len(life["steps"]) == len(characters.PARTS) and all(life["steps"])
        assert 7 < life["A"][0] < 9 and life["A"][4] < life["A"][0] - 1  # bits of a byte, before and after
    assert "| lstm |" in file.with_suffix(".md").read_text()
