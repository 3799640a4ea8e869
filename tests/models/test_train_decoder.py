"""Training a decoder: it learns, goes on bit for bit where it was cut off, and says what is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from fastslow.errors import InputError
from fastslow.fast.frame import LayerConfig
from fastslow.models import training
from fastslow.models.decoder import DecoderConfig
from fastslow.models.training import TrainingRecipe

TEXT = training.as_tokens("the quick brown fox jumps over the lazy dog. " * 40)
CONFIG = DecoderConfig(256, ("gated_delta_net",), LayerConfig(width=16, heads=2, key=8, value=8, chunk=16), hidden=16)
RECIPE = TrainingRecipe(steps=30, batch=4, window=32, rate=1e-2, warm=5, keep=7)


def test_a_text_that_repeats_itself_is_learned() -> None:
    _, report = training.train(CONFIG, TEXT, RECIPE)
    assert 7 < report.bits_before < 9
    assert report.bits < 0.6 * report.bits_before
    assert len(report.losses) == report.steps == 30


def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, _ = training.train(CONFIG, TEXT, RECIPE, folder=tmp_path / "whole")
    seen: list[int] = []

    def progress(step: int, steps: int, loss: float) -> None:
        seen.append(step)
        if step == 17:
            raise KeyboardInterrupt  # after the checkpoint of step 14

    with pytest.raises(KeyboardInterrupt):
        training.train(CONFIG, TEXT, RECIPE, folder=tmp_path / "cut", progress=progress)
    again, report = training.train(CONFIG, TEXT, RECIPE, folder=tmp_path / "cut", progress=lambda s, *_: seen.append(s))
    assert seen == [*range(1, 18), *range(15, 31)] and len(report.losses) == 30
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert one.equal(other)
    loaded = training.load(tmp_path / "cut")
    assert training.bits_per_byte(loaded, TEXT[:100], 32) == training.bits_per_byte(whole, TEXT[:100], 32)


def test_a_training_can_be_stopped_at_a_checkpoint(tmp_path: Path) -> None:
    steps: list[int] = []
    _, report = training.train(
        CONFIG,
        TEXT,
        RECIPE,
        folder=tmp_path,
        progress=lambda step, *_: steps.append(step),
        stop=lambda: len(steps) >= 3,
    )
    assert report.steps == 3
    assert training.train(CONFIG, TEXT, RECIPE, folder=tmp_path)[1].steps == 30


def test_a_stop_that_comes_late_leaves_no_step_behind(tmp_path: Path) -> None:
    asked = iter([False, False, True, *[False] * 99])
    _, report = training.train(CONFIG, TEXT, RECIPE, folder=tmp_path, stop=lambda: next(asked))
    seen: list[int] = []
    training.train(CONFIG, TEXT, RECIPE, folder=tmp_path, progress=lambda step, *_: seen.append(step))
    assert report.steps == 3 and seen[0] == 4


def test_bits_do_not_depend_on_how_the_text_is_cut() -> None:
    decoder, _ = training.train(CONFIG, TEXT, TrainingRecipe(steps=2, batch=2, window=16))
    one, other = (training.bits_per_byte(decoder, TEXT[:150], window) for window in (150, 16))
    assert math.isclose(one, other, rel_tol=1e-4)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few for windows"):
        training.train(CONFIG, TEXT[:50], RECIPE)
    training.train(CONFIG, TEXT, TrainingRecipe(steps=1, batch=2, window=16), folder=tmp_path)
    small = TrainingRecipe(steps=1, batch=2, window=16)
    for text, recipe in ((TEXT, RECIPE), (TEXT.flip(0), small)):
        with pytest.raises(InputError, match="other settings or of another text"):
            training.train(CONFIG, text, recipe, folder=tmp_path)
    (tmp_path / training.CONFIG).write_text("{")
    with pytest.raises(InputError, match="no trained decoder"):
        training.load(tmp_path)
    with pytest.raises(InputError, match="no trained decoder"):
        training.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="are positive"):
        TrainingRecipe(steps=0)


def test_unseen_text_is_never_drawn() -> None:
    seen, unseen = training.parts(torch.arange(1000), RECIPE)
    assert len(seen) == 900 and unseen[0] == 900
