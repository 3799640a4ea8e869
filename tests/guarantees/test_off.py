"""Off is off: with memory off, or with every gate shut, the logits are those of a bare core, bit for bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from living import CONFIG, FAST, QUESTION, A, B, load, logits, make_reader, open_home

from fastslow.core import Core
from fastslow.decode import Row, bare_logits, generate, memory_logits

UNRELATED = "Qxz vbn plk jhg?"


@pytest.fixture(scope="module")
def core(tiny_core_folders: Path) -> Core:
    return load(tiny_core_folders)


@pytest.fixture
def fresh(tiny_core_folders: Path) -> Core:
    return load(tiny_core_folders)


def test_a_learner_that_lived_answers_as_a_fresh_core_with_memory_off(
    core: Core, fresh: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path))
    make_reader(core, tmp_path)
    config = replace(CONFIG, fast=replace(FAST, related=0.9999))
    with open_home(tmp_path / "home", core, config) as learner:
        for text in (A, B):
            learner.learn(text)
        learner.ask(QUESTION, 3)
        learner.sleep()
        learner.chat([{"role": "user", "content": QUESTION}], max_tokens=3)
        assert len(learner.status().experts) >= 2
        prompts = [core.prompt(q) for q in (QUESTION, UNRELATED, A)]
        for prompt in prompts:
            with torch.no_grad():
                bare = fresh.model(input_ids=torch.tensor([prompt])).logits[0]
            assert torch.equal(bare_logits(learner.core, prompt), bare)
        with learner.memory_off():
            assert learner.ask(QUESTION, 8).text == fresh.decode(generate(fresh, [Row(prompts[0])], max_tokens=8)[0])
        # every gate shut: nothing is read, and the path through memory gives the same bits
        reading = learner.tiers.read(UNRELATED, prompts[1])
        assert (reading.row.pages, reading.deltas) == ((), ())
        assert torch.equal(memory_logits(core, reading.row, reading.deltas), bare_logits(fresh, prompts[1]))
        # and where something is related, it is not the bare core: the test can fail
        assert not torch.allclose(logits(learner), bare_logits(fresh, prompts[0]), atol=1e-3)
