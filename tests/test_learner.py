"""The learner, end to end on a tiny core: what each method promises, and what each refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from living import (
    CONFIG,
    FACTS,
    FAST,
    LANGUAGE,
    QUESTION,
    A,
    B,
    C,
    Clock,
    dialect,
    load,
    logits,
    make_reader,
    open_home,
)
from tiny import make_tiny_core

from fastslow import Learner, doctor, replay, sleeping
from fastslow.core import Core
from fastslow.decode import Row, bare_logits, generate, memory_logits
from fastslow.errors import HomeInUse, HomeMismatch, InputError, StoreError, UnknownEpisode
from fastslow.fast import trajectory
from fastslow.lessons import refusal
from fastslow.medium.choice import Choice
from fastslow.medium.episodes import DAY, Hit, RecallConfig
from fastslow.slow import Outcome
from fastslow.store import snapshots
from fastslow.tiers import Tiers

NO_FAST = replace(CONFIG, fast=replace(FAST, related=1.0))


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return load(tiny_core_folder)


@pytest.fixture(autouse=True)
def no_other_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def raise_(error: BaseException) -> None:
    raise error


def kinds(learner: Learner) -> list[str]:
    return [event.kind for event in learner.home.log.events()]


# ---------------------------------------------------------------------- learning


def test_learning_gives_an_episode_that_is_there_afterwards(home: Path, core: Core) -> None:
    clock = Clock(5.0)
    with open_home(home, core, clock=clock) as learner:
        episode = learner.learn(f"  {B}\n", source="notes.md")
        assert (episode.text, episode.source, episode.heading, episode.time) == (B, "notes.md", "", 5.0)
        assert (episode.uses, episode.strength, episode.stage, episode.bits) == (1, 1.0, "awake", 8)
        assert episode.bytes > len(core.encode(B)) * core.width
        assert learner.history() == [episode] and learner.episode(episode.id) == episode
    with open_home(home, core, clock=clock) as learner:
        assert learner.history() == [episode]


def test_a_restatement_strengthens_and_an_update_does_not_merge(home: Path, core: Core) -> None:
    clock = Clock()
    with open_home(home, core, clock=clock) as learner:
        first = learner.learn(B)
        clock.now += 30 * DAY
        assert learner.episode(first.id).strength == 0.5
        again = learner.learn(B.upper())
        assert (again.id, again.uses, again.strength, again.text) == (first.id, 2, 1.0, B)
        for other in (B.replace("4th", "5th"), B.replace("Quamby", "Dunsel")):
            assert learner.learn(other).id != first.id
        assert kinds(learner) == ["learn", "restate", "learn", "learn"]
        assert len(learner.history()) == 3


def test_a_text_of_signs_alone_is_one_episode_too(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        assert learner.learn("?!?!").id == learner.learn("?!?!").id
        assert [e.uses for e in learner.history()] == [2]


def test_documents_become_episodes_in_order_with_progress(home: Path, core: Core) -> None:
    text = f"# Notes\n\n{A}\n\n## Boats\n\n{B}\n\n{C}\n\n{A}\n"
    seen: list[tuple[int, int]] = []
    with open_home(home, core) as learner:
        found = learner.learn_document(text, "n.md", progress=lambda n, of: seen.append((n, of)))
        assert [(e.heading, e.text) for e in found[:3]] == [("Notes", A), ("Notes > Boats", B), ("Notes > Boats", C)]
        assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert [e.id for e in learner.history()] == list(dict.fromkeys(e.id for e in found))


def test_a_heading_longer_than_a_page_and_a_heading_alone_are_learned(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        assert learner.learn_document("# Kestrel launches in May")[0].text == "Kestrel launches in May"
        assert len(learner.learn_document("# " + "Kestrel boat " * 150 + "\n\nIt works.")) > 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("a\0b", "NUL"),
        ("bad \ud800 half", "not valid Unicode"),
        ("word " * 500, "use learn_document"),
    ],
)
def test_what_cannot_be_learned_is_refused_and_nothing_is_written(
    home: Path, core: Core, text: str, words: str
) -> None:
    with open_home(home, core) as learner:
        before = learner.tiers.hash()
        with pytest.raises(InputError, match=words):
            learner.learn(text)
        assert kinds(learner) == [] and learner.tiers.hash() == before


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "\ud800"])
def test_what_cannot_be_asked_is_refused(home: Path, core: Core, text: str) -> None:
    with open_home(home, core) as learner:
        for call in (learner.ask, learner.trace, learner.learn_document, lambda t: learner.chat([user(t)])):
            with pytest.raises(InputError):
                call(text)
        assert kinds(learner) == []


def test_states_that_are_not_finite_are_rejected_and_nothing_is_written(
    home: Path, core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_home(home, core) as learner:
        learner.learn(A)
        before = learner.tiers.hash()
        real = Core.hidden
        monkeypatch.setattr(Core, "hidden", lambda self, text: real(self, text) * float("nan"))
        with pytest.raises(InputError, match="not finite"):
            learner.learn(B)
        monkeypatch.undo()
        assert kinds(learner) == ["learn"] and learner.tiers.hash() == before
        assert learner.learn(B).uses == 1


# ---------------------------------------------------------------------- asking


def test_a_question_reads_the_record_and_the_reading_is_logged(home: Path, core: Core) -> None:
    clock = Clock()
    with open_home(home, core, NO_FAST, clock) as learner:
        _, b, _ = (learner.learn(text) for text in (A, B, C))
        clock.now += 30 * DAY
        answer = learner.ask(QUESTION, max_tokens=4)
        assert answer.hits[0].episode == b.id and answer.hits[0].through is None and answer.hits[0].score >= 0.6
        assert (answer.prompt_tokens, answer.prompt_tokens_added) == (len(core.prompt(QUESTION)), 0)
        assert str(answer) == answer.text
        assert kinds(learner)[3:] == ["read"]
        assert (learner.episode(b.id).uses, learner.episode(b.id).strength) == (2, 1.0)
        state = learner.tiers.hash()
    with open_home(home, core, NO_FAST, clock) as learner:
        assert learner.tiers.hash() == state
        assert learner.ask(QUESTION, max_tokens=4).text == answer.text


def test_an_answer_from_pages_that_is_cut_off_keeps_its_whole_sentences(home: Path, core: Core) -> None:
    ids = core.encode("In 1721. The founding year of")
    read, bare = Row([1], (core.hidden(A),)), Row([1])
    with open_home(home, core, NO_FAST) as learner:
        assert learner._said(read, ids, len(ids)) == "In 1721."
        assert learner._said(read, ids, len(ids) + 1) == core.decode(ids)  # it ended there by itself
        assert learner._said(bare, ids, len(ids)) == core.decode(ids)  # the bare core's answers are left as they are
        assert learner._said(read, ids[:2], 2) == core.decode(ids[:2])  # nothing whole to keep


def test_an_unrelated_question_reads_nothing_and_is_not_logged(home: Path, core: Core) -> None:
    question = "Qxz vbn plk?"
    with open_home(home, core, NO_FAST) as learner:
        learner.learn(A)
        answer = learner.ask(question, max_tokens=6)
        assert (answer.hits, answer.experts, answer.fast) == ((), (), False)
        with learner.memory_off():
            assert learner.ask(question, max_tokens=6) == answer
        assert kinds(learner) == ["learn"]
        assert torch.equal(logits(learner, question), bare_logits(core, core.prompt(question)))


def test_tiers_can_be_left_out(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        learner.learn(B)
        assert learner.ask(QUESTION, 2, tiers=("fast",)).hits == ()
        assert not learner.ask(QUESTION, 2, tiers=("medium",)).fast
        assert learner.ask(QUESTION, 2, tiers=()).text == bare(learner, 2)
        with pytest.raises(InputError, match="there is no tier 'meduim': give some of fast, medium, slow"):
            learner.ask(QUESTION, 2, tiers=("meduim",))


def bare(learner: Learner, tokens: int) -> str:
    with learner.memory_off():
        return learner.ask(QUESTION, tokens).text


def test_memory_off_ends_with_its_block_whatever_happens(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        learner.learn(B)
        with pytest.raises(ZeroDivisionError), learner.memory_off():
            _ = 1 / 0
        with learner.memory_off():
            with learner.memory_off():
                pass
            assert learner.ask(QUESTION, 2).hits == ()
        assert learner.ask(QUESTION, 2).hits


def test_what_is_said_with_memory_off_is_not_kept(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        learner.learn(B)
        before = learner.tiers.hash()
        with learner.memory_off():
            assert learner.chat([{"role": "user", "content": A}], 2).hits == ()
        assert learner.tiers.hash() == before and kinds(learner) == ["learn"]


def test_closing_writes_only_what_has_changed(home: Path, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_home(home, core) as learner:
        learner.learn(B)
    with monkeypatch.context() as full:
        full.setattr(snapshots, "save", lambda *_: raise_(StoreError("no space left")))
        with open_home(home, core) as learner:
            assert learner.status().episodes == 1
    (saved,) = (home / "snapshots").glob("fast-*.safetensors")
    sound = saved.read_bytes()
    saved.write_bytes(b"damaged")
    with open_home(home, core) as learner:
        assert learner.status().episodes == 1
    assert saved.read_bytes() == sound


# ---------------------------------------------------------------------- trace


def test_trace_tells_what_the_answer_rests_on(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        b = learner.learn(B)
        before = learner.tiers.hash()
        trace = learner.trace(QUESTION)
        assert learner.tiers.hash() == before and kinds(learner) == ["learn"]
        assert trace.bare == bare(learner, 48)
        assert trace.answer.text == learner.ask(QUESTION, 48).text != trace.bare
        assert [(line.tier, line.what) for line in trace.lines] == [("medium", b.id), ("fast", "fast")]
        page, fast = trace.lines
        assert page.text == B and page.weight == trace.answer.hits[0].score
        # A greedy answer is the likelier one with what it read, on a core where both matter.
        assert page.effect > 0 and abs(fast.effect) > 0


def test_an_effect_is_what_the_answer_loses(home: Path, core: Core, tmp_path: Path) -> None:
    """The line's number against one computed by hand: without its one page, the bare core answers."""
    make_reader(core, tmp_path / "cache")
    with open_home(home, core, NO_FAST) as learner:
        learner.learn(B)
        trace = learner.trace(QUESTION)
        reading = learner.tiers.read(QUESTION, core.prompt(QUESTION))
        ids = generate(core, [reading.row], reading.deltas, max_tokens=48)[0]
        rows = [Row([*reading.row.prompt, *ids], pages) for pages in (reading.row.pages, ())]
        start, found = len(reading.row.prompt) - 1, []
        for row, deltas in zip(rows, (reading.deltas, ()), strict=True):
            chances = memory_logits(core, row, deltas).log_softmax(-1)[start:-1]
            found.append(float(chances.gather(1, torch.tensor(ids)[:, None]).sum()))
        assert len(trace.lines) == 1
        assert trace.lines[0].effect == pytest.approx(found[0] - found[1], abs=1e-3)
        assert found[0] > found[1]


def test_nothing_read_nothing_traced(home: Path, core: Core) -> None:
    with open_home(home, core, NO_FAST) as learner:
        trace = learner.trace(QUESTION)
        assert trace.lines == () and trace.answer.text == trace.bare


# ---------------------------------------------------------------------- with a reader


def test_a_reader_is_found_used_while_a_page_is_read_and_only_then(home: Path, core: Core, tmp_path: Path) -> None:
    with open_home(home, core, NO_FAST) as learner:
        learner.learn(B)
        without = logits(learner)
        assert learner.status().reader.startswith("none")
    make_reader(core, tmp_path / "cache")
    with open_home(home, core, NO_FAST) as learner:
        assert learner.tiers.reader is not None and not learner.status().reader.startswith("none")
        assert not torch.allclose(logits(learner), without, atol=1e-3)
        assert torch.equal(logits(learner, "Qxz vbn?"), bare_logits(core, core.prompt("Qxz vbn?")))
        assert learner.ask(QUESTION, 4).hits
        assert learner.trace(QUESTION).lines[0].tier == "medium"


# ---------------------------------------------------------------------- chat


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_chat_learns_statements_and_neither_questions_nor_answers(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        first = learner.chat([user(B)], max_tokens=6)
        assert [(e.text, e.source) for e in learner.history()] == [(B, "chat")]
        second = learner.chat([user(B), {"role": "assistant", "content": first.text}, user(QUESTION)], max_tokens=6)
        assert len(learner.history()) == 1
        assert second.hits[0].episode == learner.history()[0].id
        learner.chat([user("Oh, thank you")], max_tokens=2)
        assert len(learner.history()) == 1
        said = json.dumps([event.payload for event in learner.home.log.events()], ensure_ascii=False)
        assert first.text and first.text not in said


def test_chat_passes_through_the_fast_tier_and_survives(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        learner.chat([user(QUESTION)], max_tokens=2)
        seen, fast = learner.tiers.seen, learner.tiers.fast.hash()
        assert seen > 16 and learner.status().fast["tokens"] == seen
    with open_home(home, core) as learner:
        assert (learner.tiers.seen, learner.tiers.fast.hash()) == (seen, fast)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user"}],
        [{"content": "Mira lives"}],
        [{"role": "assistant", "content": "Mira lives"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": " "}],
        [{"role": "assistant", "content": "a\0b"}, {"role": "user", "content": "Mira lives"}],
    ],
)
def test_what_is_no_conversation_is_refused(home: Path, core: Core, messages: list[dict[str, str]]) -> None:
    with open_home(home, core) as learner:
        with pytest.raises(InputError):
            learner.chat(messages)
        assert kinds(learner) == []


# ---------------------------------------------------------------------- looking


def test_status_counts_what_is_there(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        assert learner.status().episodes == 0
        learner.learn(A)
        learner.learn(B)
        status = learner.status()
        assert (status.episodes, status.awake, status.asleep, status.events) == (2, 2, 0, 2)
        assert (sum(status.strengths), status.strengths[9]) == (2, 2)
        assert status.bytes["medium"] == sum(e.bytes for e in learner.history())
        assert status.bytes["fast"] > 0 and status.bytes["slow"] == 0 and status.experts == ()
        assert status.fast["tokens"] > 0 and status.fast["size"] > 0
        assert status.size_bytes == sum(p.stat().st_size for p in home.rglob("*") if p.is_file())


def test_strength_falls_in_the_histogram(home: Path, core: Core) -> None:
    clock = Clock()
    with open_home(home, core, clock=clock) as learner:
        learner.learn(A)
        clock.now += 60 * DAY
        assert learner.status().strengths == (0, 0, 1, 0, 0, 0, 0, 0, 0, 0)


def test_a_trace_with_memory_off_is_of_the_bare_core(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        learner.learn(B)
        assert learner.trace(QUESTION, 4).lines
        with learner.memory_off():
            found = learner.trace(QUESTION, 4)
        assert found.lines == () and found.answer.hits == () and found.answer.text == found.bare


# ---------------------------------------------------------------------- sleep


def test_sleep_moves_facts_and_language_and_the_answers_change(home: Path, core: Core) -> None:
    stages: list[str] = []
    with open_home(home, core, NO_FAST) as learner:
        b = learner.learn(B)
        long = [learner.learn(dialect(n)) for n in range(6)]
        report = learner.sleep(progress=lambda stage, *_: stages.append(stage))
        assert set(report.consolidated) == {b.id, *(e.id for e in long)}
        assert (report.rejected, report.rolled_back, report.interrupted) == ({}, "", False)
        assert stages
        assert learner.episode(b.id).stage == "asleep" and learner.status().asleep == 1
        assert len(learner.status().experts) == 2 and learner.status().bytes["slow"] > 0
        answer = learner.ask(QUESTION, 4, tiers=("slow",))
        assert any(name.startswith("facts-") for name in answer.experts) and answer.hits[0].episode == b.id
        assert not any(name.startswith("facts-") for name in learner.ask(QUESTION, 4).experts)  # its page is read
        again = learner.sleep()
        assert (again.consolidated, again.interrupted) == ((), False)


def test_nothing_to_sleep_on_is_fine(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        assert learner.sleep().consolidated == ()


@pytest.mark.parametrize("read", [False, True])
def test_what_came_to_nothing_is_left_out_until_something_changes(
    home: Path, core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: bool
) -> None:
    tried: list[list[str]] = []
    made = sleeping.consolidate_kind

    def watched(tiers: Tiers, kind: str, names: list[str], **how: Any) -> Outcome:
        tried.append(names)
        return made(tiers, kind, names, **how)

    monkeypatch.setattr(sleeping, "consolidate_kind", watched)
    hard = replace(NO_FAST, facts=replace(FACTS, accept=2.0), language=replace(LANGUAGE, gain=1e9))
    if read:
        make_reader(core, tmp_path / "cache")
    with open_home(home, core, hard) as learner:
        b, pages = learner.learn(B).id, [learner.learn(dialect(n)).id for n in range(6)]
        first = learner.sleep()
        assert tried == [[b], pages] and set(first.rejected) == {b, *pages} and first.consolidated == ()
        assert learner.episode(b).stage == "awake" and learner.status().experts == ()
        again = learner.sleep()
        assert len(tried) == 2 and set(again.rejected) == {b, *pages}
    with open_home(home, core, hard) as learner:
        c, longer = learner.learn(C).id, learner.learn(dialect(6)).id
        learner.sleep()
        assert tried[2:] == [[c], [*pages, longer]]  # what is new is tried, and a domain that has grown
        learner.forget(c)
        learner.sleep()
        assert tried[4:] == [[b], [*pages, longer]]
    assert doctor.check(home, core, hard) == []
    with open_home(home, core, NO_FAST) as learner:  # other settings may teach what these could not
        assert b in learner.sleep().consolidated


def test_a_fact_that_came_to_nothing_may_be_part_of_a_domain(home: Path, core: Core) -> None:
    hard = replace(NO_FAST, facts=replace(FACTS, accept=2.0), page=400, short=400)
    with open_home(home, core, hard) as learner:
        episode = learner.learn(" ".join(dialect(n)[:60] for n in range(6)))
        assert list(learner.sleep().rejected) == [episode.id]
    with open_home(home, core, replace(NO_FAST, page=400, domain=50)) as learner:
        assert list(learner.sleep().rejected.values()) != [sleeping.LEFT_OUT]


def test_other_bits_are_other_pages(home: Path, core: Core, tmp_path: Path) -> None:
    """What is stored spares work and decides nothing, whatever was set before."""
    for before, after in ((8, 16), (16, 8), (4, 8)):
        path = home / f"{before}-{after}"
        with open_home(path, core, replace(NO_FAST, recall=RecallConfig(bits=before))) as learner:
            learner.learn(A)
            learner.learn(B)
        wanted = replace(NO_FAST, recall=RecallConfig(bits=after))
        for _ in range(2):
            with open_home(path, core, wanted) as learner:
                assert [e.bits for e in learner.history()] == [after, after]
        assert doctor.check(path, core, wanted) == []


def test_a_forgetting_out_of_step_keeps_the_experts(home: Path, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_home(home, core, NO_FAST) as learner:
        a, b = learner.learn(A), learner.learn(B)
        with monkeypatch.context() as patch:
            patch.setattr(Tiers, "apply", lambda *_, **__: raise_(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):  # after the event of the first fact, before memory
                learner.sleep()
        (event,) = learner.home.log.events(["sleep"])
        left = b if event.payload["accepted"] == [a.id] else a
        learner.forget(left.id)
        state = learner.tiers.hash()
        assert list(learner.tiers.experts) == [event.payload["expert"]]
    assert doctor.check(home, core, NO_FAST) == []
    with open_home(home, core, NO_FAST) as learner:
        assert learner.tiers.hash() == state


def test_a_dropped_page_is_answered_by_its_expert(home: Path, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with open_home(home, core, NO_FAST, clock) as learner:
        b = learner.learn(B)
        learner.sleep()
        clock.now += 400 * DAY
        other = learner.learn(B.replace("Quamby launches", "Dunsel sinks"))
        learner.sleep()
        assert (learner.episode(b.id).bits, learner.episode(b.id).bytes) == (0, 0)
        answer = learner.ask(QUESTION, 4)
        assert answer.hits[0].episode == b.id and answer.experts
        assert other.id in {hit.episode for hit in learner.ask("What does Kestrel Dunsel do?", 4).hits}
        both = f"{B} Does Dunsel?"
        assert [hit.episode for hit in learner.tiers.match(both)] == [b.id, other.id]
        monkeypatch.setattr(learner.tiers, "reader", object())
        for found, read in ((True, other), (False, b)):  # what a page on hand answers is answered by the page
            monkeypatch.setattr(Choice, "made", lambda _, hits, found=found: (list(hits), found))
            assert [hit.episode for hit in learner.tiers.choose(both)[0]] == [read.id]
        monkeypatch.undo()
        state, text = learner.tiers.hash(), learner.ask(QUESTION, 4, tiers=("slow",)).text
    with open_home(home, core, NO_FAST, clock) as learner:
        assert learner.episode(b.id).bits == 0 and len(list(learner.home.log.records())) == 1
        assert learner.ask(QUESTION, 4, tiers=("slow",)).text == text
        assert state != learner.tiers.hash()  # the questions between strengthened it
        again = learner.learn(B)
        assert (again.id, again.bits, again.stage) == (b.id, 8, "asleep")  # told again, its page is whole again
        assert learner.tiers.read(QUESTION, core.prompt(QUESTION)).hits[0].episode == b.id
        state = learner.tiers.hash()
    with open_home(home, core, NO_FAST, clock) as learner:
        assert learner.episode(b.id).bits == 8 and learner.tiers.hash() == state


def test_weak_pages_fade_in_sleep_and_stay_faded(home: Path, core: Core) -> None:
    clock = Clock()
    config = replace(NO_FAST, facts=replace(NO_FAST.facts, accept=2.0))  # nothing is ever accepted
    with open_home(home, core, config, clock) as learner:
        a = learner.learn(A)
        clock.now += 100 * DAY
        report = learner.sleep()
        assert report.consolidated == () and list(report.rejected) == [a.id]
        assert (learner.episode(a.id).bits, learner.episode(a.id).stage) == (4, "awake")
        state = learner.tiers.hash()
    with open_home(home, core, config, clock) as learner:
        assert learner.tiers.hash() == state
        assert learner.learn(A).bits == 8
        clock.now += 300 * DAY
        learner.sleep()
        assert learner.episode(a.id).bits == 4
        state = learner.tiers.hash()
    with open_home(home, core, config, clock) as learner:
        assert learner.tiers.hash() == state


# ---------------------------------------------------------------------- elsewhere


def test_export_and_import_carry_everything_told(home: Path, core: Core, tmp_path: Path) -> None:
    odd = 'One line\u2028two\x85three \x1c four 東京 "quoted" \\ back.'
    with open_home(home, core) as learner:
        learner.learn_document(f"# Notes\n\n{A}", "a.md")
        learner.learn(B, " ")
        learner.learn(odd)
        learner.learn_document("```\n    return kestrel\n```")
        told = [(e.id, e.text, e.heading, e.source) for e in learner.history()]
        assert learner.export(str(tmp_path / "out.jsonl")) == 4
    with open_home(tmp_path / "other", core) as learner:
        seen: list[tuple[int, int]] = []
        found = learner.import_(tmp_path / "out.jsonl", progress=lambda n, of: seen.append((n, of)))
        assert [(e.id, e.text, e.heading, e.source) for e in found] == told and seen[-1] == (4, 4)
        learner.import_(tmp_path / "out.jsonl")
        assert [e.uses for e in learner.history()] == [2, 2, 2, 2]
        learner.learn(B)
        assert json.loads(learner.exported()[-1])["text"] == B  # what was told again last is the newest elsewhere too


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[1, 2]",
        '"text"',
        '{"no": "text"}',
        '{"text": " "}',
        '{"text": "a\\u0000b"}',
        '{"text": "a\\ud800b"}',
        '{"text": "x", "heading": "a\\u0000"}',
        '{"text": "x", "source": "a\\ud800"}',
        '{"text": ["x"]}',
        '{"text": "x", "heading": 7}',
        "[" * 200_000,
    ],
)
def test_an_import_with_one_bad_line_learns_nothing(home: Path, core: Core, tmp_path: Path, line: str) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": A}) + "\n\n" + line + "\n")
    with open_home(home, core) as learner:
        with pytest.raises(InputError):
            learner.import_(tmp_path / "in.jsonl")
        assert kinds(learner) == []


@pytest.mark.parametrize("heading", ["", "Words > Many", "word " * 500, "two\nlines"])
def test_an_import_splits_what_is_too_long_for_this_core(home: Path, core: Core, tmp_path: Path, heading: str) -> None:
    text = " ".join(f"word{n}" for n in range(500))
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": text, "heading": heading, "source": "words.md"}))
    with open_home(home, core) as learner:
        found = learner.import_(tmp_path / "in.jsonl")
        assert len(found) > 1 and all(e.source == "words.md" for e in found)
        assert " ".join(e.text for e in found).endswith(text)
        if heading == "Words > Many":
            assert all(e.heading == heading for e in found)


@pytest.mark.parametrize("line", ["# a comment is no heading", "|---|", "```"])
def test_an_import_splits_code_between_its_lines(home: Path, core: Core, tmp_path: Path, line: str) -> None:
    lines = [line, *(f"    word{n} = {n}" for n in range(300))]
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "\n".join(lines), "heading": "Code"}))
    with open_home(home, core) as learner:
        found = learner.import_(tmp_path / "in.jsonl")
        assert len(found) > 1 and {e.heading for e in found} == {"Code"}
        assert "\n".join(e.text for e in found).split("\n") == lines


def test_an_import_loses_no_line_that_is_all_rules(home: Path, core: Core, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "|" + "---|" * 300}))
    with open_home(home, core) as learner:
        assert learner.import_(tmp_path / "in.jsonl")


def test_an_import_takes_null_for_nothing(home: Path, core: Core, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": A, "heading": None, "source": None}))
    with open_home(home, core) as learner:
        (episode,) = learner.import_(tmp_path / "in.jsonl")
        assert (episode.heading, episode.source) == ("", "")


def test_a_missing_or_binary_import_is_refused(home: Path, core: Core, tmp_path: Path) -> None:
    (tmp_path / "bin").write_bytes(b"\xff\xfe\x00")
    with open_home(home, core) as learner:
        for name in ("none", "bin"):
            with pytest.raises(InputError, match="cannot be read"):
                learner.import_(tmp_path / name)


# ---------------------------------------------------------------------- homes


def test_unknown_episodes(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        episode = learner.learn(A)
        for call in (lambda: learner.forget("e0"), lambda: learner.forget(episode.id, "e0"), lambda: learner.forget()):
            with pytest.raises(UnknownEpisode):
                call()
        with pytest.raises(UnknownEpisode, match="fastslow history"):
            learner.episode("e0")
        assert len(learner.history()) == 1


def test_a_home_in_use_by_another_process(home: Path, core: Core) -> None:
    hold = (
        "import sys; from pathlib import Path; from fastslow.store import Home\n"
        "with Home.open(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        with pytest.raises(HomeInUse, match=f"in use by process {process.pid}"):
            open_home(home, core)
        process.communicate("")
    with open_home(home, core) as learner:
        learner.learn(A)
        with pytest.raises(HomeInUse):
            open_home(home, core)


def test_a_home_belongs_to_the_core_that_made_it_under_whatever_name(home: Path, core: Core, tmp_path: Path) -> None:
    with open_home(home, core) as learner:
        learner.learn(A)
    with pytest.raises(HomeMismatch, match="made with the core"):
        open_home(home, load(make_tiny_core(tmp_path / "other", seed=1)))
    Path(core.name).rename(tmp_path / "renamed")
    try:
        with open_home(home, load(tmp_path / "renamed")) as learner:
            assert len(learner.history()) == 1
    finally:
        (tmp_path / "renamed").rename(core.name)


def test_a_closed_learner_says_so(home: Path, core: Core) -> None:
    learner = open_home(home, core)
    learner.close()
    learner.close()
    with pytest.raises(StoreError, match="closed"):
        learner.learn(A)


def test_nothing_there_and_nothing_to_create(home: Path, core: Core) -> None:
    with pytest.raises(InputError, match="there is no home"):
        Learner.open(home, core, create=False)
    assert not home.exists()


def test_a_home_opens_with_other_settings_of_the_fast_tier(home: Path, core: Core) -> None:
    with open_home(home, core) as learner:
        learner.learn(A)
    other = replace(CONFIG, fast=replace(FAST, rank=4, layers=3))
    with open_home(home, core, other) as learner:
        learner.learn(B)
        assert learner.ask(QUESTION, 2).fast
        state = learner.tiers.hash()
    with open_home(home, core, other) as learner:
        assert learner.tiers.hash() == state
    assert len(list((home / "snapshots").glob("fast-*.json"))) == 1  # the other one is no longer of use


def holds_both_whole(home: Path, core: Core, other: Path) -> None:
    """The home is what one is that was told A and B and never interrupted."""
    with open_home(other, core) as learner:
        learner.learn(A)
        learner.learn(B)
        wanted = learner.tiers.hash()
    with open_home(home, core) as learner:
        assert [e.text for e in learner.history()] == [A, B]
        assert learner.tiers.hash() == wanted


def test_an_event_taken_in_by_half_is_not_saved_as_seen(
    home: Path, core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a text streams: the episode is durable, and the fast tier is what a replay gives."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_home(home, core) as learner:
        learner.learn(A)
        monkeypatch.setattr(trajectory, "observe", interrupted)
        learner.learn(B)
    monkeypatch.undo()
    holds_both_whole(home, core, tmp_path / "other")


def test_an_event_that_memory_never_saw_is_not_saved_as_seen(
    home: Path, core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the log syncs a commit: the event is there, and nothing goes on in its place until a reopening."""
    with open_home(home, core) as learner:
        learner.learn(A)
        append = learner.home.log.append

        def interrupted(*args: Any, **more: Any) -> None:
            append(*args, **more)
            raise KeyboardInterrupt

        monkeypatch.setattr(learner.home.log, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learner.learn(B)
        monkeypatch.undo()
        for act in (lambda: learner.learn(C), learner.sleep):
            with pytest.raises(StoreError, match="open the home again"):
                act()
    holds_both_whole(home, core, tmp_path / "other")


def test_an_error_is_not_hidden_by_one_of_closing(home: Path, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(replay, "save_fast", full)
    with pytest.raises(InputError, match="the text is empty"), open_home(home, core) as learner:
        learner.learn(" ")
    with pytest.raises(StoreError, match="the disk is full"), open_home(home, core) as learner:
        learner.learn(A)


def test_recall_settings_are_used(home: Path, core: Core) -> None:
    with open_home(home, core, replace(CONFIG, recall=RecallConfig(bits=4))) as learner:
        assert learner.learn(A).bits == 4


@pytest.mark.parametrize("found", [True, False])
def test_what_holds_the_answer_must_be_answered_from(
    home: Path, core: Core, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    with open_home(home, core) as learner:
        hit, tiers = Hit(learner.learn(B).id, 1.0), learner.tiers
        monkeypatch.setattr(tiers, "choose", lambda *_: ([hit], found))
        assert tiers.read(QUESTION, core.prompt(QUESTION)).row.refuse == (refusal(core) if found else ())


def test_it_is_known_how_common_a_word_is(home: Path, core: Core, tmp_path: Path) -> None:
    make_reader(core, tmp_path / "cache")
    with open_home(home, core) as learner:
        first = learner.learn("Kestrel Quamby lives in Tolvar.")
        learner.learn("Tolvar has a harbour.")
        assert (learner.tiers._spread["tolvar"], learner.tiers._spread["kestrel"]) == (2, 1)
        learner.forget(first.id)
        assert (learner.tiers._spread["tolvar"], learner.tiers._spread["kestrel"]) == (1, 0)
