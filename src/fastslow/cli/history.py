"""`fastslow history`: the episodes, newest last."""

from __future__ import annotations

from typing import Annotated

import typer

from fastslow.cli import options, output, session
from fastslow.medium.split import written

EXAMPLE = "Example: fastslow history --last 5"


def history(
    last: Annotated[int, typer.Option(metavar="N", min=0, help="How many to show; 0 shows all.")] = 0,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """List what was learned: when, from where, and how strong it still is. With --json the texts are whole."""
    chosen = session.settings(home=home, core=core)
    with session.open_learner(chosen) as learner:
        episodes = learner.history()
    shown = episodes[-last:] if last else episodes
    if as_json:
        output.emit_json(shown)
        return
    console = output.out()
    table = output.table("id", "when", "source", "stage", "strength", "uses", "text", right=("strength", "uses"))
    widest = max((min(24, len(episode.source)) for episode in shown), default=0)
    room = max(20, console.width - widest - 64)  # 64: the other columns
    for column in table.columns:
        column.no_wrap = True
    for episode in shown:
        text = written(episode.heading, episode.text)
        table.add_row(
            episode.id,
            output.when(episode.time),
            output.clip(episode.source, 24),
            episode.stage,
            f"{episode.strength:.2f}",
            str(episode.uses),
            output.clip(text, room),
        )
    console.print(table if shown else "nothing is remembered here yet: fastslow learn PATH")
    if len(shown) < len(episodes):
        output.note(f"the last {len(shown)} of {output.number(len(episodes), 'episode')}; --last 0 shows all")
