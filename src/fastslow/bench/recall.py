"""How much of N facts, taught one by one, is answered at the end of the stream, and at what cost?

`fastslow bench recall --facts N --seed S --json FILE`. Everything is asked after the last fact, by free generation
through the chat template, in a world whose names, wordings and seed no training has seen.
"""

from __future__ import annotations

import json
import math
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from fastslow import cores
from fastslow.bench import baselines, texts
from fastslow.core import Core
from fastslow.decode import Row, bare_logits, generate, memory_logits
from fastslow.learner import Learner
from fastslow.medium.episodes import RecallConfig
from fastslow.store import io
from fastslow.tiers import ALL, LearnerConfig
from fastslow.worlds import is_abstention, is_correct, is_false_memory
from fastslow.worlds.invented import Probe, ProbeKind, World

ASKED: tuple[ProbeKind, ...] = ("direct", "paraphrase", "reverse", "two_hop", "updated", "retracted")
UNKNOWN: tuple[ProbeKind, ...] = ("never_taught", "neighbour")
Say = Callable[[str], None]
AskMany = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class RecallBench:
    """``limit``: most probes of a kind that are asked of the memory; ``baseline_limit`` of each baseline. ``bits``: how
    many of each number a page keeps."""

    facts: int = 40
    seed: int = 0
    core: str = cores.DEFAULT_CORE
    split: str = "test"
    bits: int = RecallConfig.bits
    limit: int = 1000
    baseline_limit: int = 100
    baselines: bool = True
    sleep: bool = False
    lora: bool = False


def run(bench: RecallBench, json_path: Path | None = None, say: Say | None = None) -> dict[str, Any]:
    """Run the benchmark; the result is also written to ``json_path`` and printed as a table."""
    say = say or (lambda text: Console(stderr=True).print(text))
    core = Core.load(bench.core)
    world = World.make(bench.seed, facts=bench.facts, split=bench.split)  # type: ignore[arg-type]
    result: dict[str, Any] = {"bench": "recall", "settings": vars(bench), "machine": machine(), "answers": []}
    config = LearnerConfig(recall=RecallConfig(bits=bench.bits))

    def keep() -> None:
        """Hours of answers outlive a run that is stopped before its last stage."""
        if json_path:
            io.write_atomic(json_path, json.dumps(result, indent=1).encode())

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with Learner.open(home, core, config=config) as learner:
            result |= _teach(learner, world, say)
            result |= audit(lambda qs: ask_many(learner, qs), world, bench.limit, result["answers"], say)
            keep()
            result |= {"locality": _locality(learner), **_drift(learner), **_overhead(learner, world)}
        keep()
        result["after_restart"] = _restart(home, core, config, result["answers"])
        keep()
        if bench.sleep:
            say("sleeping")
            result |= _asleep(home, core, config, world, result["answers"])
    if bench.baselines:
        result["baselines"] = baselines.run(core, world, bench.baseline_limit, audit, lora=bench.lora, say=say)
    keep()
    Console().print(table(result))
    return result


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    return {"python": platform.python_version(), "torch": torch.__version__, "threads": str(torch.get_num_threads())}


def ask_many(learner: Learner, questions: Sequence[str], tiers: Sequence[str] = ALL, batch: int = 16) -> list[str]:
    """The answers of many questions; those that read alike are decoded together. Strengthens nothing."""
    core, answers = learner.core, [""] * len(questions)
    readings = [learner.tiers.read(q, core.prompt(q), tiers) for q in questions]
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, reading in enumerate(readings):
        groups.setdefault(tuple(id(d) for d in reading.deltas), []).append(i)
    for members in groups.values():
        members.sort(key=lambda i: sum(map(len, readings[i].row.pages)))
        for start in range(0, len(members), batch):
            part = members[start : start + batch]
            out = generate(core, [readings[i].row for i in part], readings[part[0]].deltas, max_tokens=32)
            for i, ids in zip(part, out, strict=True):
                answers[i] = core.decode(ids)
    return answers


def _teach(learner: Learner, world: World, say: Say) -> dict[str, Any]:
    begun, wall = time.process_time(), time.perf_counter()
    ids = {learner.learn(event.text, f"{event.kind}").id for event in world.events}
    spent = time.process_time() - begun
    say(f"taught {len(world.events)} events in {time.perf_counter() - wall:.0f} s")
    pages = [learner.episode(i).bytes for i in ids]
    return {
        "events": len(world.events),
        "episodes": len(ids),
        "write_cpu_s": spent / len(world.events),
        "bytes_per_episode": sum(pages) / len(pages),
        "prompt_tokens_added": learner.ask(world.probes("direct")[0].question).prompt_tokens_added,
    }


def audit(ask: AskMany, world: World, limit: int, answers: list[dict[str, Any]], say: Say) -> dict[str, float]:
    """The share of right answers for every kind of probe, and of taught values given where none is right."""
    scores: dict[str, float] = {}
    for kind in ASKED:
        probes = world.probes(kind)[:limit]
        if not probes:
            continue
        texts_ = ask([p.question for p in probes])
        right = [_right(text, probe, world) for text, probe in zip(texts_, probes, strict=True)]
        scores[kind] = sum(right) / len(right)
        answers += [_line(p, t, r) for p, t, r in zip(probes, texts_, right, strict=True)]
        say(f"{kind}: {scores[kind]:.3f} of {len(right)}")
    unknown = [p for kind in UNKNOWN for p in world.probes(kind)[: limit // 2]]
    if unknown:
        texts_ = ask([p.question for p in unknown])
        false = [is_false_memory(t, p, world.taught_values()) for t, p in zip(texts_, unknown, strict=True)]
        answers += [_line(p, t, not f) for p, t, f in zip(unknown, texts_, false, strict=True)]
        for kind in UNKNOWN:
            own = [f for f, p in zip(false, unknown, strict=True) if p.kind == kind]
            if own:
                scores[f"false_memory_{kind}"] = sum(own) / len(own)
                say(f"{kind}, answered with a taught value: {sum(own) / len(own):.3f} of {len(own)}")
        scores["false_memory"] = sum(false) / len(false)
        scores["abstains"] = sum(map(is_abstention, texts_)) / len(texts_)
    return scores


def _right(text: str, probe: Probe, world: World) -> bool:
    if probe.answer is None:
        return not is_false_memory(text, probe, world.taught_values())
    return is_correct(text, probe, world.taught_values(probe.value_kind))


def _line(probe: Probe, text: str, right: bool) -> dict[str, Any]:
    return {"kind": probe.kind, "question": probe.question, "wanted": probe.answer, "answer": text, "right": right}


def _locality(learner: Learner) -> float:
    """The share of unrelated questions that get, word for word, the bare core's answer."""
    questions = texts.chat()
    with learner.memory_off():
        bare = [learner.ask(q, 24).text for q in questions]
    return sum(learner.ask(q, 24).text == b for q, b in zip(questions, bare, strict=True)) / len(questions)


def _drift(learner: Learner) -> dict[str, float]:
    """KL to the bare core (nats per token) and the relative change of perplexity on general text and chat prompts."""
    core, kls, changes = learner.core, [], []
    rows = [(text, core.encode(text)) for text in texts.general()] + [(q, core.prompt(q)) for q in texts.chat()]
    for text, ids in rows:
        reading = learner.tiers.read(text, ids)
        bare = bare_logits(core, ids).float().log_softmax(-1)
        own = memory_logits(core, reading.row, reading.deltas).float().log_softmax(-1)
        kls.append(float((bare.exp() * (bare - own)).sum(-1).mean()))
        following = torch.tensor(ids[1:])[:, None]
        changes.append(float((bare[:-1] - own[:-1]).gather(1, following).mean()))
    return {"kl_nats": sum(kls) / len(kls), "ppl_drift": math.expm1(sum(changes) / len(changes))}


def _overhead(learner: Learner, world: World, tokens: int = 48, tries: int = 5) -> dict[str, float]:
    """How much longer a decoded token takes while pages are read, and routing one question; CPU seconds, each the least
    of several runs in turn, so that what else the machine does falls on all alike."""
    core, question = learner.core, world.probes("direct")[0].question
    prompt = core.prompt(question)
    reading = learner.tiers.read(question, prompt)

    def decode(row: Row, deltas: Sequence[Any], count: int) -> None:
        generate(core, [row], deltas, max_tokens=count, stop=False)

    jobs: dict[str, Callable[[], object]] = {
        "bare": lambda: decode(Row(prompt), (), tokens),
        "bare prompt": lambda: decode(Row(prompt), (), 1),
        "memory": lambda: decode(reading.row, reading.deltas, tokens),
        "memory prompt": lambda: decode(reading.row, reading.deltas, 1),
        "route": lambda: learner.tiers.match(question),
    }
    least = dict.fromkeys(jobs, math.inf)
    for _ in range(tries):
        for name, job in jobs.items():
            begun = time.process_time()
            job()
            least[name] = min(least[name], time.process_time() - begun)
    bare, memory = least["bare"] - least["bare prompt"], least["memory"] - least["memory prompt"]
    return {
        "read_overhead": memory / bare - 1,
        "decode_s_per_token": bare / (tokens - 1),
        "route_s": least["route"],
        "pages_read": float(len(reading.row.pages)),
    }


def _restart(home: Path, core: Core, config: LearnerConfig, answers: list[dict[str, Any]], count: int = 40) -> float:
    """The share of answers that are the same, word for word, after closing the home and opening it again."""
    asked = [line for line in answers if line["kind"] in ("direct", "paraphrase")][:count]
    questions = [line["question"] for line in asked]
    with Learner.open(home, core, config=config) as learner:
        first = [learner.ask(q, 32).text for q in questions]
    with Learner.open(home, Core.load(core.name), config=config) as learner:
        again = [learner.ask(q, 32).text for q in questions]
    return sum(a == b for a, b in zip(first, again, strict=True)) / len(asked)


def _asleep(
    home: Path, core: Core, config: LearnerConfig, world: World, answers: list[dict[str, Any]]
) -> dict[str, Any]:
    """Recall with the medium tier off, of what the memory answered before, whether its fact was consolidated or not."""
    with Learner.open(home, core, config=config) as learner:
        report = learner.sleep(progress=_bar())
        rows: dict[str, Any] = {"sleep_s": report.seconds, "sleep": report.detail, "slept": len(report.consolidated)}
        for kind in ("direct", "paraphrase"):
            known = {line["question"] for line in answers if line["kind"] == kind and line["right"]}
            probes = [p for p in world.probes(kind) if p.question in known]
            replies = ask_many(learner, [p.question for p in probes], ("slow",))
            right = [_right(t, p, world) for t, p in zip(replies, probes, strict=True)]
            rows[f"after_sleep_{kind}"] = sum(right) / max(1, len(right))
            answers += [_line(p, t, r) | {"tiers": "slow"} for p, t, r in zip(probes, replies, right, strict=True)]
        rows["after_sleep"] = (rows["after_sleep_direct"] + rows["after_sleep_paraphrase"]) / 2
        rows["after_sleep_drift"] = _drift(learner)
    return rows


def _bar() -> Callable[[str, int, int, float], None]:
    console, shown = Console(stderr=True), -1

    def show(stage: str, step: int, steps: int, loss: float) -> None:
        nonlocal shown
        if step != shown and step % max(1, steps // 50) == 0:
            shown = step
            console.print(f"{stage} {step}/{steps} loss {loss:.3f}")

    return show


def table(result: dict[str, Any]) -> Table:
    """The memory and the baselines side by side."""
    shown = Table(title=f"recall of {result['settings']['facts']} facts, seed {result['settings']['seed']}")
    kinds = [*ASKED, "false_memory", "kl_nats"]
    shown.add_column("")
    for kind in kinds:
        shown.add_column(kind, justify="right")
    for name, row in {"fastslow": result, **result.get("baselines", {})}.items():
        shown.add_row(name, *(f"{row[k]:.3f}" if k in row else "" for k in kinds))
    return shown


def plot(result: dict[str, Any]) -> bytes:
    """A PNG of recall by kind of question, the memory beside the baselines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {"fastslow": result, **result.get("baselines", {})}
    kinds = [kind for kind in ASKED if kind in result]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.85 / len(rows)
    for n, (name, row) in enumerate(rows.items()):
        axes.bar([i + n * width for i in range(len(kinds))], [row.get(k, 0.0) for k in kinds], width, label=name)
    axes.set_xticks([i + 0.42 for i in range(len(kinds))], [kind.replace("_", "-") for kind in kinds])
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of right answers")
    axes.set_title(f"{result['settings']['facts']} facts taught one by one, asked at the end")
    axes.legend(fontsize=7, loc="upper right")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
