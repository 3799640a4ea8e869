"""Pairs of letters and digits, and cells that retrieve one of them (Ba et al. 2016)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fastslow.bench import associative

TINY = associative.Plan(units=16, steps=150, every=75, train=2000, test=400, quick=400)
SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789?"


def test_the_answer_is_the_digit_behind_the_letter_that_is_asked_for() -> None:
    tokens = associative.sequences(200, torch.Generator().manual_seed(0))
    for row, answer in zip(tokens.tolist(), associative.answers(tokens).tolist(), strict=True):
        text = "".join(SIGNS[token] for token in row)
        pairs = dict(zip(text[:8:2], text[1:8:2], strict=True))
        assert len(pairs) == 4 and text[8:10] == "??"
        assert pairs[text[10]] == str(answer)


def test_no_sequence_is_both_trained_and_tested() -> None:
    parts = associative.split(TINY, torch.Generator().manual_seed(0))
    train, test = ({tuple(row) for row in part.tolist()} for part in parts)
    assert (len(train), len(test)) == (TINY.train, TINY.test) and not train & test


def test_guessing_is_as_good_as_it_is_by_drawing() -> None:
    digits = torch.randint(10, (20_000, 4), generator=torch.Generator().manual_seed(0))
    most = torch.nn.functional.one_hot(digits).sum(1).amax(-1)
    assert associative.guessing() == pytest.approx(1 - float(most.float().mean()) / 4, abs=0.005)


def test_the_cells_are_trained_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "associative.json"
    result = associative.measure(file, TINY, associative.MODELS, seed=0)
    assert json.loads(file.read_text()) == result
    for model in result["models"]:
        start, *_, end = model["errors"]
        assert len(model["errors"]) == 3 and start > 0.8 > end  # it knows more than that the answer is a digit
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "![associative](associative.png)" in file.with_suffix(".md").read_text()
