"""What the program prints: data on standard output, progress and errors on standard error."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from fastslow.errors import FastslowError

STOPPED = 130
UNKNOWN_WIDTH = 120  # where the output goes to a file or a pipe


class Failure(FastslowError):
    """An error of a command that had already done something; `details` joins the JSON form of the error."""

    def __init__(self, message: str, exit_code: int, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.details = details or {}


def _console(file: IO[str]) -> Console:
    # what users taught may look like markup or emoji names, and must come out as it went in
    width = None if file.isatty() or os.environ.get("COLUMNS") else UNKNOWN_WIDTH
    return Console(file=file, markup=False, highlight=False, emoji=False, width=width)


def out() -> Console:
    """Standard output as it is now (tests replace it), without colour where it is no terminal."""
    return _console(sys.stdout)


def err() -> Console:
    return _console(sys.stderr)


def emit_json(value: Any) -> None:
    """Print one JSON value."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def emit_text(text: str) -> None:
    """Print text as it is: no wrapping, no style."""
    typer.echo(text)


def note(text: str) -> None:
    """A remark for a person at a terminal; a script that reads the output never sees it."""
    if sys.stderr.isatty():
        err().print(text, style="dim")


class Done(ProgressColumn):
    """How much of a task is done: steps, bytes where there are millions of them, and nothing for a single step."""

    def render(self, task: Task) -> Text:
        if not task.total or task.total == 1:
            return Text()
        if task.total >= 1_000_000:
            return Text(f"{size(task.completed)} of {size(task.total)}")
        return Text(f"{task.completed:.0f}/{task.total:.0f}")


def bars(*, brief: bool = False) -> Progress:
    """Progress bars on standard error. `brief` ones vanish when they are done, and are not shown to a log file."""
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        Done(),
        TimeElapsedColumn(),
        console=err(),
        transient=brief,
        disable=brief and not sys.stderr.isatty(),
    )


def counter(progress: Progress, description: str) -> Callable[[int, int], None]:
    """A callback (done, total) that moves one bar."""
    task = progress.add_task(description, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def phases(progress: Progress) -> Callable[[str, int, int, float], None]:
    """A callback (phase, done, total, loss) that gives every phase its bar; a loss of 0 or nan is not shown."""
    tasks: dict[str, TaskID] = {}

    def move(phase: str, done: int, total: int, loss: float) -> None:
        if phase not in tasks:
            tasks[phase] = progress.add_task(phase, total=total)
        label = f"{phase} (loss {loss:.3f})" if loss and math.isfinite(loss) else phase
        progress.update(tasks[phase], completed=done, total=total, description=label)

    return move


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event; a second one interrupts at once."""
    event = threading.Event()

    def ask_to_stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        event.set()
        err().print("stopping at the next safe point; Ctrl-C again stops at once")

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGINT, ask_to_stop)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def table(*columns: str, title: str | None = None, right: Sequence[str] = ()) -> Table:
    """An empty table in the one style that all commands use; the columns in `right` hold numbers."""
    made = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left", title_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", no_wrap=name in right, overflow="fold")
    return made


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def number(count: int, noun: str) -> str:
    """``1 episode``, ``2 episodes``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def clip(text: str, limit: int = 80) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def when(stamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(stamp))


def short_path(path: Path | str) -> str:
    """A path as a person would type it."""
    text, home = str(path), str(Path.home())
    return "~" + text[len(home) :] if text.startswith(home + os.sep) else text
