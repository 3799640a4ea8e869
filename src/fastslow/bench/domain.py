"""The question: after one sleep on a domain, how much better is unseen text of that domain predicted, and what does it
cost everything else?

The domain is Python's own language reference as the interpreter carries it (``pydoc_data.topics``). Whole topics are
held out, every paragraph counts once, and no paragraph of a held-out topic is trained on. The gate decides every 32
tokens, as it would if the text before them were a prompt: the first 32 tokens of a topic are always the bare core's.

Beside the gated expert stands the same one without its gate, which is what plain fine-tuning gives.
"""

from __future__ import annotations

import json
import math
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from fastslow.bench import texts
from fastslow.core import Core
from fastslow.errors import InputError
from fastslow.gate import Gate
from fastslow.slow.audit import own_answers, prompt_hidden
from fastslow.slow.domain import DomainConfig, consolidate_domain
from fastslow.slow.experts import Expert
from fastslow.slow.training import Hooks, Material, anchor_kl, lesson_material, make_anchors
from fastslow.store import io

WINDOW, LEAD = 512, 32


@dataclass(frozen=True)
class Domain:
    """Topics (name, text): to learn from, and unseen."""

    learned: list[tuple[str, str]]
    unseen: list[tuple[str, str]]


@dataclass(frozen=True)
class Scores:
    """What the gate gives to held-out text of each kind."""

    domain: list[float]
    chat: list[float]
    general: list[float]


def reference(core: Core, tokens: int, seed: int, unseen_tokens: int = 12_000) -> Domain:
    """Python's language reference: whole topics held out until ``unseen_tokens``, ``tokens`` of the others to learn."""
    from pydoc_data import topics  # 700 kB that only this needs

    names = sorted(topics.topics)
    Random(seed).shuffle(names)
    unseen, held = [], 0
    while held < unseen_tokens:
        text = topics.topics[names[0]]
        size = len(core.encode(text))
        if held + size > 1.5 * unseen_tokens:
            names.append(names.pop(0))  # one giant topic would be the whole judgement
            continue
        unseen.append((names.pop(0), text))
        held += size
    seen = {_plain(p) for _, text in unseen for p in text.split("\n\n")}
    learned, taken = [], 0
    for name in names:
        kept = [p for p in topics.topics[name].split("\n\n") if _plain(p) not in seen]
        seen |= {_plain(p) for p in kept}
        ids = core.encode("\n\n".join(kept))[: tokens - taken]
        if len(ids) > LEAD:
            learned.append((name, core.tokenizer.decode(ids)))
            taken += len(ids)
    return Domain(learned, unseen)


def _plain(paragraph: str) -> str:
    return " ".join(paragraph.split())


@torch.no_grad()
def judge_text(core: Core, expert: Expert, documents: Sequence[str]) -> dict[str, float]:
    """Perplexity of documents, read in windows: bare, with the expert as its gate stands, and with it forced on; the KL
    of the latter two to the bare core, nats per token; and the share of tokens that the expert was on for."""
    losses: dict[str, list[Tensor]] = {"bare": [], "gated": [], "ungated": []}
    divergences: dict[str, list[Tensor]] = {"gated": [], "ungated": []}
    on = total = 0
    for text in documents:
        ids = core.encode(text)
        seen = torch.empty(0, core.width)
        for start in range(0, len(ids) - 1, WINDOW):
            window = torch.tensor([ids[start : start + WINDOW]])
            if window.shape[1] < 2:
                break
            hidden = core.bottom(input_ids=window).last_hidden_state
            before, target = _predictions(core, hidden), window[0, 1:, None]
            with core.using([expert.delta]):
                after = _predictions(core, hidden)
            bare, full = (-each.gather(1, target)[:, 0] for each in (before, after))
            divergence = torch.nn.functional.kl_div(after, before, log_target=True, reduction="none").sum(-1)
            # The gate decides anew every LEAD tokens, on what stands before them: the first LEAD are the bare core's.
            open_ = torch.zeros(len(bare), dtype=torch.bool)
            for block in range(0, len(bare), LEAD):
                read = torch.cat([seen, hidden[0, :block]])[-WINDOW:]
                open_[block : block + LEAD] = len(read) >= LEAD and expert.is_open(read)
            for name, part in (("bare", bare), ("gated", torch.where(open_, full, bare)), ("ungated", full)):
                losses[name].append(part)
            for name, part in (("gated", divergence * open_), ("ungated", divergence)):
                divergences[name].append(part)
            on, total = on + int(open_.sum()), total + len(bare)
            seen = hidden[0]
    found = {name: math.exp(float(torch.cat(parts).double().mean())) for name, parts in losses.items()}
    kl = {f"kl_{name}": float(torch.cat(parts).double().mean()) for name, parts in divergences.items()}
    return {**found, **kl, "open": on / total, "tokens": total}


def _predictions(core: Core, hidden: Tensor) -> Tensor:
    """Log-probabilities (T - 1, V) of the tokens after the first."""
    return core.top(inputs_embeds=hidden).logits[0, :-1].float().log_softmax(-1)


@torch.no_grad()
def judge_change(core: Core, expert: Expert, material: Material, hidden: Sequence[Tensor]) -> dict[str, float]:
    """Mean KL (nats per token) to the bare core on held-out rows, as the gate stands on ``hidden``, which comes before
    what is predicted, and forced on."""
    gated, ungated = [], []
    for anchor, seen in zip(make_anchors(core, material), hidden, strict=True):
        with core.using([expert.delta]):
            divergence = float(anchor_kl(core, [anchor]))
        ungated.append(divergence)
        gated.append(divergence if expert.is_open(seen) else 0.0)
    opened = sum(expert.is_open(seen) for seen in hidden) / len(hidden)
    return {"gated": _mean(gated), "ungated": _mean(ungated), "open": opened}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def gate_scores(core: Core, gate: Gate, unseen: Sequence[str]) -> Scores:
    """Scores of windows of unseen topics, of held-out questions behind the chat template and of general passages."""
    domain = []
    for text in unseen:
        hidden = core.hidden(text)
        domain += [gate.score(hidden[i : i + LEAD]) for i in range(0, len(hidden) - LEAD // 2, LEAD)]
    chat = [gate.score(prompt_hidden(core, question)) for question in texts.chat()]
    return Scores(domain, chat, [gate.score(core.hidden(passage)) for passage in texts.general()])


def run(
    path: Path | None = None,
    *,
    tokens: int = 70_000,
    core: Core | None = None,
    config: DomainConfig | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Sleep on the domain, measure, print the table and, with ``path``, write JSON, table and plot of one name."""
    core, config = core or Core.load(), config or DomainConfig()
    domain = reference(core, tokens, seed)
    curve: list[float] = []
    started = time.process_time()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sleep", total=None)

        def progress(stage: str, done: int, total: int, loss: float) -> None:
            curve.append(loss)
            bar.update(task, description=f"sleep: {loss:.2f} nats", completed=done, total=total)

        outcome = consolidate_domain(core, domain.learned, config, seed=seed, hooks=Hooks(progress=progress))
    seconds = time.process_time() - started
    expert, report = outcome.expert, outcome.report
    if expert is None or expert.gate is None or report is None:
        raise InputError(f"the sleep was rolled back: {report.rolled_back if report else 'interrupted'}")
    result, scores = _measure(core, expert, domain)
    result |= {
        "sleep": {**report.plain(), "accepted": len(report.accepted), "cpu_s": seconds, "bytes": expert.size_bytes()},
        "core": core.fingerprint,
        "config": asdict(config),
        "seed": seed,
        "learned_tokens": sum(len(core.encode(t)) for _, t in domain.learned),
        "unseen_topics": [name for name, _ in domain.unseen],
        "text_sha256": sha256(repr(domain).encode()).hexdigest(),
        "machine": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "curve": [round(loss, 4) for loss in curve],
    }
    table = markdown(result)
    Console().print(_table(result))
    if path is not None:
        io.make_dir(path.parent)
        io.write_atomic(path, json.dumps(result, indent=1).encode())
        io.write_atomic(path.with_suffix(".md"), table.encode())
        io.write_atomic(path.with_suffix(".png"), _plot(result, scores, float(expert.gate.threshold[0])))
    return result


def _measure(core: Core, expert: Expert, domain: Domain) -> tuple[dict[str, Any], Scores]:
    assert expert.gate is not None
    lessons = own_answers(core, texts.chat())
    questions = [prompt_hidden(core, question) for question in texts.chat()]
    scores = gate_scores(core, expert.gate, [text for _, text in domain.unseen])
    threshold = float(expert.gate.threshold[0])
    unseen = judge_text(core, expert, [text for _, text in domain.unseen])
    general = judge_text(core, expert, texts.general())
    return {
        "unseen": {**unseen, "lower": 1 - unseen["gated"] / unseen["bare"]},
        "general": general,
        "kl_chat": judge_change(core, expert, lesson_material(core, lessons, 512), questions),
        "kl_general": {name: general[f"kl_{name}"] for name in ("gated", "ungated")},
        "gate": {
            "threshold": threshold,
            "open_on_domain": _mean([float(s > threshold) for s in scores.domain]),
            "open_on_chat": _mean([float(s > threshold) for s in scores.chat]),
            "open_on_general": _mean([float(s > threshold) for s in scores.general]),
        },
    }, scores


ROWS = (
    ("perplexity, unseen topics", "unseen", "bare", "gated", "ungated", "{:.2f}"),
    ("perplexity, general passages", "general", "bare", "gated", "ungated", "{:.2f}"),
    ("KL to the core on chat, nats", "kl_chat", None, "gated", "ungated", "{:.4f}"),
    ("KL to the core on general passages, nats", "kl_general", None, "gated", "ungated", "{:.4f}"),
)


def _cells(result: dict[str, Any]) -> list[list[str]]:
    rows = [
        [label, *(form.format(result[key][c]) if c else form.format(0) for c in columns)]
        for label, key, *columns, form in ROWS
    ]
    gate = result["gate"]
    opened = f"{gate['open_on_domain']:.0%} / {gate['open_on_chat']:.0%} / {gate['open_on_general']:.0%}"
    return [*rows, ["gate open on windows: unseen topics / chat / general", "", opened, "always"]]


HEAD = ("", "bare core", "expert behind its gate", "expert without a gate")


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=f"One sleep on {result['learned_tokens']} tokens of a domain")
    for head in HEAD:
        table.add_column(head)
    for row in _cells(result):
        table.add_row(*row)
    return table


def markdown(result: dict[str, Any]) -> str:
    """The table for the results page."""
    sleep, unseen = result["sleep"], result["unseen"]
    lines = ["# A domain after one sleep", "", "`fastslow bench domain --json docs/results/domain.json`", ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(row) + " |" for row in _cells(result)]
    lines += [
        "",
        f"Unseen text of the domain ({len(result['unseen_topics'])} whole topics of Python's language reference,"
        f" {unseen['tokens']} tokens) is {unseen['lower']:.1%} lower in perplexity after a sleep on"
        f" {result['learned_tokens']} tokens of other topics, other tiers off. The sleep took {sleep['cpu_s']:.0f} CPU"
        f" seconds on {result['machine']['threads']} thread(s); the expert is {sleep['bytes'] / 1e6:.1f} MB. The gate"
        " sees only text before the tokens that it decides on.",
        "",
        "![perplexity and gate](domain.png)",
        "",
    ]
    return "\n".join(lines)


def _plot(result: dict[str, Any], scores: Scores, threshold: float) -> bytes:
    """Two panels: perplexity bare, gated and ungated; and what the gate gives to held-out text of each kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    names = ("bare", "gated", "ungated")
    for n, (name, colour) in enumerate(zip(names, ("#888888", "#1f77b4", "#f2a65a"), strict=True)):
        heights = [result[key][name] for key in ("unseen", "general")]
        bars = left.bar([x + 0.27 * (n - 1) for x in range(2)], heights, 0.25, label=name, color=colour)
        left.bar_label(bars, fmt="%.1f", fontsize=8)
    left.set_xticks(range(2), ["unseen topics of the domain", "general passages"])
    left.set(ylabel="perplexity", title="After one sleep")
    left.legend(frameon=False, loc="upper left")
    left.margins(y=0.12)
    every = [*scores.domain, *scores.chat, *scores.general]
    bins = [min(every) + (max(every) - min(every)) * i / 40 for i in range(41)]
    kinds = (("unseen topics", scores.domain, "#1f77b4"), ("chat", scores.chat, "#d62728"))
    for label, values, colour in (*kinds, ("general passages", scores.general, "#2ca02c")):
        weights = [1 / len(values)] * len(values)
        right.hist(values, bins=bins, weights=weights, alpha=0.6, label=label, color=colour)
    right.axvline(threshold, color="black", linestyle="--", linewidth=1)
    right.annotate(" opens", (threshold, right.get_ylim()[1] * 0.93), fontsize=8)
    right.set(xlabel="score of the gate", ylabel="share of windows", title="The gate on held-out text")
    right.legend(frameon=False, loc="upper center")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    pyplot.close(figure)
    return buffer.getvalue()
