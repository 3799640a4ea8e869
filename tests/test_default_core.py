"""The default core with its shipped reader: what a user gets, at a size that a test can afford."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fastslow import Learner, cores
from fastslow.bench import texts
from fastslow.core import Core
from fastslow.decode import Row, generate
from fastslow.fast import trajectory
from fastslow.medium import reader as readers
from fastslow.medium.episodes import Hit
from fastslow.worlds import is_correct
from fastslow.worlds.invented import Probe, World

pytestmark = pytest.mark.core

FACTS, SEED = 12, 11
TOKENS = 1024  # of real text for the fast tier
MANUAL = Path(__file__).parent.parent / "docs" / "reading.md"


@pytest.fixture(scope="module")
def core(default_core_folder: Path) -> Core:
    return Core.load(cores.DEFAULT_CORE)


@pytest.fixture(scope="module")
def world() -> World:
    """The split that recipes are tuned on: the test split judges."""
    return World.make(SEED, facts=FACTS, split="tune", updates=0.0, restates=0.0, retracts=0.0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("default") / "home"


@pytest.fixture(scope="module")
def learner(core: Core, world: World, home: Path) -> Iterator[Learner]:
    with Learner.open(home, core) as learner:
        for event in world.events:
            learner.learn(event.text)
        yield learner


def direct(world: World) -> list[Probe]:
    return world.probes("direct")


@pytest.fixture(scope="module")
def answers(learner: Learner, world: World) -> list[str]:
    return [learner.ask(probe.question, 24).text for probe in direct(world)]


def test_a_cached_core_loads_in_under_five_seconds(default_core_folder: Path) -> None:
    begun = time.process_time()  # other processes do not count
    Core.load(cores.DEFAULT_CORE)
    assert time.process_time() - begun < 5


def test_facts_are_answered(core: Core, learner: Learner, world: World, answers: list[str]) -> None:
    if readers.find(core) is None:
        pytest.skip("no reader for this core is shipped yet: `fastslow model train-reader` makes one")
    probes = direct(world)
    assert len(probes) == FACTS
    right = [is_correct(a, p, world.taught_values(p.value_kind)) for a, p in zip(answers, probes, strict=True)]
    assert sum(right) / len(right) >= 0.8, list(zip(answers, probes, strict=True))


def test_the_bare_core_knows_none_of_it(learner: Learner, world: World) -> None:
    with learner.memory_off():
        said = [learner.ask(probe.question, 24).text for probe in direct(world)[:4]]
    assert not any(is_correct(a, p, ()) for a, p in zip(said, direct(world), strict=False))


def test_unrelated_questions_get_the_bare_cores_answers(core: Core, learner: Learner, answers: list[str]) -> None:
    for question in texts.chat()[:8]:
        answer = learner.ask(question, 16)
        assert (answer.hits, answer.experts, answer.fast) == ((), (), False), question
        bare = generate(core, [Row(core.prompt(question))], max_tokens=16)[0]
        assert answer.text == core.decode(bare)


def test_a_reopened_home_answers_the_same(core: Core, learner: Learner, world: World, answers: list[str]) -> None:
    learner.close()
    with Learner.open(learner.home.folder, core) as again:
        assert again.tiers.hash() == learner.tiers.hash()
        assert [again.ask(probe.question, 24).text for probe in direct(world)] == answers


@pytest.mark.parametrize(
    ("text", "middle"),
    [
        ("Kestrel Quamby lives in Tolvar.", {"Tolvar"}),
        ("Records give Tolvar as the home of Kestrel Quamby.", {"Tolvar"}),
        ("In London, Kestrel Quamby met Anna.", {"London", "Anna"}),
        ("Kestrel Quamby works for Tolvar Trust in London.", {"Tolvar"}),  # the rare name leads to no other trust
        ("Zyxwvut is the town of Kestrel Quamby. It was founded in 1721.", {"Zyxwvut", "1721"}),
        ("Kestrel Quamby is a cook.", set()),
    ],
)
def test_a_record_leads_on_over_the_names_that_the_question_lacks(
    core: Core, tmp_path: Path, text: str, middle: set[str]
) -> None:
    question = "Where does Kestrel Quamby live?"
    with Learner.open(tmp_path / "home", core) as learner:
        told = learner.learn(text).id
        assert learner.tiers.reader
        choice = learner.tiers.choice(question, learner.tiers.reader)
        assert choice.middle(Hit(told, 1.0)) == middle


def test_a_sleep_moves_facts_into_slow_weights(core: Core, tmp_path: Path) -> None:
    with Learner.open(tmp_path / "home", core) as learner:
        for text in ("Kestrel Marolin works as a glazier.", "The town of Ostrevan has 4,150 inhabitants."):
            learner.learn(text)
        report = learner.sleep()
        assert report.consolidated and not report.rolled_back, report
        for episode in report.consolidated:
            text = learner.tiers.told[episode].text
            opened = learner.tiers.read(text, core.prompt(text), ("slow",)).experts
            assert [expert.episodes for expert in opened] == [(episode,)]


def test_the_fast_tier_predicts_a_text_it_has_just_seen_better(core: Core) -> None:
    ids = core.encode(MANUAL.read_text(encoding="utf-8"))[:TOKENS]
    assert len(ids) == TOKENS
    config = trajectory.FastConfig()
    state, first, _ = trajectory.observe(core, config, trajectory.init_state(core, config), ids)
    _, second, _ = trajectory.observe(core, config, state, ids)
    off = trajectory.perplexity(core, ids)
    on, again = (float(nll.mean().exp()) for nll in (first, second))
    assert on < off and again < 0.9 * off, (off, on, again)


def test_its_own_halves_are_the_model_bit_for_bit(core: Core) -> None:
    ids = torch.tensor([core.prompt("When was the institute founded?")])
    with torch.no_grad():
        whole = core.model(input_ids=ids).logits
        assert torch.equal(core.top(inputs_embeds=core.bottom(input_ids=ids).last_hidden_state).logits, whole)
