"""A home: the folder in which a learner lives.

home.json       format and the fingerprint of the core that made it
home.lock       held while a process owns the home
log.sqlite      the log, which is the truth
snapshots/      derived states, rebuilt from the log where they are missing or damaged
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fastslow.errors import HomeMismatch, InputError, StoreError
from fastslow.store import io
from fastslow.store.log import Log

FORMAT = 1
_ABOUT, _LOCK, _LOG, _SNAPSHOTS = "home.json", "home.lock", "log.sqlite", "snapshots"


class Home:
    """An open home. One process owns it at a time; use it as a context manager, or call `close`."""

    def __init__(self, folder: Path, log: Log, core: dict[str, Any] | None, lock: int) -> None:
        self.folder = folder
        self.log = log
        self.snapshots = folder / _SNAPSHOTS
        self.core = core
        self._lock: int | None = lock

    @classmethod
    def open(cls, folder: Path, create: bool = True) -> Self:
        """Open the home in `folder`, making it where the folder is missing or empty and `create` is true.

        Raises InputError where there is nothing to open, HomeInUse where another process owns it, HomeMismatch where
        the folder holds something else or a newer format, StoreError where the home is damaged.
        """
        _check_folder(folder, create)
        io.make_dir(folder, private=True)
        lock = io.lock(folder / _LOCK)
        try:
            io.remove_leftovers(folder)
            about = _read_about(folder)
            # the folder of snapshots is made after the log: beside it, an empty log is no creation that was cut off
            log = Log.open(folder / _LOG, create=not (folder / _SNAPSHOTS).is_dir())
            try:
                io.make_dir(folder / _SNAPSHOTS)
                io.remove_leftovers(folder / _SNAPSHOTS)
            except BaseException:
                log.close()
                raise
        except BaseException:
            io.unlock(lock)
            raise
        return cls(folder, log, about["core"], lock)

    def check_core(self, fingerprint: dict[str, Any]) -> None:
        """Make sure that this core made the home; the first core to come makes it its own.

        fingerprint: what tells cores apart, as JSON. Raises HomeMismatch for another one.
        """
        given = json.loads(json.dumps(fingerprint))
        if self.core is None:
            _write_about(self.folder, given)
            self.core = given
        # A core that was renamed or moved is the same core.
        elif {**self.core, "name": None} != {**given, "name": None}:
            names = [name for name in sorted({*self.core, *given} - {"name"}) if self.core.get(name) != given.get(name)]
            differs = "; ".join(f"{n}: {self.core.get(n)!s:.12}, not {given.get(n)!s:.12}" for n in names)
            raise HomeMismatch(
                f"the home {self.folder} was made with the core {self.core.get('name')}, and the core given, "
                f"{given.get('name')}, is another one ({differs}): give the core that made it (--core), or use another "
                "home for this core (--home)"
            )

    def size_bytes(self) -> int:
        """Bytes of all files in the home."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def close(self) -> None:
        """Close the log and give the home back; closing twice is fine."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            try:
                self.log.close()
            finally:
                io.unlock(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_home(folder: Path) -> bool:
    """Whether the folder is a home, or what is left of one. Raises InputError for a file, StoreError where it may not
    be read."""
    return bool(_names(folder) & {_ABOUT, _LOG})


def _names(folder: Path) -> set[str]:
    """What is in the folder; nothing where there is none."""
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: give the folder of a home")
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise StoreError(f"the home {folder} cannot be read ({error.strerror}): check its permissions") from error


def _check_folder(folder: Path, create: bool) -> None:
    """Refuse, before anything is written, a folder that is neither a home nor free to become one."""
    names = _names(folder)
    if _ABOUT in names:
        # the log is made before the folder of snapshots, so it was there once; an empty one must not replace it
        if _SNAPSHOTS in names and _LOG not in names:
            raise StoreError(f"{folder} has lost its log, {_LOG}: restore it from a backup, or use another home")
        return
    # home.json is written before the log, so a log without it is damage and not a creation that was cut off
    if _LOG in names:
        raise HomeMismatch(
            f"{folder} has a log but no {_ABOUT}, so the core that made it is unknown: restore {_ABOUT} from a backup"
        )
    if names - {_LOCK, _ABOUT + ".tmp", "training"}:  # a training may have begun before its learner
        raise HomeMismatch(f"{folder} is not empty and not a home: give an empty or new folder")
    if not create:
        raise InputError(f"there is no home in {folder}: check the path, or let the home be created")


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / _ABOUT
    if not path.exists():
        return _write_about(folder, None)
    try:
        about = json.loads(path.read_bytes())
        form, core = about["format"], about["core"]
        if not isinstance(form, int) or not isinstance(core, dict | None):
            raise TypeError("a value has the wrong type")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}): restore it from a backup") from error
    if form > FORMAT:
        raise HomeMismatch(
            f"{folder} has format {form}, made by a newer fastslow (this one knows {FORMAT}): upgrade it"
        )
    return {"format": form, "core": core}


def _write_about(folder: Path, core: dict[str, Any] | None) -> dict[str, Any]:
    about = {"format": FORMAT, "core": core}
    io.write_atomic(folder / _ABOUT, json.dumps(about, sort_keys=True, indent=1).encode())
    return about
