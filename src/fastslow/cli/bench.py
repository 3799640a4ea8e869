"""`fastslow bench`: each experiment is one question, one command, one table and one plot."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from fastslow.cli import options, output, session
from fastslow.errors import InputError

app = typer.Typer(name="bench", help="Experiments with a table and a plot each.", no_args_is_help=True)
File = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where the numbers go.", show_default=False)]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Where the plot goes.", show_default=False)]
Seed = Annotated[int, typer.Option(metavar="S", min=0, help="Decides everything that is drawn.")]
Tokens = Annotated[int, typer.Option(metavar="N", min=1, help="Tokens of text.")]


@app.command(epilog="Example: fastslow bench recall --facts 40 --seed 7 --json recall.json")
def recall(
    facts: Annotated[int, typer.Option(metavar="N", min=1, help="Facts to teach.")] = 40,
    seed: Seed = 0,
    core: options.CoreName = None,
    home: options.Home = None,
    file: File = None,
    plot: Plot = None,
) -> None:
    """Teach N invented facts one by one, then ask about all of them, beside the baselines."""
    _run("recall", core, home, file, plot, facts=facts, seed=seed)


@app.command(epilog="Example: fastslow bench fast --json fast.json")
def fast(
    tokens: Tokens = 20_000,
    seed: Seed = 0,
    core: options.CoreName = None,
    home: options.Home = None,
    file: File = None,
) -> None:
    """Perplexity of a long real text with fast weights on and off."""
    _run("fast", core, home, file, None, tokens=tokens, seed=seed)


@app.command(epilog="Example: fastslow bench domain --json domain.json")
def domain(
    tokens: Tokens = 70_000,
    seed: Seed = 0,
    core: options.CoreName = None,
    home: options.Home = None,
    file: File = None,
) -> None:
    """Perplexity of unseen text after one sleep on a domain, and what that costs everything else."""
    _run("domain", core, home, file, None, tokens=tokens, seed=seed)


@app.command(epilog="Example: fastslow bench writes --json writes.json")
def writes(seed: Seed = 0, core: options.CoreName = None, home: options.Home = None, file: File = None) -> None:
    """Ways to write an episode side by side: quality, seconds and bytes."""
    _run("writes", core, home, file, None, seed=seed)


@app.command(epilog="Example: fastslow bench manual --json manual.json")
def manual(core: options.CoreName = None, home: options.Home = None, file: File = None) -> None:
    """Questions on the project's own manual: memory beside the bare core and pasted pages."""
    _run("manual", core, home, file, None)


def _run(
    name: str, core: str | None, home: Path | None, file: Path | None, plot: Path | None, **arguments: Any
) -> None:
    chosen = session.settings(core=core, home=home)
    for path in (file, plot):
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise InputError(f"cannot write {path}: give a file in an existing folder")
    try:
        module = import_module(f"fastslow.bench.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fastslow"):
            raise
        raise InputError(f"this bench needs the package {error.name}: pip install 'fastslow[bench]'") from None
    with output.bars(brief=True) as progress:
        loaded = session.load_core(chosen, progress)
    if plot is not None:
        arguments["plot"] = plot
    module.run(file, core=loaded, **arguments)
