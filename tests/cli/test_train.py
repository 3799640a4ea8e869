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


SHORT = ("--problems", "2", "--json")
FAST = ("--contexts", "2", "--cycle", "2")


def test_a_core_learns_a_task_and_asks_with_it(run: Run, tmp_path: Path) -> None:
    made = run("train", "fst", "--task", "chain_sum", "--steps", "2", "--group", "4", *FAST, *SHORT).json
    assert made["method"] == "fst" and made["steps"] == 2 and made["rollouts"] >= 16 and made["contexts"]
    skills = run("status", "--json").json["skills"]
    assert len(skills) == 1 and skills[0].startswith("chain_sum:")
    (folder,) = (tmp_path / "home" / "skills").iterdir()
    assert folder.name.startswith("chain_sum-") and {path.name for path in folder.iterdir()} >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "skill.json",
    }
    assert run("history", "--json").code == 0 and run("doctor").code == 0
    distilled = run("train", "distill", "--task", "chain_sum", "--steps", "1", "--group", "2", *SHORT)
    assert (distilled.code == 2 and "nothing to distil" in distilled.err) or "kept" in distilled.json
    missing = run("train", "distill", "--task", "gcd", "--steps", "1")
    assert missing.code == 2 and "learn it first" in missing.err


def test_the_halves_alone_and_a_longer_training_goes_on(run: Run, tmp_path: Path) -> None:
    speller = ("--task", "cipher-1", "--core", "speller", "--home", str(tmp_path / "small"))
    slow = run("train", "rl", *speller, "--steps", "2", "--group", "4", *SHORT).json
    assert slow["rollouts"] == 2 * 2 * 4 and slow["contexts"][0]["items"] == []
    assert (tmp_path / "small").stat().st_mode & 0o077 == 0
    first = run("train", "context", *speller, "--steps", "2", *FAST, *SHORT).json
    longer = run("train", "context", *speller, "--steps", "4", *FAST, *SHORT).json
    assert longer["rollouts"] > first["rollouts"] > 0 and longer["steps"] == 4
    shown = run("train", "context", *speller, "--steps", "4", *FAST, "--problems", "2")
    assert shown.code == 0 and "cipher-1-0" in shown.out and "kept in" in shown.out
    other = run("train", "context", *speller, "--steps", "4", *FAST, "--problems", "2", "--seed", "1")
    assert other.code == 0 and len(list((tmp_path / "small" / "training").iterdir())) == 3
    alone = run("train", "rl", *speller, "--steps", "1", "--group", "1")
    assert alone.code == 2 and "at least 2" in alone.err


def test_a_reflector_that_is_down_is_told_of_and_the_training_goes_on(run: Run, tmp_path: Path) -> None:
    speller = ("--task", "cipher-1", "--core", "speller", "--home", str(tmp_path / "small"))
    made = run("train", "context", *speller, "--steps", "2", *FAST, *SHORT, "--reflector", "http://127.0.0.1:9/v1")
    assert made.json["steps"] == 2 and made.json["reflector failed"] == {"raised ReflectorError": 3}
    odd = run("train", "fst", *speller, "--steps", "2", "--reflector", "localhost")
    assert odd.code == 2 and "begins with http" in odd.err
