"""Greedy decoding with a memory: pages beside the prompt in the top half, nothing in the prompt itself.

One row is laid out, at the cut, as ``[sink | page 1 | ... | page n | prompt]``, pages in the order of time. Pages see
the sink, themselves and each other; the prompt sees everything before it. The bottom half sees the prompt alone, so a
page costs no prompt token there, and later pages stand nearer to the question, which is how the reader knows what is
newer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastslow import copying
from fastslow.core import Core, Delta, new_cache

LONG = 48  # tokens of a page: a longer one is prose, and is read both ways
PAD, SINK, LIVE = -1, 0, 1 << 20  # segments of a row; pages are 1, 2, ..., branches LIVE + 1, LIVE + 2, ...


@dataclass(frozen=True)
class Row:
    """One question: its prompt, the pages (T_i, width), oldest first, that it may read, the ``words`` in them that
    an answer copies (:mod:`fastslow.copying`), and the tokens of the answer that it must not ``refuse`` with."""

    prompt: list[int]
    pages: tuple[Tensor, ...] = ()
    words: frozenset[str] = frozenset()
    refuse: tuple[int, ...] = ()


def visibility(segments: Tensor, dtype: torch.dtype, queries: int, window: int | None = None) -> Tensor:
    """Additive attention mask (B, 1, queries, S) of the last ``queries`` positions over rows of segments (B, S).

    A token of a page sees all pages of its row, or, of a short one that is alone, what comes before it: the reader
    answers more from prose that it reads both ways, and from statements that see each other (docs/lab/medium.md). A
    branch is live too: it sees the pages, the live tokens before it and itself, but no other branch. ``window`` limits
    how far a live token sees back among live tokens (sliding-window layers); pages stay in sight.
    """
    length = segments.shape[1]
    index = torch.arange(length)
    query, key = segments[:, -queries:, None], segments[:, None, :]
    causal = index[None, None, :] <= index[None, -queries:, None]
    seen = (key == query) | (key == SINK) | ((query >= LIVE) & (key <= LIVE))
    if window is not None:
        near = (index[-queries:, None] - index[None, :]) < window
        seen = seen & (near[None] | (key < LIVE))
    page = (segments > SINK) & (segments < LIVE)
    both_ways = (page.sum(1) > LONG) | (segments.masked_fill(~page, SINK).amax(1) > 1)
    pages = page[:, -queries:, None] & page[:, None, :] & both_ways[:, None, None]
    seen = (seen & causal | pages) & (key != PAD)
    seen = seen | (index[None, None, :] == index[None, -queries:, None])  # a padded query must see something
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def masks(core: Core, segments: Tensor, queries: int) -> Tensor | dict[str, Tensor]:
    """The masks in the form the core's architecture takes: one tensor, or one for each kind of layer."""
    full = visibility(segments, core.dtype, queries)
    kinds = getattr(core.top.config, "layer_types", None)
    if kinds is None:
        return full
    window = getattr(core.top.config, "sliding_window", None)
    return {"full_attention": full, "sliding_attention": visibility(segments, core.dtype, queries, window)}


def slides(core: Core) -> bool:
    """Whether some layers of the core see a sliding window only."""
    return "sliding_attention" in (getattr(core.top.config, "layer_types", None) or ())


def lay_out(live: Sequence[Tensor], pages: Sequence[Sequence[Tensor]], sink: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left-padded rows at the cut: hidden states (B, S, width), segments (B, S) and positions (B, S)."""
    rows, segments = [], []
    for states, own in zip(live, pages, strict=True):
        parts, labels = ([sink, *own], [SINK]) if own else ([], [])
        for i, page in enumerate(own):
            labels += [i + 1] * len(page)
        rows.append(torch.cat([*parts, states]))
        segments.append(labels + [LIVE] * len(states))
    length = max(len(labels) for labels in segments)
    hidden = torch.stack([torch.nn.functional.pad(r, (0, 0, length - len(r), 0)) for r in rows])
    segment = torch.tensor([[PAD] * (length - len(labels)) + labels for labels in segments])
    position = ((segment != PAD).cumsum(1) - 1).clamp(min=0)
    return hidden, segment, position


@torch.no_grad()
def bare_logits(core: Core, prompt: list[int]) -> Tensor:
    """The bare core's logits after every token of ``prompt``, (T, V): memory off."""
    return core.model(input_ids=torch.tensor([prompt])).logits[0]


@torch.no_grad()
def memory_logits(core: Core, row: Row, deltas: Sequence[Delta] = ()) -> Tensor:
    """The logits after every token of the row's prompt, (T, V), with its pages in sight and ``deltas`` on."""
    if not row.pages and not deltas:
        return bare_logits(core, row.prompt)
    with core.using(deltas):
        return _MemoryStepper(core, [row]).prefill(keep=len(row.prompt))[0]


@torch.no_grad()
def answer_log_probabilities(
    core: Core, rows: Sequence[Row], answer: Sequence[int], deltas: Sequence[Delta] = ()
) -> Tensor:
    """The log-probability, in nats, of every token of ``answer`` where each row is answered with it, (B, tokens)."""
    asked = [Row([*row.prompt, *answer], row.pages) for row in rows]
    with core.using(deltas):
        logits = _MemoryStepper(core, asked).prefill(keep=len(answer) + 1)[:, :-1].float()
    return logits.log_softmax(-1)[:, range(len(answer)), list(answer)]


@torch.no_grad()
def generate(
    core: Core,
    rows: Sequence[Row],
    deltas: Sequence[Delta] = (),
    *,
    max_tokens: int = 48,
    stop: bool = True,
    barred: Sequence[int] = (),
) -> list[list[int]]:
    """Greedy continuations of each row: token ids without the stop token.

    ``stop=False`` goes on to ``max_tokens`` whatever comes, for timing; no answer begins with a ``barred`` token. When
    no row has a page and no delta is on, the bare core itself runs. A row that comes out as what it must not refuse
    with is answered again, beginning otherwise.
    """
    if not rows:
        return []
    remembering = bool(deltas) or any(row.pages for row in rows)
    stepper = _MemoryStepper(core, rows) if remembering else _BareStepper(core, rows)
    answers: list[list[int]] = [[] for _ in rows]
    running, stops = set(range(len(rows))), core.stop_ids
    with core.using(deltas):
        logits = stepper.prefill(keep=1)[:, -1]
        logits[:, list(barred)] = -torch.inf
        for n in range(max_tokens):
            tokens = _copying(core, rows, answers, logits, running).argmax(-1)
            for i in sorted(running):
                token = int(tokens[i])
                if stop and token in stops:
                    running.discard(i)
                else:
                    answers[i].append(token)
            if not running or n == max_tokens - 1:
                break
            logits = stepper.step(tokens[:, None])[:, -1]
    refused = [i for i, row in enumerate(rows) if row.refuse and tuple(answers[i]) == row.refuse]
    for i in refused:
        again = replace(rows[i], refuse=())
        answers[i] = generate(core, [again], deltas, max_tokens=max_tokens, stop=stop, barred=rows[i].refuse[:1])[0]
    return answers


def _copying(
    core: Core, rows: Sequence[Row], answers: Sequence[list[int]], logits: Tensor, running: Collection[int]
) -> Tensor:
    """The logits (B, V), raised where an answer goes on with a word that its row has begun to copy."""
    onward = {i: copying.onward(core, core.decode(answers[i]), rows[i].words) for i in running if rows[i].words}
    if not any(onward.values()):
        return logits
    raised = logits.clone()
    for i, ids in onward.items():
        raised[i, ids] += copying.BONUS
    return raised


def left_pad(prompts: Sequence[Sequence[int]], filler: int) -> tuple[Tensor, Tensor]:
    """Token ids (B, T) and their attention mask (B, T), 1 where a token is real."""
    length = max(len(p) for p in prompts)
    ids = torch.tensor([[filler] * (length - len(p)) + [*p] for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


class _BareStepper:
    """Prefill and single steps of the untouched model over left-padded rows."""

    def __init__(self, core: Core, rows: Sequence[Row]):
        self.core, self.cache = core, new_cache()
        self.ids, self.mask = left_pad([row.prompt for row in rows], core.sink_id)

    def prefill(self, keep: int) -> Tensor:
        return self._run(self.ids, (self.mask.cumsum(1) - 1).clamp(min=0), keep)

    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        return self._run(tokens, self.mask.sum(1, keepdim=True) - 1, 1)

    def _run(self, ids: Tensor, position: Tensor, keep: int) -> Tensor:
        # A mask without padding is dropped, so that one row alone takes the model's ordinary causal path.
        mask = None if bool(self.mask.all()) else self.mask
        out = self.core.model(
            input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=self.cache, logits_to_keep=keep
        )
        return out.logits


class _MemoryStepper:
    """Prefill and single steps through both halves, with pages in the top half."""

    def __init__(self, core: Core, rows: Sequence[Row]):
        self.core, self.bottom_cache, self.top_cache = core, new_cache(), new_cache()
        self.rows = rows
        self.mask = self.segments = torch.empty(0)

    def prefill(self, keep: int) -> Tensor:
        # The bottom half sees the prompt alone, so rows with the same prompt share one pass of it.
        prompts = list(dict.fromkeys(tuple(row.prompt) for row in self.rows))
        which = torch.tensor([prompts.index(tuple(row.prompt)) for row in self.rows])
        ids, self.mask = left_pad(prompts, self.core.sink_id)
        states = self._bottom(ids, (self.mask.cumsum(1) - 1).clamp(min=0))[which]
        self.bottom_cache.batch_select_indices(which)
        self.mask = self.mask[which]
        live = [states[i, -len(row.prompt) :] for i, row in enumerate(self.rows)]
        sink = self.core.sink() if any(row.pages for row in self.rows) else states[:0, 0]
        hidden, self.segments, position = lay_out(live, [row.pages for row in self.rows], sink)
        return self._top(hidden, position, keep)

    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        hidden = self._bottom(tokens, self.mask.sum(1, keepdim=True) - 1)
        self.segments = torch.nn.functional.pad(self.segments, (0, 1), value=LIVE)
        return self._top(hidden, (self.segments != PAD).sum(1, keepdim=True) - 1, 1)

    def _bottom(self, ids: Tensor, position: Tensor) -> Tensor:
        mask = None if bool(self.mask.all()) else self.mask
        out = self.core.bottom(
            input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=self.bottom_cache
        )
        return out.last_hidden_state

    def _top(self, hidden: Tensor, position: Tensor, keep: int) -> Tensor:
        # One new token sees everything that is no padding, so that most steps need no mask at all. Where layers slide,
        # the model's own mask would push the pages out of sight as the answer grows.
        single = hidden.shape[1] == 1 and not slides(self.core)
        everything = bool(((self.segments != PAD) if single else (self.segments == LIVE)).all())
        mask = None if everything else masks(self.core, self.segments, hidden.shape[1])
        out = self.core.top(
            inputs_embeds=hidden,
            attention_mask=mask,
            position_ids=position,
            past_key_values=self.top_cache,
            logits_to_keep=keep,
        )
        return out.logits
