"""What every experiment on memories shares: a training loop, and how its result becomes a table, a plot and a file.

An experiment is one module of this package with ``run(file, *, seed, long)``: it measures, shows its table, and writes
FILE.json with FILE.md and FILE.png beside it.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track
from torch import Tensor, nn

from fastslow.store import io

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def progress(steps: Iterable[Any], label: str) -> Iterable[Any]:
    """The same, with a bar on standard error that is gone when it is done."""
    return track(steps, label, console=Console(stderr=True), transient=True)


def fit(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    rate: float,
    clip: float = 1.0,
    lowered: bool = False,
    done: Callable[[int, float], bool] = lambda step, loss: False,
) -> list[float]:
    """Adam on ``loss(step)`` for at most ``steps`` steps, until ``done(step, loss)``; the loss of every step. The rate
    stays, or is ``lowered`` to nothing by a cosine."""
    mine = list(parameters)
    optimizer = torch.optim.Adam(mine, lr=rate)
    losses = []
    for step in range(steps):
        if lowered:
            optimizer.param_groups[0]["lr"] = 0.5 * rate * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        now = loss(step)
        now.backward()
        nn.utils.clip_grad_norm_(mine, clip)
        optimizer.step()
        losses.append(float(now.detach()))
        if done(step, losses[-1]):
            break
    return losses


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def publish(file: Path | None, result: dict[str, Any], text: str, draw: Callable[[Figure], None]) -> dict[str, Any]:
    """Show ``text`` (Markdown), and with a ``file`` write the numbers there, and beside it the text and the plot that
    ``draw`` makes of an empty figure. The result gets what it was measured with."""
    result = result | {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    if file is not None:
        io.write_atomic(file, (json.dumps(result, indent=1) + "\n").encode())
        io.write_atomic(file.with_suffix(".png"), picture(draw))
        shown = f"{text.rstrip()}\n\n![{result['bench']}]({file.with_suffix('.png').name})\n"
        io.write_atomic(file.with_suffix(".md"), shown.encode())
    Console().print(Markdown(text))
    return result


def picture(draw: Callable[[Figure], None]) -> bytes:
    """What ``draw`` makes of an empty figure, as PNG."""
    import matplotlib  # slow to import, and only plots need it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(9, 3.8), layout="constrained")
    draw(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    pyplot.close(figure)
    return buffer.getvalue()
