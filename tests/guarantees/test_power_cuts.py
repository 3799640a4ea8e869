"""Acknowledged means durable: what the log says it holds is there after a power cut and after an error of the disk.

A VFS records every operation that SQLite asks of the disk. A cut keeps, of the operations before it, all that were
synced and a random part of the rest, in pieces of one sector. Names are part of it: a file whose folder was never
synced may be gone, and one whose unlink was not synced may be back.
"""

import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from fastslow.errors import StoreError
from fastslow.store import io
from fastslow.store import log as log_module
from fastslow.store.log import Event, Log

SECTOR = 512
# POWER_CUTS=2000 gives the long run
CUTS = int(os.environ.get("POWER_CUTS", "200"))
Contents = tuple[list[tuple[str, str | None, dict[str, Any]]], dict[str, bytes]]
Operation = tuple[Any, ...]


class RecordingFile(apsw.VFSFile):
    def __init__(self, disk: "Disk", name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.disk = disk
        self.name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name).name
        disk.do("open", self.name)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.disk.do("write", self.name, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self.disk.do("truncate", self.name, size)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self.disk.do("sync", self.name)
        super().xSync(flags)


class Disk(apsw.VFS):
    """The file system of the machine, with a record of what was asked of it, and an error at operation `fail_at`."""

    def __init__(self, name: str, fail_at: int = -1, error: type[Exception] = apsw.IOError) -> None:
        super().__init__(name, "")
        self.name = name
        self.operations: list[Operation] = []
        self.fail_at = fail_at
        self.error = error

    def do(self, *operation: Any) -> None:
        if self.fail_at == len(self.operations):
            self.fail_at = -1
            raise self.error("as the test wants it")
        self.operations.append(operation)

    def xOpen(self, name: Any, flags: list[int]) -> RecordingFile:
        return RecordingFile(self, name, flags)

    def xDelete(self, path: str, sync_folder: bool) -> None:
        self.do("delete", Path(path).name, sync_folder)
        super().xDelete(path, sync_folder)


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch, **how: Any) -> Iterator[Disk]:
    disk = Disk("disk-of-a-test", **how)
    real = io.sync_folder

    def sync_folder(folder: Path) -> None:
        disk.do("sync folder")
        real(folder)

    with monkeypatch.context() as patch:
        patch.setattr(io, "sync_folder", sync_folder)
        yield disk
    disk.unregister()


def contents(log: Log) -> Contents:
    return [(event.kind, event.episode, event.payload) for event in log.events()], dict(log.records())


def without(gone: str, event: Event) -> dict[str, Any]:
    if event.kind != "sleep":
        return event.payload
    return {"ids": [episode for episode in event.payload["ids"] if episode != gone]}


def work(path: Path, disk: Disk, seed: int, steps: int) -> Iterator[Contents]:
    """Open a log and use it as a learner does; yields what it holds after each acknowledged step."""
    rng = random.Random(seed)
    with Log.open(path, vfs=disk.name) as log:
        # small enough for several checkpoints in a short run
        log._rows("PRAGMA wal_autocheckpoint = 12")
        yield contents(log)
        living: list[str] = []
        for step in range(steps):
            kind = rng.random()
            if kind < 0.6 or not living:
                episode = f"e{step}"
                text = f"needle of {episode}. " + rng.randbytes(rng.randrange(20, 3000)).hex()
                record = text.encode() if rng.random() < 0.5 else None
                log.append("learn", {"text": text}, episode, time=step, record=record)
                living.append(episode)
            elif kind < 0.75:
                log.append("sleep", {"ids": list(living)}, time=step)
            elif kind < 0.85:
                log.put_records({episode: f"needle of {episode}. again".encode() for episode in living[-3:]})
            else:
                gone = living.pop(rng.randrange(len(living)))
                log.erase({gone}, {"step": step}, time=step, rewrite=lambda event, gone=gone: without(gone, event))
            yield contents(log)


def contents_of(path: Path) -> Contents:
    with Log.open(path) as log:
        assert log.verify() == []
        return contents(log)


def after_power_cut(operations: list[Operation], rng: random.Random, database: str) -> dict[str, bytes]:
    """The files that a power cut after these operations leaves."""
    synced: dict[str, bytearray] = {}
    pending: dict[str, list[Operation]] = {}
    named: set[str] = set()
    unlinked: set[str] = set()
    for operation, name, *rest in (o if len(o) > 1 else (*o, "") for o in operations):
        if operation == "open":
            pending.setdefault(name, [])
            synced.setdefault(name, bytearray())
        elif operation in ("write", "truncate"):
            pending[name].append((operation, *rest))
            unlinked.discard(name)
        elif operation == "sync":
            for change in pending[name]:
                carry_out(synced[name], change)
            pending[name] = []
            # SQLite syncs the folder with the first sync of a journal or WAL, but not of the database
            if name != database:
                named.add(name)
        elif operation == "delete":
            unlinked.add(name)
            pending[name] = []
        if operation == "sync folder" or (operation == "delete" and rest[0]):
            named.update(synced.keys() - unlinked)
            for gone in unlinked:
                synced.pop(gone, None)
                pending.pop(gone, None)
            named -= unlinked
            unlinked.clear()
    left = {}
    for name, data in synced.items():
        if name not in named and rng.random() < 0.5:
            continue
        for change in pending[name]:
            for piece in sectors(change):
                if rng.random() < 0.5:
                    carry_out(data, piece)
        left[name] = bytes(data)
    return left


def sectors(change: Operation) -> Iterator[Operation]:
    if change[0] == "truncate":
        yield change
        return
    _, offset, data = change
    while data:
        size = SECTOR - offset % SECTOR
        yield "write", offset, data[:size]
        offset, data = offset + size, data[size:]


def carry_out(data: bytearray, change: Operation) -> None:
    if change[0] == "truncate":
        del data[change[1] :]
        data.extend(bytes(change[1] - len(data)))
        return
    _, offset, new = change
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(new)] = new


def record(path: Path, disk: Disk, seed: int, steps: int) -> tuple[list[Contents], list[int]]:
    """The contents after each acknowledged step, and how many operations the disk had seen by then."""
    states: list[Contents] = [([], {})]
    seen = [0]
    for state in work(path, disk, seed, steps):
        states.append(state)
        seen.append(len(disk.operations))
    return states, seen


def losses(
    folder: Path, disk: Disk, states: list[Contents], seen: list[int], rng: random.Random, cuts: int
) -> list[str]:
    """What went wrong in so many cuts: after syncs and acknowledgements, where it matters most, and anywhere."""
    syncs = [n + 1 for n, operation in enumerate(disk.operations) if operation[0].startswith("sync")]
    problems = []
    for number in range(cuts):
        places = (syncs, seen, range(len(disk.operations) + 1))[number % 3]
        cut = rng.choice(places)
        acknowledged = max(n for n, count in enumerate(seen) if count <= cut)
        allowed = states[acknowledged : acknowledged + 2]
        after = folder / str(number)
        after.mkdir(parents=True)
        for name, data in after_power_cut(disk.operations[:cut], rng, "log.sqlite").items():
            (after / name).write_bytes(data)
        erased = known(states[: acknowledged + 1]) - known(allowed)
        problems += [f"cut {cut}: {needle} is back" for needle in needles_in(after) & erased]
        try:
            found = contents_of(after / "log.sqlite")
        except (StoreError, AssertionError) as error:
            problems.append(f"cut {cut}: {error}")
            continue
        if found not in allowed:
            problems.append(f"cut {cut}: {len(found[0])} events where {len(allowed[0][0])} were acknowledged")
        left = needles_in(after) - known([found])
        problems += [f"cut {cut}: {needle} is still there" for needle in left]
    return problems


def known(states: list[Contents]) -> set[str]:
    return {episode for events, records in states for episode in [*(e for _, e, _ in events if e), *records]}


def needles_in(folder: Path) -> set[str]:
    text = b"".join(path.read_bytes() for path in folder.iterdir())
    return {episode.decode() for episode in re.findall(rb"needle of (e\d+)\.", text)}


@pytest.mark.parametrize("seed", range(4))
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    with recorded(monkeypatch) as disk:
        states, seen = record(tmp_path / "log.sqlite", disk, seed, steps=30)
    assert any(events and events[-1][0] == "forget" for events, _ in states)
    assert losses(tmp_path / "cuts", disk, states, seen, random.Random(seed), CUTS // 4) == []


@pytest.mark.parametrize("weakness", ["OFF", "NORMAL", "unsynced unlink of the first journal"])
def test_the_simulator_sees_settings_that_lose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weakness: str) -> None:
    real = log_module._pragma

    def pragma(connection: apsw.Connection, name: str, value: str | int, expected: str | int) -> None:
        if (name, value) == ("synchronous", "FULL") and weakness in ("OFF", "NORMAL"):
            real(connection, name, weakness, {"OFF": 0, "NORMAL": 1}[weakness])
        elif (name, value) == ("synchronous", "EXTRA") and weakness.startswith("unsynced"):
            real(connection, name, "FULL", 2)
        else:
            real(connection, name, value, expected)

    monkeypatch.setattr(log_module, "_pragma", pragma)
    with recorded(monkeypatch) as disk:
        if weakness.startswith("unsynced"):
            monkeypatch.setattr(io, "sync_folder", lambda folder: None)
        states, seen = record(tmp_path / "log.sqlite", disk, seed=0, steps=15)
    assert losses(tmp_path / "cuts", disk, states, seen, random.Random(0), cuts=30) != []


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
def test_an_error_of_the_disk_at_any_operation_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    with recorded(monkeypatch) as disk:
        record(tmp_path / "log.sqlite", disk, seed=1, steps=8)
    total = len(disk.operations)
    for fail_at in random.Random(0).sample(range(total), 60):
        path = tmp_path / str(fail_at) / "log.sqlite"
        path.parent.mkdir()
        states: list[Contents] = [([], {})]
        with recorded(monkeypatch, fail_at=fail_at, error=error) as disk:
            try:
                for state in work(path, disk, seed=1, steps=8):
                    states.append(state)
            except StoreError as caught:
                assert "disk" in str(caught)
        with recorded(monkeypatch) as disk:
            following = [([], {}), *work(path.with_name("whole"), disk, seed=1, steps=8)]
        assert states == following[: len(states)]
        assert contents_of(path) in following[len(states) - 1 : len(states) + 1]
