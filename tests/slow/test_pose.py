"""Questions posed by a reader: kept only where the answer stands in the text and not in the question."""

import math
from pathlib import Path

import pytest
import torch

from fastslow.core import Core
from fastslow.slow import study as module
from fastslow.slow.study import STARTS, pose, survey


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


def test_posed_questions_are_answered_from_the_page(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The price is 12 crowns."
    answers = ["12 crowns.", "price", "I don't know.", "13 crowns", "", "The price"]

    def fake(_: Core, rows: list[module.Row], __: object, *, max_tokens: int) -> list[list[int]]:
        assert all(row.pages for row in rows)
        if max_tokens == 24:  # posing: every start leads on to a question about the price
            assert [core.decode(row.prompt).endswith(s) for row, s in zip(rows, STARTS, strict=True)]
            return [core.encode(" is the price?")] * len(rows)
        assert len(rows) == len(STARTS)
        return [core.encode(answers[i % len(answers)]) for i in range(len(rows))]

    monkeypatch.setattr(module, "generate", fake)
    found = pose(core, text, [torch.zeros(2, core.width)], [], "Ask me one question.")
    assert [x.answer for x in found] == ["12 crowns."] * 3  # "price" stands in the question
    assert found[0].question == "What is the price?"


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("Where does Mira live?", True),
        ("Who lives in that town?", True),
        ("Where does Mira live since 1999?", False),
        ("Where does Ashwood lie?", False),
        ("What is it?", False),
    ],
)
def test_a_question_about_something_else_is_dropped(question: str, kept: bool) -> None:
    assert module._about(question, "Mira lives in the town of Tolvar.") is kept


def test_a_random_core_poses_nothing_that_the_text_does_not_hold(core: Core) -> None:
    text = "Mira lives in Tolvar."
    found = pose(core, text, [core.hidden(text)], [], "Ask me one question.")
    assert all(module.recalls(text, x.answer) for x in found)


def test_a_survey_tells_what_the_page_answers_and_what_it_does_not(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "In the end the Tolvar Guild sells blue lamps."
    bank = tuple((f"Question {n} about {{s}}?", f"Question {n} on {{s}}?") for n in range(20))
    monkeypatch.setattr(module, "BANK", bank)
    doubts = iter([0.01] * 2 + [0.5] * 8 + [0.98] * 10 + [0.01, 0.01, 0.15, 0.5])  # then of the first two, in turn

    def losses(_: Core, lessons: list[object]) -> list[torch.Tensor]:
        return [torch.tensor([-math.log(next(doubts)), 9.0]) for _ in lessons]  # the stop token does not count

    def fake(_: Core, rows: list[module.Row], __: object, *, max_tokens: int) -> list[list[int]]:
        return [core.encode(answer) for answer in ("Blue lamps.", "Red lamps.", "lamps")][: len(rows)]

    monkeypatch.setattr(module, "answer_losses", losses)
    monkeypatch.setattr(module, "generate", fake)
    found = survey(core, text, [torch.zeros(2, core.width)], [])
    told, untold = found[:2], found[2:]
    assert [(x.question, x.answer) for x in told] == [
        ("Question 0 about Tolvar Guild?", "Blue lamps."),
        ("Question 0 on Tolvar Guild?", "lamps"),
    ]
    assert {x.answer for x in untold} == {"I don't know."}
    assert [x.question for x in untold] == [f"Question {n} about Tolvar Guild?" for n in range(10, 10 + module.UNTOLD)]


def test_a_text_without_a_name_is_not_surveyed(core: Core) -> None:
    assert survey(core, "it rains.", [torch.zeros(2, core.width)], []) == []
