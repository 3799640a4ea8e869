"""What a reader is trained on: the pairs of pages that a choice would hear, and the questions on them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastslow.core import Core
from fastslow.lessons import refusal
from fastslow.medium import corpus
from fastslow.medium.choice import DENIAL, names_in
from fastslow.medium.pages import Standard
from fastslow.medium.router import WORD, RouterWeights
from fastslow.medium.train_reader import PAIRED, PAIRS, STATEMENTS, ReaderRecipe, _Course, _Drawer, _Pairs


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def streams(core: Core) -> list[corpus.Stream]:
    return corpus.streams(core, Standard.of(core), [1], 60, PAIRED)


@pytest.fixture(scope="module")
def stream(streams: list[corpus.Stream]) -> corpus.Stream:
    return streams[0]


@pytest.fixture(scope="module")
def pairs(core: Core, stream: corpus.Stream) -> _Pairs:
    return _Pairs.of(core, _Course.of(stream, RouterWeights.untrained(core.width)))


def changed(stream: corpus.Stream) -> dict[int, set[int]]:
    """The earlier versions of each record that changes or withdraws another."""
    return {a.records[0]: {*a.records[1:]} for a in stream.asks if a.probe.kind in ("updated", "retracted")}


def test_a_pair_answers_what_its_pages_say_and_nothing_else(pairs: _Pairs, stream: corpus.Stream) -> None:
    held = [(pages, n, known) for pages, asked in pairs.heard.items() for n, known in asked.items()]
    assert len(held) > 100
    for pages, n, known in held:
        assert len(pages) == 2 and pages[0] < pages[1]
        records, kind = stream.asks[n].records, stream.asks[n].probe.kind
        decides = {"updated": records[:1], "retracted": ()}.get(kind, records)
        assert known == (bool(decides) and {*decides} <= {*pages})
    answered = {stream.asks[n].probe.kind for _, n, known in held if known}
    assert answered == {"direct", "paraphrase", "reverse", "two_hop", "updated"}
    assert {"neighbour", "two_hop", "retracted"} <= {stream.asks[n].probe.kind for _, n, known in held if not known}


def test_every_kind_of_pair_is_drawn_from(pairs: _Pairs, stream: corpus.Stream) -> None:
    assert pairs.kinds.keys() == PAIRS.keys() and sum(PAIRS.values()) == pytest.approx(1)
    for kind, pool in pairs.kinds.items():
        assert pool and {*pool} <= pairs.heard.keys()
        for pages in pool:
            kinds = {(stream.asks[n].probe.kind, known) for n, known in pairs.heard[pages].items()}
            wanted = {
                "direct": {("direct", True), ("paraphrase", True)},
                "later": {(k, True) for k in ("direct", "paraphrase", "reverse", "updated")},
            }.get(kind, {(kind, kind in ("two_hop", "updated"))})
            assert kinds & wanted


def test_two_hops_are_answered_by_both_pages(pairs: _Pairs, stream: corpus.Stream) -> None:
    earlier = set().union(*changed(stream).values())
    hops = [(n, ask.records) for n, ask in enumerate(stream.asks) if ask.probe.kind == "two_hop"]
    assert hops
    for n, records in hops:
        if not earlier & {*records}:
            assert pairs.heard[tuple(sorted(records))][n]


def test_a_change_decides_beside_what_it_changes_and_is_asked_about(pairs: _Pairs, stream: corpus.Stream) -> None:
    old = changed(stream)
    assert old
    for late, early in old.items():
        for n, ask in enumerate(stream.asks):
            if ask.probe.kind in ("updated", "retracted") and ask.records[0] == late:
                assert all(n in pairs.heard[tuple(sorted((late, record)))] for record in early)
    for pages, asked in pairs.heard.items():
        for n in asked:
            if stream.asks[n].probe.kind not in ("updated", "retracted"):
                assert not any({*pages} & old.get(record, set()) for record in stream.asks[n].records)


def test_of_what_was_told_later_withdrawals_come_first(core: Core, pairs: _Pairs, stream: corpus.Stream) -> None:
    denies = [bool({word.lower() for word in WORD.findall(text)} & DENIAL) for text in stream.texts]
    old, most = set().union(*changed(stream).values()), 0
    for n, ask in enumerate(stream.asks):
        if ask.probe.kind == "direct" and ask.records[0] not in old:
            named = [i for i in pairs.course.named(core, n) if i > ask.records[0]]
            heard = [i for i in named if n in pairs.heard.get((ask.records[0], i), ())]
            assert sum(denies[i] for i in heard) >= min(3, sum(denies[i] for i in named))
            most = max(most, sum(denies[i] for i in heard))
    assert most


def test_one_page_of_a_pair_has_every_name_in_the_question(core: Core, pairs: _Pairs, stream: corpus.Stream) -> None:
    for pages, asked in pairs.heard.items():
        for n in asked:
            if stream.asks[n].probe.kind in ("direct", "paraphrase", "neighbour"):
                names = names_in(core, stream.asks[n].probe.question)
                assert any(all(name in stream.texts[i] for name in names) for i in pages)


def test_a_pair_is_asked_what_it_answers_and_what_it_does_not(core: Core, streams: list[corpus.Stream]) -> None:
    recipe, router = ReaderRecipe(batch=5), RouterWeights.untrained(core.width)
    drawer = _Drawer(core, Standard.of(core), router, streams, PAIRED, recipe, 0)
    lessons = [lesson for step in range(12) for lesson in drawer.batch(step)]
    assert {len(lesson.pages) for lesson in lessons} == {2}
    sittings = Counter(id(lesson.pages) for lesson in lessons)
    assert max(sittings.values()) <= 6
    unknown = [lesson.answer[:-1] == refusal(core) for lesson in lessons]
    assert 40 < sum(unknown) < len(unknown) - 40


def test_the_other_adapters_hear_no_pairs(core: Core) -> None:
    recipe, router = ReaderRecipe(batch=2, alone=1.0), RouterWeights.untrained(core.width)
    streams = corpus.streams(core, Standard.of(core), [1], 60, STATEMENTS)
    drawer = _Drawer(core, Standard.of(core), router, streams, STATEMENTS, recipe, 0)
    assert {len(lesson.pages) for step in range(4) for lesson in drawer.batch(step)} == {1}


def test_one_page_is_heard_for_what_it_may_answer_and_several_for_what_they_match_best(stream: corpus.Stream) -> None:
    likely = [[*range(10)] for _ in stream.asks]
    course = replace(_Course.of(stream, RouterWeights.untrained(stream.states[0].shape[1])), likely=likely)

    def asked(*chosen: int) -> int:
        return sum(map(len, course.around(chosen)))

    assert asked(7) > asked(8) and asked(2, 7) > asked(3, 7)
