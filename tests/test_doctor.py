"""The doctor: finds every kind of damage, rebuilds what is derived, and never touches an event."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from living import CONFIG, A, B, C, Clock, load, open_home
from tiny import make_tiny_core

from fastslow import sleeping
from fastslow.core import Core
from fastslow.doctor import check, repair
from fastslow.errors import HomeInUse, HomeMismatch, InputError
from fastslow.medium.episodes import DAY
from fastslow.slow import Outcome
from fastslow.store import Home, Log


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return load(tiny_core_folder)


@pytest.fixture(scope="module")
def lived(core: Core, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A closed home with every kind of thing in it (a faded page too), and the hash of its tiers."""
    home, clock = tmp_path_factory.mktemp("doctor") / "home", Clock()
    with open_home(home, core, clock=clock) as learner:
        learner.learn(A)
        clock.now += 100 * DAY
        learner.learn(B)
        learner.sleep()
        learner.learn(C)
        return home, learner.tiers.hash()


@pytest.fixture
def home(lived: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(lived[0], tmp_path / "home"))


def sql(home: Path, statement: str) -> None:
    with Log.open(home / "log.sqlite") as log:
        log._rows(statement)


def events(home: Path) -> list[tuple[object, ...]]:
    with Log.open(home / "log.sqlite") as log:
        return log._rows("SELECT * FROM events ORDER BY seq")


def snapshot(home: Path, start: str, end: str) -> Path:
    return next(p for p in sorted((home / "snapshots").iterdir()) if p.name.startswith(start) and p.name.endswith(end))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def test_a_sound_home_is_sound_and_is_left_as_it_is(home: Path, core: Core) -> None:
    files = {p: p.read_bytes() for p in sorted((home / "snapshots").iterdir())}
    assert check(home) == [] and check(home, core, CONFIG) == []
    assert repair(home, core, CONFIG) == []
    assert {p: p.read_bytes() for p in sorted((home / "snapshots").iterdir())} == files


def test_the_core_may_be_named(home: Path, core: Core, tiny_core_folder: Path) -> None:
    with open_home(home.parent / "own", Core.load(str(tiny_core_folder))) as learner:
        learner.learn(A)
    assert check(home.parent / "own", str(tiny_core_folder), CONFIG) == []


FIRST = "(SELECT min(episode) FROM records)"
Break = Callable[[Path], object]
DERIVED: dict[str, tuple[Break, str]] = {
    "a record with other bytes": (
        lambda home: sql(home, f"UPDATE records SET data = zeroblob(length(data)) WHERE episode = {FIRST}"),
        "does not match its checksum",
    ),
    "a record of another page": (
        lambda home: sql(
            home,
            f"UPDATE records SET (data, sha256) = (SELECT data, sha256 FROM records WHERE episode <> {FIRST} LIMIT 1)"
            f" WHERE episode = {FIRST}",
        ),
        "is not what its text gives",
    ),
    "a missing record": (lambda home: sql(home, f"DELETE FROM records WHERE episode = {FIRST}"), "is missing"),
    "a record of nothing": (
        lambda home: sql(home, f"INSERT INTO records SELECT 'e0', data, sha256 FROM records WHERE episode = {FIRST}"),
        "the record of episode e0 belongs to no episode",
    ),
    "a damaged fast state": (lambda home: flip(snapshot(home, "fast", ".safetensors")), "snapshot fast-"),
    "a damaged expert": (lambda home: flip(snapshot(home, "expert", ".safetensors")), "does not match its checksum"),
    "a missing expert": (lambda home: snapshot(home, "expert", ".json").unlink(), "is missing or damaged"),
    "missing tensors": (lambda home: snapshot(home, "expert", ".safetensors").unlink(), "cannot be read"),
    "a broken manifest": (lambda home: snapshot(home, "expert", ".json").write_text("{"), "manifest of snapshot"),
    "a stray file": (
        lambda home: (home / "snapshots" / "expert-x-0123456789abcdef.safetensors").write_bytes(b"x"),
        "belongs to no snapshot",
    ),
    "a fast state of another history": (
        lambda home: snapshot(home, "fast", ".json").write_text(
            snapshot(home, "fast", ".json").read_text().replace('"log_hash": "', '"log_hash": "0')
        ),
        "belongs to no event of the log",
    ),
}


@pytest.mark.parametrize("name", DERIVED)
def test_what_is_derived_is_found_and_rebuilt(
    home: Path, core: Core, lived: tuple[Path, str], name: str, tmp_path: Path
) -> None:
    damage, words = DERIVED[name]
    damage(home)
    before = events(home)
    found = check(home, core, CONFIG)
    assert any(words in line for line in found), found
    done = repair(home, core, CONFIG)
    assert done and not any("not repaired" in line for line in done)
    assert len(done) == len(set(done)) <= 3
    assert check(home, core, CONFIG) == [] and repair(home, core, CONFIG) == []
    assert events(home) == before
    with open_home(home, core) as learner:
        assert learner.tiers.hash() == lived[1]


def test_without_a_core_checksums_are_checked_and_pages_are_not(home: Path) -> None:
    DERIVED["a record of another page"][0](home)
    assert check(home) == []
    DERIVED["a damaged expert"][0](home)
    assert len(check(home)) == 2  # its checksum, and an event without its expert


def test_everything_derived_at_once(home: Path, core: Core, lived: tuple[Path, str]) -> None:
    shutil.rmtree(home / "snapshots")
    (home / "snapshots").mkdir()
    sql(home, "DELETE FROM records")
    assert len(check(home, core, CONFIG)) == 3 + 2  # pages and experts
    done = repair(home, core, CONFIG)
    assert sum("page" in line for line in done) == 3 and sum("expert" in line for line in done) == 2
    assert check(home, core, CONFIG) == []
    with open_home(home, core) as learner:
        assert learner.tiers.hash() == lived[1]


def test_an_expert_that_cannot_be_made_again_lets_its_episodes_wake(
    home: Path, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with another reader it may be. It is tried once, not at every opening."""
    with open_home(home, core) as learner:
        before = {e.id for e in learner.history() if e.stage == "asleep"}
    tried = []

    def in_vain(*_: object, **__: object) -> Outcome:
        tried.append(1)
        return Outcome(None, None)

    with monkeypatch.context() as patch:
        patch.setattr(sleeping, "consolidate_kind", in_vain)
        DERIVED["a missing expert"][0](home)
        assert len(check(home, core, CONFIG)) == 2  # the tensors that no manifest speaks of, too
        (lost,) = (line for line in repair(home, core, CONFIG) if "is lost" in line)
        assert lost.endswith("its episodes are awake again")
        for _ in range(2):
            with open_home(home, core) as learner:
                awake = before - {e.id for e in learner.history() if e.stage == "asleep"}
    assert len(awake) == len(tried) == 1
    assert len(check(home, core, CONFIG)) == 1  # it is still lost
    with open_home(home, core) as learner:
        assert awake <= {*learner.tiers.facts_to_sleep_on(0.0)}


def test_a_folder_among_the_snapshots_is_no_damage(home: Path, core: Core) -> None:
    (home / "snapshots" / "mine").mkdir()
    assert check(home, core, CONFIG) == [] and repair(home, core, CONFIG) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET payload = replace(payload, 'Tolvar', 'Hotrir') WHERE seq = 1",
        "UPDATE events SET time = time + 1 WHERE seq = 2",
        "DELETE FROM events WHERE seq = 2",
    ],
)
def test_a_broken_chain_is_reported_and_nothing_is_touched(home: Path, core: Core, damage: str) -> None:
    sql(home, damage)
    flip(snapshot(home, "expert", ".safetensors"))
    before = events(home)
    files = sorted(p.name for p in (home / "snapshots").iterdir())
    found = check(home, core, CONFIG)
    assert any("event" in line for line in found)
    done = repair(home, core, CONFIG)
    assert done and all(line.startswith("not repaired") for line in done)
    assert events(home) == before and sorted(p.name for p in (home / "snapshots").iterdir()) == files


def test_a_log_that_is_no_log_or_gone_is_reported(home: Path, core: Core) -> None:
    (home / "log.sqlite").write_bytes(b"not a database" * 1000)
    assert len(check(home)) == 1
    assert repair(home, core, CONFIG)[0].startswith("not repaired")
    (home / "log.sqlite").unlink()
    assert "has lost its log" in check(home, core)[0]


def test_what_is_no_damage_is_raised(home: Path, core: Core, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no home"):
        check(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with Home.open(home), pytest.raises(HomeInUse):
        check(home)
    other = load(make_tiny_core(tmp_path / "other", seed=1))
    for call in (check, repair):
        with pytest.raises(HomeMismatch):
            call(home, other, CONFIG)


def test_an_empty_home_is_sound(tmp_path: Path, core: Core) -> None:
    open_home(tmp_path / "home", core).close()
    assert check(tmp_path / "home", core, CONFIG) == []
    assert repair(tmp_path / "home", core, CONFIG) == []
