"""What a sleep is judged by: probes of the core, recall by free generation, bounds, and the report of it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from fastslow import anchors
from fastslow.core import Core, Delta
from fastslow.decode import Row as Question
from fastslow.decode import generate
from fastslow.lessons import Lesson
from fastslow.slow.experts import Expert
from fastslow.slow.study import Study, recalls
from fastslow.slow.training import Anchor, anchor_kl, lesson_material, loss_of, make_anchors, text_material
from fastslow.state import State

OWN_TOKENS = 32  # of the core's own answer to a chat anchor


@dataclass(frozen=True)
class Bounds:
    """What a sleep may cost at most, or it is rolled back: mean KL to the bare core (nats per token) and relative rise
    of perplexity on the probes, as the gates stand; and the fall of the share of older checks that are recalled."""

    kl: float = 0.01
    drift: float = 0.01
    older: float = 0.02


@dataclass(frozen=True)
class Report:
    """How a sleep went. ``rejected`` gives a reason for each episode; ``rolled_back`` is empty where all bounds held.

    ``kl`` and ``drift`` are as the gates stand, ``kl_ungated`` with the expert forced on; ``false_open`` is the share
    of probes on which it opened; ``loss_before`` and ``loss_after`` are nats per token on what was kept from training.
    """

    accepted: tuple[str, ...]
    rejected: dict[str, str]
    rolled_back: str
    steps: int
    kl: float
    kl_ungated: float
    drift: float
    false_open: float
    older_before: float = 1.0
    older_after: float = 1.0
    loss_before: float = 0.0
    loss_after: float = 0.0

    def plain(self) -> dict[str, object]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """What a sleep returns. ``expert`` is the new expert, or the previous one (None without one) where nothing was
    accepted or the sleep was rolled back. Where it was interrupted ``report`` is None and ``state`` resumes it."""

    expert: Expert | None
    report: Report | None
    state: State | None = None


@dataclass(frozen=True)
class Probe:
    """A text on which nothing should change; ``hidden`` (T, width) at the cut is what a gate would see."""

    text: str
    hidden: Tensor
    anchor: Anchor
    chat: bool


def own_answers(core: Core, questions: Sequence[str]) -> list[Lesson]:
    """The bare core's own greedy answers to questions, as lessons."""
    prompts = [core.prompt(q) for q in questions]
    answers = generate(core, [Question(p) for p in prompts], max_tokens=OWN_TOKENS)
    return [Lesson(tuple(p), tuple(a) or (core.tokenizer.eos_token_id,)) for p, a in zip(prompts, answers, strict=True)]


def training_anchors(core: Core, deep: Core, count: int) -> list[Anchor]:
    """At most ``count`` anchors each of chat (own answers) and of general text, for ``deep`` (the core cut where the
    delta begins). Only every other anchor text: the others are probes."""
    chat = lesson_material(deep, own_answers(core, anchors.chat()[::2][:count]), 512)
    general = text_material(deep, anchors.general()[::2][:count], 512)
    return [*make_anchors(deep, chat), *make_anchors(deep, general)]


def probes(core: Core, deep: Core, count: int) -> list[Probe]:
    """At most ``count`` probes each of chat and of general text, from the anchors that are not trained on."""
    questions, passages = anchors.chat()[1::2][:count], anchors.general()[1::2][:count]
    chat = make_anchors(deep, lesson_material(deep, own_answers(core, questions), 512))
    general = make_anchors(deep, text_material(deep, passages, 512))
    found = [Probe(q, prompt_hidden(core, q), a, True) for q, a in zip(questions, chat, strict=True)]
    return found + [Probe(p, core.hidden(p), a, False) for p, a in zip(passages, general, strict=True)]


@torch.no_grad()
def prompt_hidden(core: Core, question: str) -> Tensor:
    """Hidden states (T, width) at the cut of a question behind the chat template."""
    return core.bottom(input_ids=torch.tensor([core.prompt(question)])).last_hidden_state[0]


@torch.no_grad()
def measure(
    deep: Core, expert: Expert, found: Sequence[Probe], matched: Callable[[str], Collection[str]] | None
) -> dict[str, float]:
    """``kl``, ``drift`` and ``false_open`` as the gates stand, and ``kl_ungated``, over the probes.

    ``matched`` is the router: the episodes a text matches. An expert with neither gate nor router counts as open.
    """
    kl_open = kl_all = before = after = 0.0
    opened = texts = 0
    for probe in found:
        if expert.gate is None and matched is None:
            is_open = True
        else:
            is_open = expert.is_open(probe.hidden, matched(probe.text) if matched else ())
        with deep.using([expert.delta]):
            divergence = float(anchor_kl(deep, [probe.anchor]))
            changed = float(loss_of(deep, [probe.anchor.row])) if is_open and not probe.chat else 0.0
        opened += is_open
        kl_all += divergence
        kl_open += divergence if is_open else 0.0
        if not probe.chat:
            bare = float(loss_of(deep, [probe.anchor.row]))
            texts, before, after = texts + 1, before + bare, after + (changed if is_open else bare)
    count = max(1, len(found))
    return {
        "kl": kl_open / count,
        "kl_ungated": kl_all / count,
        "drift": math.expm1((after - before) / max(1, texts)),
        "false_open": opened / count,
    }


def recall(core: Core, studies: Sequence[Study], delta: Delta | None, *, batch: int = 16) -> list[float]:
    """The share of each study's checks that free generation through the chat template answers, with no page on."""
    asked = [(len(core.prompt(c.question)), n, c) for n, study in enumerate(studies) for c in study.checks]
    asked.sort(key=lambda entry: entry[:2])  # rows of like length decode together
    right = [0] * len(studies)
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        longest = max(len(core.encode(c.answer)) for _, _, c in part)
        rows = [Question(core.prompt(c.question)) for _, _, c in part]
        answers = generate(core, rows, [delta] if delta else [], max_tokens=longest + 8)
        for (_, n, check), ids in zip(part, answers, strict=True):
            right[n] += recalls(core.decode(ids), check.answer)
    return [r / len(s.checks) if s.checks else 0.0 for r, s in zip(right, studies, strict=True)]


def broken(bounds: Bounds, found: dict[str, float], older_before: float = 1.0, older_after: float = 1.0) -> str:
    """Why a sleep must be rolled back; empty where every bound holds. NaN breaks a bound."""
    if not found["kl"] <= bounds.kl:
        return f"KL to the bare core on probes is {found['kl']:.4f} nats, above the bound of {bounds.kl}"
    if not found["drift"] <= bounds.drift:
        return f"perplexity on probes rose by {found['drift']:.2%}, above the bound of {bounds.drift:.2%}"
    if not older_before - older_after <= bounds.older:
        return f"recall of older episodes fell from {older_before:.2f} to {older_after:.2f}"
    return ""
