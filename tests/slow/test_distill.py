"""A context distilled into weights: what it said is known without it, and repeating it does not collapse."""

from __future__ import annotations

import pytest
import torch

from fastslow.errors import InputError
from fastslow.models import speller
from fastslow.slow.contexts import Context, Item
from fastslow.slow.distill import distill
from fastslow.slow.fast_slow import FSTConfig, mean_at
from fastslow.worlds.ciphers import Cipher, table

TASK = Cipher(5, 1)
ROWS = Context(tuple(Item("rule", f"{letter}={digit}", letter) for letter, digit in table(5).items()))
CONFIG = FSTConfig(problems=8, group=4, contexts=1, rate=1e-3, warm=5)


def test_what_a_context_says_is_known_without_it_and_repeating_does_not_collapse() -> None:
    policy = speller.load()

    def right(context: Context, seed: int = 0) -> float:
        return mean_at(policy, speller.prompt, TASK, context, seed=seed)

    assert right(ROWS) > 0.95 and right(Context()) < 0.3
    alone, told = [], []
    for _ in range(3):  # the teacher of each round is the student of the one before
        distill(policy, TASK, speller.prompt, ROWS, steps=45, config=CONFIG)
        alone.append(right(Context()))
        told.append(right(ROWS))
    assert alone[-1] > 0.9 and alone[-1] >= alone[0] and min(told) > 0.95
    other = Context(tuple(Item("rule", f"{letter}={digit}", letter) for letter, digit in table(6).items()))
    unlike = mean_at(policy, speller.prompt, Cipher(6, 1), other)
    assert unlike > 0.9  # another table is still read from its context


def test_where_a_context_does_not_help_nothing_is_learned() -> None:
    policy = speller.load()
    before = [p.clone() for p in policy.parameters()]
    wrong = Context((Item("rule", "hi"),))
    reports = distill(policy, Cipher(5, 4), speller.prompt, wrong, steps=2, config=CONFIG)
    assert [report.helped for report in reports] == [0, 0] and all(report.loss == 0 for report in reports)
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
    with pytest.raises(InputError, match="nothing to distil"):
        distill(policy, TASK, speller.prompt, Context(), steps=1)
