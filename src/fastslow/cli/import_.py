"""`fastslow import`: episodes from an export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastslow.cli import options, output, session, sources
from fastslow.errors import InputError

EXAMPLE = "Example: fastslow import memories.jsonl --home ~/.fastslow/second"


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that fastslow export wrote, or - .")],
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Learn the episodes of an export, with their sources. Works across cores."""
    chosen = session.settings(home=home, core=core)
    path = Path("/dev/stdin") if str(file) == "-" else sources.expanded(file)
    if not path.exists() or path.is_dir():
        raise InputError(f"there is no file {path}: give one that fastslow export wrote")
    with session.open_learner(chosen, create=True) as learner, output.bars() as progress:
        episodes = learner.import_(path, progress=output.counter(progress, f"learning {output.clip(path.name, 40)}"))
    if as_json:
        output.emit_json({"episodes": [episode.id for episode in episodes], "file": path})
    else:
        output.out().print(f"imported {output.number(len(episodes), 'episode')} from {path}", soft_wrap=True)
