"""`fastslow train`: a small model from a text or a world, kept and gone on with."""

from __future__ import annotations

from pathlib import Path

from program import Run

SMALL = ("--steps", "6", "--batch", "2", "--window", "16", "--width", "16", "--heads", "2", "--chunk", "8")


def test_a_text_is_trained_on_kept_and_not_trained_again(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 20)
    arguments = ("train", text, "--blocks", "gated_delta_net, attention", *SMALL, "--out", tmp_path / "model")
    report = run(*arguments, "--json").json
    assert report["blocks"] == ["gated_delta_net", "attention"] and len(report["losses"]) == report["steps"] == 6
    assert report["bits"] < report["bits_before"] and report["parameters"] > 0
    again = run(*arguments)  # the checkpoint is of the last step, so nothing is left to do
    assert again.code == 0 and f"{report['bits']:.2f}" in again.out and "kept in" in again.out
    other = run(*arguments[:-2], "--seed", "1", "--out", tmp_path / "model")
    assert other.code == 2 and "other settings" in other.err


def test_a_world_is_trained_on(run: Run) -> None:
    assert run("train", "--world", "3", *SMALL, "--json").json["steps"] == 6
