"""`fastslow learn`: texts, files and folders become episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastslow.cli import options, output, session
from fastslow.cli.sources import Source, collect
from fastslow.errors import FastslowError

if TYPE_CHECKING:
    from fastslow.learner import Learner

EXAMPLE = "Example: fastslow learn notes.md manual/ && echo 'Kestrel launches in May.' | fastslow learn -"


def learn(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Text or Markdown files, folders, or - .")],
    encoding: Annotated[str, typer.Option(metavar="NAME", help="How the files are encoded.")] = "utf-8",
    replace: Annotated[bool, typer.Option("--replace", help="Put a mark in place of bytes that do not fit.")] = False,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Learn texts. Each paragraph or list becomes an episode, durable at once."""
    chosen = session.settings(home=home, core=core)
    sources = collect(paths, encoding, replace)
    with session.open_learner(chosen, create=True) as learner:
        report = _learn_all(learner, sources)
    if as_json:
        output.emit_json(report)
    else:
        _show(report)


def _learn_all(learner: Learner, sources: list[Source]) -> dict[str, Any]:
    known = {episode.id for episode in learner.history()}
    files: list[dict[str, Any]] = []
    try:
        with output.bars() as progress:
            for place, source in enumerate(sources, 1):
                label = output.clip(source.name if source.path else "standard input", 40)
                label = f"learning {label}" + (f" ({place} of {len(sources)})" if len(sources) > 1 else "")
                name = "stdin" if source.path is None else source.name
                episodes = learner.learn_document(source.read(), name, output.counter(progress, label))
                new = {episode.id for episode in episodes} - known
                known |= new
                files.append({"source": name, "episodes": [e.id for e in episodes], "new": len(new)})
    except (FastslowError, KeyboardInterrupt) as error:
        raise _stopped(error, learner, known, files) from error
    return {"files": files, "episodes": sum(len(f["episodes"]) for f in files), "new": sum(f["new"] for f in files)}


def _stopped(error: BaseException, learner: Learner, known: set[str], files: list[dict[str, Any]]) -> output.Failure:
    """The error with what was learned before it, which stays."""
    partial = [name for name in learner.tiers.told if name not in known]  # the log may be closed by now
    new = sum(f["new"] for f in files) + len(partial)
    what, code = (str(error), error.exit_code) if isinstance(error, FastslowError) else ("stopped", output.STOPPED)
    kept = f"{output.number(new, 'episode')} learned before that {'is' if new == 1 else 'are'} kept"
    return output.Failure(f"{what} ({kept})", code, {"files": files, "unfinished": partial, "new": new})


def _show(report: dict[str, Any]) -> None:
    files, console = report["files"], output.out()
    if len(files) > 1:
        table = output.table("source", "episodes", "new", right=("episodes", "new"))
        for file in files:
            table.add_row(file["source"], str(len(file["episodes"])), str(file["new"]))
        console.print(table)
    again = report["episodes"] - report["new"]
    known = f"; {output.number(again, 'episode')} said what was known and made it stronger" if again else ""
    where = f" from {output.number(len(files), 'source')}" if len(files) > 1 else ""
    console.print(f"learned {output.number(report['new'], 'new episode')}{where}{known}", soft_wrap=True)
