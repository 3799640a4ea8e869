"""The program `fastslow`: all commands in one place, and one way for errors to leave."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from fastslow.cli import (
    ask,
    bench,
    chat,
    config,
    demo,
    doctor,
    export,
    forget,
    history,
    import_,
    learn,
    model,
    output,
    sleep,
    status,
    trace,
    train,
)
from fastslow.errors import FastslowError


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        output.emit_text(f"fastslow {version('fastslow')}")
        raise typer.Exit()


app = typer.Typer(
    name="fastslow",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def fastslow(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A language model that keeps what it learns: three memories, fast, medium and slow."""


LEARNING, LOOKING, MACHINERY = "Learning and asking", "Looking inside", "Machinery"
app.command(rich_help_panel=LEARNING, epilog=learn.EXAMPLE)(learn.learn)
app.command(rich_help_panel=LEARNING, epilog=ask.EXAMPLE)(ask.ask)
app.command(rich_help_panel=LEARNING, epilog=chat.EXAMPLE)(chat.chat)
app.command(rich_help_panel=LEARNING, epilog=sleep.EXAMPLE)(sleep.sleep)
app.command(rich_help_panel=LEARNING, epilog=forget.EXAMPLE)(forget.forget)
app.command(rich_help_panel=LOOKING, epilog=trace.EXAMPLE)(trace.trace)
app.command(rich_help_panel=LOOKING, epilog=history.EXAMPLE)(history.history)
app.command(rich_help_panel=LOOKING, epilog=status.EXAMPLE)(status.status)
app.command(rich_help_panel=LOOKING, epilog=doctor.EXAMPLE)(doctor.doctor)
app.command(rich_help_panel=MACHINERY, epilog=export.EXAMPLE)(export.export)
app.command("import", rich_help_panel=MACHINERY, epilog=import_.EXAMPLE)(import_.import_)
app.add_typer(model.app, rich_help_panel=MACHINERY)
app.add_typer(train.app, rich_help_panel=MACHINERY)
app.add_typer(bench.app, rich_help_panel=MACHINERY)
app.add_typer(config.app, rich_help_panel=MACHINERY)
app.command(rich_help_panel=MACHINERY, epilog=demo.EXAMPLE)(demo.demo)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error ends here, as one message."""
    as_json = "--json" in arguments and arguments[0] != "bench"
    try:
        code = app(args=list(arguments), prog_name="fastslow", standalone_mode=False)
        if code == output.STOPPED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        stopped = output.Failure("stopped; nothing that was acknowledged is lost", output.STOPPED)
        return _report(stopped, stopped.exit_code, as_json)
    except FastslowError as error:
        return _report(error, error.exit_code, as_json)
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is not None and not usage():
            return 2  # a group without a command: its help was shown
        if usage is not None:
            first = arguments[0].startswith("-") and len(arguments) > 1
            where = "; options go behind the command, as in fastslow status --home DIR" if first else ""
            return _report(Exception(f"{usage()} (fastslow {_command(arguments)}--help explains{where})"), 2, as_json)
        if os.environ.get("FASTSLOW_DEBUG"):
            raise
        message = f"unexpected {type(error).__name__}: {error} (FASTSLOW_DEBUG=1 shows where; please report it)"
        return _report(Exception(message), 1, as_json)


def _report(error: Exception, exit_code: int, as_json: bool) -> int:
    if as_json:
        details = error.details if isinstance(error, output.Failure) else {}
        output.emit_json({"error": str(error), "exit_code": exit_code, **details})
    console = output.err()
    console.print("error:", style="bold red", end=" ")
    console.print(str(error), soft_wrap=True)
    return exit_code


def _command(arguments: Sequence[str]) -> str:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.typer_instance.info.name or "" for group in app.registered_groups if group.typer_instance}
    return f"{arguments[0]} " if arguments and arguments[0] in known else ""


def main() -> None:
    """The entry point."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader has gone (`fastslow history | head`); what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
