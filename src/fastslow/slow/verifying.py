"""Asking a verifier that may raise, return nonsense or never return, without losing a training to it."""

from __future__ import annotations

import queue
import threading
from collections import Counter

from fastslow.errors import InputError
from fastslow.worlds.tasks import Problem, Task, Verdict

PATIENCE = 4  # verifiers that never returned, each of which holds a thread for good


class Judge:
    """What a task's verifier says of answers, None where it fails; ``failed`` counts the failures by their reason."""

    def __init__(self, task: Task, seconds: float = 10.0) -> None:
        self.task, self.seconds, self.failed = task, seconds, Counter[str]()
        self._asked: queue.Queue[tuple[Problem, str]] = queue.Queue()
        self._said: queue.Queue[object] = queue.Queue()
        self._start()

    def __call__(self, problem: Problem, answer: str) -> Verdict | None:
        """Raises InputError where the verifier did not return again and again."""
        self._asked.put((problem, answer))
        try:
            said = self._said.get(timeout=self.seconds)
        except queue.Empty:
            self.failed["never returned"] += 1
            self._start()  # the old thread may still return: it has queues of its own
            if self.failed["never returned"] >= PATIENCE:
                raise InputError(
                    f"the verifier of {self.task.name} did not return within {self.seconds:g} s for {PATIENCE} "
                    "answers: give it a limit of its own"
                ) from None
            return None
        except BaseException:
            self._start()  # the verdict that is still on its way belongs to this answer, and not to the next
            raise
        if isinstance(said, BaseException):
            self.failed[f"raised {type(said).__name__}"] += 1
            return None
        verdict = _plain(said)
        if verdict is None:
            self.failed["no score between 0 and 1"] += 1
        return verdict

    def _start(self) -> None:
        self._asked, self._said = queue.Queue(), queue.Queue()
        threading.Thread(target=self._work, args=(self._asked, self._said), daemon=True).start()

    def _work(self, asked: queue.Queue[tuple[Problem, str]], said: queue.Queue[object]) -> None:
        while True:
            try:
                said.put(self.task.verify(*asked.get()))
            except BaseException as error:  # also of one that exits: it must not end this thread
                said.put(error)


def _plain(said: object) -> Verdict | None:
    """The verdict in plain values, whatever library its score came from; None where it has no score."""
    try:
        score = float(said.score)  # type: ignore[attr-defined]
        feedback, about = (" ".join(str(text or "").split()) for text in (said.feedback, said.about))  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        return None
    return Verdict(score, feedback, about) if 0 <= score <= 1 else None
