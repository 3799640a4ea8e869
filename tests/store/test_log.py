import math
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from fastslow.errors import HomeInUse, InputError, StoreError, UnknownEpisode
from fastslow.store.log import FIRST_HASH, MIGRATIONS, Event, Log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


def test_what_is_appended_is_read_again(path: Path) -> None:
    with Log.open(path) as log:
        assert log.head() == FIRST_HASH
        one = log.append("learn", {"b": "Ærø 東京 \0", "a": [1, None, 0.1]}, "e1", time=1.5, record=b"r1")
        two = log.append("sleep", {"ids": ["e1"]}, time=2)
        assert log.head() == two.hash
    with Log.open(path, create=False) as log:
        assert list(log.events()) == [one, two]
        assert list(log.events(["sleep"])) == [two]
        assert list(log.events([])) == []
        assert list(log.records()) == [("e1", b"r1")]
        assert log.verify() == []
    assert (one.prev_hash, two.prev_hash) == (FIRST_HASH, one.hash)


def test_the_chain_does_not_change_between_releases(path: Path) -> None:
    with Log.open(path) as log:
        assert (
            log.append("learn", {"text": "Ærø"}, "e1", time=1.5).hash
            == "bff18b6c9bd68d3ecc31790c94139a196fb83bd7a3cda0937dae124e464127a7"
        )


def test_records_are_set_replaced_and_deleted(path: Path) -> None:
    with Log.open(path) as log:
        log.put_records({"b": b"2", "a": b"1"})
        log.put_records({"b": b"3"})
        assert list(log.records()) == [("a", b"1"), ("b", b"3")]
        log.delete_record("a")
        log.delete_record("a")
        assert log.record("a") is None
        assert log.record("b") == b"3"


def test_a_write_interrupted_at_its_start_leaves_no_transaction_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Log.open(path) as log:
        rows = log._rows

        def interrupted(sql: str, *values: Any) -> Any:
            rows(sql, *values)
            raise KeyboardInterrupt

        monkeypatch.setattr(log, "_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log.delete_record("e1")
        monkeypatch.undo()
        log.append("learn", {"text": "x"}, "e1", time=0.0)
    with Log.open(path) as log:
        assert len(list(log.events())) == 1


def test_ten_megabytes_of_text(path: Path) -> None:
    text = "å quick brown fox. " * 500_000
    with Log.open(path) as log:
        log.append("learn", {"text": text}, "big", time=0.0, record=text.encode())
    with Log.open(path) as log:
        assert next(log.events()).payload["text"] == text
        assert log.record("big") == text.encode()
        log.erase({"big"}, {}, time=1.0)
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize(
    ("payload", "episode", "time", "record", "words"),
    [
        ({"x": b"bytes"}, "e", 0.0, None, "not JSON"),
        ({"x": math.nan}, "e", 0.0, None, "not JSON"),
        ({"x": "\ud800"}, "e", 0.0, None, "Unicode"),
        ({}, "\ud800", 0.0, None, "Unicode"),
        ({}, "e", math.inf, None, "finite"),
        ({}, None, 0.0, b"r", "give the episode id"),
    ],
)
def test_bad_input_adds_nothing(
    path: Path, payload: dict[str, Any], episode: str | None, time: float, record: bytes | None, words: str
) -> None:
    with Log.open(path) as log:
        with pytest.raises(InputError, match=words):
            log.append("learn", payload, episode, time=time, record=record)
        assert list(log.events()) == []


def test_the_settings_hold_after_a_reopen(path: Path) -> None:
    Log.open(path).close()
    with Log.open(path) as log:
        wanted = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "locking_mode": "exclusive"}
        for name, value in wanted.items():
            assert log._rows(f"PRAGMA {name}") == [(value,)]
        log.append("learn", {}, time=0.0)
        assert not path.with_name("log.sqlite-shm").exists()


def test_events_may_be_appended_and_erased_while_reading(path: Path) -> None:
    with Log.open(path) as log:
        for n in range(3):
            log.append("learn", {"n": n}, f"e{n}", time=0.0)
        seen = []
        for event in log.events():
            seen.append(event.episode)
            log.append("use", {}, time=0.0)
            if event.episode == "e0":
                log.erase({"e1"}, {}, time=0.0)
        assert seen == ["e0", "e2"]
        assert log.verify() == []


# ---- who may open it ----


def test_a_second_process_is_told_who_is_in_the_way(path: Path) -> None:
    code = f"from pathlib import Path; from fastslow.store.log import Log; Log.open(Path({str(path)!r}))"
    with Log.open(path) as log:
        log.append("learn", {}, time=0.0)
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert "HomeInUse" in second.stderr
        with pytest.raises(HomeInUse, match="close that one first"):
            Log.open(path)
        log.append("learn", {}, time=0.0)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_log_is_made_only_on_request(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no log"):
        Log.open(path, create=False)
    assert not path.exists()


def test_a_foreign_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"this is a diary, not a database. " * 200)
    with pytest.raises(StoreError, match="fastslow doctor"):
        Log.open(path)
    assert path.read_bytes() == b"this is a diary, not a database. " * 200
    path.unlink()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE t(x)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Log.open(path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(path: Path) -> None:
    with Log.open(path) as log:
        log._rows(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StoreError, match="newer fastslow"):
        Log.open(path)


def test_migrations_run_in_order_and_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Log.open(path) as log:
        event = log.append("learn", {}, "e", time=0.0)
    more = (("ALTER TABLE meta ADD COLUMN note TEXT",), ("UPDATE meta SET note = key",))
    monkeypatch.setattr("fastslow.store.log.MIGRATIONS", MIGRATIONS + more)
    for _ in range(2):
        with Log.open(path) as log:
            assert log._rows("PRAGMA user_version") == [(len(MIGRATIONS) + 2,)]
            assert list(log.events()) == [event]


def test_a_closed_log_says_so(path: Path) -> None:
    log = Log.open(path)
    log.close()
    log.close()
    with pytest.raises(StoreError, match="open the home again"):
        log.append("learn", {}, time=0.0)


# ---- damage ----


def flip(path: Path, needle: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(needle)
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_flipped_bit_in_a_record_is_detected_and_dropped(path: Path) -> None:
    with Log.open(path) as log:
        log.append("learn", {}, "a", time=0.0, record=b"record-a" * 40)
        log.append("learn", {}, "b", time=0.0, record=b"record-b" * 40)
    flip(path, b"record-b")
    with Log.open(path) as log:
        assert log.record("a") == b"record-a" * 40
        with pytest.raises(StoreError, match="record of episode b is damaged"):
            log.record("b")
        with pytest.raises(StoreError, match="fastslow doctor"):
            list(log.records())
        assert log.verify() == ["the record of episode b does not match its checksum"]
        assert log.drop_bad_records() == ["b"]
        assert log.verify() == []
        assert list(log.records()) == [("a", b"record-a" * 40)]


def test_a_flipped_bit_in_an_event_is_detected(path: Path) -> None:
    with Log.open(path) as log:
        for n in range(3):
            log.append("learn", {"text": f"event-{n}"}, time=0.0)
    flip(path, b"event-1")
    with Log.open(path) as log:
        assert log.verify() == ["event 2 does not match its hash: it was changed or damaged"]
        reading = log.events()
        assert next(reading).seq == 1
        with pytest.raises(StoreError, match="event 2 of"):
            next(reading)


@pytest.mark.parametrize(
    ("sql", "seq"),
    [
        ("DELETE FROM events WHERE seq = 2", 3),
        ("UPDATE events SET time = 9 WHERE seq = 2", 2),
        ("UPDATE events SET episode = 'x' WHERE seq = 2", 2),
        ("UPDATE events SET kind = 'x' WHERE seq = 2", 2),
        ("UPDATE events SET payload = x'00' WHERE seq = 2", 2),
    ],
)
def test_a_changed_history_does_not_verify(path: Path, sql: str, seq: int) -> None:
    with Log.open(path) as log:
        for n in range(4):
            log.append("learn", {"n": n}, time=0.0)
        log._rows(sql)
        assert [problem.split()[:2] for problem in log.verify()] == [["event", str(seq)]]


def test_a_file_cut_in_half_is_refused_or_reported(path: Path) -> None:
    with Log.open(path) as log:
        for n in range(50):
            log.append("learn", {"text": "x" * 5000}, f"e{n}", time=0.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    try:
        with Log.open(path) as log:
            assert log.verify() != []
            with pytest.raises(StoreError):
                list(log.events())
    except StoreError as error:
        assert "fastslow doctor" in str(error)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_anywhere_are_reported_or_harmless(path: Path, seed: int) -> None:
    with Log.open(path) as log:
        for n in range(6):
            log.append("learn", {"text": f"{n}é" * 700}, f"e{n}", time=0.0, record=bytes([n]) * 3000)
        before = (list(log.events()), list(log.records()))
    good = path.read_bytes()
    rng = random.Random(seed)
    reported = 0
    for _ in range(60):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            with Log.open(path) as log:
                problems = log.verify()
                if not problems:
                    assert (list(log.events()), list(log.records())) == before
        except StoreError as error:
            problems = [str(error)]
        reported += bool(problems)
    assert reported > 15


# ---- erasing ----


def fill(log: Log, episodes: str) -> None:
    for time, episode in enumerate("ABC"):
        if episode in episodes:
            log.append("learn", {"text": f"text of {episode}"}, episode, time=time, record=f"record {episode}".encode())
    log.append("sleep", {"ids": [episode for episode in "ABC" if episode in episodes]}, time=3)


def drop_b(event: Event) -> dict[str, Any] | None:
    if event.payload.get("only") == "B":
        return None
    if "ids" in event.payload:
        return {**event.payload, "ids": [i for i in event.payload["ids"] if i != "B"]}
    return event.payload


def test_forgetting_gives_the_history_that_never_had_it(tmp_path: Path) -> None:
    with Log.open(tmp_path / "abc") as log, Log.open(tmp_path / "ac") as never:
        fill(log, "ABC")
        log.append("note", {"only": "B"}, time=4)
        fill(never, "AC")
        head = never.head()
        receipt = log.erase({"B"}, {"ids": ["B"]}, time=5, rewrite=drop_b)
        assert [e.hash for e in log.events() if e.kind != "forget"] == [e.hash for e in never.events()]
        assert (receipt.kind, receipt.payload, receipt.prev_hash) == ("forget", {"ids": ["B"]}, head)
        assert log.head() == receipt.hash
        assert list(log.records()) == list(never.records())
        assert log.verify() == []


def test_erasing_an_unknown_episode_changes_nothing(tmp_path: Path) -> None:
    with Log.open(tmp_path / "abc") as log:
        fill(log, "ABC")
        before = list(log.events())
        with pytest.raises(UnknownEpisode, match="no episode has the id Y, Z"):
            log.erase({"A", "Z", "Y"}, {}, time=5)
        assert list(log.events()) == before


def test_an_erasure_that_fails_midway_changes_nothing(tmp_path: Path) -> None:
    with Log.open(tmp_path / "abc") as log:
        fill(log, "ABC")
        before, records = list(log.events()), list(log.records())

        def fail(event: Event) -> dict[str, Any]:
            raise RuntimeError("midway")

        with pytest.raises(RuntimeError, match="midway"):
            log.erase({"B"}, {}, time=5, rewrite=fail)
        assert (list(log.events()), list(log.records())) == (before, records)


@pytest.mark.parametrize("reopen", [False, True])
@pytest.mark.parametrize("size", [10, 3_000, 200_000])
def test_no_byte_of_an_erased_text_is_left(tmp_path: Path, size: int, reopen: bool) -> None:
    needle = "NEEDLE-7f3a"
    text = f"{needle}{'.' * size}{needle}"
    log = Log.open(tmp_path / "log.sqlite")
    for n in range(30):
        log.append("learn", {"text": "x" * 900}, f"a{n}", time=0.0)
    log.append("learn", {"text": text}, f"{needle}-id", time=0.0, record=text.encode())
    log.append("sleep", {"ids": ["a1", f"{needle}-id"]}, time=0.0)
    for n in range(30):
        log.append("learn", {"text": "x" * 900}, f"b{n}", time=0.0)
    log.put_records({f"{needle}-id": text.encode() * 2})
    if reopen:
        log.close()
        log = Log.open(tmp_path / "log.sqlite")

    def count() -> int:
        return sum(path.read_bytes().count(needle.encode()) for path in tmp_path.iterdir())

    assert count() > 0
    log.erase(
        {f"{needle}-id"}, {"ids": 1}, time=1.0, rewrite=lambda e: {"ids": []} if "ids" in e.payload else e.payload
    )
    assert count() == 0
    log.close()
    assert count() == 0


def test_a_scrub_cut_off_by_a_crash_is_finished_at_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.sqlite"
    log = Log.open(path)
    log.append("learn", {"text": "NEEDLE-7f3a"}, "e", time=0.0)

    def crash(self: Log) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Log, "_scrub", crash)
        with pytest.raises(KeyboardInterrupt):
            log.erase({"e"}, {}, time=1.0)
    copy = tmp_path / "after" / "log.sqlite"
    copy.parent.mkdir()
    for file in [path, path.with_name("log.sqlite-wal")]:
        (copy.parent / file.name).write_bytes(file.read_bytes())
    assert b"NEEDLE" in copy.with_name("log.sqlite-wal").read_bytes()
    log.close()
    with Log.open(copy) as again:
        assert [event.kind for event in again.events()] == ["forget"]
        assert not any(b"NEEDLE" in file.read_bytes() for file in copy.parent.iterdir())


def test_apsw_carries_an_sqlite_without_the_wal_reset_bug() -> None:
    assert tuple(int(part) for part in apsw.sqlitelibversion().split(".")) >= (3, 51, 3)
