"""Fast weights repair old memories and leave no trace in the slow ones (Hinton and Plaut 1987)."""

from __future__ import annotations

import json
from pathlib import Path

from fastslow.bench import deblurring


def test_what_was_not_rehearsed_comes_back_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "deblurring.json"
    result = deblurring.run(file)
    assert json.loads(file.read_text()) == result
    learned, blurred, rehearsed, faded = result["squared error"]["unrehearsed"]
    assert learned["mean"] < 1e-6 < blurred["mean"]
    assert rehearsed["mean"] < 0.6 * blurred["mean"]
    assert abs(faded["mean"] - blurred["mean"]) < 1e-6
    new = [stage["mean"] for stage in result["squared error"]["new"]]
    assert new[1] < 0.1 < new[2] and abs(new[3] - new[1]) < 1e-6
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "![deblurring](deblurring.png)" in file.with_suffix(".md").read_text()
