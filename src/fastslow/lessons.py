"""Lessons: a prompt, the answer it should get, and the pages in sight; and the loss of a batch of them.

The reader (medium tier) and the experts (slow tier) are both trained on lessons, so that there is one training path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastslow.core import Core
from fastslow.decode import PAD, lay_out, left_pad, masks


@dataclass(frozen=True)
class Lesson:
    """``answer`` holds the token ids to learn, stop token included; ``pages`` the hidden states (T_i, width)."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    pages: tuple[Tensor, ...] = ()


def make_lesson(core: Core, question: str, answer: str, pages: Sequence[Tensor] = ()) -> Lesson:
    """A lesson through the core's chat template."""
    stop = core.tokenizer.eos_token_id
    return Lesson(tuple(core.prompt(question)), (*core.encode(answer), stop), tuple(pages))


def answer_loss(core: Core, lessons: Sequence[Lesson]) -> Tensor:
    """Mean cross-entropy (nats per answer token) of the top half, differentiable in the deltas that are live."""
    ids, mask = left_pad([[*x.prompt, *x.answer] for x in lessons], core.sink_id)
    with torch.no_grad():
        states = core.bottom(
            input_ids=ids,
            attention_mask=None if bool(mask.all()) else mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        ).last_hidden_state
    live = [states[i, -len(x.prompt) - len(x.answer) :] for i, x in enumerate(lessons)]
    hidden, segments, position = lay_out(live, [x.pages for x in lessons], core.sink())
    assert PAD not in segments[:, -1]
    output = core.upper(
        inputs_embeds=hidden,
        attention_mask=masks(core, segments, hidden.shape[1]),
        position_ids=position,
        use_cache=False,
    ).last_hidden_state
    longest = max(len(x.answer) for x in lessons)
    targets = torch.full((len(lessons), longest), -100)
    for i, x in enumerate(lessons):
        targets[i, -len(x.answer) :] = torch.tensor(x.answer)
    # The state before each answer token predicts it; only these positions pay for the vocabulary.
    predicted = output[:, -longest - 1 : -1][targets != -100]
    return torch.nn.functional.cross_entropy(core.head(predicted), targets[targets != -100])
