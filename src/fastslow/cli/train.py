"""`fastslow train`: a small model of one's own, with any memory in each block, on a text or an invented world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastslow.cli import options, output
from fastslow.errors import InputError

EXAMPLE = "Example: fastslow train notes.txt --blocks gated_delta_net,attention --out ./my-model"


def train(
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="Text files, folders, or -.")] = None,
    world: Annotated[
        int | None, typer.Option("--world", metavar="SEED", help="Train on an invented world instead of a text.")
    ] = None,
    blocks: Annotated[
        str, typer.Option(metavar="NAMES", help="The memory of each block, separated by commas.")
    ] = "gated_delta_net,gated_delta_net",
    width: Annotated[int, typer.Option(metavar="D", min=2, help="Width of the stream.")] = 128,
    heads: Annotated[int, typer.Option(metavar="H", min=1, help="Heads of each memory.")] = 4,
    chunk: Annotated[int, typer.Option(metavar="C", min=1, help="Tokens that a memory takes at once.")] = 32,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Training steps.")] = 1000,
    batch: Annotated[int, typer.Option(metavar="B", min=1, help="Windows of a step.")] = 8,
    window: Annotated[int, typer.Option(metavar="T", min=1, help="Bytes of a window.")] = 256,
    rate: Annotated[float, typer.Option(metavar="R", help="Highest learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Decides the start and the order.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Keep the model here; go on if it was cut off.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train a small byte-level decoder and report the bits per byte of text that it has not seen."""
    from fastslow.fast.frame import LayerConfig
    from fastslow.models import training
    from fastslow.models.decoder import DecoderConfig

    if bool(paths) == (world is not None):
        raise InputError("give either text (files, folders or -) or --world SEED")
    if width % heads or width // heads % 2:
        raise InputError(f"a width of {width} does not make {heads} heads of one even size")
    layer = LayerConfig(width, heads, width // heads, width // heads, chunk=chunk)
    config = DecoderConfig(training.BYTES, tuple(n.strip() for n in blocks.split(",")), layer, hidden=2 * width)
    recipe = training.TrainingRecipe(steps=steps, batch=batch, window=window, rate=rate, seed=seed)
    tokens = training.as_tokens(_text(paths or [], world))
    training.parts(tokens, recipe)  # too short a text is refused before a bar is drawn
    with output.bars() as progress, output.stop_on_interrupt() as stop:
        move = output.phases(progress)
        decoder, report = training.train(
            config,
            tokens,
            recipe,
            folder=out,
            progress=lambda step, total, loss: move("training", step, total, loss),
            stop=stop.is_set,
        )
    parameters = sum(p.numel() for p in decoder.parameters())
    if report.steps < steps:
        again = "the same command goes on" if out else "give --out to be able to go on"
        raise output.Failure(f"stopped after {report.steps} of {steps} steps: {again}", output.STOPPED)
    if as_json:
        output.emit_json({**output.plain(report), "parameters": parameters, "blocks": config.blocks, "folder": out})
        return
    table = output.table("blocks", "parameters", "steps", "bits per byte, untrained", "trained", right=("parameters",))
    bits = (f"{report.bits_before:.2f}", f"{report.bits:.2f}")
    table.add_row(", ".join(config.blocks), f"{parameters:,}", str(steps), *bits)
    output.out().print(table)
    if out:
        output.emit_text(f"kept in {output.short_path(out)}")


def _text(paths: list[str], world: int | None) -> str:
    from fastslow.cli import sources
    from fastslow.worlds.invented import World

    if world is None:
        return "\n\n".join(source.read() for source in sources.collect(paths, "utf-8", False))
    return "\n".join(event.text for event in World.make(world, 400, "train").events)
