"""`fastslow doctor`: check a home, and rebuild from the log what is damaged."""

from __future__ import annotations

from typing import Annotated

import typer

from fastslow.cli import options, output, session
from fastslow.errors import StoreError

EXAMPLE = "Example: fastslow doctor --repair"


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild what is damaged from the log.")] = False,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Check the log, the hashes and the snapshots of a home. Exit code 3 where something is wrong."""
    chosen = session.settings(home=home, core=core)
    session.require_home(chosen)
    from fastslow import doctor as checks  # needs torch

    done: list[str] = []
    with output.bars(brief=True) as progress:
        loaded = session.load_core(chosen, progress)
        problems = checks.check(chosen.home, loaded)
        if repair and problems:
            done = checks.repair(chosen.home, loaded)
            problems = checks.check(chosen.home, loaded)
    if as_json:
        output.emit_json({"home": chosen.home, "problems": problems, "repaired": done})
    else:
        console = output.out()
        for line in done:
            console.print(line if line.startswith("not repaired") else f"repaired: {line}", soft_wrap=True)
        for line in problems:
            console.print(f"wrong: {line}", soft_wrap=True)
        if not problems:
            console.print(f"{output.short_path(chosen.home)} is sound", soft_wrap=True)
    if problems:
        if not as_json and not repair:
            output.note("fastslow doctor --repair rebuilds what the log can rebuild")
        raise typer.Exit(StoreError.exit_code)
