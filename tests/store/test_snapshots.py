import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fastslow.errors import InputError, StoreError
from fastslow.state import State
from fastslow.store import snapshots


def state(value: float) -> State:
    return State("fast/x", 1, {"w": torch.full((4, 5), value, dtype=torch.bfloat16)}, {"n": 3})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_one_saved_is_loaded_and_the_others_are_gone(tmp_path: Path) -> None:
    assert snapshots.load(tmp_path, "fast", "fast/x", 1) is None
    snapshots.save(tmp_path, "fast", state(1), "h1")
    path = snapshots.save(tmp_path, "fast", state(2), "h2")
    other = snapshots.save(tmp_path, "fast-a", state(3), "h3")
    snapshots.save(tmp_path, "fast", state(2), "h4")
    assert names(tmp_path) == sorted(["fast.json", path.name, "fast-a.json", other.name])
    loaded = snapshots.load(tmp_path, "fast", "fast/x", 1)
    assert loaded is not None
    assert loaded[0].hash() == state(2).hash()
    assert loaded[1]["log_hash"] == "h4"
    snapshots.delete(tmp_path, "fast")
    snapshots.delete(tmp_path, "fast")
    assert names(tmp_path) == sorted(["fast-a.json", other.name])


def test_every_flipped_bit_is_detected(tmp_path: Path) -> None:
    path = snapshots.save(tmp_path, "fast", state(1), "h")
    good = path.read_bytes()
    for bit in range(0, len(good) * 8, 7):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(StoreError, match="rebuild it from the log"):
            snapshots.load(tmp_path, "fast", "fast/x", 1)
    path.write_bytes(good[:-1])
    with pytest.raises(StoreError, match="checksum"):
        snapshots.load(tmp_path, "fast", "fast/x", 1)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"file": 3, "sha256": ""}', '{"file": "../a", "sha256": ""}'])
def test_a_damaged_manifest_is_detected(tmp_path: Path, manifest: str) -> None:
    snapshots.save(tmp_path, "fast", state(1), "h")
    (tmp_path / "fast.json").write_text(manifest)
    with pytest.raises(StoreError, match="rebuild it from the log"):
        snapshots.load(tmp_path, "fast", "fast/x", 1)


def test_a_missing_file_and_another_layout_are_errors(tmp_path: Path) -> None:
    path = snapshots.save(tmp_path, "fast", state(1), "h")
    with pytest.raises(StoreError, match="version 2"):
        snapshots.load(tmp_path, "fast", "fast/x", 2)
    with pytest.raises(StoreError, match="slow/y"):
        snapshots.load(tmp_path, "fast", "slow/y", 1)
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        snapshots.load(tmp_path, "fast", "fast/x", 1)


def test_a_save_of_any_length_that_fails_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.save(tmp_path, "fast", state(1), "h1")
    real = os.fsync
    for failing in range(20):
        calls = iter(range(100))

        def fsync(descriptor: int, calls: Iterator[int] = calls, failing: int = failing) -> None:
            if next(calls) == failing:
                raise OSError(errno.ENOSPC, "full")
            real(descriptor)

        failed = False
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            try:
                snapshots.save(tmp_path, "fast", state(2), "h2")
            except StoreError as error:
                failed = True
                assert "disk is full" in str(error)
        loaded = snapshots.load(tmp_path, "fast", "fast/x", 1)
        assert loaded is not None
        which = {state(1).hash(): "h1", state(2).hash(): "h2"}
        assert loaded[1]["log_hash"] == which[loaded[0].hash()]
        if not failed:
            assert loaded[1]["log_hash"] == "h2"
            assert failing > 3
            break
        snapshots.save(tmp_path, "fast", state(1), "h1")
    else:
        pytest.fail("the save never went through")
    assert json.loads((tmp_path / "fast.json").read_text())["log_hash"] == "h2"


@pytest.mark.parametrize("name", ["", "../a", "A", "a/b", "a.b", "-a", "é"])
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a snapshot"):
        snapshots.save(tmp_path, name, state(1), "h")
