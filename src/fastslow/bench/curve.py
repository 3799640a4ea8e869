"""The question: how does recall hold up as more is taught, and as pages get smaller? Several results of `fastslow bench
recall`, in one table and one plot.

`fastslow bench curve recall-40.json recall-200.json recall-1000.json --out recall.md` writes recall.md and recall.png.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from rich.console import Console

from fastslow.bench.recall import ASKED
from fastslow.errors import InputError
from fastslow.medium.episodes import RecallConfig
from fastslow.store import io

COLUMNS = (*ASKED, "false_memory_never_taught", "false_memory_neighbour")
COSTS = (
    ("write_cpu_s", "CPU s a fact", "{:.2f}"),
    ("bytes_per_episode", "KB a fact", "{:.1f}"),
    ("read_overhead", "decoding slower by", "{:.1%}"),
    ("prompt_tokens_added", "prompt tokens added", "{:.0f}"),
    ("locality", "unrelated answers unchanged", "{:.3f}"),
    ("kl_nats", "KL, unrelated text (nats)", "{:.5f}"),
    ("ppl_drift", "perplexity drift", "{:.3%}"),
    ("after_restart", "same after a restart", "{:.3f}"),
    ("after_sleep", "after sleep, of what was recalled", "{:.3f}"),
)


def run(files: Sequence[Path], out: Path) -> None:
    """Write the table to ``out`` and the plot beside it. Raises InputError for a file that is no result."""
    results = sorted((_read(file) for file in files), key=lambda r: r["settings"]["facts"])
    usual, sizes = by_size(results)
    text = markdown(usual, sizes, out.with_suffix(".png").name)
    io.write_atomic(out, text.encode())
    io.write_atomic(out.with_suffix(".png"), plot(usual, sizes))
    Console().print(text)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert found["bench"] == "recall"
        return found
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(f"{path} is no result of `fastslow bench recall --json`: make it again") from error


def by_size(results: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The results with pages as they usually are; and all of the one number of facts that others share with them, the
    smallest pages first (none where all pages are alike)."""
    usual = [r for r in results if _bits(r) == RecallConfig.bits]
    others = [r for r in results if _bits(r) != RecallConfig.bits]
    facts = {r["settings"]["facts"] for r in others}
    beside = [r for r in usual if r["settings"]["facts"] in facts]
    if len(facts) > 1 or (others and not beside):
        raise InputError("results of other --bits must be of one number of facts, beside some of the usual bits")
    return usual, sorted([*others, *beside], key=_bits)


def _bits(result: dict[str, Any]) -> int:
    return int(result["settings"].get("bits", RecallConfig.bits))


def markdown(results: Sequence[dict[str, Any]], sizes: Sequence[dict[str, Any]], picture: str) -> str:
    """Recall by kind of question, the baselines below, then the costs, then recall against the bytes of a page."""
    lines = ["# Recall", ""]
    for result in results:
        settings = result["settings"]
        lines += [
            f"## {settings['facts']} facts",
            "",
            f"`fastslow bench recall --facts {settings['facts']} --seed {settings['seed']}"
            f" --limit {settings['limit']}{_flags(settings)}`, the {settings['split']} split,"
            f" {result['episodes']} episodes.",
            "",
            "| | " + " | ".join(_name(kind) for kind in COLUMNS) + " | KL, nats |",
            "|" + "---|" * (len(COLUMNS) + 2),
        ]
        asked = [f"{sum(a['kind'] == kind and 'tiers' not in a for a in result['answers'])}" for kind in ASKED]
        lines += [f"| **memory** | {_cells(result)} |"]
        lines += [f"| {name.replace('_', ' ')} | {_cells(row)} |" for name, row in result.get("baselines", {}).items()]
        questions = ", ".join(f"{n} {_name(kind)}" for n, kind in zip(asked, ASKED, strict=True))
        beside = f"; of a baseline at most {settings['baseline_limit']} of a kind" if settings["baselines"] else ""
        lines += ["", f"Questions asked of the memory: {questions}{beside}.", ""]
    lines += ["## Costs", "", "| | " + " | ".join(f"{r['settings']['facts']} facts" for r in results) + " |"]
    lines += ["|" + "---|" * (len(results) + 1)]
    for key, label, form in COSTS:
        scale = 1e-3 if key == "bytes_per_episode" else 1.0
        cells = [form.format(r[key] * scale) if key in r else "" for r in results]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    if sizes:
        lines += ["", f"## Bytes, {sizes[0]['settings']['facts']} facts", "", "| bits a number | KB a fact |"]
        lines[-1] += "".join(f" {_name(kind)} |" for kind in COLUMNS) + " KL, nats |"
        lines += ["|" + "---|" * (len(COLUMNS) + 3)]
        lines += [f"| {_bits(r)} | {r['bytes_per_episode'] * 1e-3:.1f} | {_cells(r)} |" for r in sizes]
    return "\n".join([*lines, "", f"![recall against the number of facts]({picture})", ""])


def _flags(settings: dict[str, Any]) -> str:
    given = {"--no-baselines": not settings["baselines"], "--lora": settings["lora"], "--sleep": settings["sleep"]}
    return "".join(f" {flag}" for flag, on in given.items() if on)


def _cells(row: dict[str, Any]) -> str:
    found = [f"{row[kind]:.3f}" if kind in row else "" for kind in COLUMNS]
    return " | ".join([*found, f"{row['kl_nats']:.4f}" if "kl_nats" in row else ""])


def _name(kind: str) -> str:
    return kind.replace("false_memory_", "false, ").replace("_", "-")


def plot(results: Sequence[dict[str, Any]], sizes: Sequence[dict[str, Any]]) -> bytes:
    """A PNG, against the number of facts: recall of the memory by kind of question and, where there are baselines,
    direct questions beside them; and, where there are ``sizes``, recall against the bytes of a page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = dict.fromkeys(name for r in results for name in r.get("baselines", {}))
    panels = 1 + bool(names) + bool(sizes)
    figure = Figure(figsize=(5.5 * panels, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, *others = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    second, third = others[: bool(names)], others[bool(names) :]
    facts = [r["settings"]["facts"] for r in results]
    for kind in (k for k in ASKED if any(k in r for r in results)):
        left.plot(facts, [r.get(kind) for r in results], "o-", label=_name(kind))
    left.set_title("the memory, by kind of question")
    for axes in second:
        axes.set_title("direct questions, beside the baselines")
        axes.plot(facts, [r.get("direct") for r in results], "o-", color="black", linewidth=2.5, label="memory")
        for name in names:
            known = [(r["settings"]["facts"], r["baselines"]) for r in results if name in r.get("baselines", {})]
            points = [n for n, _ in known], [beside[name]["direct"] for _, beside in known]
            axes.plot(*points, "s--", label=name.replace("_", " "), alpha=0.8)
    for axes in (left, *second):
        axes.set(xscale="log", xticks=facts, xticklabels=[str(n) for n in facts], ylim=(0, 1.02))
        axes.minorticks_off()
        axes.set_xlabel("facts taught one by one")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
    left.set_ylabel("share of right answers")
    for axes in third:
        kilobytes = [r["bytes_per_episode"] * 1e-3 for r in sizes]
        for kind in (k for k in ASKED if any(k in r for r in sizes)):
            axes.plot(kilobytes, [r.get(kind) for r in sizes], "o-", label=_name(kind))
        for r, x in zip(sizes, kilobytes, strict=True):
            axes.annotate(f"{_bits(r)} bits", (x, 0.03), fontsize=8, ha="center")
        axes.set(title=f"by the size of a page, {sizes[0]['settings']['facts']} facts", xlabel="KB a fact")
        axes.grid(alpha=0.3)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
