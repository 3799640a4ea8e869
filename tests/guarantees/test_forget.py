"""Forgetting B of A, B, C leaves, bit for bit, what learning A, C alone gives, in every tier, and no byte of B."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastslow import Core, Learner, LearnerConfig
from fastslow.decode import memory_logits
from fastslow.errors import UnknownEpisode
from fastslow.slow import Bounds, FactsConfig

A, B, C = (
    "The founding year of the institute is 1721.",
    "NEEDLE-7f3a opens at nine and closes at six.",
    "Her favourite colour is green in Tolvar.",
)
FACTS = FactsConfig(accept=0.0, rounds=1, probes=1, bounds=Bounds(kl=1e9, drift=1e9, older=1e9))
CONFIG = LearnerConfig(facts=replace(FACTS, training=replace(FACTS.training, epochs=1)))


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder))


def opened(home: Path, core: Core) -> Learner:
    return Learner.open(home, core, config=CONFIG, clock=lambda: 1000.0)


def logits(learner: Learner) -> torch.Tensor:
    question = "When was the institute founded?"
    reading = learner.tiers.read(question, learner.core.prompt(question))
    assert reading.row.pages
    return memory_logits(learner.core, reading.row, reading.deltas)


def needles(home: Path) -> int:
    return sum(path.read_bytes().count(b"NEEDLE-7f3a") for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("asleep", [False, True])
def test_forgotten_is_never_learned(core: Core, tmp_path: Path, asleep: bool) -> None:
    with opened(tmp_path / "with", core) as learner:
        ids = [learner.learn(text, "notes").id for text in (A, B, C)]
        learner.learn(B.upper())  # told again: part of the same episode, and gone with it
        if asleep:
            assert set(ids) <= set(learner.sleep().consolidated)
        learner.learn(A + " It is old.")
        assert needles(tmp_path / "with") > 0
        plan = learner.forget(ids[1], dry_run=True)
        assert plan.dry_run and ids[1] in {episode.id for episode in learner.history()}
        receipt = learner.forget(ids[1])
        assert receipt.state_hash == learner.tiers.hash()
        state, shown = learner.tiers.hash(), logits(learner)
    assert needles(tmp_path / "with") == 0
    with opened(tmp_path / "without", core) as other:
        for text in (A, C):
            other.learn(text, "notes")
        if asleep:
            other.sleep()
        other.learn(A + " It is old.")
        assert other.tiers.hash() == state
        assert torch.equal(logits(other), shown)
    with opened(tmp_path / "with", core) as again:
        assert again.tiers.hash() == state


def test_an_unknown_id_changes_nothing(core: Core, tmp_path: Path) -> None:
    with opened(tmp_path / "home", core) as learner:
        known = learner.learn(A).id
        state = learner.tiers.hash()
        with pytest.raises(UnknownEpisode, match="history"):
            learner.forget(known, "e000000000000")
        assert learner.tiers.hash() == state


def test_a_crash_before_the_erasure_forgets_nothing(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "home", core) as learner:
        ids = [learner.learn(text).id for text in (A, B)]
        state = learner.tiers.hash()

        def crash(*_: object, **__: object) -> None:
            raise RuntimeError("power cut")

        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
            patch.setattr(learner.home.log, "erase", crash)
            learner.forget(ids[1])
        assert learner.tiers.hash() == state
    with opened(tmp_path / "home", core) as again:
        assert again.tiers.hash() == state
