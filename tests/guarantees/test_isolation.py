"""Learners do not touch each other: two homes in one process, on one core or two."""

from pathlib import Path

import pytest
import torch
from living import QUESTION, A, B, C, load, logits, open_home

from fastslow.core import Core


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return load(tiny_core_folder)


@pytest.mark.parametrize("shared", [True, False])
def test_two_learners_in_one_process(core: Core, tiny_core_folder: Path, tmp_path: Path, shared: bool) -> None:
    other = core if shared else load(tiny_core_folder)
    with open_home(tmp_path / "alone", core) as alone:
        alone.learn(B)
        alone.learn(C)
        wanted, state, text = logits(alone), alone.tiers.hash(), alone.ask(QUESTION, 6).text
    with open_home(tmp_path / "one", core) as one, open_home(tmp_path / "two", other) as two:
        one.learn(B)
        two.learn(A)
        two.learn(B.replace("1721", "1889"))
        before = logits(two)
        one.learn(C)
        two.sleep()
        two.ask(QUESTION, 3)
        assert torch.equal(logits(one), wanted) and one.tiers.hash() == state
        assert one.ask(QUESTION, 6).text == text
        assert not torch.equal(before, wanted)
        two.forget(two.history()[0].id)
        assert len(one.history()) == 2


def test_what_is_open_in_one_learner_is_not_in_the_other(core: Core, tmp_path: Path) -> None:
    with open_home(tmp_path / "one", core) as one, open_home(tmp_path / "two", core) as two:
        one.learn(B)
        with one.memory_off():
            two.learn(B)
            assert two.ask(QUESTION, 2).hits and not one.ask(QUESTION, 2).hits
        assert one.ask(QUESTION, 2).hits
