"""The question: does a learner answer questions about real text, the project's own manual, that no core can know?

`fastslow bench manual --json FILE`. Every page of the manual is learned as a document, then the questions that were
written by hand beside it (docs/questions.jsonl) are asked by free generation through the chat template. Beside the
memory stand the bare core and paragraphs pasted into the prompt: the right one, and those that BM25 finds.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from fastslow import cores
from fastslow.bench.baselines import answers, bm25, paste
from fastslow.bench.recall import machine
from fastslow.core import Core
from fastslow.errors import InputError
from fastslow.learner import Learner
from fastslow.medium.episodes import telling_words
from fastslow.reports import Episode
from fastslow.store import io
from fastslow.worlds.scoring import MAX_WORDS, contains

MAX_TOKENS = 32  # as many as every baseline gets
SPLITS = ("tune", "test")


@dataclass(frozen=True)
class Question:
    """One question; an answer that contains any of ``answers`` counts. ``source`` is the page of the manual, and
    ``split`` says whether it may be looked at ("tune") or only judges ("test")."""

    question: str
    answers: tuple[str, ...]
    source: str
    split: str

    def right(self, text: str) -> bool:
        return len(text.split()) <= MAX_WORDS and self.stands_in(text)

    def stands_in(self, text: str) -> bool:
        """Whether an accepted answer stands in a text as whole words, case, articles and punctuation aside."""
        return any(contains(text, answer) for answer in self.answers)


@dataclass(frozen=True)
class Reply:
    """One answer, and the episodes it read or the paragraphs that were pasted for it."""

    text: str
    hits: tuple[str, ...] = ()


def run(
    json_path: Path | None = None,
    core: str | Core = cores.DEFAULT_CORE,
    split: str = "test",
    limit: int | None = None,
) -> dict[str, Any]:
    """Learn the manual in a temporary home and ask the questions of a split in every way.

    ``limit`` asks only the first. The result is printed as a table and written to ``json_path``. Raises InputError
    where there is no manual, no such split, a damaged line among the questions, or no bm25s.
    """
    if importlib.util.find_spec("bm25s") is None:
        raise InputError("this bench needs the package bm25s: pip install 'fastslow[bench]'")
    folder = find_manual()
    questions = [q for q in read_questions(folder / "questions.jsonl") if q.split == _checked(split)][:limit]
    loaded = core if isinstance(core, Core) else Core.load(core)
    with tempfile.TemporaryDirectory() as home, Learner.open(Path(home) / "home", loaded) as learner:
        begun = time.process_time()
        episodes = learn(learner, folder)
        write_s = time.process_time() - begun
        lines = {name: _lines(questions, ask(questions)) for name, ask in ways(learner, episodes).items()}
    result = {
        "bench": "manual",
        "settings": {"core": loaded.name, "split": split, "questions": len(questions)},
        "machine": machine(),
        "episodes": len(episodes),
        "write_cpu_s": write_s / len(episodes),
        "rows": {name: sum(line["right"] for line in own) / max(1, len(own)) for name, own in lines.items()},
        "answers": lines,
    }
    if json_path is not None:
        io.write_atomic(json_path, json.dumps(result, indent=1, ensure_ascii=False).encode())
    Console().print(table(result))
    return result


def find_manual() -> Path:
    """The manual: `docs` in the current folder, or beside the source."""
    for folder in (Path("docs"), Path(__file__).parents[3] / "docs"):
        if (folder / "questions.jsonl").is_file():
            return folder
    raise InputError("there is no docs/questions.jsonl: run this in a checkout of fastslow")


def read_questions(path: Path) -> list[Question]:
    """Every question of a file, in order. Raises InputError, naming the line, for one that is damaged."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found.append(Question(row["question"], tuple(row["answers"]), row["source"], _checked(row["split"])))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"line {number} of {path} is no question ({error}): mend it") from error
    return found


def _checked(split: str) -> str:
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r} of the questions: take one of {', '.join(SPLITS)}")
    return split


def learn(learner: Learner, folder: Path) -> list[Episode]:
    """Learn every page of the manual; the episodes in order."""
    episodes: dict[str, Episode] = {}
    for path in track(sorted(folder.glob("*.md")), "learning the manual", console=Console(stderr=True)):
        for episode in learner.learn_document(path.read_text(encoding="utf-8"), f"docs/{path.name}"):
            episodes[episode.id] = episode
    return list(episodes.values())


# ---------------------------------------------------------------------- the ways to answer

Way = Callable[[Sequence[Question]], list[Reply]]


def ways(learner: Learner, episodes: Sequence[Episode]) -> dict[str, Way]:
    """The memory and what it has to beat, by name."""
    core, texts = learner.core, [written(episode) for episode in episodes]
    find = bm25(texts)

    def right_one(question: Question) -> list[str]:
        return gold(question, episodes)

    return {
        "bare core": lambda questions: [Reply(text) for text in answers(core, [q.question for q in questions])],
        "memory": lambda questions: [_remember(learner, q) for q in _shown(questions)],
        "right paragraph pasted": lambda questions: _pasted(core, questions, right_one),
        "bm25 top 1 pasted": lambda questions: _pasted(core, questions, lambda q: find(q.question, 1)),
        "bm25 top 3 pasted": lambda questions: _pasted(core, questions, lambda q: find(q.question, 3)),
    }


def written(episode: Episode) -> str:
    """The text of an episode behind its heading, as the core reads it."""
    return f"{episode.heading}: {episode.text}" if episode.heading else episode.text


def gold(question: Question, episodes: Sequence[Episode]) -> list[str]:
    """The paragraph that answers a question: of those of its page that hold an accepted answer, the one that shares
    the most words with the question. It knows the answer, which no memory does."""
    holding = [e for e in episodes if e.source == question.source and question.stands_in(written(e))]
    if not holding:
        raise InputError(f"no paragraph of {question.source} answers {question.question!r}: mend the question")
    asked = telling_words(question.question)
    return [written(max(holding, key=lambda e: len(asked & telling_words(written(e)))))]


def _remember(learner: Learner, question: Question) -> Reply:
    answer = learner.ask(question.question, MAX_TOKENS)
    return Reply(answer.text, tuple(hit.episode for hit in answer.hits))


def _pasted(core: Core, questions: Sequence[Question], find: Callable[[Question], list[str]]) -> list[Reply]:
    contexts = [find(q) for q in questions]
    prompts = [paste(context, q.question) for context, q in zip(contexts, questions, strict=True)]
    return [Reply(t, tuple(c)) for t, c in zip(answers(core, prompts), contexts, strict=True)]


def _shown(questions: Sequence[Question]) -> Iterable[Question]:
    return track(questions, "asking the memory", console=Console(stderr=True))


# ---------------------------------------------------------------------- the result


def _lines(questions: Sequence[Question], replies: Sequence[Reply]) -> list[dict[str, Any]]:
    return [
        {
            "question": question.question,
            "wanted": question.answers,
            "source": question.source,
            "answer": reply.text,
            "right": question.right(reply.text),
            "hits": reply.hits,
        }
        for question, reply in zip(questions, replies, strict=True)
    ]


def table(result: dict[str, Any]) -> Table:
    """The memory and the baselines, one a row."""
    settings = result["settings"]
    shown = Table(title=f"{settings['questions']} questions on the manual ({settings['split']}), {settings['core']}")
    shown.add_column("")
    shown.add_column("right", justify="right")
    for name, right in result["rows"].items():
        shown.add_row(name, f"{right:.3f}")
    return shown
