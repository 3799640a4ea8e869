"""The tasks of the character model: lines can be read as they are meant, verifiers say what is so."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow.worlds import ciphers
from fastslow.worlds.tasks import Stream


@pytest.mark.parametrize("easy", [True, False])
def test_a_letter_that_the_context_shows_is_answered_by_it(easy: bool) -> None:
    random, told, guessed = Random(2), 0, 0
    for _ in range(100):
        text, answers = ciphers.page(random, 4, easy)
        context, _, rest = text.partition("|")
        held = ciphers.shown(context)
        assert len(context) == ciphers.WIDTH and len(rest.splitlines()) == 4
        for line in rest.splitlines():
            question, _, answer = line.partition(">")
            if "+" in question:
                assert not easy
                continue
            for letter, digit in zip(question.rstrip(), answer, strict=True):
                told, guessed = told + (letter in held), guessed + (letter not in held)
                assert held.get(letter, digit) == digit
        read = "".join(text[n] for n in sorted(answers))
        assert read == "".join(line.partition(">")[2] + "\n" for line in rest.splitlines())
    assert told > 300 and (guessed == 0 if easy else guessed > 100)


def test_what_is_shown_is_shown_whole() -> None:
    assert ciphers.shown("  =4;b=3;dd>77;ab>1;go;1+2>3") == {"b": "3", "d": "7"}


@given(st.integers(0, 10**6), st.integers(1, 4), st.text("0123456789x", max_size=5))
def test_a_cipher_says_a_row_that_is_so(index: int, letters: int, answer: str) -> None:
    task = ciphers.Cipher(7, letters)
    problem = task.problem(index)
    assert task.verify(problem, problem.answer).score == 1
    said = task.verify(problem, answer)
    if answer != problem.answer:
        letter, _, digit = said.feedback.partition("=")
        assert said.score == 0 and ciphers.table(7)[letter] == digit and said.about == letter


def test_seen_and_unseen_problems_come_again_and_differ() -> None:
    for task in (ciphers.Cipher(1), ciphers.Sums(1)):
        assert task.problem(3) == task.problem(3)
        assert task.problem(3).id != task.problem(3, unseen=True).id
        right = task.problem(5)
        assert task.verify(right, right.answer).score == 1 and task.verify(right, "?").score == 0


def test_a_stream_changes_its_task_and_does_not_say_so() -> None:
    stream = Stream((ciphers.Cipher(1), ciphers.Cipher(2)), every=10)
    first, second = stream.problem(9), stream.problem(10)
    assert (stream.at(9).name, stream.at(10).name) == ("cipher-2-1", "cipher-2-2")
    for problem in (first, second):
        assert stream.verify(problem, problem.answer).score == 1
    assert stream.at(10**6) == stream.tasks[-1]
