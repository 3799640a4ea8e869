"""Tasks of reasoning-gym (the extra ``fst``) with a verifier that says yes or no.

Its scorers give a right but chatty answer a part of the point, so that brevity is what is learned. Here the answer is
taken out of what was said first, and is then right or not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fastslow.errors import InputError
from fastslow.worlds.tasks import Problem, Verdict

RIGHT = 0.99  # a score that counts as right
SEED, UNSEEN = 10**6, 10**9  # how far the problems of two seeds, and those that judge, are apart
NUMBER = re.compile(r"-?\d+")
EASY: dict[str, dict[str, Any]] = {  # as short as they come: for a core of 135 million parameters
    "leg_counting": {"min_animals": 1, "max_animals": 1, "min_instances": 1, "max_instances": 1},
    "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    "spell_backward": {"min_word_len": 3, "max_word_len": 4},
    "letter_counting": {"min_words": 1, "max_words": 2},
    "gcd": {"min_value": 1, "max_value": 12},
    "caesar_cipher": {"min_words": 1, "max_words": 2, "min_rotation": 1, "max_rotation": 1},
}


@dataclass(frozen=True)
class GymTask:
    """A dataset of reasoning-gym by its name, with ``settings`` of its own; another ``seed`` has other problems."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        entry = self._entry(index, unseen)
        return Problem(
            f"{self.name}-{self.seed}-{int(unseen)}-{index}", entry["question"].strip(), str(entry["answer"])
        )

    def verify(self, problem: Problem, answer: str) -> Verdict:
        _, unseen, index = problem.id.rsplit("-", 2)
        entry = self._entry(int(index), bool(int(unseen)))
        said = extracted(answer, problem.answer)
        if self._data.score_answer(said, entry) >= RIGHT:
            return Verdict(1.0)
        if problem.answer in said and len(problem.answer) > 1:
            return Verdict(0.0, "Give the answer alone.", about="format")
        return Verdict(0.0, *_feedback(problem, entry))

    def _entry(self, index: int, unseen: bool) -> dict[str, Any]:
        # an item depends on the seed plus the index, so that seeds of theirs would overlap
        found: dict[str, Any] = self._data[index + SEED * self.seed + UNSEEN * unseen]
        return found

    @cached_property
    def _data(self) -> Any:
        try:
            import reasoning_gym
        except ModuleNotFoundError:
            raise InputError(
                f"the task {self.name} needs the package reasoning-gym: pip install 'fastslow[fst]'"
            ) from None
        try:
            return reasoning_gym.create_dataset(self.name, seed=0, size=2 * UNSEEN, **self.settings)
        except (ValueError, TypeError, AssertionError) as error:
            raise InputError(f"there is no task {self.name!r} with these settings ({error})") from error


def extracted(answer: str, right: str) -> str:
    """What stands in <answer> tags; else the last number where the right answer is one, and the first line where it is
    not."""
    if "<answer>" in answer:
        return answer.rpartition("<answer>")[2].partition("</answer>")[0].strip()
    if NUMBER.fullmatch(right):
        return next(reversed(NUMBER.findall(answer)), "")
    lines = answer.strip().splitlines()
    return lines[0].strip().removesuffix(".") if lines else ""


def _feedback(problem: Problem, entry: dict[str, Any]) -> tuple[str, str]:
    """A line that could stand in a context, and what it is about: for leg_counting a fact, else the solved problem."""
    animals = entry["metadata"].get("animals")
    if problem.id.startswith("leg_counting") and animals:
        from reasoning_gym.arithmetic.leg_counting import ANIMALS

        animal = next(iter(animals))
        return f"A {animal} has {ANIMALS[animal]} legs.", animal
    question = problem.question.splitlines()[-1]
    return f"{question} {problem.answer}", question
