"""Tasks of reasoning-gym: the same problem for the same number, an answer taken out of what was said, right or not."""

from __future__ import annotations

import pytest

from fastslow.errors import InputError
from fastslow.worlds.gym import EASY, GymTask, extracted
from fastslow.worlds.named import task

pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")


@pytest.mark.parametrize("name", (*EASY, "codeio", "path_star"))
def test_problems_are_what_they_were_and_their_answers_are_right(name: str) -> None:
    one, other = task(name), task(name)
    drawn = [one.problem(n) for n in range(3)]
    assert drawn == [other.problem(n) for n in range(3)]
    assert {p.id for p in drawn}.isdisjoint({one.problem(n, unseen=True).id for n in range(3)})
    assert GymTask(name, EASY.get(name, {}), seed=1).problem(0).question != drawn[0].question
    for problem in drawn:
        assert one.verify(problem, problem.answer).score == 1
        assert one.verify(problem, f"I think so: <answer>{problem.answer}</answer>").score == 1
        wrong = one.verify(problem, "no idea")
        assert wrong.score == 0 and problem.answer in wrong.feedback


def test_a_chatty_answer_is_as_right_as_a_short_one() -> None:
    sums = task("chain_sum")
    problem = sums.problem(0)
    assert sums.verify(problem, f"The answer is {problem.answer}.").score == 1
    assert sums.verify(problem, f"{problem.answer} or {int(problem.answer) + 1}").score == 0
    assert extracted("Lima.\nIt lies in Peru.", "Lima") == "Lima" and extracted("", "Lima") == "" == extracted("", "7")


def test_what_is_told_of_an_animal_is_a_fact_that_holds_elsewhere() -> None:
    legs = task("leg_counting")
    verdict = legs.verify(legs.problem(0), "none")
    assert verdict.feedback == f"A {verdict.about} has {legs.problem(0).answer} legs."


def test_a_dataset_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="no task 'nowhere'"):
        task("nowhere").problem(0)
