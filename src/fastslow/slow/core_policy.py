"""The core as a policy: a low-rank delta of its upper layers learns, everything below is read without gradients.

Rollouts are a tree: a context, the questions under it, the answers under each. A tree is one row in which every token
sees the way down to it, so that what is shared is computed once, forward and backward, and a step of decoding adds a
token to every answer of a row at once.

Letters of shapes: R rows (contexts), T new tokens of a row, S all of its tokens, N tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastslow.core import Core, Delta, new_cache
from fastslow.slow.contexts import under
from fastslow.slow.rollouts import Answer
from fastslow.slow.training import deep_core

PAD, CONTEXT = -1, 0  # segments of a row; questions and answers are 1, 2, ...


@dataclass(frozen=True)
class Asked:
    """A question under a context's lines."""

    lines: tuple[str, ...]
    question: str

    @property
    def text(self) -> str:
        """What stands in the user's message."""
        return under(self.lines, self.question)


class CorePolicy:
    """Answers of at most ``longest`` tokens to :class:`Asked`, through the core's chat template. What learns is the
    ``delta``; or a fresh one of ``rank`` on the ``targets`` of the layers from ``first_layer`` up, by default from two
    thirds of the depth."""

    def __init__(
        self,
        core: Core,
        longest: int = 16,
        *,
        rank: int = 16,
        targets: Sequence[str] = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
        first_layer: int | None = None,
        seed: int = 0,
        delta: Delta | None = None,
    ) -> None:
        if delta is not None:
            first_layer = min(int(key.partition(".")[0]) for key in delta.factors)
        first = 2 * core.depth // 3 if first_layer is None else first_layer
        self.core, self.longest = deep_core(core, first), longest
        self.delta = delta or self.core.new_delta("skill", targets, rank, first_layer=first, seed=seed)

    @torch.no_grad()
    def sample(self, prompts: Sequence[Asked], count: int, seed: int) -> list[list[Answer]]:
        """``count`` answers to each prompt, by chance. The same seed gives the same answers."""
        draw, stops = torch.Generator().manual_seed(seed), torch.tensor(sorted(self.core.stop_ids))
        forest = _Forest(self.core, prompts, [count] * len(prompts))
        open_ = torch.arange(count * len(prompts))  # the answers that go on
        tokens, log_probs = stops[:1].repeat(len(open_), self.longest), torch.zeros(len(open_), self.longest)
        with self.core.using([self.delta], merge=False):
            last = forest.asked().repeat_interleave(count, 0)
            for n in range(self.longest):
                likely = self.core.head(last).log_softmax(-1)
                said = _drawn(likely, draw)
                tokens[open_, n], log_probs[open_, n] = said, likely.gather(-1, said[:, None])[:, 0]
                going = ~torch.isin(said, stops)
                open_, said = open_[going], said[going]
                if not len(open_):
                    break
                if n + 1 < self.longest:
                    last = forest.said(said[:, None], open_.tolist())[:, 0]
        answers = [self._answer(said, likely, stops) for said, likely in zip(tokens, log_probs, strict=True)]
        return [answers[n * count : (n + 1) * count] for n in range(len(prompts))]

    def _answer(self, said: Tensor, likely: Tensor, stops: Tensor) -> Answer:
        ends = torch.isin(said, stops).nonzero()
        length = int(ends[0]) + 1 if len(ends) else len(said)
        return Answer(said[:length], likely[:length], self.core.decode(said[:length].tolist()))

    def log_probs(self, prompts: Sequence[Asked], answers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """For each prompt, the log-probabilities (L,) of the tokens of each of its answers, with their gradients."""
        each = iter(self._logits(prompts, answers))
        return [[_likely(next(each), said) for said in own] for own in answers]

    def distributions(self, prompts: Sequence[Asked], answers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """The same, of all N tokens that could have been said in each place, (L, N)."""
        each = iter(self._logits(prompts, answers))
        return [[next(each).log_softmax(-1) for _ in own] for own in answers]

    def _logits(self, prompts: Sequence[Asked], answers: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
        """Of every answer (L, N), one after the other."""
        counts = [len(own) for own in answers]
        forest = _Forest(self.core, prompts, counts)
        said = [answer for own in answers for answer in own]
        with self.core.using([self.delta], merge=False):
            states = forest.asked().repeat_interleave(torch.tensor(counts), 0)[:, None]
            if max(len(answer) for answer in said) > 1:
                states = torch.cat([states, forest.said([answer[:-1] for answer in said], range(len(said)))], 1)
        for state, answer in zip(states, said, strict=True):
            yield self.core.head(state[: len(answer)])

    def parameters(self) -> list[Tensor]:
        return self.delta.parameters()

    def copy(self) -> CorePolicy:
        """One with a delta of its own."""
        factors = {
            n: (a.detach().float().clone().requires_grad_(), b.detach().float().clone().requires_grad_())
            for n, (a, b) in self.delta.factors.items()
        }
        return CorePolicy(self.core, self.longest, delta=Delta(self.delta.name, factors))

    def frozen(self) -> CorePolicy:
        """A policy that stays as this one is now."""
        kept = self.copy()
        for p in kept.delta.parameters():
            p.requires_grad_(False)
        return kept


class _Forest:
    """A row for each context, and what was computed of it so far. ``counts`` answers are said to each prompt."""

    def __init__(self, core: Core, prompts: Sequence[Asked], counts: Sequence[int]) -> None:
        self.core, self.caches = core, (new_cache(), new_cache())
        contexts = list(dict.fromkeys(prompt.lines for prompt in prompts))
        ids = [core.prompt(prompt.text) for prompt in prompts]
        self.row = [contexts.index(prompt.lines) for prompt in prompts]
        shared = [
            _common([own for own, row in zip(ids, self.row, strict=True) if row == n]) for n in range(len(contexts))
        ]
        self.contexts = [
            next(own for own, row in zip(ids, self.row, strict=True) if row == n)[:length]
            for n, length in enumerate(shared)
        ]
        self.questions = [own[shared[row] :] for own, row in zip(ids, self.row, strict=True)]
        self.parents = torch.full((len(contexts), 1 + len(prompts) + sum(counts)), CONTEXT)
        answer = 1 + len(prompts)
        self.answers: list[tuple[int, int]] = []  # the row and the segment of each
        self.ends: list[int] = []  # the position behind each question, for each answer
        for n, (row, count) in enumerate(zip(self.row, counts, strict=True)):
            for _ in range(count):
                self.parents[row, answer] = 1 + n
                self.answers.append((row, answer))
                self.ends.append(len(ids[n]))
                answer += 1
        self.segments = torch.zeros(len(contexts), 0, dtype=torch.long)
        self.positions = torch.zeros(len(contexts), 0, dtype=torch.long)

    def asked(self) -> Tensor:
        """The last hidden states (P, width) behind all P questions."""
        pieces = [[(CONTEXT, 0, own)] for own in self.contexts]
        for n, (row, own) in enumerate(zip(self.row, self.questions, strict=True)):
            pieces[row].append((1 + n, len(self.contexts[row]), own))
        hidden, places = self._extend(pieces)
        return torch.stack([hidden[row, places[row, 1 + n][-1]] for n, row in enumerate(self.row)])

    def said(self, tokens: Sequence[Tensor] | Tensor, which: Sequence[int]) -> Tensor:
        """The last hidden states (A, L, width) behind each of the next tokens of A answers, padded; ``which`` are their
        numbers."""
        pieces: list[list[tuple[int, int, list[int]]]] = [[] for _ in self.contexts]
        for n, own in zip(which, tokens, strict=True):
            row, segment = self.answers[n]
            pieces[row].append((segment, self.ends[n], own.tolist()))
            self.ends[n] += len(own)
        hidden, places = self._extend(pieces)
        longest = max(len(own) for own in tokens)
        found = [hidden[row, places[row, segment]] for row, segment in (self.answers[n] for n in which)]
        return torch.stack([nn.functional.pad(each, (0, 0, 0, longest - len(each))) for each in found])

    def _extend(
        self, pieces: Sequence[Sequence[tuple[int, int, list[int]]]]
    ) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
        """Reads more of every row, each piece a segment, its first position and its tokens: the last hidden states (R,
        T, width), and where in T each row's segments are."""
        length = max(sum(len(own) for _, _, own in each) for each in pieces)
        ids = torch.full((len(pieces), length), self.core.sink_id)
        segments, positions = torch.full_like(ids, PAD), torch.zeros_like(ids)
        places: dict[tuple[int, int], Tensor] = {}
        for row, each in enumerate(pieces):
            at = 0
            for segment, first, own in each:
                here = torch.arange(at, at + len(own))
                ids[row, here], segments[row, here] = torch.tensor(own, dtype=torch.long), segment
                positions[row, here] = torch.arange(first, first + len(own))
                places[row, segment], at = here, at + len(own)
        self.segments = torch.cat([self.segments, segments], 1)
        self.positions = torch.cat([self.positions, positions], 1)
        with torch.no_grad():
            hidden = self.core.bottom(
                input_ids=ids,
                attention_mask=self._masks(length, self.core.bottom),
                position_ids=positions,
                past_key_values=self.caches[0],
            ).last_hidden_state
        out = self.core.upper(
            inputs_embeds=hidden,
            attention_mask=self._masks(length, self.core.upper),
            position_ids=positions,
            past_key_values=self.caches[1],
        )
        return out.last_hidden_state, places

    def _masks(self, queries: int, half: Any) -> Tensor | dict[str, Tensor]:
        """Additive masks (R, 1, T, S) of the last T positions: a token sees what comes before it on its way down the
        tree. In the form the architecture takes: one tensor, or one for each kind of layer."""
        asking, asked = self.segments[:, -queries:, None], self.segments[:, None, :]
        above = self.parents.gather(1, self.segments[:, -queries:].clamp(min=0))
        index = torch.arange(self.segments.shape[1])
        on_the_way = (asked == asking) | (asked == above[..., None]) | (asked == CONTEXT)
        seen = on_the_way & (asked != PAD) & (index[None, None] <= index[None, -queries:, None])
        seen = seen | (index[None, None] == index[None, -queries:, None])  # a padded query must see something
        full = self._additive(seen)
        if getattr(half.config, "layer_types", None) is None:
            return full
        window = getattr(half.config, "sliding_window", None)
        if window is not None:
            seen = seen & (self.positions[:, -queries:, None] - self.positions[:, None, :] < window)
        return {"full_attention": full, "sliding_attention": self._additive(seen)}

    def _additive(self, seen: Tensor) -> Tensor:
        low = torch.finfo(self.core.dtype).min
        return torch.zeros(seen.shape, dtype=self.core.dtype).masked_fill_(~seen, low)[:, None]


def _likely(logits: Tensor, said: Tensor) -> Tensor:
    """The log-probabilities (L,) of tokens (L,), from logits (L, N)."""
    return logits.gather(-1, said[:, None])[:, 0] - logits.logsumexp(-1)


def _drawn(likely: Tensor, draw: torch.Generator) -> Tensor:
    """A token (A,) by chance from each row of log-probabilities (A, N): one number for a row, where torch.multinomial
    draws one for every token there is."""
    sums = likely.double().exp().cumsum(-1)
    at = torch.rand(len(likely), 1, generator=draw, dtype=sums.dtype) * sums[:, -1:]
    return torch.searchsorted(sums, at, right=True)[:, 0].clamp(max=likely.shape[1] - 1)


def _common(rows: Sequence[list[int]]) -> int:
    """How many tokens all rows begin with, at least one of each left over."""
    shortest = min(len(row) for row in rows) - 1
    return next((n for n in range(shortest) if len({row[n] for row in rows}) > 1), shortest)
