"""`fastslow demo`: fastslow learns, restarts, answers and forgets, on real text. This is what `make run` calls."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from fastslow.cli import demo_report, options, output, session
from fastslow.cli.demo_report import Cost, Forgetting, Question, Report, Taught
from fastslow.errors import InputError, StoreError

if TYPE_CHECKING:
    from fastslow.core import Core
    from fastslow.learner import Learner
    from fastslow.reports import Answer
    from fastslow.settings import Settings
    from fastslow.worlds.invented import World

EXAMPLE = "Example: fastslow demo --into run"
SEED, FACTS = 2026, 12
MANUAL_QUESTIONS = 10
# kind of probe -> how many of them are asked
WORLD_QUESTIONS = {"direct": 4, "paraphrase": 4, "reverse": 2, "updated": 1, "never_taught": 2}


def demo(
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="Where all of it goes.")] = Path("run"),
    manual: Annotated[Path | None, typer.Option("--manual", metavar="DIR", help="Its text; docs unless given.")] = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Learn real text, close, reopen in a new process, answer from memory, forget, and report."""
    chosen = session.settings(core=core)
    report = run(chosen, manual or find_manual(), into)
    demo_report.save(report)
    if as_json:
        output.emit_json(demo_report.as_dict(report))
    else:
        demo_report.show(report)
    if not report.same_after_restart:
        raise output.Failure("the answers after the restart differ: a memory did not come back as it was", 1)


def run(chosen: Settings, manual: Path, into: Path) -> Report:
    """All steps, with their progress bars."""
    began = time.monotonic()
    files, questions = read_manual(manual)
    world, asked = make_world()
    questions += asked
    home = fresh_home(into)
    with output.bars() as progress:
        loaded, core_seconds = load(chosen, progress)
        from fastslow.learner import Learner

        with Learner.open(home, loaded) as learner:
            with learner.memory_off():
                before = ask_all(learner, questions, chosen, progress, "asking the bare core")
            taught, cost = teach(learner, files, world, progress)
            after = ask_all(learner, questions, chosen, progress, "asking with memory")
            status = learner.status()
        texts = [answer.text for answer in after]
        again = ask_elsewhere(home, questions, chosen, progress)
        with Learner.open(home, loaded, create=False) as learner:
            forgetting = forget_one(learner, world, questions, texts, progress)
    return Report(
        core=chosen.core,
        core_seconds=core_seconds,
        taught=taught,
        questions=questions,
        before=[answer.text for answer in before],
        after=texts,
        again=again,
        prompt_tokens_added=max(answer.prompt_tokens_added for answer in after),
        status=status,
        cost=cost,
        forgetting=forgetting,
        seconds=time.monotonic() - began,
        home=home,
        picture=into / "picture.png",
        file=into / "report.json",
    )


# ---------------------------------------------------------------------- what is learned and asked


def find_manual() -> Path:
    """The project's own manual: `docs` in this folder, or beside the source."""
    for folder in (Path("docs"), Path(__file__).parents[3] / "docs"):
        if any(folder.glob("*.md")):
            return folder
    raise InputError("there is no docs/ folder with *.md: run this in a checkout of fastslow, or give --manual DIR")


def read_manual(folder: Path) -> tuple[list[Path], list[Question]]:
    """The pages of a manual, and questions spread evenly over its `questions.jsonl` where it has one."""
    files = sorted(folder.glob("*.md"))
    if not files:
        raise InputError(f"there are no *.md files in {folder}: give the folder of a manual")
    path = folder / "questions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    questions = []
    for line in filter(str.strip, lines):
        try:
            row = json.loads(line)
            # those of the other split were there for tuning, so they would flatter
            if row.get("split", "test") == "test":
                questions.append(Question(row["question"], "manual", "manual", tuple(row["answers"])))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} has a line that is no question ({error}): {output.clip(line)}") from None
    count = min(MANUAL_QUESTIONS, len(questions))
    return files, [questions[i * len(questions) // count] for i in range(count)]


def make_world() -> tuple[World, list[Question]]:
    """An invented stream that no model can know, with questions of several kinds."""
    from fastslow.worlds.invented import PROBE_KINDS, World

    world = World.make(seed=SEED, facts=FACTS, split="test")
    questions = []
    for kind in PROBE_KINDS:
        for probe in world.probes(kind)[: WORLD_QUESTIONS.get(kind, 0)]:
            values = world.taught_values("" if probe.answer is None else probe.value_kind)
            expected = () if probe.answer is None else (probe.answer,)
            questions.append(Question(probe.question, "invented", kind, expected, tuple(sorted(values)), probe.facts))
    return world, questions


def fresh_home(into: Path) -> Path:
    """A new home in `into`. One that is there is removed; a folder that is no home is moved aside."""
    from fastslow.store import io

    home = into / "home"
    io.make_dir(into)
    if (home / "home.json").is_file():
        io.unlock(io.lock(home / "home.lock"))  # raises HomeInUse where another process owns it
        shutil.rmtree(home)
    elif home.exists():
        number = 1
        while (aside := into / f"home.{number}").exists():
            number += 1
        home.rename(aside)
        output.err().print(f"{home} was no home of fastslow: it is now {aside}")
    return home


# ---------------------------------------------------------------------- the steps


def load(chosen: Settings, progress: Progress) -> tuple[Core, float]:
    """The core, and the seconds that loading took once it was fetched."""
    session.prepare(chosen, progress)
    began = time.monotonic()
    return session.load_core(chosen, progress), time.monotonic() - began


def ask_all(
    learner: Learner, questions: Sequence[Question], chosen: Settings, progress: Progress, label: str
) -> list[Answer]:
    shown = progress.track(questions, description=label)
    return [learner.ask(question.text, max_tokens=chosen.max_tokens) for question in shown]


def teach(learner: Learner, files: Sequence[Path], world: World, progress: Progress) -> tuple[list[Taught], Cost]:
    """Learn the manual and then the invented stream, with what both cost."""
    taught, cpu, wall = [], time.process_time(), time.monotonic()
    for path in files:
        move = output.counter(progress, f"learning {output.clip(path.name, 30)}")
        text = path.read_text(encoding="utf-8")
        episodes = learner.learn_document(text, path.name, move)
        taught.append(Taught(path.name, len(episodes), len(text)))
    for event in progress.track(world.events, description="learning the invented stream"):
        learner.learn(event.text, "invented stream")
    size = sum(len(event.text) for event in world.events)
    taught.append(Taught("invented stream", len(world.events), size, [event.text for event in world.events[:3]]))
    told = sum(t.episodes for t in taught)
    medium = learner.status().bytes["medium"]
    cost = Cost(
        cpu_seconds_per_episode=(time.process_time() - cpu) / told,
        seconds_per_episode=(time.monotonic() - wall) / told,
        bytes_per_episode=medium / len(learner.history()),
    )
    return taught, cost


def ask_elsewhere(home: Path, questions: Sequence[Question], chosen: Settings, progress: Progress) -> list[str]:
    """The same questions in a process of its own, which knows nothing but the home."""
    task = progress.add_task("asking again in a new process", total=None)
    command = [sys.executable, "-m", "fastslow.cli.main", "ask", "-", "--json", "--home", str(home)]
    command += ["--core", chosen.core, "--max-tokens", str(chosen.max_tokens)]
    lines = "".join(" ".join(question.text.split()) + "\n" for question in questions)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreError(f"the new process could not answer: {done.stderr.strip()}")
    progress.update(task, total=len(questions), completed=len(questions))
    return [row["answer"] for row in json.loads(done.stdout)]


def forget_one(
    learner: Learner, world: World, questions: Sequence[Question], after: Sequence[str], progress: Progress
) -> Forgetting | None:
    """Forget one fact that was told once and answered rightly, ask again, and look for it in the bytes of the home."""
    texts = {event.fact.id: event.text for event in world.events}
    told_once = {
        event.fact.id
        for event in world.events
        if event.kind == "teach" and sum(event.fact.value in other.text for other in world.events) == 1
    }
    fitting = [
        (question, answer)
        for question, answer in zip(questions, after, strict=True)
        if question.kind in ("direct", "paraphrase") and question.facts[0] in told_once and question.right(answer)
    ]
    if not fitting:
        return None
    question, answer = fitting[0]
    text = texts[question.facts[0]]
    (episode,) = [e.id for e in learner.history() if e.text == text]
    began = time.monotonic()
    learner.forget(episode, progress=output.phases(progress))
    seconds = time.monotonic() - began
    for task in progress.tasks:  # a replay skips what is forgotten, so its bar ends a little early
        progress.update(task.id, completed=task.total)
    now = learner.ask(question.text).text
    found = sum(path.read_bytes().count(text.encode()) for path in learner.home.folder.rglob("*") if path.is_file())
    return Forgetting(text, question.text, answer, now, not question.right(now), found, seconds)
