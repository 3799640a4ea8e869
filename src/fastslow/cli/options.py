"""The options that commands share, so that each is spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="The folder the learner lives in.", show_default=False)
]
CoreName = Annotated[
    str | None,
    typer.Option("--core", metavar="NAME", help="Core: name, folder, .gguf file or hub id.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", metavar="N", help="Longest answer, in tokens.", show_default=False)
]
