"""Shared prefixes give what whole rows give, forward and backward; rewards teach a decoder what they reward."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from fastslow.errors import InputError
from fastslow.fast.frame import LayerConfig
from fastslow.models.decoder import Decoder, DecoderConfig
from fastslow.models.policy import DecoderPolicy, Prompt
from fastslow.slow.policy_gradient import advantages, cispo, drift
from fastslow.slow.rollouts import Answer

PROMPTS = [Prompt("a=1;b=2|", "a>"), Prompt("a=1;b=2|", "ab>"), Prompt("b=7|", "b>"), Prompt("a=1;b=2|", "b>")]


def policy(*blocks: str, longest: int = 4) -> DecoderPolicy:
    torch.manual_seed(3)
    layer = LayerConfig(16, 2, 8, 8, chunk=4)
    return DecoderPolicy(Decoder(DecoderConfig(128, blocks, layer, hidden=16)).double(), longest)


def naive(mine: DecoderPolicy, prompt: Prompt, answer: Answer) -> torch.Tensor:
    """One row from its first to its last token."""
    read = torch.tensor([*(prompt.context + prompt.question).encode(), *answer.tokens.tolist()])[None]
    logits, _ = mine.decoder(read[:, :-1], mine.decoder.init_state(1))
    said = logits[0, -len(answer.tokens) :].log_softmax(-1)
    return said.gather(-1, answer.tokens[:, None])[:, 0]


@pytest.mark.parametrize("blocks", [("gated_delta_net", "attention"), ("lstm", "mamba2")])
def test_shared_prefixes_are_whole_rows_forward_and_backward(blocks: tuple[str, ...]) -> None:
    mine = policy(*blocks)
    answers = mine.sample(PROMPTS, 3, seed=1)
    shared = mine.log_probs(PROMPTS, [[a.tokens for a in each] for each in answers])
    alone = [[naive(mine, p, a) for a in each] for p, each in zip(PROMPTS, answers, strict=True)]
    parameters = list(mine.decoder.parameters())

    def gradients(found: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        weighted = sum((n + 1) * each.sum() for group in found for n, each in enumerate(group))
        assert isinstance(weighted, torch.Tensor)
        return list(torch.autograd.grad(weighted, parameters))

    for group, own, drawn in zip(shared, alone, answers, strict=True):
        for one, other, answer in zip(group, own, drawn, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(one.detach(), answer.log_probs, rtol=1e-9, atol=1e-11)
    for one, other in zip(gradients(shared), gradients(alone), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_answers_end_where_they_end_and_come_again() -> None:
    mine = policy("gated_delta_net", longest=60)
    first, again = (mine.sample(PROMPTS[:2], 4, seed=5) for _ in range(2))
    for one, other in zip(chain(*first), chain(*again), strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        ended = one.tokens[-1] == 10
        assert 10 not in one.tokens[:-1] and (ended or len(one.tokens) == 60)
        assert len(one.text) == len(one.tokens) - int(ended)


def test_a_group_is_a_problem_and_an_even_one_is_dropped() -> None:
    assert advantages([1.0, 1.0, 1.0]) is None and advantages([0.0]) is None
    found = advantages([1.0, 0.0, 0.0, 0.0])
    assert found is not None and sum(found) == pytest.approx(0) and found[0] == pytest.approx(3**0.5, rel=1e-3)
    with pytest.raises(InputError, match="finite"):
        advantages([0.0, float("nan")])
    with pytest.raises(InputError, match="finite"):
        advantages([])


def test_a_clipped_token_keeps_its_gradient() -> None:
    now = torch.tensor([-1.0, -2.0], requires_grad=True)
    then = torch.tensor([-1.0, -9.0])  # the second has become e^7 times as likely
    (gradient,) = torch.autograd.grad(cispo([now], [then], [2.0]), now)
    assert gradient.tolist() == pytest.approx([-2.0 * 1 / 2, -2.0 * 4 / 2])
    with pytest.raises(InputError, match="one of each"):
        cispo([now], [], [2.0])


def test_the_anchor_is_zero_at_the_base_and_positive_elsewhere() -> None:
    base = [torch.tensor([-1.0, -0.5])]
    assert float(drift(base, base)) == 0 and float(drift([base[0] - 0.3], base)) > 0


def test_rewards_teach() -> None:
    """A decoder that begins with chance alone comes to say what is rewarded."""
    mine = policy("gated_delta_net", longest=1)
    prompt = [Prompt("a=1|", "a>")]
    optimizer = torch.optim.AdamW(mine.decoder.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(60):
        answers = mine.sample(prompt, 32, seed=step)[0]
        worth = advantages([float(a.text < "@") for a in answers])
        if worth is None:
            continue
        (now,) = mine.log_probs(prompt, [[a.tokens for a in answers]])
        optimizer.zero_grad()
        cispo(now, [a.log_probs for a in answers], worth).backward()
        optimizer.step()
    assert sum(a.text < "@" for a in mine.sample(prompt, 200, seed=999)[0]) > 190
