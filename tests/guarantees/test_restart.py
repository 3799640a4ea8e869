"""A restart changes nothing: what was saved, what is replayed and what never stopped are the same bits."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from living import CONFIG, QUESTION, A, B, C, Clock, dialect, load, logits, make_reader, open_home

from fastslow import Learner
from fastslow.core import Core
from fastslow.decode import generate
from fastslow.medium.episodes import DAY
from fastslow.store import snapshots

LONG = [dialect(n) for n in range(4)]
SMALL = replace(CONFIG, domain=300)


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return load(tiny_core_folder)


def a_life(learner: Learner) -> None:
    """Everything that writes an event."""
    clock = learner._clock
    assert isinstance(clock, Clock)
    learner.learn_document(f"# Notes\n\n{A}\n\n{B}")
    for text in LONG:
        learner.learn(text)
    clock.now += 100 * DAY
    learner.learn(C)
    learner.ask(QUESTION, 2)
    learner.sleep()
    learner.chat([{"role": "user", "content": "Bo sleeps in the garden of Hotrir."}], max_tokens=2)
    learner.chat([{"role": "user", "content": "Who sleeps in the garden?"}], max_tokens=2)
    learner.learn(C)
    learner.forget(learner.history()[3].id)
    assert {e.kind for e in learner.home.log.events()} >= {
        "learn",
        "restate",
        "read",
        "sleep",
        "fade",
        "turn",
        "forget",
    }
    assert len(learner.tiers.experts) == 4


def remember(learner: Learner) -> tuple[str, torch.Tensor, list[Any]]:
    """State, logits, and answers with what they read."""
    answers = []
    for question in (QUESTION, "Where does Mira live?", "What is 0 1zq?"):
        reading = learner.tiers.read(question, learner.core.prompt(question))
        ids = generate(learner.core, [reading.row], reading.deltas, max_tokens=6)
        answers.append((ids, reading.hits, [e.delta.name for e in reading.experts], reading.fast))
    return learner.tiers.hash(), logits(learner), [learner.history(), answers]


Memory = tuple[str, torch.Tensor, list[Any]]


def same(one: Memory, other: Memory) -> None:
    assert one[0] == other[0]
    assert torch.equal(one[1], other[1])
    assert one[2] == other[2]


@pytest.fixture(scope="module")
def lived(core: Core, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, Memory]:
    """A closed home with a life behind it, the time of its clock, and what its learner remembered."""
    home, clock = tmp_path_factory.mktemp("lived") / "home", Clock()
    with open_home(home, core, SMALL, clock) as learner:
        a_life(learner)
        return home, clock.now, remember(learner)


def copied(lived: tuple[Path, float, Memory], tmp_path: Path) -> tuple[Path, Clock, Memory]:
    home = Path(shutil.copytree(lived[0], tmp_path / "home"))
    return home, Clock(lived[1]), lived[2]


def drop_snapshots(home: Path) -> None:
    for path in (home / "snapshots").iterdir():
        path.unlink()


def test_after_a_restart_and_after_a_replay_everything_is_the_same(
    core: Core, lived: tuple[Path, float, Memory], tmp_path: Path
) -> None:
    home, clock, found = copied(lived, tmp_path)
    with open_home(home, core, SMALL, clock) as learner:
        same(remember(learner), found)
    # nothing but the log: experts, fast weights and pages are made again
    drop_snapshots(home)
    with open_home(home, core, SMALL, clock) as learner:
        same(remember(learner), found)
        for episode in learner.history():
            learner.home.log.delete_record(episode.id)
    (home / "snapshots" / "stray.safetensors").write_bytes(b"left by a crash")
    with open_home(home, core, SMALL, clock) as learner:
        same(remember(learner), found)
        assert not (home / "snapshots" / "stray.safetensors").exists()


def test_a_restart_with_a_reader_changes_nothing(core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    make_reader(core, tmp_path / "cache")
    home, clock = tmp_path / "home", Clock()
    with open_home(home, core, SMALL, clock) as learner:
        assert learner.tiers.reader is not None
        for text in (A, B):
            learner.learn(text)
        learner.sleep()
        found = remember(learner)
    with open_home(home, core, SMALL, clock) as learner:
        same(remember(learner), found)
    drop_snapshots(home)
    with open_home(home, core, SMALL, clock) as learner:
        same(remember(learner), found)


def test_damaged_snapshots_are_made_again_and_never_used(
    core: Core, lived: tuple[Path, float, Memory], tmp_path: Path
) -> None:
    home, clock, found = copied(lived, tmp_path)
    paths = sorted((home / "snapshots").glob("*.safetensors"))
    assert [sum(name in p.name for p in paths) for name in ("fast-", "facts-", "domain-")] == [1, 3, 1]
    for path in paths:
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
    with open_home(home, core, SMALL, clock) as learner:
        same(remember(learner), found)


def test_a_damaged_record_is_made_again(core: Core, tmp_path: Path) -> None:
    home, clock = tmp_path / "home", Clock()
    with open_home(home, core, clock=clock) as learner:
        b = learner.learn(B)
        found = remember(learner)
        learner.home.log._rows("UPDATE records SET data = zeroblob(length(data)) WHERE episode = ?", (b.id,))
    with open_home(home, core, clock=clock) as learner:
        same(remember(learner), found)
        assert learner.home.log.verify() == []


@pytest.mark.parametrize("after", [0, 3, 11])
def test_a_sleep_cut_off_and_gone_on_is_one_that_was_not(core: Core, tmp_path: Path, after: int) -> None:
    def teach(learner: Learner) -> None:
        for text in (A, B, *LONG):
            learner.learn(text)

    with open_home(tmp_path / "whole", core, SMALL) as learner:
        teach(learner)
        report = learner.sleep()
        wanted = remember(learner)
    asked = iter(range(after))
    with open_home(tmp_path / "cut", core, SMALL) as learner:
        teach(learner)
        cut = learner.sleep(stop=lambda: next(asked, None) is None)
        assert cut.interrupted and len(cut.consolidated) < len(report.consolidated)
    with open_home(tmp_path / "cut", core, SMALL) as learner:
        rest = learner.sleep()
        assert not rest.interrupted
        assert (*cut.consolidated, *rest.consolidated) == report.consolidated
        same(remember(learner), wanted)
        assert not any(p.name.startswith("sleeping") for p in learner.home.snapshots.iterdir())


def test_a_saved_sleep_about_other_episodes_is_not_gone_on_with(core: Core, tmp_path: Path) -> None:
    with open_home(tmp_path / "cut", core, SMALL) as learner:
        learner.learn(A)
        asked = iter(range(2))
        assert learner.sleep(stop=lambda: next(asked, None) is None).interrupted
        learner.learn(A)
        learner.learn(B)
        learner.learn(B)
        learner.learn(B)
        state = snapshots.load(learner.home.snapshots, "sleeping-facts", "slow/consolidation", 1)
        assert state is not None
        learner.sleep()
        found = sorted(e.state().hash() for e in learner.tiers.experts.values())
    with open_home(tmp_path / "whole", core, SMALL) as learner:
        learner.learn(A)
        learner.learn(B)
        learner.sleep()
        assert sorted(e.state().hash() for e in learner.tiers.experts.values()) == found
