"""A task with a verifier: what is asked, and what is said of an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True)
class Problem:
    """A question, by an ``id`` that no other problem of a training has. ``answer`` is for the verifier alone."""

    id: str
    question: str
    answer: str


@dataclass(frozen=True)
class Verdict:
    """``score`` between 0 and 1 is the reward. ``feedback`` is one line that could be written into a context, ``about``
    what it is about: a newer line about the same replaces an older one."""

    score: float
    feedback: str = ""
    about: str = ""


class Task(Protocol):
    """Problems without end, the same for the same index, and a verifier for their answers."""

    @property
    def name(self) -> str: ...

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        """The problem of this number; the ``unseen`` ones are drawn for judging alone, though in a task of few
        questions they ask what others ask."""
        ...

    def verify(self, problem: Problem, answer: str) -> Verdict: ...


@dataclass(frozen=True)
class Stream:
    """Tasks one after another, each for ``every`` problems and the last without end. Nothing in a problem says that
    the task has changed."""

    tasks: tuple[Task, ...]
    every: int

    @property
    def name(self) -> str:
        return "-then-".join(task.name for task in self.tasks)

    def at(self, index: int) -> Task:
        return self.tasks[min(index // self.every, len(self.tasks) - 1)]

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        task = self.at(index)
        found = task.problem(index, unseen=unseen)
        return replace(found, id=f"{self.tasks.index(task)}/{found.id}")

    def verify(self, problem: Problem, answer: str) -> Verdict:
        number, _, own = problem.id.partition("/")
        return self.tasks[int(number)].verify(replace(problem, id=own), answer)
