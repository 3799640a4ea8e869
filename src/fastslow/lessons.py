"""Lessons: a prompt, the answer it should get, and the pages in sight; and the loss of a batch of them.

The reader (medium tier) and the experts (slow tier) are both trained on lessons, so that there is one training path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from fastslow.core import Core
from fastslow.decode import LIVE, lay_out, left_pad, masks, slides

UNKNOWN = "I don't know."  # the answer to what the pages in sight, or the episode that an expert knows, do not hold


@dataclass(frozen=True)
class Lesson:
    """``answer`` holds the token ids to learn, stop token included; ``pages`` the hidden states (T_i, width)."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    pages: tuple[Tensor, ...] = ()


def refusal(core: Core) -> tuple[int, ...]:
    """The tokens of "I don't know."."""
    return tuple(core.encode(UNKNOWN))


def make_lesson(core: Core, question: str, answer: str, pages: Sequence[Tensor] = ()) -> Lesson:
    """A lesson through the core's chat template."""
    stop = core.tokenizer.eos_token_id
    return Lesson(tuple(core.prompt(question)), (*core.encode(answer), stop), tuple(pages))


def answer_loss(core: Core, lessons: Sequence[Lesson], first: float = 1.0) -> Tensor:
    """Mean cross-entropy (nats per answer token) of the top half, differentiable in the deltas that are live. The
    ``first`` token of every answer counts so many times: it decides between a value and "I don't know."."""
    losses = answer_losses(core, lessons)
    weight = torch.cat([torch.tensor([first] + [1.0] * (len(own) - 1)) for own in losses])
    return (torch.cat(losses) * weight).sum() / weight.sum()


def answer_losses(core: Core, lessons: Sequence[Lesson]) -> list[Tensor]:
    """The cross-entropy (nats) of every answer token of each lesson, [(len(answer),)].

    Lessons on the same pages (the very same tuple) share one row: the pages and the beginning that their prompts have
    in common are computed once, and each lesson is a branch behind them that sees no other. The loss is what it would
    be in rows of their own.
    """
    places: dict[int, list[int]] = {}
    for i, lesson in enumerate(lessons):
        alone = slides(core) or not lesson.pages  # a sliding window counts places, which branches lay side by side
        places.setdefault(-1 - i if alone else id(lesson.pages), []).append(i)
    groups = [[lessons[i] for i in own] for own in places.values()]
    rows = [_branches(core, group) for group in groups]
    hidden, segments, position = lay_out(
        [torch.cat(parts) for parts in rows], [group[0].pages for group in groups], core.sink()
    )
    predictors, targets = [], []
    for row, (parts, group) in enumerate(zip(rows, groups, strict=True)):
        at = hidden.shape[1] - sum(map(len, parts)) + len(parts[0])
        begin = int(position[row, at])
        for n, (states, lesson) in enumerate(zip(parts[1:], group, strict=True), start=1):
            end = at + len(states)
            segments[row, at:end] = LIVE + n
            position[row, at:end] = torch.arange(begin, begin + len(states))
            # The state before each answer token predicts it; only these positions pay for the vocabulary.
            predictors.append(row * hidden.shape[1] + torch.arange(end - len(lesson.answer) - 1, end - 1))
            targets.append(torch.tensor(lesson.answer))
            at = end
    output = core.upper(
        inputs_embeds=hidden,
        attention_mask=masks(core, segments, hidden.shape[1]),
        position_ids=position,
        use_cache=False,
    ).last_hidden_state
    predicted = output.flatten(0, 1)[torch.cat(predictors)]
    losses = torch.nn.functional.cross_entropy(core.head(predicted), torch.cat(targets), reduction="none")
    order = [i for own in places.values() for i in own]
    found = dict(zip(order, losses.split([len(t) for t in targets]), strict=True))
    return [found[i] for i in range(len(lessons))]


@torch.no_grad()
def _branches(core: Core, group: Sequence[Lesson]) -> list[Tensor]:
    """States at the cut: of the beginning that all prompts share, then of what each lesson goes on with, answer
    included."""
    columns = zip(*(x.prompt[:-1] for x in group), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    ids, mask = left_pad([[*x.prompt, *x.answer] for x in group], core.sink_id)
    states = core.bottom(
        input_ids=ids,
        attention_mask=None if bool(mask.all()) else mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
    ).last_hidden_state
    live = [states[i, -len(x.prompt) - len(x.answer) :] for i, x in enumerate(group)]
    return [live[0][:shared], *(own[shared:] for own in live)]
