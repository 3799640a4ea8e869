"""Writes the files of a home, all but the log. Every write is atomic and durable when the call returns."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastslow.errors import HomeInUse, StoreError

DISK_FULL = "the disk is full: free space and try again; nothing was lost"


def write_atomic(path: Path, data: bytes) -> None:
    """Make `path` hold `data`, or leave it as it was.

    The order tmp -> fsync(file) -> rename -> fsync(folder) is the one that survives a power cut on POSIX file systems
    (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014). Raises StoreError where it cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    with _translated(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                _sync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Unlink a file for good; a missing file is fine. Raises StoreError where it cannot be removed."""
    with _translated(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder of files for good. Raises StoreError where it cannot be removed."""
    for path in sorted(folder.iterdir()):
        remove(path)
    with _translated(folder):
        folder.rmdir()
        sync_folder(folder.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove what writes cut off by a crash left in `folder`. Only the owner of the folder may call this."""
    for path in sorted(folder.glob("*.tmp")):
        remove(path)


def make_dir(path: Path, private: bool = False) -> None:
    """Make a folder and its missing parents; `private` keeps other users out. An existing folder is fine."""
    with _translated(path):
        if path.is_dir():
            return
        if not path.parent.is_dir():
            make_dir(path.parent)
        path.mkdir(mode=0o700 if private else 0o777, exist_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` (creations, renames, unlinks) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def lock(path: Path) -> int:
    """Take the lock file at `path` for this process and write its pid there. Give the result to `unlock`.

    Raises HomeInUse, naming the pid of the owner, where another open lock holds it.
    """
    with _translated(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise HomeInUse(
                f"the home {path.parent} is in use by process {owner}: close that one first, or use another home"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def unlock(descriptor: int) -> None:
    """Give a lock back. The file stays: unlinking it would let two processes lock two files of one name."""
    os.close(descriptor)


def _sync(descriptor: int) -> None:
    # macOS keeps fsynced bytes in the drive's cache unless it is asked like this
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        fcntl.fcntl(descriptor, full_sync)
    else:
        os.fsync(descriptor)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"cannot write {path}: {DISK_FULL}") from error
        raise StoreError(
            f"cannot write {path} ({error.strerror}): check the folder's permissions and its disk"
        ) from error
