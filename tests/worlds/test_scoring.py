"""Hand-made cases for the scorer."""

from __future__ import annotations

import pytest

from fastslow.worlds import is_abstention, is_correct, is_false_memory, normalise
from fastslow.worlds.invented import Probe

YEARS = {"1721", "1733", "172"}
DISHES = {"barley soup", "soup", "leek pie"}
PEOPLE = {"Mira Kesh", "Tol Varn"}
DATES = {"14 March", "4 March"}


def probe(answer: str | None, question: str = "In which year was Drahol Institute founded?") -> Probe:
    return Probe("direct" if answer else "never_taught", question, answer, "year", ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Drahol Institute!", "drahol institute"),
        ("1,250 crowns", "1250 crowns"),
        ("1,250,000", "1250000"),
        ("in 1721, 1733", "in 1721 1733"),
        ("Tolvar's lamp", "tolvar lamp"),
        ("Tolvar’s lamp", "tolvar lamp"),
        ("3.5 kg.", "3.5 kg"),
        ("1721.", "1721"),
        ("March 14th", "14 march"),
        ("the 14th of March", "14 march"),
        ("the 14th of March. 42 guests", "14 march 42 guests"),
        ("14 March. 42 guests", "14 march 42 guests"),
        ("a copper-red lamp", "copper red lamp"),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(
    ("text", "answer", "taught", "right"),
    [
        ("1721", "1721", YEARS, True),
        ("It was founded in 1721.", "1721", YEARS, True),
        ("It was founded in 17215.", "1721", YEARS, False),
        ("It was founded in 1733.", "1721", YEARS, False),
        ("It was founded in 1721 or 1733.", "1721", YEARS, False),
        ("It was founded in 1721, not 1650.", "1721", YEARS, True),
        ("I don't know.", "1721", YEARS, False),
        ("", "1721", YEARS, False),
        ("Barley soup!", "barley soup", DISHES, True),
        ("Barley soup", "soup", DISHES, False),
        ("soup", "barley soup", DISHES, False),
        ("barley soup and leek pie", "barley soup", DISHES, False),
        ("mira kesh", "Mira Kesh", PEOPLE, True),
        ("Mira", "Mira Kesh", PEOPLE, False),
        ("On March 14.", "14 March", DATES, True),
        ("On 4 March.", "14 March", DATES, False),
        ("1721 " + "word " * 24, "1721", YEARS, True),
        ("1721 " + "word " * 25, "1721", YEARS, False),
    ],
)
def test_is_correct(text: str, answer: str, taught: set[str], right: bool) -> None:
    assert is_correct(text, probe(answer), taught) is right


def test_values_of_the_question_do_not_count() -> None:
    asked = probe("Tol Varn", "Who taught Mira Kesh?")
    assert is_correct("Mira Kesh was taught by Tol Varn.", asked, PEOPLE)
    unknown = probe(None, "Who taught Mira Kesh?")
    assert not is_false_memory("Nobody knows who taught Mira Kesh.", unknown, PEOPLE)
    assert is_false_memory("Mira Kesh was taught by Tol Varn.", unknown, PEOPLE)


def test_false_memory_needs_a_taught_value() -> None:
    assert is_false_memory("In 1733, I think. I don't know.", probe(None), YEARS)
    assert not is_false_memory("In 1650.", probe(None), YEARS)
    assert not is_false_memory("", probe(None), YEARS)


def test_the_wrong_scorer_for_a_probe_is_refused() -> None:
    with pytest.raises(ValueError, match="has no answer"):
        is_correct("1721", probe(None), YEARS)
    with pytest.raises(ValueError, match="has an answer"):
        is_false_memory("1721", probe("1721"), YEARS)


@pytest.mark.parametrize(
    ("text", "abstains"),
    [
        ("I don't know.", True),
        ("I DON’T  know that.", True),
        ("I do not know.", True),
        ("That is not known.", True),
        ("There is no information about it.", True),
        ("I know: 1721.", False),
        ("", False),
    ],
)
def test_is_abstention(text: str, abstains: bool) -> None:
    assert is_abstention(text) is abstains
