"""Facts into an expert: learning, acceptance, gates that change nothing when shut, rollback, resumption, forgetting."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastslow import anchors
from fastslow.core import Core
from fastslow.decode import bare_logits
from fastslow.errors import InputError, StoreError
from fastslow.slow import (
    Bounds,
    Exchange,
    Expert,
    FactsConfig,
    Hooks,
    Outcome,
    Study,
    TrainingConfig,
    consolidate,
    consolidate_each,
)
from fastslow.slow.audit import recall
from fastslow.slow.experts import logits, open_experts
from fastslow.state import State

FREE = Bounds(kl=float("inf"), drift=float("inf"), older=1.0)
TRAINING = TrainingConfig(
    rank=8,
    targets=("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "self_attn.q_proj", "self_attn.v_proj"),
    lr=3e-3,
    epochs=80,
    batch_tokens=512,
    row_tokens=192,
    save_every=5,
    anchor_weight=0.0,
)
CONFIG = FactsConfig(training=TRAINING, group=2, above=0.34, rounds=1, accept=0.5, anchors=2, probes=2, bounds=FREE)


def study(episode: str, subject: str, value: str) -> Study:
    """One lesson that is its own check: a random core can learn a string, but not see through another wording. Without
    a raw text, so that half the steps do."""
    exchange = Exchange(f"When was {subject}?", value)
    return Study(episode, "", (exchange,), (exchange,))


A, B, C = study("a", "Tolvar", "7"), study("b", "Mira", "4"), study("c", "the harbour", "9")


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def outcome(core: Core) -> Outcome:
    return consolidate(core, [A, B], config=CONFIG, seed=1)


@pytest.fixture(scope="module")
def expert(outcome: Outcome) -> Expert:
    assert outcome.expert is not None
    return outcome.expert


def test_facts_are_recalled_with_no_page_and_not_without_the_expert(core: Core, expert: Expert) -> None:
    assert recall(core, [A, B], expert.delta) == [1.0, 1.0]
    assert recall(core, [A, B], None) == [0.0, 0.0]
    assert expert.episodes == ("a", "b")


def test_report_says_what_was_accepted_and_what_it_cost(outcome: Outcome, expert: Expert) -> None:
    report = outcome.report
    assert report is not None and outcome.state is None
    assert (report.accepted, report.rejected, report.rolled_back) == (("a", "b"), {}, "")
    assert report.kl > 0.01 and report.kl == report.kl_ungated and report.steps > 0
    assert expert.report["kl"] == report.kl


def test_what_is_not_recalled_does_not_advance(core: Core) -> None:
    lost = replace(B, checks=(Exchange("When was Mira?", "a thing never taught"),))
    outcome = consolidate(core, [A, lost], config=CONFIG, seed=1)
    assert outcome.report is not None and outcome.expert is not None
    assert outcome.report.accepted == ("a",) and list(outcome.report.rejected) == ["b"]
    assert outcome.expert.episodes == ("a",)


def test_a_shut_expert_leaves_the_bare_bits(core: Core, expert: Expert) -> None:
    prompt = core.prompt("When was Tolvar?")
    bare = bare_logits(core, prompt)
    assert torch.equal(logits(core, prompt, [expert]), bare)
    assert torch.equal(logits(core, prompt, [expert], matched=["z"]), bare)
    assert not torch.allclose(logits(core, prompt, [expert], matched=["a"]), bare)
    assert torch.equal(logits(core, prompt, [expert]), bare)


def test_only_experts_that_hold_a_match_open(core: Core, expert: Expert) -> None:
    other = Expert.make(expert.delta, None, ["z"])
    assert open_experts([expert, other], None, ["z"]) == [other]
    assert open_experts([expert, other]) == []


def test_the_router_decides_what_the_probes_see(core: Core) -> None:
    asked: list[str] = []

    def matched(text: str) -> list[str]:
        asked.append(text)
        return []

    outcome = consolidate(core, [A], config=replace(CONFIG, bounds=Bounds()), seed=1, matched=matched)
    assert outcome.report is not None
    assert outcome.report.kl == 0 and outcome.report.drift == 0 and outcome.report.false_open == 0
    assert outcome.report.kl_ungated > 0.01
    assert set(asked) <= {*anchors.chat(), *anchors.general()} and asked


def test_a_sleep_may_do_without_probes(core: Core) -> None:
    report = consolidate(core, [A], config=replace(CONFIG, probes=0), seed=1).report
    assert report is not None and report.kl == report.drift == report.false_open == 0


def test_saved_expert_is_the_one_that_was_used(core: Core, expert: Expert) -> None:
    data = expert.state().to_bytes()
    again = Expert.from_state(State.from_bytes(data, layout="slow/expert", version=1))
    assert again.state().to_bytes() == data
    assert (again.episodes, again.report, again.delta.name) == (expert.episodes, expert.report, expert.delta.name)
    prompt = core.prompt("When was Tolvar?")
    assert torch.equal(logits(core, prompt, [again], ["a"]), logits(core, prompt, [expert], ["a"]))


def test_a_damaged_expert_is_refused(expert: Expert) -> None:
    state = expert.state()
    with pytest.raises(StoreError, match="rebuild"):
        Expert.from_state(replace(state, tensors={k: t for k, t in state.tensors.items() if not k.endswith("A")}))
    with pytest.raises(StoreError, match="no expert"):
        Expert.from_state(State("gate", 1))


def test_factors_that_are_not_finite_are_refused(expert: Expert) -> None:
    delta = replace(expert.delta, factors={k: (a * float("nan"), b) for k, (a, b) in expert.delta.factors.items()})
    with pytest.raises(InputError, match="not finite"):
        Expert.make(delta, None, [])


def test_a_diverging_sleep_is_rolled_back(core: Core, expert: Expert) -> None:
    wild = replace(CONFIG, training=replace(TRAINING, lr=1e30))
    outcome = consolidate(core, [C], [A, B], wild, seed=1, previous=expert)
    assert outcome.expert is expert
    assert outcome.report is not None and outcome.report.rolled_back and outcome.report.accepted == ()


@pytest.mark.parametrize("bounds", [replace(FREE, kl=0.0), replace(FREE, drift=-1.0), replace(FREE, older=-1.0)])
def test_a_broken_bound_rolls_back(core: Core, expert: Expert, bounds: Bounds) -> None:
    short = replace(CONFIG, training=replace(TRAINING, epochs=2), bounds=bounds)
    before = expert.state().hash()
    outcome = consolidate(core, [C], [A, B], short, seed=1, previous=expert)
    assert outcome.report is not None and outcome.report.rolled_back
    assert outcome.report.accepted == () and list(outcome.report.rejected) == ["c"]
    assert outcome.expert is expert and expert.state().hash() == before


def test_older_episodes_are_replayed_and_kept(core: Core, expert: Expert) -> None:
    outcome = consolidate(core, [C], [A, B], replace(CONFIG, accept=0.0), seed=1, previous=expert)
    assert outcome.expert is not None and outcome.report is not None
    assert outcome.expert.episodes == ("a", "b", "c")
    assert recall(core, [A, B], outcome.expert.delta) == [1.0, 1.0]
    assert outcome.report.older_before == outcome.report.older_after == 1.0
    assert outcome.expert.state().hash() != expert.state().hash()


@pytest.mark.parametrize("cut", [3, 17])
def test_interrupted_and_resumed_gives_the_same_bits(core: Core, outcome: Outcome, cut: int) -> None:
    calls = iter(range(10_000))
    part = consolidate(core, [A, B], config=CONFIG, seed=1, hooks=Hooks(stop=lambda: next(calls) == cut))
    assert part.report is None and part.state is not None and part.state.numbers["step"] == cut
    saved = State.from_bytes(part.state.to_bytes(), layout="slow/consolidation", version=1)
    whole = consolidate(core, [A, B], config=CONFIG, seed=1, resume=saved)
    assert whole.expert is not None and outcome.expert is not None
    assert whole.expert.state().hash() == outcome.expert.state().hash()


def test_resumed_in_a_later_round_gives_the_same_bits(core: Core) -> None:
    lost = replace(B, checks=(Exchange("When was Mira?", "a thing never taught"),))
    config = replace(CONFIG, training=replace(TRAINING, epochs=8), rounds=2)
    offered: list[State] = []
    whole = consolidate(core, [A, lost], config=config, seed=1, hooks=Hooks(save=offered.append))
    late = [s for s in offered if s.numbers["round"] == 1]
    assert late and late[0].numbers["from_step"] > 0
    again = consolidate(core, [A, lost], config=config, seed=1, resume=late[0])
    assert again.report == whole.report
    if whole.expert is not None:
        assert again.expert is not None and again.expert.state().hash() == whole.expert.state().hash()


def test_a_state_of_another_sleep_is_refused(core: Core) -> None:
    part = consolidate(core, [A, B], config=CONFIG, seed=1, hooks=Hooks(stop=lambda: True))
    with pytest.raises(InputError, match="other episodes"):
        consolidate(core, [A, C], config=CONFIG, seed=1, resume=part.state)


def test_a_sleep_is_a_function_of_its_episodes_alone(core: Core) -> None:
    """Forgetting replays the sleep without the episode: nothing of a sleep with it may linger anywhere."""
    free = replace(CONFIG, accept=0.0, training=replace(TRAINING, epochs=5))
    first, other, again = (consolidate(core, part, config=free, seed=1).expert for part in ([A, B], [A, C, B], [A, B]))
    assert first is not None and other is not None and again is not None
    assert again.state().to_bytes() == first.state().to_bytes()
    assert other.state().hash() != first.state().hash()


def test_with_an_expert_for_each_episode_forgetting_one_changes_no_bit_of_the_others(core: Core) -> None:
    alone = replace(CONFIG, group=1, accept=0.0, training=replace(TRAINING, epochs=5))
    every = [o.expert for o in consolidate_each(core, [A, B, C], alone, seed=1)]
    less = [o.expert for o in consolidate_each(core, [A, C], alone, seed=1)]
    assert [e.episodes for e in every if e] == [("a",), ("b",), ("c",)]
    assert [e.state().to_bytes() for e in less if e] == [e.state().to_bytes() for e in (every[0], every[2]) if e]


def test_an_interrupted_row_of_experts_ends_with_its_state(core: Core) -> None:
    alone = replace(CONFIG, group=1, accept=0.0, training=replace(TRAINING, epochs=5))
    calls = iter(range(10_000))
    outcomes = list(consolidate_each(core, [A, B, C], alone, seed=1, hooks=Hooks(stop=lambda: next(calls) == 7)))
    assert [o.state is None for o in outcomes] == [True, False]
    again = consolidate(core, [B], config=alone, seed=1, resume=outcomes[1].state)
    whole = consolidate(core, [B], config=alone, seed=1)
    assert again.expert is not None and whole.expert is not None
    assert again.expert.state().to_bytes() == whole.expert.state().to_bytes()


def test_impossible_requests_are_refused(core: Core, expert: Expert) -> None:
    with pytest.raises(InputError, match="nothing to consolidate"):
        consolidate(core, [])
    with pytest.raises(InputError, match="older studies"):
        consolidate(core, [C], [A], CONFIG, previous=expert)
