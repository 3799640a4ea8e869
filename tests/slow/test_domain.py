"""A domain into an expert with a gate of its own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastslow import anchors
from fastslow.bench import texts
from fastslow.core import Core
from fastslow.decode import bare_logits
from fastslow.errors import InputError
from fastslow.slow import Bounds, DomainConfig, Expert, Hooks, Outcome, TrainingConfig, consolidate_domain
from fastslow.slow.audit import prompt_hidden
from fastslow.slow.experts import logits
from fastslow.state import State

TRAINING = TrainingConfig(rank=8, lr=1e-2, epochs=3, batch_tokens=512, row_tokens=128, anchor_weight=0.1, save_every=7)
CONFIG = DomainConfig(training=TRAINING, keep_every=8, anchors=2, probes=6)


def page(seed: int) -> str:
    """A page of an odd dialect: counting in words and signs, unlike any anchor."""
    generator = torch.Generator().manual_seed(seed)
    digits = torch.randint(0, 10, (120,), generator=generator).tolist()
    return " ".join(f"#{d}# ::= {'zq' * (d % 3 + 1)} |" for d in digits)


EPISODES = [(f"e{n}", page(n)) for n in range(4)]


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def outcome(core: Core) -> Outcome:
    return consolidate_domain(core, EPISODES, CONFIG, seed=1)


@pytest.fixture(scope="module")
def expert(outcome: Outcome) -> Expert:
    assert outcome.expert is not None and outcome.expert.gate is not None
    return outcome.expert


def test_unseen_text_of_the_domain_is_predicted_better(core: Core, expert: Expert, outcome: Outcome) -> None:
    ids = core.encode(page(99))[:200]
    target = torch.tensor(ids[1:])
    bare = torch.nn.functional.cross_entropy(bare_logits(core, ids)[:-1], target)
    read = torch.nn.functional.cross_entropy(logits(core, ids, [expert])[:-1], target)
    assert read < bare - 0.3
    assert outcome.report is not None and outcome.report.loss_after < outcome.report.loss_before - 0.3


def test_shut_on_every_anchor_and_on_held_out_text_to_the_bit(core: Core, expert: Expert) -> None:
    for question in [*anchors.chat(), *texts.chat()]:
        assert not expert.is_open(prompt_hidden(core, question)), question
    for passage in [*anchors.general(), *texts.general()]:
        assert not expert.is_open(core.hidden(passage)), passage
    prompt = core.prompt("What is the capital of France?")
    assert torch.equal(logits(core, prompt, [expert]), bare_logits(core, prompt))


def test_the_cost_with_the_gate_forced_open_is_reported(outcome: Outcome) -> None:
    report = outcome.report
    assert report is not None and report.rolled_back == "" and report.accepted == ("e0", "e1", "e2", "e3")
    assert report.kl == report.drift == report.false_open == 0
    assert report.kl_ungated > 0


def test_saved_expert_is_the_same(expert: Expert) -> None:
    data = expert.state().to_bytes()
    again = Expert.from_state(State.from_bytes(data, layout="slow/expert", version=1))
    assert again.gate is not None and again.state().to_bytes() == data


def test_interrupted_and_resumed_gives_the_same_bits(core: Core, outcome: Outcome) -> None:
    offered: list[State] = []
    calls = iter(range(10_000))
    hooks = Hooks(save=offered.append, stop=lambda: next(calls) == 9)
    part = consolidate_domain(core, EPISODES, CONFIG, seed=1, hooks=hooks)
    assert part.expert is None and part.state is not None and part.state.numbers["step"] == 9
    assert [s.numbers["step"] for s in offered] == [7]
    for state in (part.state, offered[0]):
        whole = consolidate_domain(core, EPISODES, CONFIG, seed=1, resume=state)
        assert whole.expert is not None and outcome.expert is not None
        assert whole.expert.state().to_bytes() == outcome.expert.state().to_bytes()
    with pytest.raises(InputError, match="other episodes"):
        consolidate_domain(core, EPISODES[1:], CONFIG, seed=1, resume=part.state)


def test_a_broken_bound_or_no_gain_rolls_back(core: Core) -> None:
    short = replace(CONFIG, training=replace(TRAINING, epochs=1))
    for config in (replace(short, bounds=Bounds(kl=-1.0)), replace(short, gain=100.0)):
        outcome = consolidate_domain(core, EPISODES, config, seed=1)
        assert outcome.expert is None and outcome.report is not None
        assert outcome.report.rolled_back and list(outcome.report.rejected) == ["e0", "e1", "e2", "e3"]


def test_a_diverging_sleep_is_rolled_back(core: Core) -> None:
    wild = replace(CONFIG, training=replace(TRAINING, lr=1e30))
    outcome = consolidate_domain(core, EPISODES, wild, seed=1)
    assert outcome.expert is None and outcome.report is not None and outcome.report.rolled_back


@pytest.mark.parametrize("text", ["One line.", " ".join(f"word{n}" for n in range(24))])
def test_too_little_text_is_rejected(core: Core, text: str) -> None:
    outcome = consolidate_domain(core, [("e", text)], CONFIG)
    assert outcome.expert is None and outcome.report is not None and outcome.report.steps == 0
    assert list(outcome.report.rejected) == ["e"] and "text" in outcome.report.rolled_back
