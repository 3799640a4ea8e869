"""`fastslow export`: all episodes as JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastslow.cli import options, output, session, sources
from fastslow.errors import InputError

EXAMPLE = "Example: fastslow export memories.jsonl"


def export(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The file to write, or - for standard output.")],
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Write every episode (text, source, heading, time) as one JSON line, for import elsewhere."""
    chosen = session.settings(home=home, core=core)
    path = sources.expanded(file)
    if file != "-":
        _check(path, force)
    with session.open_learner(chosen) as learner:
        if file == "-":
            for line in learner.exported():
                output.emit_text(line)
            return
        count = learner.export(path)
    if as_json:
        output.emit_json({"episodes": count, "file": path})
    else:
        output.out().print(f"wrote {output.number(count, 'episode')} to {path}", soft_wrap=True)


def _check(path: Path, force: bool) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a file")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}: make it first")
    if path.exists() and not force:
        raise InputError(f"{path} exists already: give another name, or --force to write over it")
