"""Forgetting is exact: the state, the logits and the bytes are those of a home that never learned it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from living import CONFIG, FAST, QUESTION, A, B, C, Clock, dialect, load, logits, open_home, traces

from fastslow import Learner, LearnerConfig
from fastslow.core import Core
from fastslow.errors import StoreError
from fastslow.fast import trajectory
from fastslow.medium.episodes import DAY
from fastslow.store import Log
from fastslow.store.log import Log as StoreLog

LONG = dialect(7, 40)  # longer than a chunk and a window of the fast tier
CHAT = {"role": "user", "content": B}
Act = Callable[[Learner], object]


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return load(tiny_core_folder)


def live(home: Path, core: Core, acts: list[Act], config: LearnerConfig = CONFIG) -> Learner:
    """A learner that did these things, a day apart."""
    clock = Clock()
    learner = open_home(home, core, config, clock)
    for act in acts:
        clock.now += DAY
        act(learner)
    return learner


def learn(text: str) -> Act:
    return lambda learner: learner.learn(text)


def sleep(learner: Learner) -> None:
    learner.sleep()


def day(learner: Learner) -> None:
    """Nothing happens, so that both histories keep the same time."""


def told(learner: Learner, text: str) -> str:
    return next(e.id for e in learner.history() if e.text == text)


def same(one: Learner, other: Learner) -> None:
    assert one.tiers.hash() == other.tiers.hash()
    for question in (QUESTION, "Where does Mira Zobel live?", "What is 0 1zq 2zqzq?"):
        assert torch.equal(logits(one, question), logits(other, question))
        assert one.tiers.match(question) == other.tiers.match(question)
    assert [e.text for e in one.history()] == [e.text for e in other.history()]
    assert one.tiers.seen == other.tiers.seen


def check(tmp_path: Path, core: Core, acts: list[Act], needle: str, without: list[Act], **more: LearnerConfig) -> None:
    """``acts`` and then forgetting the needle is ``without``: at once, after a reopening, and in the bytes."""
    home, other = tmp_path / "home", tmp_path / "other"
    with live(home, core, acts, **more) as learner, live(other, core, without, **more) as never:
        assert traces(home, needle, core)
        assert learner.tiers.hash() != never.tiers.hash()
        receipt = learner.forget(told(learner, needle))
        same(learner, never)
        assert receipt.state_hash == never.tiers.hash() and not receipt.dry_run
        assert traces(home, needle, core) == []
    assert traces(home, needle, core) == []
    config = more.get("config", CONFIG)
    with open_home(home, core, config, Clock(2e6)) as learner, open_home(other, core, config, Clock(2e6)) as never:
        same(learner, never)
        learner.learn("Bo sleeps in the garden of Hotrir.")
        never.learn("Bo sleeps in the garden of Hotrir.")
        same(learner, never)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_of_three(tmp_path: Path, core: Core, place: int) -> None:
    texts = [A, B, C]
    rest = [day if text is texts[place] else learn(text) for text in texts]
    check(tmp_path, core, [learn(t) for t in texts], texts[place], rest)


def test_a_document_longer_than_a_chunk_of_the_fast_tier(tmp_path: Path, core: Core) -> None:
    assert len(core.encode(LONG)) > 2 * FAST.window
    check(tmp_path, core, [learn(A), learn(LONG), learn(C)], LONG, [learn(A), day, learn(C)])


def test_an_episode_that_was_restated(tmp_path: Path, core: Core) -> None:
    acts = [learn(B), learn(A), learn(B.upper()), learn(B + "!")]
    check(tmp_path, core, acts, B, [day, learn(A), day, day])


def test_the_only_episode(tmp_path: Path, core: Core) -> None:
    check(tmp_path, core, [learn(LONG)], LONG, [day])


@pytest.mark.parametrize("needle", [A, B])
def test_an_episode_that_an_expert_holds(tmp_path: Path, core: Core, needle: str) -> None:
    acts = [learn(A), learn(B), sleep, learn(C), sleep]
    rest = [day if t is needle else learn(t) for t in (A, B)]
    check(tmp_path, core, acts, needle, [*rest, sleep, learn(C), sleep])


def test_an_episode_that_no_expert_holds(tmp_path: Path, core: Core) -> None:
    check(tmp_path, core, [learn(A), sleep, learn(B), learn(C)], B, [learn(A), sleep, day, learn(C)])


def test_an_episode_of_a_domain(tmp_path: Path, core: Core) -> None:
    pages = [dialect(n) for n in range(7)]
    acts = [*(learn(p) for p in pages), learn(A), sleep]
    check(tmp_path, core, acts, pages[3], [day if n == 3 else a for n, a in enumerate(acts)])


def test_a_domain_that_becomes_too_small_is_none(tmp_path: Path, core: Core) -> None:
    pages = [dialect(n + 20) for n in range(3)]
    size = sum(len(core.encode(p)) for p in pages)
    acts = [*(learn(p) for p in pages), sleep]
    check(tmp_path, core, acts, pages[0], [day, *acts[1:]], config=replace(CONFIG, domain=size))


def test_an_episode_whose_page_had_faded(tmp_path: Path, core: Core) -> None:
    def later(learner: Learner) -> None:
        learner._clock.now += 400 * DAY  # type: ignore[attr-defined]

    acts = [learn(A), learn(B), sleep, later, learn(C), sleep]
    check(tmp_path, core, acts, B, [learn(A), day, sleep, later, learn(C), sleep])


def test_another_than_one_that_was_told_again_when_it_had_faded(tmp_path: Path, core: Core) -> None:
    def later(learner: Learner) -> None:
        learner._clock.now += 400 * DAY  # type: ignore[attr-defined]

    acts = [learn(A), learn(B), sleep, later, learn(C), sleep, learn(A)]
    check(tmp_path, core, acts, B, [learn(A), day, sleep, later, learn(C), sleep, learn(A)])


def test_a_chat_turn_that_taught(tmp_path: Path, core: Core) -> None:
    def say(learner: Learner) -> None:
        learner.chat([CHAT], max_tokens=2)

    check(tmp_path, core, [learn(A), say, learn(C)], B, [learn(A), day, learn(C)])


def test_a_chat_whose_answers_came_from_it(tmp_path: Path, core: Core) -> None:
    def ask(learner: Learner) -> None:
        learner.chat([{"role": "user", "content": QUESTION}], max_tokens=12)

    check(tmp_path, core, [learn(B), learn(A), ask], B, [day, learn(A), day])


def test_a_chat_turn_that_only_repeated(tmp_path: Path, core: Core) -> None:
    said = {"role": "user", "content": B.upper() + "!"}

    def say(learner: Learner) -> None:
        learner.chat([said], max_tokens=2)

    home = tmp_path / "home"
    with (
        live(home, core, [learn(A), learn(B), say, learn(C)]) as learner,
        live(tmp_path / "other", core, [learn(A), learn(B), day, learn(C)]) as never,
    ):
        (turn,) = learner.home.log.events(["turn"])
        assert turn.episode and turn.payload["wrote"] == 2  # it read the episode and said it again
        assert traces(home, said["content"], core)
        learner.forget(turn.episode)
        same(learner, never)
        assert traces(home, said["content"], core) == []
        assert [e.kind for e in learner.home.log.events()] == ["learn", "learn", "learn", "forget"]


def test_questions_that_read_it(tmp_path: Path, core: Core) -> None:
    def ask(learner: Learner) -> None:
        assert learner.ask(QUESTION, 2).hits[0].episode == told(learner, B)

    check(tmp_path, core, [learn(A), learn(B), ask, learn(C)], B, [learn(A), day, day, learn(C)])


def test_after_an_interrupted_sleep(tmp_path: Path, core: Core) -> None:
    def cut(learner: Learner) -> None:
        asked = iter(range(3))
        assert learner.sleep(stop=lambda: next(asked, None) is None).interrupted

    check(tmp_path, core, [learn(B), learn(A), cut], B, [day, learn(A), day])


def test_several_at_once_and_what_is_forgotten_can_be_learned_again(tmp_path: Path, core: Core) -> None:
    with live(tmp_path / "home", core, [learn(A), learn(B), learn(C)]) as learner:
        learner.forget(told(learner, A), told(learner, B))
        assert traces(tmp_path / "home", A, core) == traces(tmp_path / "home", B, core) == []
        again = learner.learn(B)
        assert (again.uses, again.strength) == (1, 1.0)
        with live(tmp_path / "other", core, [day, day, learn(C), day]) as never:
            never._clock.now = learner._clock.now  # type: ignore[attr-defined]
            never.learn(B)
            same(learner, never)


def test_a_dry_run_changes_nothing_and_tells_the_same(tmp_path: Path, core: Core) -> None:
    with live(tmp_path / "home", core, [learn(A), learn(B), learn(B), sleep]) as learner:
        before, head = learner.tiers.hash(), learner.home.log.head()
        dry = learner.forget(told(learner, B), dry_run=True)
        assert dry.dry_run and (learner.tiers.hash(), learner.home.log.head()) == (before, head)
        wet = learner.forget(told(learner, B))
        assert (dry.episodes, dry.events, dry.replayed_sleeps) == (wet.episodes, wet.events, wet.replayed_sleeps)
        assert (wet.events, wet.replayed_sleeps) == (2, 1)


# ---------------------------------------------------------------------- all or nothing


class Cut(Exception):
    """The power fails."""


def cut(*_: object, **__: object) -> None:
    raise Cut


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("moment", ["rebuilding", "erasing", "erased"])
def test_a_forgetting_cut_off_leaves_all_or_nothing(
    tmp_path: Path, core: Core, monkeypatch: pytest.MonkeyPatch, moment: str, closed: bool
) -> None:
    """``closed``: by an error, after which the learner is closed; otherwise the process is gone."""
    acts = [learn(A), learn(B), learn(LONG), sleep]
    home = tmp_path / "home"
    live(home, core, acts).close()  # so that a saved fast state holds what is to be forgotten
    learner = open_home(home, core, clock=Clock(3e6))
    before = learner.tiers.hash()
    if moment == "rebuilding":
        monkeypatch.setattr(StoreLog, "erase", cut)
    elif moment == "erasing":
        monkeypatch.setattr(StoreLog, "_rechain", cut)
    else:
        monkeypatch.setattr(StoreLog, "_scrub", cut)
    with pytest.raises(Cut):
        learner.forget(told(learner, B))
    (learner if closed else learner.home).close()
    monkeypatch.undo()
    with open_home(home, core, clock=Clock(3e6)) as learner:
        if moment == "erased":
            with live(tmp_path / "other", core, [learn(A), day, learn(LONG), sleep]) as never:
                same(learner, never)
            assert traces(home, B, core) == []
        else:
            assert learner.tiers.hash() == before and told(learner, B)
        assert learner.home.log.verify() == []
        assert {p.stem for p in learner.home.snapshots.glob("expert-*.json")} == {
            f"expert-{name}" for name in learner.tiers.experts
        }
    assert bool(traces(home, B, core)) == (moment != "erased")


def test_a_crash_before_the_sweep_leaves_nothing_of_a_home_that_becomes_empty(
    tmp_path: Path, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    live(home, core, [learn(LONG), sleep]).close()
    learner = open_home(home, core)
    monkeypatch.setattr(Log, "_scrub", cut)
    with pytest.raises(Cut):
        learner.forget(told(learner, LONG))
    learner.home.close()
    monkeypatch.undo()
    open_home(home, core).close()
    assert traces(home, LONG, core) == [] and list((home / "snapshots").iterdir()) == []


def test_nothing_is_told_of_what_was_forgotten_when_the_cleaning_fails(
    tmp_path: Path, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live(tmp_path / "home", core, [learn(A), learn(B)]) as learner:
        monkeypatch.setattr(Log, "_scrub", cut)
        gone = told(learner, B)
        with pytest.raises(Cut):
            learner.forget(gone)
        monkeypatch.undo()
        looks = (learner.history, learner.exported, learner.status, lambda: learner.episode(gone))
        for look in (*looks, lambda: learner.ask(QUESTION, 2)):
            with pytest.raises(StoreError, match="open the home again"):
                look()


def test_a_full_disk_while_forgetting_is_a_clear_error(
    tmp_path: Path, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full: free space and try again; nothing was lost")

    with live(tmp_path / "home", core, [learn(A), learn(B)]) as learner:
        before = learner.tiers.hash()
        monkeypatch.setattr(StoreLog, "erase", full)
        with pytest.raises(StoreError, match="disk is full"):
            learner.forget(told(learner, B))
        monkeypatch.undo()
        assert learner.tiers.hash() == before and len(learner.history()) == 2


def test_the_pages_of_the_others_are_not_written_anew(
    tmp_path: Path, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live(tmp_path / "home", core, [learn(A), learn(B), learn(C)]) as learner:
        monkeypatch.setattr(StoreLog, "put_records", cut)
        learner.forget(told(learner, B))
        assert len(list(learner.home.log.records())) == 2


def test_only_what_came_since_is_streamed_again(tmp_path: Path, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 41 texts told in one sitting; told before that, a text costs the whole stream."""
    texts = [f"House {n} stands in the {n + 3}th street." for n in range(41)]
    rest = [day if n == 35 else learn(text) for n, text in enumerate(texts)]
    streamed: list[int] = []
    observe = trajectory.observe

    def counted(*args: object) -> object:
        streamed.append(1)
        return observe(*args)  # type: ignore[arg-type]

    home = tmp_path / "home"
    with live(home, core, [learn(text) for text in texts]) as learner, live(tmp_path / "other", core, rest) as never:
        assert len(learner.tiers.marks) < 16
        monkeypatch.setattr(trajectory, "observe", counted)
        name = told(learner, texts[35])
        receipt = learner.forget(name, dry_run=True)
        assert receipt.tiers["fast"] == "8 texts streamed again" and not streamed
        head, learner.tiers.head = learner.tiers.head, ""  # what is in memory is not to be trusted
        assert learner.forget(name, dry_run=True).tiers["fast"] == "40 texts streamed again"
        learner.tiers.head = head
        learner.forget(told(learner, texts[35]))
        assert len(streamed) == 8  # from the 33rd on
        same(learner, never)
        learner.forget(told(learner, texts[36]))
        never.forget(told(never, texts[36]))
        same(learner, never)
        learner.forget(told(learner, texts[0]))
        never.forget(told(never, texts[0]))
        same(learner, never)
    with open_home(home, core, CONFIG, Clock(2e6)) as learner:
        receipt = learner.forget(told(learner, texts[40]), dry_run=True)
        assert receipt.tiers["fast"] == "37 texts streamed again"
