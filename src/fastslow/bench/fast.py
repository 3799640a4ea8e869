"""The question: does a core predict a long text better while the fast tier learns from it, and is that more than
calibration?

The text is Python's own language reference as the interpreter carries it (``pydoc_data.topics``), each paragraph once.
The settings were chosen on every other topic (``part="tune"``); this measures on the rest (``part="judge"``).

Beside "off" and "on" stand four controls (docs/lab/fast.md says what each rules out): a temperature fitted on the very
text it is judged on, the windows in shuffled order, fast weights that stop learning half-way, and fast weights of the
right size in a random direction.
"""

from __future__ import annotations

import json
import math
import platform
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from fastslow.bench import texts
from fastslow.core import Core
from fastslow.errors import InputError
from fastslow.fast import trajectory as fast
from fastslow.state import State
from fastslow.store import io

TEMPERATURES = [0.80 + 0.02 * i for i in range(26)]


def reference(part: str) -> str:
    """Python's language reference: every second topic, without paragraphs that were there before in either part."""
    from pydoc_data import topics  # 700 kB that only this needs

    if part not in ("tune", "judge"):
        raise InputError(f"there is no part {part!r} of the reference: take 'tune' or 'judge'")
    seen: set[str] = set()
    kept: list[str] = []
    for i, name in enumerate(sorted(topics.topics)):
        for paragraph in topics.topics[name].split("\n\n"):
            plain = " ".join(paragraph.split())
            if plain not in seen and (i % 2 == 0) == (part == "tune"):
                kept.append(paragraph)
            seen.add(plain)
    return "\n\n".join(kept)


@torch.no_grad()
def bare(core: Core, ids: Sequence[int], window: int) -> Tensor:
    """NLLs (T,) in nats of the bare core, whole windows at once: what it predicts without a memory."""
    parts = []
    for logits, target in _windows(core, ids, window):
        parts.append(torch.nn.functional.cross_entropy(logits, target, reduction="none"))
    return torch.cat(parts)


@torch.no_grad()
def tempered(core: Core, ids: Sequence[int], window: int) -> tuple[float, Tensor]:
    """The temperature that suits ``ids`` best, fitted on ``ids`` themselves, and the bare core's NLLs with it."""
    table: list[list[Tensor]] = [[] for _ in TEMPERATURES]
    for logits, target in _windows(core, ids, window):
        for column, temperature in zip(table, TEMPERATURES, strict=True):
            column.append(torch.nn.functional.cross_entropy(logits / temperature, target, reduction="none"))
    columns = [torch.cat(column) for column in table]
    best = min(range(len(columns)), key=lambda i: float(columns[i].double().mean()))
    return TEMPERATURES[best], columns[best]


def _windows(core: Core, ids: Sequence[int], window: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in track(range(0, len(ids), window), "bare core", console=Console(stderr=True), transient=True):
        target = torch.tensor(list(ids[start : start + window]))
        inputs = torch.cat([torch.tensor([core.sink_id]), target[:-1]])[None]
        yield core.model(input_ids=inputs).logits[0].float(), target


def streamed(
    core: Core, config: fast.FastConfig, ids: Sequence[int], state: State | None = None, label: str = "fast weights on"
) -> tuple[Tensor, State]:
    """One pass of the fast tier over ``ids``: NLLs (T,) in nats and the state after it."""
    state = fast.init_state(core, config) if state is None else state
    parts = []
    steps = range(0, len(ids), config.window)
    for start in track(steps, label, console=Console(stderr=True), transient=True):
        state, nll, info = fast.observe(core, config, state, ids[start : start + config.window])
        if info.rejected:
            raise InputError(f"a chunk near token {start} gave a loss that is not finite: lower lr ({config.lr})")
        parts.append(nll)
    return torch.cat([*parts, fast.pending_nll(core, config, state)]), state


def run(
    path: Path | None = None,
    *,
    tokens: int = 20_000,
    core: Core | None = None,
    config: fast.FastConfig | None = None,
    text: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure everything, print the table and, with ``path``, write the JSON and a plot of the same name beside it."""
    core, config = core or Core.load(), config or fast.FastConfig()
    text = reference("judge") if text is None else text
    ids = core.encode(text)[:tokens]
    if len(ids) < 4 * config.window:
        raise InputError(f"the text has {len(ids)} tokens, too few: give at least {4 * config.window}")
    ids = ids[: len(ids) // (2 * config.window) * (2 * config.window)]  # two halves of whole windows
    off = bare(core, ids, config.window)
    on, state = streamed(core, config, ids)
    temperature, calibrated = tempered(core, ids, config.window)
    half = len(ids) // 2
    _, learned = streamed(core, config, ids[:half], label="first half")
    still = replace(config, lr=0.0, half_life=math.inf)
    frozen, _ = streamed(core, still, ids[half:], learned, "frozen")
    noise, _ = streamed(core, still, ids[half:], _random_direction(learned, seed), "random direction")
    shuffled = _shuffled(ids, config.window, seed)
    mixed, _ = streamed(core, config, shuffled, label="shuffled")
    mixed_off = bare(core, shuffled, config.window)
    result = {
        "core": core.fingerprint,
        "config": _plain(config),
        "tokens": len(ids),
        "seed": seed,
        "text_sha256": sha256(text.encode()).hexdigest(),
        "machine": {"python": sys.version.split()[0], "torch": torch.__version__, "processor": platform.machine()},
        "perplexity": {
            "off": _quarters(off),
            "temperature": _quarters(calibrated),
            "on": _quarters(on),
            "shuffled off": _quarters(mixed_off),
            "shuffled on": _quarters(mixed),
        },
        "second half": {
            "off": _ppl(off[half:]),
            "on": _ppl(on[half:]),
            "frozen": _ppl(frozen),
            "random direction": _ppl(noise),
        },
        "fitted_temperature": temperature,
        "seconds": cost(core, config, ids),
        "state_bytes": state.size_bytes(),
        "gate": gate_rates(core, config, state, ids, half, learned),
    }
    _print(result)
    if path is not None:
        io.write_atomic(path, (json.dumps(result, indent=2) + "\n").encode())
        _plot(path.with_suffix(".png"), off, calibrated, on)
    return result


def cost(core: Core, config: fast.FastConfig, ids: Sequence[int], repeats: int = 5) -> dict[str, float]:
    """CPU seconds for one window off and on, taken in turns, the best of each: that disturbs a shared machine least."""
    state, window = fast.init_state(core, config), ids[: config.window]
    seconds: dict[str, list[float]] = {"off": [], "on": []}
    for _ in range(repeats):
        started = time.process_time()
        bare(core, window, config.window)
        between = time.process_time()
        fast.observe(core, config, state, window)
        seconds["off"].append(between - started)
        seconds["on"].append(time.process_time() - between)
    off, on = min(seconds["off"]), min(seconds["on"])
    return {"off": off, "on": on, "ratio": on / off}


@torch.no_grad()
def gate_rates(
    core: Core, config: fast.FastConfig, state: State, ids: Sequence[int], half: int, learned: State
) -> dict[str, Any]:
    """How often `related` opens, and the cosines behind it: after the first half, on the windows of the second half; at
    the end, on other kinds of text and on questions about other things. None of these texts set the threshold."""
    following = [core.decode(ids[i : i + config.window]) for i in range(half, len(ids), config.window)]
    groups = {
        "next windows": (learned, following),
        "other texts": (state, texts.general()),
        "other questions": (state, [core.tokenizer.decode(core.prompt(question)) for question in texts.chat()]),
    }
    rates = {}
    for name, (of, group) in groups.items():
        cosines = sorted(fast.similarity(of, core.hidden(text)) for text in group)
        opened = sum(cosine > config.related for cosine in cosines)
        rates[name] = {"opened": opened, "of": len(group), "lowest": cosines[0], "highest": cosines[-1]}
    return rates


def _random_direction(state: State, seed: int) -> State:
    """The same state with each B replaced by noise of the same norm."""
    generator, tensors = torch.Generator().manual_seed(seed), dict(state.tensors)
    for name, value in state.tensors.items():
        if name.startswith("B."):
            noise = torch.randn(value.shape, generator=generator)
            tensors[name] = noise * (value.norm() / noise.norm())
    return State(state.layout, state.version, tensors, state.numbers)


def _shuffled(ids: Sequence[int], window: int, seed: int) -> list[int]:
    """Whole windows in another order: the same predictions for the bare core, other neighbours for the fast weights."""
    parts = [list(ids[i : i + window]) for i in range(0, len(ids), window)]
    random.Random(seed).shuffle(parts)
    return [token for part in parts for token in part]


def _plain(config: fast.FastConfig) -> dict[str, Any]:
    """The settings as JSON holds them, which knows neither tuples nor infinity."""
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(config).items()}
    return {name: str(v) if isinstance(v, float) and math.isinf(v) else v for name, v in values.items()}


def _ppl(nll: Tensor) -> float:
    return math.exp(float(nll.double().mean()))


def _quarters(nll: Tensor) -> dict[str, Any]:
    return {"all": _ppl(nll), "quarters": [_ppl(part) for part in nll.chunk(4)]}


def _print(result: dict[str, Any]) -> None:
    table = Table(title=f"Perplexity, {result['tokens']} tokens")
    for column in ("", "1st quarter", "2nd", "3rd", "4th", "all", "against off"):
        table.add_column(column, justify="left" if not column else "right")
    rows = result["perplexity"]
    for name, row in rows.items():
        base = rows["shuffled off" if name.startswith("shuffled") else "off"]["all"]
        change = f"{100 * (row['all'] / base - 1):+.1f} %"
        table.add_row(name, *(f"{q:.2f}" for q in row["quarters"]), f"{row['all']:.2f}", change)
    half = Table(title="Second half, learned from the first")
    for name in result["second half"]:
        half.add_column(name, justify="right")
    half.add_row(*(f"{value:.2f}" for value in result["second half"].values()))
    console = Console()
    console.print(table)
    console.print(half)
    seconds = result["seconds"]
    console.print(f"fitted temperature {result['fitted_temperature']:.2f}; CPU time on/off {seconds['ratio']:.2f}")
    for name, rate in result["gate"].items():
        cosines = f"cosine {rate['lowest']:.2f} to {rate['highest']:.2f}"
        console.print(f"gate opens on {rate['opened']} of {rate['of']} {name} ({cosines})")


def _plot(path: Path, off: Tensor, calibrated: Tensor, on: Tensor) -> None:
    import matplotlib  # slow to import, and only the plot needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    step = 1024
    ends = range(step, len(off) + 1, step)
    for nll, label, colour in (
        (off, "off", "0.45"),
        (calibrated, "fitted temperature", "tab:orange"),
        (on, "on", "C0"),
    ):
        left.plot(ends, [_ppl(nll[e - step : e]) for e in ends], label=label, color=colour)
    left.set(xlabel="tokens read", ylabel=f"perplexity of each {step} tokens", title="Predicting the text")
    left.legend(frameon=False)
    for nll, label, colour in ((calibrated, "fitted temperature", "tab:orange"), (on, "on", "C0")):
        gain = [100 * (math.exp(float((nll[:e] - off[:e]).double().mean())) - 1) for e in ends]
        right.plot(ends, gain, label=label, color=colour)
    right.axhline(0, color="0.45", linewidth=0.8)
    right.set(xlabel="tokens read", ylabel="change of perplexity so far, %", title="Against fast weights off")
    right.legend(frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    pyplot.close(figure)
    io.write_atomic(path, buffer.getvalue())


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m fastslow.bench.fast [FILE.json]``"""
    arguments = sys.argv[1:] if arguments is None else arguments
    run(Path(arguments[0]) if arguments else None)


if __name__ == "__main__":
    main()
