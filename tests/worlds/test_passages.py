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


@pytest.mark.parametrize("block", passages())
def test_a_passage_is_well_formed(block: str) -> None:
    made = filled(block, Random(3), name)
    told = [p for p in made.probes if p.answer is not None]
    assert not any(SLOT.search(text) for text in (made.text, *(p.question for p in made.probes)))
    assert not any(" | " in p.question or "=>" in p.question for p in made.probes)
    assert len({p.question for p in made.probes}) == len(made.probes)
    assert told and len(made.text.split()) <= 90
    assert all(p.question.endswith(("?", ".")) for p in made.probes)
    assert all(p.answer and len(p.answer.split()) <= 12 for p in told)


def test_answers_stand_in_their_passage() -> None:
    made = [(filled(block, Random(5), name), block) for block in passages()]
    probes = [(p, paragraph) for paragraph, _ in made for p in paragraph.probes if p.answer is not None]
    missing = [p for p, paragraph in probes if not contains(paragraph.text, p.answer or "")]
    assert len(missing) <= 0.02 * len(probes), missing


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
