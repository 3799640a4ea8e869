"""Passages written one by one: each is well formed, its answers stand in it, and nothing of it is in what judges."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest

from fastslow.bench import texts
from fastslow.medium import corpus
from fastslow.worlds.passages import SLOT, filled, paragraphs, passages
from fastslow.worlds.scoring import contains

DOCS = Path(__file__).parents[2] / "docs"


def name(rng: Random) -> str:
    return "".join(rng.choice("bdkmt") + rng.choice("aeiou") for _ in range(3)).capitalize()


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + length]) for i in range(len(found) - length + 1)}


def test_every_passage_is_well_formed() -> None:
    for block in passages():
        made = filled(block, Random(3), name)
        told, questions = [p.answer for p in made.probes if p.answer is not None], [p.question for p in made.probes]
        assert not any(SLOT.search(text) for text in (made.text, *questions)), block
        assert not any(" | " in question or "=>" in question for question in questions), block
        assert len(set(questions)) == len(questions) and all(q.endswith(("?", ".")) for q in questions), block
        assert told and len(made.text.split()) <= 90, block
        assert all(answer and len(answer.split()) <= 12 for answer in told), block


def test_answers_stand_in_their_passage() -> None:
    made = [filled(block, Random(5), name) for block in passages()]
    told = [(p.answer, paragraph.text) for paragraph in made for p in paragraph.probes if p.answer is not None]
    missing = [answer for answer, text in told if not contains(text, answer)]
    assert len(missing) <= 0.02 * len(told), missing


def test_sentences_hold_the_answer_and_ask_nothing() -> None:
    made = [probe for block in passages() for probe in filled(block, Random(6), name).probes]
    said = [(p.answer, p.sentence) for p in made if p.answer is not None and p.sentence]
    assert len(said) > 12_000
    assert not [p.question for p in made if p.answer is None and p.sentence]
    assert not [sentence for _, sentence in said if SLOT.search(sentence) or len(sentence.split()) > 25]
    assert all(sentence.endswith((".", '"', "`")) for _, sentence in said)
    missing = [(answer, sentence) for answer, sentence in said if not contains(sentence, answer)]
    assert len(missing) <= 0.01 * len(said), missing


def test_a_world_draws_its_own_names_and_values() -> None:
    one, again, other = paragraphs(1, 30, name), paragraphs(1, 30, name), paragraphs(2, 30, name)
    assert one == again and len(one) == 30
    assert not {p.text for p in one} & {p.text for p in other}


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("{Q} is here.\n? Who is here? => {Q}", "no slot {Q}"),
        ("{P} is here.\n? Who is here?", "has an answer"),
        ("{P} is here.\n- Who is here? => {P}", "has none"),
        ("? Who is here? => {P}\n{P} is here.", "text first"),
    ],
)
def test_a_passage_that_is_not_well_formed_is_named(block: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        filled(block, Random(0), name)


def test_what_judges_is_not_among_what_trains() -> None:
    """No run of eight words of a judged question, and no judged request."""
    judged = [json.loads(line)["question"] for line in (DOCS / "questions.jsonl").read_text().splitlines()]
    trained = set().union(*(runs(block, 8) for block in passages()))
    assert not [q for q in judged if runs(q, 8) & trained]
    assert not set(texts.chat()) & set(corpus.elsewhere())
