"""What a reader is trained on: the pairs of pages that a choice would hear, and the questions on them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastslow.core import Core
from fastslow.lessons import refusal
from fastslow.medium import corpus
from fastslow.medium.choice import names_in
from fastslow.medium.pages import Standard
from fastslow.medium.router import RouterWeights
from fastslow.medium.train_reader import STATEMENTS, ReaderRecipe, _Course, _Drawer, _Pairs


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def streams(core: Core) -> list[corpus.Stream]:
    return corpus.streams(core, Standard.of(core), [1], 60, STATEMENTS)


@pytest.fixture(scope="module")
def stream(streams: list[corpus.Stream]) -> corpus.Stream:
    return next(stream for stream in streams if stream.genre == "lines")


@pytest.fixture(scope="module")
def paired(core: Core, stream: corpus.Stream) -> _Pairs:
    return _Pairs.of(core, _Course.of(stream, RouterWeights.untrained(core.width)))


def test_a_pair_answers_what_both_of_its_pages_say_and_nothing_else(paired: _Pairs, stream: corpus.Stream) -> None:
    held = [(pages, n, known) for pages, asked in paired.heard.items() for n, known in asked.items()]
    assert len(held) > 100
    for pages, n, known in held:
        assert list(pages) == sorted(pages) and 1 <= len(pages) <= 2
        records = stream.asks[n].records
        assert known == (bool(records) and {*records} <= {*pages})
    assert {stream.asks[n].probe.kind for _, n, known in held if known} == {"direct", "paraphrase", "two_hop"}
    assert {"neighbour", "two_hop"} <= {stream.asks[n].probe.kind for _, n, known in held if not known}


def test_two_hops_are_answered_by_both_pages_and_not_by_the_first_alone(paired: _Pairs, stream: corpus.Stream) -> None:
    hops = [(n, ask.records) for n, ask in enumerate(stream.asks) if ask.probe.kind == "two_hop"]
    earlier = {
        record for ask in stream.asks if ask.probe.kind in ("updated", "retracted") for record in ask.records[1:]
    }
    assert hops
    for n, records in hops:
        if not earlier & {*records}:
            assert paired.heard[tuple(sorted(records))][n] is True
            assert paired.heard[records[:1]][n] is False
    answering = {tuple(sorted(records)) for _, records in hops}
    assert {*paired.hops} <= answering and not {*paired.others} & answering


def test_a_page_that_was_changed_later_is_not_heard_where_its_change_decides(
    paired: _Pairs, stream: corpus.Stream
) -> None:
    changed = {a.records[0]: {*a.records[1:]} for a in stream.asks if a.probe.kind in ("updated", "retracted")}
    assert changed
    for pages, asked in paired.heard.items():
        for n in asked:
            assert not any({*pages} & changed.get(record, set()) for record in stream.asks[n].records)


def test_one_page_of_a_pair_has_every_name_in_the_question(core: Core, paired: _Pairs, stream: corpus.Stream) -> None:
    for pages, asked in paired.heard.items():
        for n in asked:
            question = stream.asks[n].probe.question
            if stream.asks[n].probe.kind != "two_hop":
                assert any(all(name in stream.texts[i] for name in names_in(core, question)) for i in pages)


@pytest.mark.parametrize("grow", [0, 30])
def test_pairs_are_heard_once_the_sittings_have_grown(core: Core, streams: list[corpus.Stream], grow: int) -> None:
    recipe = ReaderRecipe(batch=3, pairs=2, hops=1.0, alone=1.0)
    router = RouterWeights.untrained(core.width)
    drawer = _Drawer(core, Standard.of(core), router, streams, STATEMENTS, recipe, grow)
    for step in (0, 9, 10, 29):
        seen = {id(lesson.pages): len(lesson.pages) for lesson in drawer.batch(step)}
        assert sorted(seen.values()) == ([1, 1, 1] if step < 10 and grow else [1, 2, 2])


def test_a_pair_is_asked_what_it_answers_and_what_it_does_not(core: Core, streams: list[corpus.Stream]) -> None:
    drawer = _Drawer(
        core, Standard.of(core), RouterWeights.untrained(core.width), streams, STATEMENTS, ReaderRecipe(), 0
    )
    unknown = refusal(core)
    answers = [lesson.answer[:-1] == unknown for _ in range(20) for lesson in drawer._pair(drawer.paired[0])]
    assert 20 < sum(answers) < len(answers) - 20
