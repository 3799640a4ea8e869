"""`fastslow model`: cores and their readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastslow.cli import options, output, session
from fastslow.errors import CoreError, InputError

app = typer.Typer(name="model", help="Cores and their readers.", no_args_is_help=True)
NAME = typer.Argument(metavar="[NAME]", help="Core: name, folder, .gguf file or hub id; the one in use by default.")
Name = Annotated[str | None, NAME]


@app.command("list", epilog="Example: fastslow model list")
def list_(home: options.Home = None, core: options.CoreName = None, as_json: options.Json = False) -> None:
    """List the cores in the cache."""
    session.settings(home=home, core=core)
    from fastslow import cores

    found = cores.list_cached()
    if as_json:
        output.emit_json(found)
        return
    table = output.table("core", "size", "licence", "from", "folder", right=("size",))
    for info in found:
        table.add_row(info.name, output.size(info.bytes), info.licence, info.source, output.short_path(info.folder))
    output.out().print(table if found else "no core is cached yet: fastslow model fetch")


@app.command(epilog="Example: fastslow model fetch smollm2-135m-instruct")
def fetch(
    name: Name = None, home: options.Home = None, core: options.CoreName = None, as_json: options.Json = False
) -> None:
    """Fetch a core into the cache, so that later commands need no network. Prints its folder."""
    chosen = session.settings(home=home, core=name or core)
    from fastslow import cores

    with output.bars() as progress:
        folder = cores.locate(chosen.core, progress)
    if as_json:
        output.emit_json({"name": chosen.core, "folder": folder})
    else:
        output.emit_text(str(folder))


@app.command(epilog="Example: fastslow model show --verify")
def show(
    name: Name = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare its sha256.")] = False,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Show a core: its shape, the layer of its cut, its fingerprint and its reader."""
    chosen = session.settings(home=home, core=name or core)
    from fastslow import cores

    with output.bars(brief=True) as progress:
        loaded = session.load_core(chosen, progress)
        folder = cores.locate(chosen.core)
        problems = cores.verify(folder) if verify else []
    from fastslow.medium import reader

    about: dict[str, Any] = {
        "name": loaded.name,
        "folder": folder,
        "type": loaded.fingerprint["type"],
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "layers": loaded.depth,
        "cut": loaded.split,
        "width": loaded.width,
        "dtype": loaded.fingerprint["dtype"],
        "weights": loaded.fingerprint["weights"],
        "reader": reader.describe(reader.find(loaded, (readers_folder(),))),
    }
    if verify:
        about["problems"] = problems
    if as_json:
        output.emit_json(about)
    else:
        table = output.table("", "")
        table.show_header = False
        for key, value in about.items():
            shown = ("; ".join(value) or "none") if isinstance(value, list) else value
            table.add_row(key, f"{shown:,}" if key == "parameters" else str(shown))
        output.out().print(table)
    if problems:
        raise typer.Exit(CoreError.exit_code)


@app.command("train-reader", epilog="Example: fastslow model train-reader --core ./my-model --seed 0")
def train_reader(
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Steps on statements.", show_default=False)
    ] = None,
    pair_steps: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Steps on pairs of statements.", show_default=False)
    ] = None,
    prose_steps: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Steps on prose.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Decides worlds, order and start.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the reader goes; the cache unless given.")
    ] = None,
    begin: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A reader to train on, instead of a fresh one.")
    ] = None,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Train the reader of a core: the small adapters with which it reads its memories. Takes about three hours."""
    chosen = session.settings(home=home, core=core)
    if out is not None and (out.is_dir() or out.suffix != ".safetensors"):
        raise InputError(f"--out must name a .safetensors file, not {out}")
    with output.bars() as progress:
        loaded = session.load_core(chosen, progress)
        from fastslow.medium import train_reader as training
        from fastslow.medium.reader import Reader
        from fastslow.store import io

        given = {"steps": steps, "pair_steps": pair_steps, "prose_steps": prose_steps}
        recipe = training.ReaderRecipe(seed=seed, **{name: n for name, n in given.items() if n is not None})
        move = output.phases(progress)
        made = training.train_reader(
            loaded,
            recipe,
            progress=lambda phase, step, steps, loss: move(phase, step + 1, steps, loss),
            start=Reader.load(begin) if begin else None,
        )
    path = out or readers_folder() / f"{Path(loaded.name).name}-{loaded.fingerprint['weights'][:12]}.safetensors"
    data = made.to_bytes()
    io.make_dir(path.parent)
    io.write_atomic(path, data)
    if as_json:
        output.emit_json({"file": path, "bytes": len(data), "about": made.about})
    else:
        output.out().print(f"wrote the reader of {loaded.name} ({output.size(len(data))}) to {path}", soft_wrap=True)


def readers_folder() -> Path:
    """Where readers that were trained on this machine are kept."""
    from fastslow import cores

    return cores.cache_folder() / "readers"
