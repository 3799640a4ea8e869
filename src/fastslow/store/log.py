"""The log of a home: an append-only, hash-chained list of events in SQLite. It is the truth; all else is derived.

An event is durable when `append` returns. `erase` alone rewrites history: it removes every byte of an episode, joins
the chain again and writes a receipt. The settings below are those that lose nothing under simulated power cuts.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

from fastslow.errors import FastslowError, HomeInUse, InputError, StoreError, UnknownEpisode
from fastslow.store import io

APPLICATION_ID = 0x46535430  # "FST0", so that `file` and we can tell a log from any other SQLite file
FIRST_HASH = "0" * 64
BUSY_MILLISECONDS = 300

# Migration n brings a log from user_version n to n + 1. Never edit one that was released: add the next.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE events(seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, episode TEXT, time REAL NOT NULL,"
        " payload TEXT NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL)",
        "CREATE INDEX events_by_episode ON events(episode)",
        "CREATE TABLE records(episode TEXT PRIMARY KEY, data BLOB NOT NULL, sha256 TEXT NOT NULL)",
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
)

# Set in the transaction of an erasure and cleared once no byte of the erased text is left in the files.
_SCRUB_KEY = "scrub"
_EVENT_COLUMNS = "seq, kind, episode, time, payload, prev_hash, hash"


@dataclass(frozen=True)
class Event:
    """One row of the log. `time` is in seconds since 1970; `payload` is what JSON gives back."""

    seq: int
    kind: str
    episode: str | None
    time: float
    payload: dict[str, Any]
    prev_hash: str
    hash: str


class Log:
    """The open log of one home. One process, one connection; not for use from two threads at once.

    After an error of the disk the log closes itself, because what is on the disk is then unknown: open it again.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    # ---- opening and closing ----

    @classmethod
    def open(cls, path: Path, create: bool = True, vfs: str | None = None) -> Self:
        """Open the log at `path`, making it where it is missing and `create` is true.

        vfs: the name of a registered SQLite VFS, for tests of power cuts.
        Raises HomeInUse where another connection holds it and StoreError where it is missing, damaged or not a log.
        """
        if not create and vfs is None and not path.is_file():
            raise StoreError(f"there is no log at {path}: check the path of the home, or restore it from a backup")
        with _translated(path):
            connection = apsw.Connection(str(path), vfs=vfs)
            try:
                _prepare(connection, path, create)
                log = cls(connection, path)
                # an erasure that was cut off by a crash has left bytes behind
                if log.get_meta(_SCRUB_KEY) is not None:
                    log._scrub()
            except BaseException:
                connection.close(True)
                raise
        return log

    def close(self) -> None:
        """Close the log; closing twice is fine."""
        with _translated(self.path):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- events ----

    def append(
        self,
        kind: str,
        payload: Mapping[str, Any],
        episode: str | None = None,
        *,
        time: float,
        record: bytes | None = None,
    ) -> Event:
        """Add an event, and the derived record of its episode with it, in one transaction; durable on return.

        Raises InputError where the payload is not JSON or valid Unicode, where `time` is not finite, or where a record
        comes without an episode; StoreError where it cannot be written (then nothing was added).
        """
        text = _payload_text(kind, payload, episode)
        if not math.isfinite(time):
            raise InputError(f"the time of an event must be a finite number of seconds, not {time}")
        if record is not None and episode is None:
            raise InputError("a record belongs to an episode: give the episode id with it")
        with self._transaction():
            event = self._insert(kind, episode, float(time), text)
            if record is not None and episode is not None:
                self._store_record(episode, record)
        return event

    def events(self, kinds: Sequence[str] | None = None) -> Iterator[Event]:
        """Every event in order, or those of the given kinds. Each is checked against its hash as it is read.

        Raises StoreError at the first damaged event.
        """
        if kinds is None:
            rows = self._rows("SELECT seq FROM events ORDER BY seq")
        else:
            wanted = json.dumps(list(kinds))
            rows = self._rows(
                "SELECT seq FROM events WHERE kind IN (SELECT value FROM json_each(?)) ORDER BY seq", (wanted,)
            )
        yield from self._read(seq for (seq,) in rows)

    def head(self) -> str:
        """The hash of the last event: it names the whole history. FIRST_HASH where the log is empty."""
        rows = self._rows("SELECT hash FROM events ORDER BY seq DESC LIMIT 1")
        return str(rows[0][0]) if rows else FIRST_HASH

    # ---- records: derived tensors, one per episode ----

    def records(self) -> Iterator[tuple[str, bytes]]:
        """(episode id, bytes) of every record, in the order of the ids. Raises StoreError at a damaged one."""
        for (episode,) in self._rows("SELECT episode FROM records ORDER BY episode"):
            data = self.record(episode)
            if data is not None:
                yield episode, data

    def record_names(self) -> list[str]:
        """The ids of the episodes that have a record, sound or not, in order."""
        return [str(episode) for (episode,) in self._rows("SELECT episode FROM records ORDER BY episode")]

    def record(self, episode: str) -> bytes | None:
        """The record of an episode, or None. Raises StoreError where its checksum fails."""
        rows = self._rows("SELECT data, sha256 FROM records WHERE episode = ?", (episode,))
        if not rows:
            return None
        data, checksum = rows[0]
        if not _sound(data, checksum):
            raise StoreError(
                f"the record of episode {episode} is damaged: run `fastslow doctor --repair` to rebuild it from the log"
            )
        return bytes(data)

    def put_records(self, records: Mapping[str, bytes | None]) -> None:
        """Set the records of several episodes, or delete them (None), in one transaction; durable on return."""
        with self._transaction():
            for episode, data in records.items():
                if data is None:
                    self._rows("DELETE FROM records WHERE episode = ?", (episode,))
                else:
                    self._store_record(episode, data)

    def delete_record(self, episode: str) -> None:
        """Delete the record of an episode; none there is fine."""
        self.put_records({episode: None})

    def drop_bad_records(self) -> list[str]:
        """Delete the records whose checksum fails, so that a replay rebuilds them; the ids of those deleted."""
        bad = self._bad_records()
        if bad:
            self.put_records(dict.fromkeys(bad))
        return bad

    # ---- small facts about the log itself ----

    def get_meta(self, key: str) -> str | None:
        """The value of a key, or None."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a value under a key, in place of the one it had; durable on return."""
        with self._transaction():
            self._rows("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value))

    # ---- erasure ----

    def erase(
        self,
        episodes: AbstractSet[str],
        receipt: Mapping[str, Any],
        *,
        time: float,
        rewrite: Callable[[Event], dict[str, Any] | None] | None = None,
    ) -> Event:
        """Remove all events and records of these episodes, from the log and from the bytes of its files.

        receipt: the payload of the `forget` event that is appended; ids and hashes only, never text.
        rewrite: called with every other event; gives its payload without the erased episodes, or None to delete it.
        Returns the `forget` event. The chain is joined again, so events after the erased ones get new hashes.
        All of it is one transaction. If the scrubbing of the files fails after it, the next `open` finishes it.
        Raises UnknownEpisode, before any change, where an id has neither event nor record.
        """
        receipt_text = _payload_text("forget", receipt, None)
        if not math.isfinite(time):
            raise InputError(f"the time of an event must be a finite number of seconds, not {time}")
        self._require_known(episodes)
        with self._transaction():
            for episode in episodes:
                self._rows("DELETE FROM events WHERE episode = ?", (episode,))
                self._rows("DELETE FROM records WHERE episode = ?", (episode,))
            if rewrite is not None:
                self._rewrite(rewrite)
            self._rechain()
            event = self._insert("forget", None, float(time), receipt_text)
            self._rows("INSERT OR REPLACE INTO meta VALUES(?, '1')", (_SCRUB_KEY,))
        self._scrub()
        return event

    def _require_known(self, episodes: AbstractSet[str]) -> None:
        known = "SELECT 1 FROM events WHERE episode = ?1 UNION SELECT 1 FROM records WHERE episode = ?1 LIMIT 1"
        unknown = sorted(episode for episode in episodes if not self._rows(known, (episode,)))
        if unknown:
            raise UnknownEpisode(f"no episode has the id {', '.join(unknown)}: list the ids and try again")

    def _rewrite(self, rewrite: Callable[[Event], dict[str, Any] | None]) -> None:
        for event in self.events():
            payload = rewrite(event)
            if payload is None:
                self._rows("DELETE FROM events WHERE seq = ?", (event.seq,))
            elif payload != event.payload:
                text = _payload_text(event.kind, payload, event.episode)
                self._rows("UPDATE events SET payload = ? WHERE seq = ?", (text, event.seq))

    def _rechain(self) -> None:
        """Give every event the hash that its neighbours and payload now ask for."""
        previous = FIRST_HASH
        for (seq,) in self._rows("SELECT seq FROM events ORDER BY seq"):
            kind, episode, time, text, prev_hash, old = self._rows(
                "SELECT kind, episode, time, payload, prev_hash, hash FROM events WHERE seq = ?", (seq,)
            )[0]
            new = _event_hash(previous, kind, episode, time, text)
            if (prev_hash, old) != (previous, new):
                self._rows("UPDATE events SET prev_hash = ?, hash = ? WHERE seq = ?", (previous, new, seq))
            previous = new

    def _scrub(self) -> None:
        # secure_delete zeroes pages in place, but the WAL and the free space inside pages keep old copies: the first
        # checkpoint empties the WAL, VACUUM writes the file anew through the WAL, the second one empties that.
        self._checkpoint()
        self._rows("VACUUM")
        self._checkpoint()
        # This commit also syncs the WAL and with it the truncation, which SQLite leaves to the file system.
        with self._transaction():
            self._rows("DELETE FROM meta WHERE key = ?", (_SCRUB_KEY,))

    def _checkpoint(self) -> None:
        busy, _, _ = self._rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        if busy:
            raise StoreError(
                f"erased text is still in {self.path}, which is being read: stop reading and open it again"
            )

    # ---- checking ----

    def verify(self) -> list[str]:
        """Everything that is wrong with the log, in words; empty where it is sound."""
        try:
            answers = [str(answer) for (answer,) in self._rows("PRAGMA integrity_check")]
            damage = [f"the SQLite file is damaged: {answer}" for answer in answers if answer != "ok"]
            bad_records = [f"the record of episode {name} does not match its checksum" for name in self._bad_records()]
            return damage + self._chain_problems() + bad_records
        except StoreError as error:
            return [str(error)]

    def _chain_problems(self) -> list[str]:
        problems = []
        previous = FIRST_HASH
        for (seq,) in self._rows("SELECT seq FROM events ORDER BY seq"):
            row = self._row_or_none(f"SELECT {_EVENT_COLUMNS} FROM events WHERE seq = ?", seq)
            if row is None:
                problems.append(f"event {seq} cannot be read: it was damaged")
                continue
            if row[5] != previous:
                problems.append(f"event {seq} does not follow the event before it: an event was removed or changed")
            if not _row_is_sound(row):
                problems.append(f"event {seq} does not match its hash: it was changed or damaged")
            previous = row[6]
        return problems

    def _bad_records(self) -> list[str]:
        bad = []
        for (episode,) in self._rows("SELECT episode FROM records ORDER BY episode"):
            row = self._row_or_none("SELECT data, sha256 FROM records WHERE episode = ?", episode)
            if row is None or not _sound(*row):
                bad.append(episode)
        return bad

    def _row_or_none(self, sql: str, key: int | str) -> tuple[Any, ...] | None:
        """A row that is known to exist; None where damage keeps it from being read."""
        try:
            rows = self._rows(sql, (key,))
        except StoreError:
            return None
        return rows[0] if rows else None

    # ---- rows ----

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement to its end, so that no open cursor can block a checkpoint or VACUUM."""
        with _translated(self.path, self._connection):
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._rows("BEGIN IMMEDIATE")
            yield
            self._rows("COMMIT")
        except BaseException:
            # SQLite has already rolled back after some errors, and an error of the disk has closed the connection
            with suppress(apsw.Error):
                self._connection.execute("ROLLBACK").fetchall()
            raise

    def _insert(self, kind: str, episode: str | None, time: float, text: str) -> Event:
        previous = self.head()
        digest = _event_hash(previous, kind, episode, time, text)
        ((seq,),) = self._rows(
            "INSERT INTO events(kind, episode, time, payload, prev_hash, hash) VALUES(?, ?, ?, ?, ?, ?) RETURNING seq",
            (kind, episode, time, text, previous, digest),
        )
        return Event(seq, kind, episode, time, json.loads(text), previous, digest)

    def _store_record(self, episode: str, data: bytes) -> None:
        self._rows("INSERT OR REPLACE INTO records VALUES(?, ?, ?)", (episode, data, sha256(data).hexdigest()))

    def _read(self, seqs: Iterator[int]) -> Iterator[Event]:
        for seq in seqs:
            for row in self._rows(f"SELECT {_EVENT_COLUMNS} FROM events WHERE seq = ?", (seq,)):
                if not _row_is_sound(row):
                    raise StoreError(
                        f"event {seq} of {self.path} does not match its hash: it was changed or damaged; run "
                        "`fastslow doctor`, and restore the home from a backup"
                    )
                yield Event(seq, row[1], row[2], row[3], json.loads(row[4]), row[5], row[6])


def _prepare(connection: apsw.Connection, path: Path, create: bool) -> None:
    """Bring a new connection to the settings under which an acknowledged commit survives a power cut."""
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    # One connection, no shared memory: rules out the WAL-reset bug and every reader that could keep old pages alive.
    _pragma(connection, "locking_mode", "EXCLUSIVE", "exclusive")
    # Under the default level the unlink of the old journal is not synced when the file turns to WAL; after a power cut
    # that journal comes back hot and rolls back every commit.
    _pragma(connection, "synchronous", "EXTRA", 3)
    _check_identity(connection, path, create)
    _pragma(connection, "secure_delete", "ON", 1)
    _pragma(connection, "journal_mode", "WAL", "wal")
    if path.parent.is_dir():
        io.sync_folder(path.parent)
    _pragma(connection, "synchronous", "FULL", 2)
    # on macOS, fsync alone leaves bytes in the cache of the drive
    _pragma(connection, "fullfsync", "ON", 1)
    _pragma(connection, "foreign_keys", "ON", 1)
    # VACUUM would otherwise copy the whole log into the temporary folder of the machine
    _pragma(connection, "temp_store", "MEMORY", 2)
    _migrate(connection)


def _pragma(connection: apsw.Connection, name: str, value: str | int, expected: str | int) -> None:
    # apsw runs the rest of a string of several PRAGMAs only while it is iterated: one per execute, and check the answer
    connection.execute(f"PRAGMA {name} = {value}").fetchall()
    answer = connection.execute(f"PRAGMA {name}").fetchall()
    if answer != [(expected,)]:
        raise StoreError(
            f"SQLite answered {answer} to PRAGMA {name} = {value}, without which a power cut could lose what was "
            "learned: reinstall apsw, and keep the home on a local disk"
        )


def _check_identity(connection: apsw.Connection, path: Path, create: bool) -> None:
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    version = _version(connection)
    ((objects,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    # a log whose creation was cut off is an empty database
    empty = application == 0 and version == 0 and objects == 0
    if empty and not create:
        raise StoreError(f"{path} is empty, and there was a log in it once: restore it from a backup")
    if not empty and application != APPLICATION_ID:
        raise StoreError(f"{path} is a SQLite file of another program: check the path, or run `fastslow doctor`")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} has format {version}, made by a newer fastslow (this one knows {len(MIGRATIONS)}): upgrade"
        )


def _migrate(connection: apsw.Connection) -> None:
    """Run the migrations that this log lacks, each in a transaction of its own."""
    for number in range(_version(connection), len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE").fetchall()
        for statement in MIGRATIONS[number]:
            connection.execute(statement).fetchall()
        _pragma(connection, "application_id", APPLICATION_ID, APPLICATION_ID)
        _pragma(connection, "user_version", number + 1, number + 1)
        connection.execute("COMMIT").fetchall()


def _version(connection: apsw.Connection) -> int:
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return int(str(version))


def _payload_text(kind: str, payload: Mapping[str, Any], episode: str | None) -> str:
    try:
        text = json.dumps(dict(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        for part in (kind, episode or "", text):
            part.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the {kind} event has text that is not valid Unicode ({error}): clean the text first"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"the payload of the {kind} event is not JSON ({error})") from error
    return text


def _event_hash(previous: str, kind: str, episode: str | None, time: float, text: str) -> str:
    """sha256 over previous hash, kind, episode, time and payload. Not over `seq`, which erasing leaves with gaps."""
    return sha256(json.dumps([previous, kind, episode, time, text]).encode()).hexdigest()


def _row_is_sound(row: tuple[Any, ...]) -> bool:
    _, kind, episode, time, text, previous, digest = row
    try:
        return bool(_event_hash(previous, kind, episode, time, text) == digest)
    except TypeError:  # damage can turn text into a blob
        return False


def _sound(data: Any, checksum: Any) -> bool:
    return isinstance(data, bytes) and sha256(data).hexdigest() == checksum


@contextmanager
def _translated(path: Path, connection: apsw.Connection | None = None) -> Iterator[None]:
    """Say in our words what SQLite says in its own. After an error of the disk the connection is closed."""
    try:
        yield
    except FastslowError:
        raise
    except (apsw.BusyError, apsw.LockedError) as error:
        raise HomeInUse(
            f"the log {path} is in use by another process: close that one first, or use another home"
        ) from error
    except apsw.FullError as error:
        raise StoreError(f"cannot write {path}: {io.DISK_FULL}") from error
    except apsw.ConnectionClosedError as error:
        raise StoreError(f"the log {path} is closed: open the home again") from error
    except (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, OSError) as error:
        # After a failed sync the kernel may call lost pages clean; only a fresh read tells what the disk holds.
        if connection is not None:
            with suppress(apsw.Error):
                connection.close(True)
        raise StoreError(
            f"the disk gave an error under {path} ({error}): check the disk and its permissions, then open the home "
            "again; what was acknowledged is kept"
        ) from error
    except (apsw.Error, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is damaged or is not a log ({error}): run `fastslow doctor`") from error
