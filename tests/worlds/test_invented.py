"""The invented world: exact, repeatable, disjoint between splits, and answerable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastslow.worlds.heard import RETOLD
from fastslow.worlds.invented import ENTITY, MUTUAL, PROBE_KINDS, Probe, ProbeKind, World, relations_of, retold, say
from fastslow.worlds.names import (
    _PLAIN,
    FIRM_WORDS,
    ONSETS,
    PRODUCT_WORDS,
    SPLITS,
    VOWELS,
    Namer,
    Split,
    plain_values,
)
from fastslow.worlds.relations import RELATIONS
from fastslow.worlds.scoring import contains, is_correct, is_false_memory
from fastslow.worlds.templates import PADDING, stock

TOLD = ("teach", "direct", "paraphrase", "change", "correct", "retract")
SHARED_FRAMES = {name: {split: stock(name, split) for split in SPLITS} for name in TOLD} | {"padding": PADDING}


def all_probes(world: World) -> list[Probe]:
    return [probe for kind in PROBE_KINDS for probe in world.probes(kind)]


def names_in(world: World) -> set[str]:
    """Every invented name: subjects, strangers, and values that are names."""
    values = {e.fact.value for e in world.events if e.fact.value_kind in (*ENTITY.values(), "river")}
    return {e.fact.subject for e in world.events} | {name for _, name in world.strangers} | values


def abstract(wording: str) -> str:
    """A wording with its slots and its letter case taken out."""
    return re.sub(r"\{\w+\}", "_", wording).casefold().strip()


@pytest.mark.parametrize("split", SPLITS)
def test_same_arguments_give_the_same_world_and_others_do_not(split: Split) -> None:
    first, second = World.make(4, 60, split), World.make(4, 60, split)
    assert first == second
    assert all_probes(first) == all_probes(second)
    assert first.paragraphs() == second.paragraphs()
    assert World.make(5, 60, split).events != first.events


def test_a_world_does_not_depend_on_the_hash_seed() -> None:
    command = [sys.executable, "-m", "fastslow.worlds.invented", "--seed", "2", "--facts", "40", "--probes", "99"]
    outputs = {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": s}, capture_output=True, check=True).stdout
        for s in ("1", "2")
    }
    assert len(outputs) == 1
    assert b"never_taught" in outputs.pop()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("facts", [1, 2, 5, 33, 200, 1000])
def test_the_number_of_facts_and_events_is_exact(split: Split, facts: int) -> None:
    world = World.make(1, facts, split)
    assert len(world.facts) == facts
    assert len({(f.subject, f.relation) for f in world.facts}) == len({f.id for f in world.facts}) == facts
    assert [e.fact for e in world.events if e.kind == "teach"] == world.facts
    counts = Counter(e.kind for e in world.events)
    assert (counts["update"], counts["restate"], counts["retract"]) == tuple(
        round(facts * share) for share in (0.1, 0.1, 0.03)
    )


def test_impossible_arguments_are_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="at least 1 fact"):
        World.make(1, 0, "train")
    with pytest.raises(ValueError, match="no split"):
        World.make(1, 5, "exam")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sum to at most 1"):
        World.make(1, 5, "train", updates=0.9, restates=0.2)
    with pytest.raises(ValueError, match="no probe kind"):
        World.make(1, 5, "train").probes("riddle")  # type: ignore[arg-type]


@pytest.mark.parametrize("split", SPLITS)
def test_names_are_unique_and_no_name_hides_in_another(split: Split) -> None:
    world = World.make(6, 400, split)
    kinds = {(f.kind, f.subject) for f in world.facts} | set(world.strangers)
    assert len({name for _, name in kinds}) == len(kinds)
    names = sorted(names_in(world))
    assert not [(a, b) for a in names for b in names if a != b and contains(b, a)]
    namer = Namer(Random(6), split)
    assert len({namer.name("city") for _ in range(2000)}) == 2000


def test_splits_share_no_name_word_over_several_seeds() -> None:
    words: dict[Split, set[str]] = {
        split: {
            word for seed in range(5) for name in names_in(World.make(seed, 600, split)) for word in name.split()
        } - {"the"}
        for split in SPLITS
    }  # fmt: skip
    assert all(len(found) > 400 for found in words.values())
    for one, other in combinations(SPLITS, 2):
        assert not words[one] & words[other]


def test_splits_share_no_onset_plain_value_or_wording() -> None:
    for one, other in combinations(SPLITS, 2):
        assert not set(ONSETS[one]) & set(ONSETS[other])
        assert not set(FIRM_WORDS[one]) & set(FIRM_WORDS[other])
        assert not set(PRODUCT_WORDS[one]) & set(PRODUCT_WORDS[other])
        for pool in _PLAIN:
            assert not set(plain_values(pool, one)) & set(plain_values(pool, other))
            assert len(plain_values(pool, one)) >= 5
        for frames in SHARED_FRAMES.values():
            assert not set(map(abstract, frames[one])) & set(map(abstract, frames[other]))
    for told in RETOLD:
        own = set(map(abstract, retold(told, "train", ["{s} is {v}."])))
        assert len(own) == len(RETOLD[told]) and not retold(told, "tune", ["{s} is {v}."])
        assert not own & {abstract(frame) for split in SPLITS for frame in stock(told, split)}
    assert not any(letter in onset for onsets in ONSETS.values() for onset in onsets for letter in VOWELS)


@pytest.mark.parametrize("name", RELATIONS)
def test_wordings_of_a_relation_are_disjoint_and_enough(name: str) -> None:
    spec, seen = RELATIONS[name], {}
    for split, words in spec.wordings.items():
        teach, direct, paraphrase = (getattr(words, told) + stock(told, split) for told in TOLD[:3])
        assert (len(teach) >= 4, len(direct) >= 3, len(paraphrase) >= 4, len(words.reverse) >= 2) == (True,) * 4
        wordings = [*teach, *direct, *paraphrase, *words.reverse, *spec.update.get(split, ())]
        for wording in wordings:
            assert abstract(wording) not in seen, f"{wording!r} occurs in {split} and {seen[abstract(wording)]}"
        seen |= {abstract(wording): split for wording in wordings}
        assert all("{s}" in text for text in (*teach, *direct, *paraphrase))
        assert all("{s}" not in text and ("{v}" in text or "{av}" in text) for text in words.reverse)


def test_no_wording_of_one_relation_stands_in_another_split_under_another_relation() -> None:
    seen: dict[str, Split] = {}
    for spec in RELATIONS.values():
        for split, words in spec.wordings.items():
            for wording in (
                *words.teach,
                *words.direct,
                *words.paraphrase,
                *words.reverse,
                *spec.update.get(split, ()),
            ):
                assert seen.setdefault(abstract(wording), split) == split, wording


def test_relations_are_held_out() -> None:
    train, tune, test = (set(relations_of(split)) for split in SPLITS)
    assert tune == test
    assert min(len(train), len(test)) >= 24
    assert 0.35 <= len(test - train) / len(test) <= 0.45
    assert len(train & test) / len(train) <= 0.65
    assert set(relations_of("test", "own")) == test - train
    assert set(relations_of("test", "shared")) == test & train
    held_out = World.make(1, 30, "test", relations="own")
    assert {f.relation for f in held_out.facts} <= test - train


@pytest.mark.parametrize("split", SPLITS)
def test_values_collide_and_every_probe_kind_occurs(split: Split) -> None:
    world = World.make(8, 300, split)
    holders: dict[tuple[str, str], int] = Counter((f.relation, f.value) for f in world.facts)
    assert sum(count > 1 for count in holders.values()) >= 30
    for kind in PROBE_KINDS:
        assert world.probes(kind), kind
    assert len(world.paragraphs()) >= 30


def test_updates_use_new_values_and_come_after_the_teaching() -> None:
    world = World.make(9, 300, "test")
    state: dict[str, str] = {}
    for event in world.events:
        if event.kind == "teach":
            assert event.fact.id not in state
        else:
            assert state[event.fact.id] == (event.old or event.fact.value)
        if event.kind == "update":
            assert event.fact.value not in (event.old, event.fact.subject)
        state[event.fact.id] = event.fact.value
    texts = {e.fact.id: e.text for e in world.events if e.kind == "teach"}
    assert all(e.text != texts[e.fact.id] for e in world.events if e.kind == "restate")
    for probe in world.probes("updated"):
        (fact_id,) = probe.facts
        old = world.old_value(fact_id)
        assert old is not None and old != probe.answer == world.final[fact_id].value
        assert old in world.taught_values(probe.value_kind)
    for probe in world.probes("retracted"):
        assert probe.facts[0] not in world.final
        assert world.old_value(probe.facts[0]) in world.taught_values(probe.value_kind)


def test_two_hop_hides_the_middle_and_reverse_is_unambiguous() -> None:
    world = World.make(10, 200, "test")
    for probe in world.probes("two_hop"):
        first, second = (world.final[i] for i in probe.facts)
        assert first.value == second.subject and second.value == probe.answer
        assert contains(probe.question, first.subject) and not contains(probe.question, first.value)
    chains = {tuple(world.final[i].relation for i in p.facts) for p in world.probes("two_hop")}
    assert {("founder", "occupation"), ("employer", "headquarters"), ("maker", "founding_year")} <= chains
    subjects: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for event in world.events:
        subjects[event.fact.kind, event.fact.relation, event.fact.value].add(event.fact.subject)
    for probe in world.probes("reverse"):
        fact = world.final[probe.facts[0]]
        assert subjects[fact.kind, fact.relation, fact.value] == {probe.answer}


def test_unknown_things_are_really_unknown() -> None:
    world = World.make(12, 200, "test")
    kinds: tuple[ProbeKind, ...] = ("direct", "paraphrase", "updated", "retracted")
    answerable = {probe.question for kind in kinds for probe in world.probes(kind, per_fact=99)}
    taught, strangers = {fact.subject for fact in world.facts}, {name for _, name in world.strangers}
    assert not (taught | world.taught_values("city") | world.taught_values("person")) & strangers
    for probe in world.probes("neighbour"):
        assert probe.question not in answerable
        assert any(contains(probe.question, name) for name in taught)
    for probe in world.probes("never_taught"):
        assert any(contains(probe.question, name) for name in strangers)
        assert not any(contains(probe.question, name) for name in taught)


def test_a_relation_turned_round_is_not_told() -> None:
    """Nobody said what is asked of the value of a fact between two of a kind, nor whose value its subject is."""
    world = World.make(12, 300, "train")
    kinds: tuple[ProbeKind, ...] = ("direct", "paraphrase", "reverse", "updated", "retracted")
    answerable = {probe.question for kind in kinds for probe in world.probes(kind, per_fact=99)}
    between = [f for f in world.facts if f.value_kind == ENTITY[f.kind]]
    assert set(relations_of("train")) >= MUTUAL
    assert between and len(world.probes("turned")) > len(between) / 2
    for probe in world.probes("turned", per_fact=9):
        assert probe.answer is None and probe.question not in answerable
        assert any(contains(probe.question, name) for f in between for name in (f.subject, f.value))


def test_more_wordings_per_fact_on_request() -> None:
    world = World.make(11, 20, "train")
    asked = Counter(probe.facts for probe in world.probes("paraphrase", per_fact=3))
    assert set(asked.values()) == {3}
    assert len({p.question for p in world.probes("paraphrase", per_fact=3)}) == sum(asked.values())


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), facts=st.integers(1, 40), split=st.sampled_from(SPLITS))
@example(seed=269402, facts=21, split="train")
def test_small_worlds_are_sound(seed: int, facts: int, split: Split) -> None:
    world = World.make(seed, facts, split, updates=0.2, retracts=0.1)
    texts = [e.text for e in world.events] + [p.text for p in world.paragraphs()]
    questions = [p.question for p in all_probes(world)]
    assert not any(re.search(r"[{}]|  |\ba [aeiou]", text) for text in texts + questions)
    assert all(text[0] == text[0].upper() and text.endswith((".", "?")) for text in texts + questions)
    for event in world.events:
        assert contains(event.text, event.fact.value) and contains(event.text, event.fact.subject)
    for probe in all_probes(world):
        taught = world.taught_values(probe.value_kind)
        if probe.answer is None:
            assert not is_false_memory("I do not know.", probe, taught)
            assert not is_false_memory(probe.question, probe, taught)
        else:
            assert probe.answer in taught
            assert is_correct(f"It is {probe.answer}.", probe, taught)
            assert not contains(probe.question, probe.answer)
            old = world.old_value(probe.facts[0]) if probe.kind == "updated" else None
            assert old is None or not is_correct(old, probe, taught)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), facts=st.integers(5, 60), split=st.sampled_from(SPLITS))
def test_paragraphs_hold_what_they_ask(seed: int, facts: int, split: Split) -> None:
    world = World.make(seed, facts, split)
    used: list[str] = []
    for paragraph in world.paragraphs():
        ids = list(dict.fromkeys(i for probe in paragraph.probes for i in probe.facts))
        used += ids
        assert 3 <= len(ids) <= 5
        assert 1 <= len({world.final[i].subject for i in ids}) <= 2
        assert 3 <= len(re.findall(r"\.(?= |$)", paragraph.text)) <= 6
        for probe in paragraph.probes:
            assert probe.answer is not None and contains(paragraph.text, probe.answer)
            assert contains(paragraph.text, world.final[probe.facts[0]].subject)
    assert len(used) == len(set(used))


@pytest.mark.parametrize("split", SPLITS)
def test_a_relation_is_asked_in_its_own_words_as_often_in_every_split(split: Split) -> None:
    """Train has a large stock of frames that serve all relations; they must not drown a relation's own wordings."""
    world = World.make(5, 150, split)
    facts = {fact.id: fact for fact in world.facts}

    def own(probe: Probe, kind: str) -> bool:
        fact = facts[probe.facts[0]]
        frames = getattr(world.relations[fact.relation].wordings[split], kind)
        return probe.question in {say(frame, fact.relation, split, fact.subject) for frame in frames}

    for kind, least in (("direct", 0.25), ("paraphrase", 0.4)):
        asked = world.probes(kind)  # type: ignore[arg-type]
        assert least <= sum(own(p, kind) for p in asked) / len(asked) <= least + 0.35
