"""`fastslow bench`: each experiment is one question, one command, one table and mostly one plot."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastslow.cli import options, output, session
from fastslow.errors import InputError

if TYPE_CHECKING:
    from fastslow.settings import Settings

app = typer.Typer(name="bench", help="Experiments, each with a table and most with a plot.", no_args_is_help=True)
File = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where the numbers go.", show_default=False)]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Where the plot goes.", show_default=False)]
Seed = Annotated[int, typer.Option(metavar="S", min=0, help="Decides everything that is drawn.")]
Facts = Annotated[int, typer.Option(metavar="N", min=1, help="Facts to teach.")]
Tokens = Annotated[int, typer.Option(metavar="N", min=1, help="Tokens of text.")]


@app.command(epilog="Example: fastslow bench recall --facts 40 --seed 7 --json recall.json")
def recall(
    facts: Facts = 40,
    seed: Seed = 0,
    bits: Annotated[int, typer.Option(metavar="N", help="Bits of each number in a page: 16, 8, 4 or 2.")] = 8,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Most questions of a kind.")] = 1000,
    baseline_limit: Annotated[int, typer.Option(metavar="N", min=1, help="The same for each baseline.")] = 100,
    baselines: Annotated[bool, typer.Option(help="Measure the baselines beside it.")] = True,
    lora: Annotated[bool, typer.Option("--lora", help="Naive LoRA among the baselines (slow).")] = False,
    sleep: Annotated[bool, typer.Option("--sleep", help="Sleep at the end and ask again (slow).")] = False,
    core: options.CoreName = None,
    file: File = None,
    plot: Plot = None,
) -> None:
    """Teach N invented facts one by one, then ask about all of them, beside the baselines."""
    chosen = _checked(core, file, plot)
    module = _module("recall")
    with output.bars(brief=True) as progress:
        session.prepare(chosen, progress)
    bench = module.RecallBench(
        facts=facts,
        seed=seed,
        core=chosen.core,
        bits=bits,
        limit=limit,
        baseline_limit=baseline_limit,
        baselines=baselines,
        lora=lora,
        sleep=sleep,
    )
    result = module.run(bench, file)
    if plot is not None:
        from fastslow.store import io

        io.write_atomic(plot, module.plot(result))


@app.command(epilog="Example: fastslow bench curve recall-40.json recall-200.json --out recall.md")
def curve(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Results of `fastslow bench recall --json`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The table; the plot goes beside it.")],
) -> None:
    """Recall against the number of facts, and against bytes where --bits differ: one table and one plot."""
    if out.suffix != ".md" or not out.absolute().parent.is_dir():
        raise InputError(f"cannot write {out}: give a .md file in an existing folder")
    _module("curve").run(files, out)


@app.command(epilog="Example: fastslow bench fast --json fast.json")
def fast(
    tokens: Tokens = 20_000,
    seed: Seed = 0,
    core: options.CoreName = None,
    file: File = None,
) -> None:
    """Perplexity of a long real text with fast weights on and off."""
    _run("fast", core, file, tokens=tokens, seed=seed)


@app.command(epilog="Example: fastslow bench domain --json domain.json")
def domain(
    tokens: Tokens = 70_000,
    seed: Seed = 0,
    core: options.CoreName = None,
    file: File = None,
) -> None:
    """Perplexity of unseen text after one sleep on a domain, and what that costs everything else."""
    _run("domain", core, file, tokens=tokens, seed=seed)


@app.command(epilog="Example: fastslow bench writes --json writes.json")
def writes(
    facts: Facts = 40,
    seed: Seed = 11,
    core: options.CoreName = None,
    file: File = None,
) -> None:
    """Ways to write an episode side by side: quality, seconds and bytes."""
    _run("writes", core, file, facts=facts, seed=seed)


@app.command(epilog="Example: fastslow bench manual --json manual.json")
def manual(
    split: Annotated[str, typer.Option(metavar="SPLIT", help="Which questions: tune, or test, which judge.")] = "test",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N.", show_default=False)] = None,
    core: options.CoreName = None,
    file: File = None,
) -> None:
    """Questions on the project's own manual: memory beside the bare core and pasted pages."""
    _run("manual", core, file, split=split, limit=limit)


@app.command(epilog="Example: fastslow bench fst --tier 0 --json fst-0.json")
def fst(
    tier: Annotated[
        int, typer.Option(metavar="N", min=0, max=1, help="0: the speller, in minutes. 1: the default core, in hours.")
    ] = 0,
    file: File = None,
) -> None:
    """Fast-slow training beside contexts alone, reinforcement alone, and one after the other."""
    _writable(file)
    _module("fst").run(file, tier=tier)


EXPERIMENTS = {
    "associative": "Ba et al. 2016: retrieve what was paired, fast weights beside an LSTM and an IRNN.",
    "capacity": "Schlag et al. 2021: how many pairs each feature map holds, and the delta rule on overwrites.",
    "characters": "A small language model with each memory, on one text and continually on two.",
    "completion": "Miconi et al. 2018: plastic connections complete patterns seen a moment before.",
    "deblurring": "Hinton and Plaut 1987: fast weights bring old memories back.",
    "kernels": "Speed of the fast-weight kernel as ratios within one run.",
    "mqar": "Multi-query associative recall with every memory.",
    "tracking": "Siems et al. 2025: tracking permutations takes more than one step a token.",
    "waveform": "Koutnik et al. 2014: a Clockwork RNN beside an RNN and an LSTM on a waveform.",
}


def _experiment(name: str, about: str) -> None:
    def command(
        seed: Seed = 0,
        long: Annotated[bool, typer.Option("--long", help="The long version.")] = False,
        file: File = None,
    ) -> None:
        _writable(file)
        _module(name).run(file, seed=seed, long=long)

    app.command(name, help=about, epilog=f"Example: fastslow bench {name} --json {name}.json")(command)


for _name, _about in EXPERIMENTS.items():
    _experiment(_name, _about)


def _run(name: str, core: str | None, file: Path | None, **arguments: Any) -> None:
    chosen = _checked(core, file, None)
    module = _module(name)
    with output.bars(brief=True) as progress:
        loaded = session.load_core(chosen, progress)
    module.run(file, core=loaded, **arguments)


def _checked(core: str | None, *files: Path | None) -> Settings:
    """The settings, once it is sure that hours of work will find the place for their result."""
    _writable(*files)
    return session.settings(core=core)


def _writable(*files: Path | None) -> None:
    for path in files:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise InputError(f"cannot write {path}: give a file in an existing folder")


def _module(name: str) -> Any:
    try:
        return import_module(f"fastslow.bench.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fastslow"):
            raise
        raise InputError(f"this bench needs the package {error.name}: pip install 'fastslow[bench]'") from None
