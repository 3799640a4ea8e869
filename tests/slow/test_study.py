"""Studies made by rule: all kinds of values are asked for, both ways, and no check was a lesson."""

import pytest

from fastslow.slow.study import Exchange, make_study, recalls, spans

FOUNDED = "The founding year of the Drahol Institute is 1721."


def asked_for(text: str) -> set[str]:
    return {x.answer for x in make_study("e", text).lessons}


def test_both_directions_are_taught() -> None:
    study = make_study("e", FOUNDED)
    assert Exchange("Fill in the blank: The founding year of the Drahol Institute is ___.", "1721") in study.lessons
    assert any(x.answer == "Drahol Institute" and "1721" in x.question for x in study.lessons)
    assert any(x.answer == FOUNDED for x in study.lessons)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Kestrel launches on the 4th of May.", "4th of May"),
        ("The bridge was opened on March 3, 1911 by the mayor.", "March 3, 1911"),
        ("It weighs 1,250 kilograms when it is empty.", "1,250"),
        ("Mira Kesh works for Tolvar and Sons.", "Mira Kesh"),
        ("Kripar Snuper plays the oboe.", "oboe"),
    ],
)
def test_dates_numbers_names_and_last_words_are_values(text: str, value: str) -> None:
    assert value in asked_for(text)


def test_what_a_reader_answers_is_a_value_wherever_it_stands() -> None:
    text = "Records give the lute as the instrument of Flune Kronond."
    blank = Exchange("Fill in the blank: Records give the ___ as the instrument of Flune Kronond.", "lute")
    assert blank not in make_study("e", text).lessons
    posed = Exchange("Which instrument does Flune Kronond play?", "Lute.")
    assert {posed, blank} <= set(make_study("e", text, [posed]).lessons)


def test_the_capital_of_a_first_word_is_no_name() -> None:
    assert spans("Every visitor pays 12 crowns.") == [(19, 21)]


def test_checks_are_never_taught() -> None:
    posed = [Exchange(f"Question {n}?", "1721") for n in range(9)]
    for study in (make_study("e", FOUNDED), make_study("e", FOUNDED, posed)):
        assert len(study.checks) == 2
        assert not {c.question for c in study.checks} & {x.question for x in study.lessons}
    kept = make_study("e", FOUNDED, posed).checks
    assert [c.question for c in kept] == ["Question 3?", "Question 7?"]


def test_a_long_text_is_checked_all_over() -> None:
    text = " ".join(f"The price of tool {name} is {n} crowns." for n, name in enumerate("ABCDEFGH", 10))
    checks = make_study("e", text, checks=4).checks
    assert len({c.answer for c in checks}) == 4


def test_the_study_of_a_text_depends_on_that_text_only() -> None:
    assert make_study("e", FOUNDED) == make_study("e", FOUNDED)


def test_text_without_any_value_gives_no_check() -> None:
    assert make_study("e", "Well then.").checks == ()


@pytest.mark.parametrize(
    ("answer", "wanted", "right"),
    [
        ("It was founded in 1721.", "1721", True),
        ("17210", "1721", False),
        ("The DRAHOL institute", "drahol Institute", True),
        ("Drahol, an institute", "Drahol Institute", True),
        ("Institute Drahol", "Drahol Institute", False),
        ("", "1721", False),
        ("anything", "", False),
    ],
)
def test_recall_is_the_wanted_words_in_order(answer: str, wanted: str, right: bool) -> None:
    assert recalls(answer, wanted) is right
