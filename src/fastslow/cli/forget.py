"""`fastslow forget`: take episodes out of every memory, exactly."""

from __future__ import annotations

from typing import Annotated

import typer

from fastslow.cli import options, output, session

EXAMPLE = "Example: fastslow forget e1f2a3b4c5d6e --yes   (without --yes: a dry run)"


def forget(
    episodes: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of episodes, as in fastslow history.")],
    yes: Annotated[bool, typer.Option("--yes", help="Really forget; without it only show what would happen.")] = False,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Forget episodes as if they had never been learned. A dry run unless --yes is given."""
    chosen = session.settings(home=home, core=core)
    with session.open_learner(chosen) as learner, output.bars(brief=True) as progress:
        texts = {episode.id: episode.text for episode in learner.history()}
        move = output.phases(progress)
        receipt = learner.forget(*dict.fromkeys(episodes), dry_run=not yes, progress=move)
    if as_json:
        output.emit_json(receipt)
        return
    console = output.out()
    table = output.table("would forget" if receipt.dry_run else "forgot", "text")
    for episode in receipt.episodes:
        # the text is what was to be forgotten: it is shown before, and not again after
        table.add_row(episode, output.clip(texts.get(episode, ""), 90) if receipt.dry_run else "erased")
    console.print(table)
    tiers = output.table("tier", "what happens" if receipt.dry_run else "what happened")
    for tier, what in receipt.tiers.items():
        tiers.add_row(tier, str(what))
    console.print(tiers)
    if receipt.dry_run:
        output.err().print("nothing was changed: add --yes to forget for good")
