"""What `learn` can learn from: files, folders and standard input, checked before anything is learned."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastslow.errors import InputError

SUFFIXES = (".txt", ".md")


@dataclass(frozen=True)
class Source:
    """One text to learn; `path` is None for standard input. `data` has the bytes of what can be read only once."""

    name: str
    path: Path | None
    data: bytes | None = None
    encoding: str = "utf-8"
    replace: bool = False

    def read(self) -> str:
        """The text. Raises InputError for what cannot be read, is binary, broken or empty."""
        data = _bytes(self.path) if self.path and self.data is None else self.data or b""
        if not data.strip():
            raise InputError(f"{self.name} is empty: there is nothing to learn from it")
        if b"\0" in data and not self.encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32", "utf16")):
            raise InputError(f"{self.name} is a binary file (byte {data.index(0)} is NUL): give text or Markdown")
        text = self._decode(data)
        if "\0" in text or not text.strip():  # what only shows once it is decoded: another encoding, marks and spaces
            raise InputError(f"{self.name} has {'a NUL' if text.strip() else 'no text'} in it: is it {self.encoding}?")
        try:
            self.name.encode()  # it is kept beside what was learned
        except UnicodeEncodeError:
            raise InputError(f"the name of {self.name!r} is not valid Unicode: rename the file") from None
        return text

    def _decode(self, data: bytes) -> str:
        if data.startswith(b"\xef\xbb\xbf") and self.encoding == "utf-8":
            data = data[3:]  # the mark that some editors put first is no part of the text
        try:
            return data.decode(self.encoding, errors="replace" if self.replace else "strict")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise InputError(
                f"{self.name} is not valid {self.encoding}: byte {error.start} (0x{data[error.start]:02x}), "
                f"in line {line}, does not fit. Name its encoding (--encoding latin-1), "
                "or put a mark in place of such bytes (--replace)"
            ) from None
        except LookupError:
            raise InputError(f"there is no encoding {self.encoding!r}: try utf-8, latin-1 or cp1252") from None


def collect(names: Sequence[str], encoding: str, replace: bool) -> list[Source]:
    """All sources behind these names, each of them readable. Raises InputError for the first that is not."""
    sources: list[Source] = []
    for name in names:
        if not name.strip():
            raise InputError("one of the paths is empty: name a file or a folder (. is the one you are in)")
        if name == "-":
            sources.append(Source("-", None, sys.stdin.buffer.read(), encoding, replace))
        else:
            for path in _files(expanded(name)):
                data = None if path.is_file() else _bytes(path)  # a pipe
                sources.append(Source(str(path), path, data, encoding, replace))
    unique = list({source.name: source for source in sources}.values())
    for source in unique:
        source.read()
    return unique


def expanded(name: str | Path) -> Path:
    """The path of this name; "~$notes.txt" is a file, and in no user's folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def next_line() -> str | None:
    """The next line of standard input, None at its end. Raises InputError for bytes that are no text."""
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not valid {error.encoding} ({error.reason}): convert it first") from None
    return line.strip() if line else None


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        try:
            # hidden files and folders are tools' own, not the user's texts; an empty file in a folder is no mistake
            found = sorted(
                p
                for p in path.rglob("*")
                if p.suffix.lower() in SUFFIXES
                and p.is_file()
                and p.stat().st_size
                and not any(part.startswith(".") for part in p.relative_to(path).parts)
            )
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
        if not found:
            raise InputError(f"the folder {path} has no text files ({', '.join('*' + s for s in SUFFIXES)}) in it")
        return found
    if not path.exists():
        raise InputError(f"there is no file or folder {path}: check the path")
    return [path]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
