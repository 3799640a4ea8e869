"""The core as a policy: trees of rollouts give what whole rows give, forward and backward, in every architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastslow.core import Core
from fastslow.slow.core_policy import Asked, CorePolicy, _drawn
from fastslow.slow.rollouts import Answer

PROMPTS = [
    Asked(("An ant has 6 legs.", "Give the number alone."), "How many legs has an ant?"),
    Asked((), "How many legs has a cat?"),
    Asked(("An ant has 6 legs.", "Give the number alone."), "And a crab?"),
    Asked((), "How many legs have two snakes?"),
]


@pytest.fixture
def policy(tiny_core_folders: Path) -> CorePolicy:
    core = Core.load(str(tiny_core_folders), dtype=torch.float64, split=1)
    mine = CorePolicy(core, 4, rank=2, first_layer=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in mine.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return mine


def whole(policy: CorePolicy, prompt: Asked, answer: Answer) -> Tensor:
    """One row from its first to its last token, as the core itself reads it."""
    ids = torch.tensor([[*policy.core.prompt(prompt.text), *answer.tokens.tolist()]])
    with policy.core.using([policy.delta], merge=False):
        hidden = policy.core.bottom(input_ids=ids).last_hidden_state
        logits = policy.core.head(policy.core.upper(inputs_embeds=hidden).last_hidden_state)
    said = logits[0, -len(answer.tokens) - 1 : -1].log_softmax(-1)
    return said.gather(-1, answer.tokens[:, None])[:, 0]


def test_a_tree_is_its_rows_forward_and_backward(policy: CorePolicy) -> None:
    answers = policy.sample(PROMPTS, 3, seed=1)
    shared = policy.log_probs(PROMPTS, [[a.tokens for a in each] for each in answers])
    alone = [[whole(policy, p, a) for a in each] for p, each in zip(PROMPTS, answers, strict=True)]
    parameters = list(policy.parameters())

    def gradients(found: list[list[Tensor]]) -> list[Tensor]:
        weighted = sum((n + 1) * each.sum() for group in found for n, each in enumerate(group))
        assert isinstance(weighted, Tensor)
        return list(torch.autograd.grad(weighted, parameters))

    for group, own, drawn in zip(shared, alone, answers, strict=True):
        for one, other, answer in zip(group, own, drawn, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(one.detach(), answer.log_probs, rtol=1e-4, atol=1e-5)
    for one, other in zip(gradients(shared), gradients(alone), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_answers_come_again_and_a_frozen_policy_stays(policy: CorePolicy) -> None:
    kept = policy.frozen()
    first = policy.sample(PROMPTS, 2, seed=4)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(1.0)
    again, moved = (each.sample(PROMPTS, 2, seed=4) for each in (kept, policy))
    told = [[[a.tokens.tolist() for a in group] for group in found] for found in (first, again, moved)]
    assert told[0] == told[1] != told[2]
    assert not any(p.requires_grad for p in kept.parameters()) and all(p.requires_grad for p in policy.parameters())


def test_a_fresh_policy_is_the_core_and_only_its_delta_learns(tiny_core_folder: Path) -> None:
    core = Core.load(str(tiny_core_folder), dtype=torch.float32)
    fresh = CorePolicy(core, 3)
    (answer,) = fresh.sample(PROMPTS[:1], 1, seed=1)[0]
    (likely,) = fresh.log_probs(PROMPTS[:1], [[answer.tokens]])[0]
    ids = torch.tensor([[*core.prompt(PROMPTS[0].text), *answer.tokens.tolist()]])
    bare = core.model(input_ids=ids).logits[0, -len(answer.tokens) - 1 : -1].log_softmax(-1)
    torch.testing.assert_close(likely.detach(), bare.gather(-1, answer.tokens[:, None])[:, 0], rtol=1e-4, atol=1e-5)
    likely.sum().backward()
    assert all(p.grad is not None for p in fresh.parameters())
    assert not any(p.requires_grad for p in core.model.parameters())


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    shares = torch.tensor([0.5, 0.25, 0.2, 0.05, 0.0])
    drawn = _drawn(shares.log().expand(20_000, 5), torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.bincount(drawn, minlength=5) / 20_000, shares, rtol=0, atol=0.01)
