import errno
import os
from pathlib import Path

import pytest

from fastslow.errors import HomeInUse, StoreError
from fastslow.store import io


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    io.write_atomic(path, b"one")
    io.write_atomic(path, b"two" * 1_000_000)
    assert path.read_bytes() == b"two" * 1_000_000
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:3])))
    io.write_atomic(tmp_path / "a", b"0123456789")
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_the_order_is_the_one_that_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        done.append("fsync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    io.write_atomic(tmp_path / "a", b"x")
    io.remove(tmp_path / "a")
    io.make_dir(tmp_path / "b" / "c")
    folder = f"fsync {tmp_path.name}"
    assert done == ["fsync a.tmp", "rename", folder, folder, folder, "fsync b"]


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full: free space and try again; nothing was lost"), (errno.EIO, "check the folder")],
)
def test_a_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, words: str
) -> None:
    path = tmp_path / "a.json"
    io.write_atomic(path, b"old")

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StoreError, match=words):
            io.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_remove_is_quiet_about_a_missing_file(tmp_path: Path) -> None:
    io.write_atomic(tmp_path / "a", b"")
    io.remove(tmp_path / "a")
    io.remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    io.make_dir(tmp_path / "a" / "b", private=True)
    io.make_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    io.write_atomic(tmp_path / "file", b"")
    with pytest.raises(StoreError, match="cannot write"):
        io.make_dir(tmp_path / "file" / "c")


def test_a_lock_names_its_owner_and_can_be_taken_again(tmp_path: Path) -> None:
    lock = io.lock(tmp_path / "home.lock")
    with pytest.raises(HomeInUse, match=f"process {os.getpid()}"):
        io.lock(tmp_path / "home.lock")
    io.unlock(lock)
    io.unlock(io.lock(tmp_path / "home.lock"))
