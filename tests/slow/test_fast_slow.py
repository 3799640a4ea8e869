"""Fast-slow training: what a context can say is said in a few cycles, what is cut off goes on bit for bit, and no
verifier breaks it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from fastslow.errors import InputError, StoreError
from fastslow.fast.frame import LayerConfig
from fastslow.models import speller
from fastslow.models.decoder import Decoder, DecoderConfig
from fastslow.models.policy import DecoderPolicy
from fastslow.slow.contexts import Context, Item
from fastslow.slow.evolver import ItemEvolver
from fastslow.slow.fast_slow import CHECKPOINT, FastSlowTrainer, FSTConfig
from fastslow.slow.rollouts import Answer, Kept, Rollout
from fastslow.slow.verifying import PATIENCE, Judge
from fastslow.worlds import ciphers
from fastslow.worlds.ciphers import DIGITS, Cipher
from fastslow.worlds.tasks import Problem, Stream, Task, Verdict

SHOWN = "{question}>{answer}"


class Reader:
    """A policy without weights that reads rows off its context and guesses the rest."""

    def sample(self, prompts: Sequence[Any], count: int, seed: int) -> list[list[Answer]]:
        random = Random(seed)
        return [[self._said(*prompt, random) for _ in range(count)] for prompt in prompts]

    def _said(self, lines: tuple[str, ...], question: str, random: Random) -> Answer:
        rows = {line[0]: line[2] for line in lines if line[1:2] == "="}
        text = "".join(rows.get(letter, random.choice(DIGITS)) for letter in question)
        return Answer(torch.zeros(1, dtype=torch.long), torch.zeros(1), text)

    def log_probs(self, prompts: Sequence[Any], answers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        raise AssertionError("nothing is learned here")

    def parameters(self) -> list[torch.nn.Parameter]:
        return [torch.nn.Parameter(torch.zeros(1))]

    def frozen(self) -> Reader:
        return self


def small(**changes: Any) -> FastSlowTrainer:
    torch.manual_seed(1)
    layer = LayerConfig(16, 2, 8, 8, chunk=16)
    policy = DecoderPolicy(Decoder(DecoderConfig(128, ("gated_delta_net",), layer, hidden=16)), longest=2)
    settings = {"cycle_steps": 3, "contexts": 2, "group": 4, "problems": 3, "passes": 2.0, "rate": 1e-2, **changes}
    evolver = ItemEvolver(ciphers.WIDTH, minibatch=3, shown=SHOWN)
    return FastSlowTrainer(policy, Guess(), FSTConfig(**settings), prompt=speller.prompt, evolver=evolver)


class Guess(Cipher):
    """Right is what begins with a character of a half of all, so that chance alone is rewarded now and then."""

    def __init__(self) -> None:
        super().__init__(3, 1)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(1.0) if answer[:1] < "@" else Verdict(0.0, f"{problem.question}=0", problem.question)


def evolving(task: Task) -> FastSlowTrainer:
    """Contexts alone, on a policy that has nothing to learn."""
    config = FSTConfig(learn=False)
    return FastSlowTrainer(
        Reader(),
        task,
        config,
        prompt=lambda lines, question: (lines, question),
        evolver=ItemEvolver(40, shown=SHOWN),
    )


def rows(seed: int) -> set[str]:
    return {f"{letter}={digit}" for letter, digit in ciphers.table(seed).items()}


def test_what_a_context_can_say_is_said_in_a_few_cycles() -> None:
    trainer = evolving(Cipher(5))
    reports = trainer.run(36)
    assert rows(5) <= set(trainer.contexts[0].lines())
    assert reports[-1].reward > 0.7  # of all four contexts; by chance 0.01
    assert reports[-1].slow_rollouts == 0 < reports[-1].fast_rollouts < 6 * 48 * (4 + 5)


def test_a_hidden_table_that_changes_is_learned_anew() -> None:
    trainer = evolving(Stream((Cipher(5), Cipher(6)), every=36 * 8))
    trainer.run(36)
    assert rows(5) <= set(trainer.contexts[0].lines())
    reports = trainer.run(84)
    told = set(trainer.contexts[0].lines())
    assert len(rows(6) & told) >= 7 and not (rows(5) - rows(6)) & told
    assert (
        min(report.reward for report in reports[36:]) > 0.4
    )  # a cycle looks ahead, so that no step is taken unprepared


def test_rewards_move_the_weights_and_the_anchor_stays() -> None:
    trainer = small(evolve=False, contexts=1, group=8, problems=6)
    base = [p.clone() for p in trainer.base.parameters()]
    reports = trainer.run(40)
    assert sum(r.reward for r in reports[-5:]) / 5 > 0.9 > 0.7 > reports[0].reward
    assert all(torch.equal(a, b) for a, b in zip(base, trainer.base.parameters(), strict=True))
    assert reports[-1].fast_rollouts == 0 and reports[-1].slow_rollouts == 40 * 48


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_training_that_was_cut_off_goes_on_bit_for_bit(tmp_path: Path, cut: int) -> None:
    whole = small()
    whole.run(6)
    small().run(cut, folder=tmp_path)
    again = small()
    again.run(6, folder=tmp_path)
    assert again.reports == whole.reports and again.contexts == whole.contexts
    assert all(torch.equal(a, b) for a, b in zip(again.parameters, whole.parameters, strict=True))


def test_what_was_spent_is_spent_once_whatever_breaks() -> None:
    """A step that fails after its fast phase is done again without another fast phase."""
    whole, broken = small(), small()
    whole.run(3)
    step, broken._step = broken._step, lambda: 1 / 0  # type: ignore[method-assign,assignment]
    with pytest.raises(ZeroDivisionError):
        broken.run(3)
    broken._step = step  # type: ignore[method-assign]
    broken.run(3)
    assert broken.reports == whole.reports


def test_rollouts_of_the_fast_phase_are_learned_from_once() -> None:
    both, fresh = small(), small(reuse=False)
    first, other = both.run(3)[-1], fresh.run(3)[-1]
    assert other.slow_rollouts == 3 * 3 * 4 and first.slow_rollouts <= 3 * 3 * (4 - 2)
    assert first.fast_rollouts == other.fast_rollouts
    problem = both.task.problem(0)
    rollout = Rollout(problem, ("a=1",), Answer(torch.tensor([7, 10]), torch.tensor([-0.1, -1e-7]), "a"), None)
    kept = Kept()
    kept.put([rollout] * 3)
    kept = Kept.from_list(json.loads(json.dumps(kept.to_list())), {problem.id: problem})
    assert not kept.claim(problem, ("a=2",), 9) and not kept.claim(both.task.problem(1), ("a=1",), 9)
    assert len(kept.claim(problem, ("a=1",), 2)) == 2
    (last,) = kept.claim(problem, ("a=1",), 2)
    assert torch.equal(last.answer.log_probs, rollout.answer.log_probs) and last.answer.text == "a"


def test_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    small().run(1, folder=tmp_path)
    with pytest.raises(InputError, match="other settings"):
        small(seed=1).run(2, folder=tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"broken")
    with pytest.raises(StoreError, match="not a saved state"):
        small().run(2, folder=tmp_path)


class Faulty(Guess):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        if answer[:1] < "0":
            raise ZeroDivisionError
        if answer[:1] > "z":
            return Verdict(float("nan"))
        return super().verify(problem, answer)


def test_a_verifier_that_fails_is_counted_and_skipped() -> None:
    trainer = small()
    trainer.judge = Judge(Faulty())
    reports = trainer.run(4)
    assert len(reports) == 4 and set(trainer.judge.failed) == {"raised ZeroDivisionError", "no score between 0 and 1"}


class Endless(Guess):
    def verify(self, problem: Problem, answer: str) -> Verdict:
        time.sleep(2)
        return Verdict(1.0)


def test_a_verifier_that_never_returns_ends_the_training_and_loses_nothing(tmp_path: Path) -> None:
    trainer = small()
    trainer.run(2, folder=tmp_path)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    trainer.judge = Judge(Endless(), seconds=0.01)
    with pytest.raises(InputError, match="did not return"):
        trainer.run(3, folder=tmp_path)
    assert trainer.judge.failed["never returned"] == PATIENCE and (tmp_path / CHECKPOINT).read_bytes() == kept


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"group": 6, "contexts": 4}, "multiple"),
        ({"problems": 0}, "at least 1"),
        ({"rate": 0.0}, "positive"),
        ({"evolve": False, "learn": False}, "nothing to train"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        FSTConfig(**settings)


def test_an_empty_population_is_refused() -> None:
    with pytest.raises(InputError, match="divides the group"):
        FastSlowTrainer(Reader(), Cipher(5), population=())
    three = [Context((Item("role", text),)) for text in "abc"]
    with pytest.raises(InputError, match="divides the group"):
        FastSlowTrainer(Reader(), Cipher(5), population=three)


@dataclass(frozen=True)
class Saying:
    """A verifier that says what it is given."""

    said: Any
    name: str = "saying"

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        return Problem(f"saying-{index}", "?", "!")

    def verify(self, problem: Problem, answer: str) -> Any:
        return self.said(answer) if callable(self.said) else self.said


@pytest.mark.parametrize("said", (None, 1.0, Verdict(None), Verdict("much"), Verdict(2.0), Verdict(float("nan"))))  # type: ignore[arg-type]
def test_what_is_no_score_is_counted(said: Any) -> None:
    judge = Judge(Saying(said))
    assert judge(judge.task.problem(0), "x") is None and judge.failed == {"no score between 0 and 1": 1}


def test_a_score_of_any_library_becomes_a_plain_one() -> None:
    judge = Judge(Saying(Verdict(torch.tensor(1.0), " on two\nlines ", 7)))  # type: ignore[arg-type]
    assert judge(judge.task.problem(0), "x") == Verdict(1.0, "on two lines", "7")


def test_an_interrupted_verdict_is_not_taken_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: float) -> object:
        raise KeyboardInterrupt

    judge = Judge(Saying(lambda answer: Verdict(1.0, answer)))
    monkeypatch.setattr(judge._said, "get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        judge(judge.task.problem(0), "first")
    assert judge(judge.task.problem(0), "second") == Verdict(1.0, "second")


def test_a_verifier_that_exits_is_counted_and_the_next_answer_is_judged() -> None:
    def leaving(answer: str) -> Verdict:
        if answer == "bad":
            raise SystemExit
        return Verdict(1.0)

    judge = Judge(Saying(leaving), seconds=5.0)
    assert judge(judge.task.problem(0), "bad") is None and judge.failed == {"raised SystemExit": 1}
    assert judge(judge.task.problem(0), "good") == Verdict(1.0)


def test_a_late_verdict_is_never_taken_for_that_of_another_answer() -> None:
    def slow(answer: str) -> Verdict:
        if answer == "slow":
            time.sleep(0.3)
            return Verdict(0.0)
        return Verdict(1.0)

    judge = Judge(Saying(slow), seconds=0.1)
    for _ in range(PATIENCE - 1):
        assert judge(judge.task.problem(0), "slow") is None
    with pytest.raises(InputError, match="did not return"):
        judge(judge.task.problem(0), "slow")
    time.sleep(0.4)
    assert [judge(judge.task.problem(0), "quick") for _ in range(3)] == [Verdict(1.0)] * 3
