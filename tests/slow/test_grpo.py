"""trl's trainer takes the slow steps: a problem's rollouts are one group over all contexts, whatever the processes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fastslow.errors import InputError
from fastslow.slow.contexts import Context, Item
from fastslow.slow.evolver import ItemEvolver
from fastslow.slow.fast_slow import FSTConfig
from fastslow.slow.grpo import FastPhase, assigned, grpo_trainer
from fastslow.worlds.tasks import Problem, Verdict


@pytest.mark.parametrize("processes", (1, 2, 4))
def test_each_context_has_an_equal_run_of_every_group(processes: int) -> None:
    group, contexts, problems = 8, 4, 3
    share = problems * group // processes
    at = [rank * share + n for rank in range(processes) for n in range(share)]
    chosen = [assigned(position, group, contexts) for position in at]
    groups = [chosen[n * group : (n + 1) * group] for n in range(problems)]
    assert groups == [[0, 0, 1, 1, 2, 2, 3, 3]] * problems


def test_fewer_contexts_than_asked_for_are_all_used() -> None:
    assert Counter(assigned(n, 8, 3) for n in range(8)) == {0: 3, 1: 3, 2: 2}


@dataclass(frozen=True)
class Vowels:
    """More vowels are better, so that an untrained model has something to learn from; a longer context says so."""

    name: str = "vowels"

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        return Problem(f"vowels-{int(unseen)}-{index}", f"Sing {index}", "aeiou")

    def verify(self, problem: Problem, answer: str) -> Verdict:
        share = sum(c in "aeiou" for c in answer) / max(1, len(answer))
        return Verdict(min(1.0, share), f"Sing {problem.id} with vowels.", about=problem.id)


SEEDS = (Context(), Context((Item("rule", "Vowels alone."),)))
CONFIG = FSTConfig(cycle_steps=2, contexts=2, group=4, problems=2, passes=2.0, warm=1, rate=1e-2)


def made(core: Path, folder: Path, steps: int, **settings: Any) -> Any:
    pytest.importorskip("trl", reason="trl is not installed")
    tokenizer = AutoTokenizer.from_pretrained(core)
    model = AutoModelForCausalLM.from_pretrained(core, dtype=torch.float32)
    given = {"disable_tqdm": True, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1, **settings}
    return grpo_trainer(
        model, tokenizer, Vowels(), CONFIG, steps=steps, folder=folder, longest=6, population=SEEDS, **given
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # of trl
def test_a_training_evolves_contexts_moves_weights_and_goes_on(tiny_core_folder: Path, tmp_path: Path) -> None:
    trainer = made(tiny_core_folder, tmp_path / "run", 3)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    seen: list[tuple[list[str], list[int]]] = []
    real = trainer.rollout_func

    def watched(prompts: list[str], own: Any) -> dict[str, Any]:
        found: dict[str, Any] = real(prompts, own)
        seen.append((list(prompts), found["context"]))
        return found

    trainer.rollout_func = watched
    trainer.train()
    assert [Counter(prompts) for prompts, _ in seen] == [
        Counter({f"vowels-0-{n}": 4 for n in (2 * step, 2 * step + 1)}) for step in range(3)
    ]
    assert all(contexts == [0, 0, 1, 1] * 2 for _, contexts in seen)
    assert any(not torch.equal(p, old) for p, old in zip(trainer.model.parameters(), before, strict=True))
    fast = trainer.fast
    assert fast.spent["slow"] == 24 and fast.spent["fast"] > 2 * 2 * 4
    rewards = [each["reward"] for each in trainer.state.log_history if "reward" in each]
    assert len(rewards) == 3 and all(0 <= reward <= 1 for reward in rewards)

    again = made(tiny_core_folder, tmp_path / "run", 4)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert again.state.global_step == 4 and again.fast.spent["slow"] == 32
    assert [context.id for context in again.fast.contexts] == [context.id for context in fast.contexts]


def test_what_does_not_come_out_even_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="divides the group"):
        grpo_trainer(None, None, Vowels(), CONFIG, steps=1, folder=tmp_path, population=SEEDS * 2 + SEEDS[:1])
    with pytest.raises(InputError, match="come out even"):
        grpo_trainer(None, None, Vowels(), CONFIG, steps=1, folder=tmp_path, rows=3)
    monkeypatch.setenv("WORLD_SIZE", "16")  # more processes than rollouts of a step
    with pytest.raises(InputError, match="come out even"):
        grpo_trainer(None, None, Vowels(), CONFIG, steps=1, folder=tmp_path)
    with pytest.raises(InputError, match="FastSlowTrainer"):
        grpo_trainer(None, None, Vowels(), FSTConfig(learn=False), steps=1, folder=tmp_path)


@dataclass
class Rank:
    """As much of trl's trainer as a rollout needs, on one of two processes."""

    process_index: int
    num_processes: int = 2

    @property
    def accelerator(self) -> Rank:
        return self

    @property
    def processing_class(self) -> Rank:
        return self

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        return turns[0]["content"]

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"input_ids": text}

    def _generate_single_turn(self, read: list[str], *_: Any) -> tuple[list[list[int]], None]:
        return [[len(text)] for text in read], None


@pytest.mark.parametrize("rank", (0, 1))
def test_a_process_takes_its_own_part_of_a_group_under_the_contexts_of_that_part(rank: int) -> None:
    phase = FastPhase(Vowels(), CONFIG, ItemEvolver(100), SEEDS)
    trainer = Rank(rank)
    phase.join(trainer, [Vowels().problem(0)])
    found = phase.rollouts(["vowels-0-0"] * 2, trainer)  # half of the one group of four
    assert found["context"] == [rank, rank]
    assert found["prompt_ids"] == ["Sing 0" if rank == 0 else "Vowels alone.\nSing 0"] * 2
    assert found["completion_ids"] == [[len(text)] for text in found["prompt_ids"]] and phase.spent["slow"] == 4
