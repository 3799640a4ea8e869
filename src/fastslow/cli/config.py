"""`fastslow config`: the settings and where each comes from."""

from __future__ import annotations

import typer

from fastslow.cli import options, output

app = typer.Typer(name="config", help="Look at the settings.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """Look at the settings."""


@app.command(epilog="Example: FASTSLOW_THREADS=1 fastslow config show")
def show(home: options.Home = None, core: options.CoreName = None, as_json: options.Json = False) -> None:
    """Show every setting, its value and its source: flag, environment, file or default."""
    from fastslow.settings import Settings, resolve

    found = resolve(home=home, core=core)
    values = {name: getattr(found.settings, name) for name in Settings.model_fields}
    if as_json:
        rows = {name: {"value": value, "source": found.sources[name]} for name, value in values.items()}
        output.emit_json({"settings": rows, "file": found.file, "file_exists": found.file_exists})
        return
    console = output.out()
    table = output.table("setting", "value", "source", "what it is")
    for name, value in values.items():
        about = Settings.model_fields[name].description or ""
        shown = output.short_path(value) if name in ("home", "cache") else str(value)
        table.add_row(name, shown, found.sources[name], about, style="" if found.sources[name] != "default" else "dim")
    console.print(table)
    state = "" if found.file_exists else " (not there)"
    console.print(f"file: {output.short_path(found.file)}{state}", soft_wrap=True)
