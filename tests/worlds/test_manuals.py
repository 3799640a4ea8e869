"""Invented manuals: the same for the same seed, and every answer stands in its paragraph."""

from random import Random

import pytest

from fastslow.medium import corpus
from fastslow.medium.corpus import Ask
from fastslow.medium.train_reader import answer_text
from fastslow.worlds import manuals
from fastslow.worlds.invented import Paragraph, Probe
from fastslow.worlds.scoring import contains


def name(rng: Random) -> str:
    return rng.choice(["Bolvan", "Crestin", "Dromar", "Fendil"])


@pytest.mark.parametrize("seed", range(5))
def test_every_answer_stands_in_its_paragraph(seed: int) -> None:
    for paragraph in manuals.paragraphs(seed, 60, name):
        assert paragraph.probes
        for probe in paragraph.probes:
            assert probe.answer and contains(paragraph.text, probe.answer), (paragraph.text, probe)
            assert "{" not in probe.question + probe.answer + paragraph.text


def test_a_seed_decides_the_manual_and_no_two_paragraphs_are_about_the_same_part() -> None:
    first, again, other = (manuals.paragraphs(seed, 60, name) for seed in (1, 1, 2))
    assert first == again != other
    questions = [probe.question for paragraph in first for probe in paragraph.probes]
    assert len(set(questions)) == len(questions)
    with pytest.raises(ValueError, match="at most"):
        manuals.paragraphs(1, 10_000, name)


def test_an_answer_of_code_keeps_its_letters() -> None:
    paragraph = next(p for p in manuals.paragraphs(0, 60, name) if any("--" in str(q.answer) for q in p.probes))
    flag = next(q for q in paragraph.probes if "--" in str(q.answer))
    assert answer_text(Ask(flag, (0,))) == f"{flag.answer}."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("It was built in 1721. The lamp burns oil.", "The lamp burns oil."),
        ("A day long; the lamp burns oil; " + "and so on " * 10 + "it went.", "The lamp burns oil."),
        (" ".join(["word"] * 30) + " oil", None),
    ],
)
def test_prose_is_answered_with_the_sentence_behind_the_value(text: str, sentence: str | None) -> None:
    probe = Probe("direct", "What does the lamp burn?", "oil", "passage", ())
    (ask,) = corpus._asked([Paragraph(text, [probe])])[1]
    assert ask.probe.sentence == sentence
    assert answer_text(ask) == "Oil."
    assert answer_text(ask, prose=True) == ("Oil. " + sentence if sentence else "Oil.")


def test_a_sentence_that_begins_with_the_value_stands_alone() -> None:
    ask = Ask(Probe("direct", "Who rows?", "Mara Holt", "passage", (), "Mara Holt rows."), (0,))
    assert answer_text(ask, prose=True) == "Mara Holt rows."
