"""Snapshots: saved states that spare a replay. Each is derived from the log, checked when read, and replaceable.

A snapshot is one `<name>-<first 16 of its sha256>.safetensors` and a manifest `<name>.json` that names it. The manifest
is written last, so a power cut leaves either the old snapshot or the new one.
"""

import json
import re
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastslow.errors import InputError, StoreError
from fastslow.state import State
from fastslow.store import io

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def save(folder: Path, name: str, state: State, log_hash: str) -> Path:
    """Save a state under a name, in place of the one that had it.

    log_hash: `Log.head()` of the history that the state was derived from.
    Returns the path of the tensors. Raises StoreError where it cannot be written; then the old one still stands.
    """
    _check_name(name)
    data = state.to_bytes()
    digest = sha256(data).hexdigest()
    path = folder / f"{name}-{digest[:16]}.safetensors"
    manifest = {"file": path.name, "sha256": digest, "bytes": len(data), "log_hash": log_hash}
    io.write_atomic(path, data)
    io.write_atomic(_manifest_path(folder, name), json.dumps(manifest, sort_keys=True, indent=1).encode())
    for old in _tensor_files(folder, name):
        if old != path:
            io.remove(old)
    return path


def load(folder: Path, name: str, layout: str, version: int) -> tuple[State, dict[str, Any]] | None:
    """The state saved under a name and its manifest, or None where there is none.

    Raises StoreError where it is damaged or has another layout or version: rebuild it by a replay of the log.
    """
    _check_name(name)
    try:
        manifest = json.loads(_manifest_path(folder, name).read_bytes())
        path = folder / manifest["file"]
        if path not in _tensor_files(folder, name):
            raise StoreError(f"the file of snapshot {name} is missing from {folder}: rebuild it from the log")
        data = path.read_bytes()
        sound = sha256(data).hexdigest() == manifest["sha256"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"snapshot {name} in {folder} cannot be read ({error}): rebuild it from the log") from error
    if not sound:
        raise StoreError(f"snapshot {path} does not match its checksum: rebuild it from the log")
    return State.from_bytes(data, layout=layout, version=version), manifest


def delete(folder: Path, name: str) -> None:
    """Delete the snapshot of a name and whatever a crash left of older ones; none there is fine."""
    _check_name(name)
    io.remove(_manifest_path(folder, name))
    for path in _tensor_files(folder, name):
        io.remove(path)


def log_hash(folder: Path, name: str) -> str | None:
    """The history that the snapshot of a name was derived from; None where there is none or it cannot be read."""
    manifest = _manifest(folder, name)
    return None if manifest is None else str(manifest.get("log_hash"))


def faults(folder: Path) -> dict[str, str]:
    """What is wrong with the snapshots of a folder, by name: manifests that cannot be read, tensors that are missing or
    do not match their checksum, and, by file name, files that no manifest speaks of."""
    found: dict[str, str] = {}
    spoken_of = set()
    for path in sorted(folder.glob("*.json")):
        manifest = _manifest(folder, path.stem) if _NAME.fullmatch(path.stem) else None
        try:
            file = folder / str((manifest or {})["file"])
            spoken_of |= {path, file}
            if sha256(file.read_bytes()).hexdigest() != (manifest or {})["sha256"]:
                found[path.stem] = f"snapshot {path.stem} does not match its checksum"
        except KeyError:
            spoken_of.add(path)
            found[path.stem] = f"the manifest of snapshot {path.stem} cannot be read"
        except OSError as error:
            found[path.stem] = f"the tensors of snapshot {path.stem} cannot be read ({error.strerror})"
    for path in sorted(folder.iterdir()):
        if path not in spoken_of and path.is_file():
            found[path.name] = f"the file {path.name} belongs to no snapshot"
    return found


def sweep(folder: Path, keep: Collection[str]) -> None:
    """Delete every file that belongs to none of the snapshots to keep, those that a crash left without a manifest
    included."""
    wanted = set()
    for name in keep:
        manifest = _manifest(folder, name)
        if manifest is not None:
            wanted |= {_manifest_path(folder, name).name, manifest.get("file")}
    for path in sorted(folder.iterdir()):
        if path.name not in wanted and path.is_file():
            io.remove(path)


def _manifest(folder: Path, name: str) -> dict[str, Any] | None:
    _check_name(name)
    try:
        manifest = json.loads(_manifest_path(folder, name).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _manifest_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _tensor_files(folder: Path, name: str) -> list[Path]:
    # not a glob: `fast-*` would also match the files of a snapshot called `fast-a`
    pattern = re.compile(re.escape(name) + r"-[0-9a-f]{16}\.safetensors")
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot name a snapshot: use lower-case letters, digits, - and _")
