"""`fastslow trace`: what an answer was read from."""

from __future__ import annotations

from typing import Annotated

import typer

from fastslow.cli import options, output, session

EXAMPLE = "Example: fastslow trace 'When does Kestrel launch?'"


def trace(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.")],
    max_tokens: options.MaxTokens = None,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Show which episodes and tiers an answer read, and how much each of them mattered."""
    chosen = session.settings(home=home, core=core, max_tokens=max_tokens)
    with session.open_learner(chosen) as learner:
        found = learner.trace(question, chosen.max_tokens)
    if as_json:
        output.emit_json({"question": question, **output.plain(found)})
        return
    console = output.out()
    answers = output.table("", "answer")
    answers.show_header = False
    answers.add_row("with memory", found.answer.text, style="bold")
    answers.add_row("bare core", output.clip(found.bare, 200), style="dim")
    console.print(answers)
    if not found.lines:
        console.print("\nno memory was read: nothing learned fits the question")
        return
    table = output.table("tier", "read", "weight", "effect", "text", right=("weight", "effect"))
    for line in found.lines:
        through = f" through {line.through}" if line.through else ""
        table.add_row(
            line.tier, line.what + through, f"{line.weight:.2f}", f"{line.effect:+.2f}", output.clip(line.text, 90)
        )
    console.print()
    console.print(table)
    console.print("effect: nats by which the answer becomes less likely without it", style="dim")
