"""`fastslow status`: what each memory holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table

from fastslow.cli import options, output, session

if TYPE_CHECKING:
    from fastslow.learner import Status

EXAMPLE = "Example: fastslow status --json"


def status(home: options.Home = None, core: options.CoreName = None, as_json: options.Json = False) -> None:
    """Show what the three memories hold and what it takes on disk."""
    chosen = session.settings(home=home, core=core)
    with session.open_learner(chosen) as learner:
        now = learner.status()
    if as_json:
        output.emit_json(now)
    else:
        output.out().print(panel(now))


def panel(now: Status) -> Panel:
    """A status as people read it."""
    top = output.table("", "")
    top.show_header = False
    top.add_row("home", f"{output.short_path(now.home)}, {output.size(now.size_bytes)} on disk")
    top.add_row("core", str(now.core))
    top.add_row("reader", str(now.reader))
    top.add_row("log", output.number(now.events, "event"))
    return Panel(Group(top, "", tiers(now)), title="fastslow", title_align="left", border_style="dim", expand=False)


def tiers(now: Status) -> Table:
    """One row for each tier: what it holds and how many bytes that is."""
    table = output.table("tier", "holds", "state", right=("state",))
    strengths = _strengths(now)
    streamed = f"{output.number(int(now.fast['tokens']), 'token')} streamed"
    table.add_row("fast", streamed, output.size(now.bytes.get("fast", 0)))
    table.add_row(
        "medium",
        f"{output.number(now.episodes, 'episode')}, {now.awake} awake, {now.asleep} asleep{strengths}",
        output.size(now.bytes.get("medium", 0)),
    )
    skills = f", {output.number(len(now.skills), 'skill')}" if now.skills else ""
    table.add_row("slow", output.number(len(now.experts), "expert") + skills, output.size(now.bytes.get("slow", 0)))
    return table


def _strengths(now: Status) -> str:
    """The histogram of strengths as a row of bars, weak to strong."""
    counts = list(now.strengths)
    if not counts or not max(counts):
        return ""
    blocks = " ▁▂▃▄▅▆▇█"
    top = max(counts)
    return "; strength 0 [" + "".join(blocks[-(-8 * count // top)] for count in counts) + "] 1"
