"""Several results of the recall bench in one table and one plot."""

import json
from pathlib import Path
from typing import Any

import pytest

from fastslow.bench import curve
from fastslow.errors import InputError


def result(facts: int, direct: float, **more: Any) -> dict[str, Any]:
    settings = {"facts": facts, "seed": 1, "limit": 9, "baseline_limit": 3, "split": "test"}
    settings |= {"baselines": "baselines" in more, "lora": False, "sleep": False}
    answers = [{"kind": "direct"}, {"kind": "direct", "tiers": "slow"}]
    costs = {"write_cpu_s": 0.1, "bytes_per_episode": 9000.0, "prompt_tokens_added": 0, "kl_nats": 0.0}
    about = {"bench": "recall", "settings": settings, "episodes": facts, "answers": answers}
    return about | {"direct": direct, **costs, **more}


def test_results_are_ordered_by_facts_beside_their_baselines(tmp_path: Path) -> None:
    large, small = tmp_path / "large.json", tmp_path / "small.json"
    large.write_text(json.dumps(result(200, 0.75, baselines={"bm25": {"direct": 0.5, "kl_nats": 0.0}})))
    small.write_text(json.dumps(result(40, 0.875, baselines={"naive_lora": {"direct": 0.25, "kl_nats": 1.5}})))
    curve.run([large, small], tmp_path / "recall.md")
    text = (tmp_path / "recall.md").read_text()
    assert text.index("## 40 facts") < text.index("## 200 facts")
    assert "| **memory** | 0.875 |" in text and "| naive lora | 0.250 |" in text and "1.5000 |" in text
    assert "Questions asked of the memory: 1 direct," in text  # those asked after a sleep are not counted again
    assert "--facts 40 --seed 1 --limit 9`" in text and "of a baseline at most 3 of a kind." in text
    assert "| KB a fact | 9.0 | 9.0 |" in text and "![recall against the number of facts](recall.png)" in text
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")


def test_results_of_other_bits_make_a_table_of_bytes(tmp_path: Path) -> None:
    usual, coarse = result(40, 0.875), result(40, 0.5, bytes_per_episode=2500.0)
    coarse["settings"]["bits"] = 2
    files = [tmp_path / f"{i}.json" for i in range(3)]
    for file, found in zip(files, (usual, coarse, result(200, 0.75)), strict=True):
        file.write_text(json.dumps(found))
    curve.run(files, tmp_path / "recall.md")
    text = (tmp_path / "recall.md").read_text()
    assert "--limit 9 --no-baselines`" in text and "of a baseline at most" not in text
    assert text.count("## 40 facts") == 1 and "## Bytes, 40 facts" in text
    assert text.index("| 2 | 2.5 | 0.500 |") < text.index("| 8 | 9.0 | 0.875 |")
    with pytest.raises(InputError, match="beside some of the usual bits"):
        curve.run(files[1:2], tmp_path / "recall.md")


@pytest.mark.parametrize("text", ["", "[]", '{"bench": "fast"}', "not json"])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="no result of `fastslow bench recall"):
        curve.run([tmp_path / "x.json"], tmp_path / "recall.md")
    assert not (tmp_path / "recall.md").exists()
