"""The report of the demo: what a person reads at the end of `make run`, its picture and its JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fastslow.cli import output, status

if TYPE_CHECKING:
    from fastslow.learner import Status

STAGES = ("bare core", "with memory", "after restart")
TITLES = {"manual": "Questions on the manual", "invented": "Questions on the invented stream"}


@dataclass(frozen=True)
class Question:
    """One question. No `expected` answer means that it was never taught; `taught` are values that would be wrong."""

    text: str
    about: str
    kind: str
    expected: tuple[str, ...]
    taught: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    def right(self, answer: str) -> bool:
        """Short, with an expected value and no other taught one; where nothing was taught, no taught value at all."""
        from fastslow.worlds import scoring

        allowed = [value for value in self.taught if not scoring.contains(self.text, value)]
        if self.expected:
            allowed = [v for v in allowed if not any(scoring.contains(e, v) for e in self.expected)]
            if len(answer.split()) > scoring.MAX_WORDS or not any(scoring.contains(answer, e) for e in self.expected):
                return False
        return not any(scoring.contains(answer, value) for value in allowed)


@dataclass(frozen=True)
class Taught:
    """One source, how many episodes it became and how many characters it has."""

    source: str
    episodes: int
    characters: int
    sample: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    cpu_seconds_per_episode: float
    seconds_per_episode: float
    bytes_per_episode: float


@dataclass(frozen=True)
class Forgetting:
    """One fact forgotten: the answer before and after, and how often its text is still in the home's bytes."""

    text: str
    question: str
    before: str
    after: str
    gone: bool
    found_in_bytes: int
    seconds: float


@dataclass(frozen=True)
class Report:
    """Everything the demo found."""

    core: str
    core_seconds: float
    taught: list[Taught]
    questions: list[Question]
    before: list[str]
    after: list[str]
    again: list[str]
    prompt_tokens_added: int
    status: Status
    cost: Cost
    forgetting: Forgetting | None
    seconds: float
    home: Path
    picture: Path
    file: Path

    @property
    def same_after_restart(self) -> bool:
        return self.after == self.again

    @cached_property
    def scores(self) -> dict[str, dict[str, tuple[int, int]]]:
        """(right, asked) of each kind of text at each stage, over the questions that have an answer."""
        found = {}
        for about in dict.fromkeys(question.about for question in self.questions):
            found[about] = {
                stage: _score(self.questions, answers, about)
                for stage, answers in zip(STAGES, (self.before, self.after, self.again), strict=True)
            }
        return found

    @property
    def wrong(self) -> list[tuple[Question, str]]:
        pairs = zip(self.questions, self.after, strict=True)
        return [(question, answer) for question, answer in pairs if not question.right(answer)]


def _score(questions: Sequence[Question], answers: Sequence[str], about: str) -> tuple[int, int]:
    pairs = [(q, a) for q, a in zip(questions, answers, strict=True) if q.about == about and q.expected]
    return sum(question.right(answer) for question, answer in pairs), len(pairs)


# ---------------------------------------------------------------------- files


def as_dict(report: Report) -> dict[str, Any]:
    """The report as JSON has it."""
    rows = zip(report.questions, report.before, report.after, report.again, strict=True)
    return {
        "core": report.core,
        "core_load_seconds": round(report.core_seconds, 2),
        "seconds": round(report.seconds, 1),
        "taught": output.plain(report.taught),
        "questions": [
            {"question": q.text, "about": q.about, "kind": q.kind, "expected": list(q.expected)}
            | {"bare": b, "with_memory": a, "after_restart": r, "right": q.right(a), "right_bare": q.right(b)}
            for q, b, a, r in rows
        ],
        "scores": output.plain(report.scores),
        "same_after_restart": report.same_after_restart,
        "status": output.plain(report.status),
        "cost": output.plain(report.cost) | {"prompt_tokens_added": report.prompt_tokens_added},
        "forgetting": output.plain(report.forgetting),
        "home": str(report.home),
        "picture": str(report.picture),
    }


def save(report: Report) -> None:
    """Write the report and its picture."""
    from fastslow.store import io

    io.write_atomic(report.file, (json.dumps(as_dict(report), indent=2, ensure_ascii=False) + "\n").encode())
    io.write_atomic(report.picture, _picture(report))


def _picture(report: Report) -> bytes:
    import matplotlib  # slow to import, and only the picture needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=[3, 2])
    colours = {"bare core": "0.75", "with memory": "tab:blue", "after restart": "tab:cyan"}
    for n, stage in enumerate(STAGES):
        scores = [by_stage[stage] for by_stage in report.scores.values()]
        places = [i + (n - 1) * 0.27 for i in range(len(scores))]
        shares = [100 * good / max(1, asked) for good, asked in scores]
        drawn = left.bar(places, shares, width=0.25, color=colours[stage], label=stage)
        left.bar_label(drawn, [f"{good}/{asked}" for good, asked in scores], padding=2, fontsize=9)
    names = [TITLES[about].removeprefix("Questions on ") for about in report.scores]
    left.set_xticks(range(len(names)), names)
    left.set(ylim=(0, 130), yticks=range(0, 101, 20), ylabel="right answers, %", title="Questions answered")
    left.legend(frameon=False, loc="upper left", ncols=3, fontsize=8)
    tiers = ("slow", "medium", "fast")
    sizes = [report.status.bytes.get(tier, 0) for tier in tiers]
    drawn = right.barh(tiers, [value / 1e6 for value in sizes], color=["tab:purple", "tab:blue", "tab:orange"])
    right.bar_label(drawn, [output.size(value) for value in sizes], padding=4, fontsize=9)
    right.set(xlabel="MB of state", title="What each tier holds", xlim=(0, max(1, *sizes) / 1e6 * 1.3))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    pyplot.close(figure)
    return buffer.getvalue()


# ---------------------------------------------------------------------- the page


def show(report: Report) -> None:
    """Print the report."""
    console = output.out()
    console.print()
    console.rule(Text("fastslow: what it learned, and what stayed", style="bold"))
    console.print()
    console.print(_headline(report))
    console.print()
    console.print(_taught(report))
    for about in report.scores:
        console.print()
        console.print(_questions(report, about))
    console.print()
    console.print(_forgetting(report))
    console.print()
    console.print(Panel(status.tiers(report.status), title="What each tier holds", title_align="left", expand=False))
    console.print(Panel(_costs(report), title="What it cost", title_align="left", expand=False))
    console.print(Panel(_wrong(report), title="What went wrong", title_align="left", expand=False))
    _where(console, report)


def _headline(report: Report) -> Group:
    lines = []
    for about, by_stage in report.scores.items():
        (bare, asked), (good, _), (again, _) = (by_stage[stage] for stage in STAGES)
        line = Text(f"{TITLES[about]}: ").append(f"{good} of {asked}", style="bold green")
        lines.append(line.append(f" right from memory, {again} after a restart; the bare core {bare}"))
    same = report.same_after_restart
    verdict = "every answer is the same in a new process" if same else "some answers differ in a new process"
    return Group(*lines, Text(verdict, style="green" if same else "bold red"))


def _taught(report: Report) -> Table:
    table = output.table("what was learned", "episodes", "characters", right=("episodes", "characters"))
    for taught in report.taught:
        table.add_row(taught.source, f"{taught.episodes:,}", f"{taught.characters:,}")
        for text in taught.sample:
            table.add_row(Text(f"  {output.clip(text, 76)}", style="dim"), "", "")
    return table


def _questions(report: Report, about: str) -> Table:
    table = Table(title=TITLES[about], title_justify="left", title_style="bold", header_style="bold", show_lines=True)
    table.add_column("question", ratio=4)
    for stage in STAGES:
        table.add_column(stage, ratio=3)
    rows = zip(report.questions, report.before, report.after, report.again, strict=True)
    for question, before, after, again in rows:
        if question.about == about:
            wanted = " / ".join(question.expected[:2]) or "never taught"
            asked = Text(question.text).append(f"\n→ {wanted}", style="dim")
            stayed = Text("the same", style="dim") if again == after else _marked(question, again)
            table.add_row(asked, _marked(question, before), _marked(question, after), stayed)
    return table


def _marked(question: Question, answer: str) -> Text:
    from fastslow.worlds.scoring import is_abstention

    mark, style = ("✓ ", "green") if question.right(answer) else ("✗ ", "red")
    if not question.expected and style == "green" and not is_abstention(answer):
        mark, style = "– ", "dim"  # made up, but not from memory
    return Text(mark, style=style).append(output.clip(answer, 110), style="none")


def _forgetting(report: Report) -> Panel:
    done = report.forgetting
    if done is None:
        body: Any = "nothing was forgotten: no fact that was told once was answered rightly"
    else:
        body = output.table("", "")
        body.show_header = False
        body.add_row("forgot", done.text)
        body.add_row("asked", done.question)
        body.add_row("before", Text(output.clip(done.before, 90), style="green"))
        body.add_row("now", Text(output.clip(done.after, 90), style="" if done.gone else "red"))
        found = f"found {done.found_in_bytes} times in the bytes of the home; took {done.seconds:.0f} s"
        body.add_row("text", Text(found, style="" if not done.found_in_bytes else "red"))
    return Panel(body, title="One fact forgotten", title_align="left", expand=False)


def _costs(report: Report) -> Table:
    cost, table = report.cost, output.table("", "")
    table.show_header = False
    table.add_row("CPU seconds per episode", f"{cost.cpu_seconds_per_episode:.2f}")
    table.add_row("bytes per episode (medium)", output.size(cost.bytes_per_episode))
    table.add_row("extra prompt tokens", str(report.prompt_tokens_added))
    table.add_row("loading the core", f"{report.core_seconds:.1f} s")
    table.add_row("all of this", f"{report.seconds:.0f} s")
    return table


def _wrong(report: Report) -> Any:
    if not report.wrong:
        return "no answer from memory was wrong"
    table = output.table("question", "answered", "right would be")
    for question, answer in report.wrong:
        wanted = " / ".join(question.expected[:2]) or "that it is not known"
        table.add_row(output.clip(question.text, 60), output.clip(answer, 60), wanted)
    return table


def _where(console: Console, report: Report) -> None:
    from fastslow.cores import DEFAULT_CORE

    table = output.table("", "")
    table.show_header = False
    table.add_row("picture", str(report.picture))
    table.add_row("numbers", str(report.file))
    table.add_row("home", f"{report.home} ({output.size(report.status.size_bytes)})")
    pairs = zip(report.questions, report.after, strict=True)
    asked = next((q.text for q, answer in pairs if q.expected and q.right(answer)), report.questions[0].text)
    which = "" if report.core == DEFAULT_CORE else f" --core {report.core}"
    program = Path(sys.executable).with_name("fastslow")
    name = os.path.relpath(program) if program.is_file() else "fastslow"
    table.add_row("go on", f"{name} trace {json.dumps(asked, ensure_ascii=False)} --home {report.home}{which}")
    console.print(table)
