"""The bench of the fast tier on a tiny core: it measures what it says and writes what it measured."""

import json
from pathlib import Path

import pytest
import torch

from fastslow.bench import fast as bench
from fastslow.core import Core
from fastslow.errors import InputError
from fastslow.fast import trajectory as fast

CONFIG = fast.FastConfig(rank=4, layers=2, window=32, chunk=8, lr=0.02, half_life=256.0)


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


def test_the_parts_of_the_reference_share_no_paragraph() -> None:
    tune, judge = (
        {" ".join(p.split()) for p in bench.reference(part).split("\n\n")} - {""} for part in ("tune", "judge")
    )
    assert len(tune) > 500
    assert len(judge) > 500
    assert not tune & judge
    with pytest.raises(InputError, match="judge"):
        bench.reference("all")


def test_a_run_measures_learning_and_writes_it_down(core: Core, tmp_path: Path) -> None:
    path = tmp_path / "fast.json"
    text = "Mira lives in Tolvar and works at the old harbour. " * 60
    result = bench.run(path, tokens=320, core=core, config=CONFIG, text=text)
    assert json.loads(path.read_text()) == result
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    rows = result["perplexity"]
    assert rows["on"]["all"] < rows["temperature"]["all"] <= rows["off"]["all"]
    assert rows["shuffled off"]["all"] == pytest.approx(rows["off"]["all"])
    second = result["second half"]
    assert second["on"] < second["frozen"] < min(second["off"], second["random direction"])


def test_too_short_a_text_is_refused(core: Core) -> None:
    with pytest.raises(InputError, match="too few"):
        bench.run(core=core, config=CONFIG, text="short")
