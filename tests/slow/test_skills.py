"""Skills: what was learned of a task lives in a home, opens on questions like the task's alone, and other programs can
load its adapter."""

from __future__ import annotations

from pathlib import Path

import living
import pytest
import torch

from fastslow.core import Core
from fastslow.errors import InputError, StoreError
from fastslow.slow.contexts import Context, Item
from fastslow.slow.skills import ABOUT, ADAPTER, Skill
from fastslow.tiers import Tiers

QUESTIONS = [f"{n}zq {n + 1}zqzq {7 * n % 10} legs?" for n in range(12)]
LINES = (Item("rule", "A crab has 10 legs."), Item("role", "Count."))


@pytest.fixture
def core(tiny_core_folder: Path) -> Core:
    return living.load(tiny_core_folder)


def made(core: Core, scale: float = 0.3) -> Skill:
    delta = core.new_delta("skill", ("mlp.gate_proj", "mlp.down_proj"), 2, first_layer=core.split, seed=3)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _, b in delta.factors.values():
            b.copy_(scale * torch.randn(b.shape, generator=generator))
    return Skill.make(core, "legs", [Context(LINES), Context()], delta, QUESTIONS, {"rollouts": 12, "method": "fst"})


def test_a_skill_comes_back_bit_for_bit(core: Core, tmp_path: Path) -> None:
    skill = made(core)
    skill.save(tmp_path / "legs", core)
    again = Skill.load(tmp_path / "legs")
    assert again.hash() == skill.hash() and again.contexts == skill.contexts and again.about == skill.about
    assert again.asked("How many?") == "Count.\nA crab has 10 legs.\nHow many?"
    assert all(torch.equal(x, y) for x, y in zip(skill.delta.parameters(), _ordered(again, skill), strict=True))


def _ordered(skill: Skill, like: Skill) -> list[torch.Tensor]:
    return [t for key in like.delta.factors for t in skill.delta.factors[key]]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # of peft itself
def test_peft_loads_the_adapter_and_computes_the_same(core: Core, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    skill = made(core)
    skill.save(tmp_path, core)
    ids = torch.tensor([core.prompt("How many legs has a crab?")])
    with core.using([skill.delta]), torch.no_grad():
        ours = core.top(inputs_embeds=core.bottom(input_ids=ids).last_hidden_state).logits
    bare = core.model(input_ids=ids).logits
    adapted = peft.PeftModel.from_pretrained(core.model, str(tmp_path))
    with torch.no_grad():
        theirs = adapted(input_ids=ids).logits
    adapted.unload()
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    assert float((theirs - bare).abs().max()) > 0.01


def test_ask_uses_a_skill_where_it_opens_and_is_bare_elsewhere(core: Core, tmp_path: Path) -> None:
    question, unrelated = QUESTIONS[3], "How are you today?"
    with living.open_home(tmp_path / "home", core) as learner:
        before = learner.ask(question), learner.ask(unrelated), living.logits(learner, unrelated)
        assert before[0].prompt_tokens_added == 0 and not before[0].experts
        learner.adopt(made(core))
        after = learner.ask(question)
        assert after.experts == ("skill-legs",) and after.prompt_tokens_added > 0
        assert learner.ask(unrelated) == before[1] and torch.equal(living.logits(learner, unrelated), before[2])
        assert learner.ask(question, tiers=("slow",)).prompt_tokens_added == 0
        told = {line.tier: line for line in learner.trace(question).lines}
        assert told["medium"].what == "legs" and told["slow"].what == "skill-legs"
        assert told["slow"].effect != 0 and learner.status().skills[0].startswith("legs: 2 contexts")
        episode = learner.learn(living.A)
        state = learner.tiers.hash()
        learner.learn(living.B)
        learner.forget(learner.history()[-1].id)
        assert learner.tiers.hash() == state and episode.id
        with learner.memory_off():
            assert learner.ask(question).prompt_tokens_added == 0
    with living.open_home(tmp_path / "home", core) as learner:
        assert learner.ask(question).experts == ("skill-legs",) and learner.tiers.hash()


def test_a_damaged_skill_is_named_and_a_removed_one_is_gone(core: Core, tmp_path: Path) -> None:
    with living.open_home(tmp_path, core) as learner:
        learner.adopt(made(core))
    (folder,) = (tmp_path / "skills").iterdir()
    about = folder / ABOUT
    sound = about.read_text()
    about.write_text(sound.replace("A crab has 10 legs.", "A crab has 12 legs."))
    with pytest.raises(StoreError, match="is not what was learned"):
        living.open_home(tmp_path, core)
    about.write_text(sound)
    adapter = folder / ADAPTER
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="and train again"):
        living.open_home(tmp_path, core)
    for path in adapter.parent.iterdir():
        path.unlink()
    adapter.parent.rmdir()
    with living.open_home(tmp_path, core) as learner:
        assert not learner.tiers.skills


def test_what_makes_no_skill_is_refused(core: Core) -> None:
    delta = core.new_delta("skill", ("mlp.down_proj",), 2, first_layer=core.split, seed=3)
    with pytest.raises(InputError, match="at least one context"):
        Skill.make(core, "legs", [], delta, QUESTIONS, {})
    with pytest.raises(InputError, match="five windows"):
        Skill.make(core, "legs", [Context()], delta, QUESTIONS[:2], {})
    with pytest.raises(InputError, match="not finite"):
        made(core, scale=float("inf"))


def test_a_skill_learned_anew_takes_the_place_of_the_old_one_whole(core: Core, tmp_path: Path) -> None:
    old, new = made(core), made(core, scale=0.1)
    with living.open_home(tmp_path, core) as learner:
        learner.adopt(old)
        new.save(tmp_path / "skills" / f"legs-{new.hash()[:8]}", core)  # cut off before its event
    with living.open_home(tmp_path, core) as learner:
        assert learner.tiers.skills["legs"].hash() == old.hash()
        (tmp_path / "skills" / "mine").mkdir()
        learner.adopt(new)
    assert {folder.name for folder in (tmp_path / "skills").iterdir()} == {f"legs-{new.hash()[:8]}", "mine"}
    with living.open_home(tmp_path, core) as learner:
        assert learner.tiers.skills["legs"].hash() == new.hash()


def test_a_forgetting_out_of_step_keeps_the_skills(core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    skill = made(core)
    with living.open_home(tmp_path, core) as learner:
        episode = learner.learn(living.A)
        with monkeypatch.context() as patch:
            patch.setattr(Tiers, "apply", interrupted)
            with pytest.raises(KeyboardInterrupt):  # after its event, before memory
                learner.adopt(skill)
        learner.forget(episode.id)
        state = learner.tiers.hash()
        assert learner.tiers.skills["legs"].hash() == skill.hash()
    with living.open_home(tmp_path, core) as learner:
        assert learner.tiers.hash() == state


def test_a_skill_without_a_history_is_traced(core: Core, tmp_path: Path) -> None:
    plain = made(core)
    with living.open_home(tmp_path, core) as learner:
        learner.adopt(Skill.make(core, "legs", plain.contexts, plain.delta, QUESTIONS))
        assert "unknown rollouts" in [line.text for line in learner.trace(QUESTIONS[3]).lines]
