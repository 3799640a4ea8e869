"""A decoder as a policy: it answers prompts by chance, and says how likely its answers are.

A prompt is a context, which many questions share, and a question, which many answers share. Each is read once: the
state after it goes on in as many rows as are needed, forward and backward, so that gradients are those of whole rows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastslow.errors import InputError
from fastslow.models.decoder import Decoder
from fastslow.slow.rollouts import Answer
from fastslow.state import State


@dataclass(frozen=True)
class Prompt:
    """What is read before an answer. Both parts have at least one character."""

    context: str
    question: str

    def __post_init__(self) -> None:
        if not self.context or not self.question:
            raise InputError(f"{self}: give a context and a question, of at least one character each")


class DecoderPolicy:
    """Answers of at most ``longest`` bytes that end with ``end``."""

    def __init__(self, decoder: Decoder, longest: int, end: str = "\n") -> None:
        self.decoder, self.longest, self.end = decoder, longest, ord(end)

    @torch.no_grad()
    def sample(self, prompts: Sequence[Prompt], count: int, seed: int) -> list[list[Answer]]:
        """``count`` answers to each prompt. The same seed gives the same answers."""
        found: list[list[Answer]] = [[] for _ in prompts]
        draw = torch.Generator().manual_seed(seed)
        for places, last, state in self._read(prompts):
            rows = torch.arange(len(places)).repeat_interleave(count)
            tokens, log_probs = self._drawn(last[rows], spread(state, rows), draw)
            for row, (said, likely) in enumerate(zip(tokens, log_probs, strict=True)):
                ends = (said == self.end).nonzero()
                length = int(ends[0]) + 1 if len(ends) else len(said)
                text = bytes(said[: length - bool(len(ends))].tolist()).decode("latin-1")
                found[places[row // count]].append(Answer(said[:length], likely[:length], text))
        return found

    def log_probs(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """For each prompt, the log-probabilities (L,) of the tokens of each of its answers, with their gradients."""
        return [
            [likely.gather(-1, said[:, None])[:, 0] for likely, said in zip(group, own, strict=True)]
            for group, own in zip(self.distributions(prompts, answers), answers, strict=True)
        ]

    def distributions(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """The same, of all N tokens that could have been said in each place, (L, N)."""
        found: list[list[Tensor]] = [[] for _ in prompts]
        for places, last, state in self._read(prompts):
            rows = [(row, answer) for row, place in enumerate(places) for answer in answers[place]]
            if not rows:
                continue
            at = torch.tensor([row for row, _ in rows])
            said = nn.utils.rnn.pad_sequence([a for _, a in rows], batch_first=True, padding_value=self.end)
            logits = last[at][:, None]
            if said.shape[1] > 1:
                logits = torch.cat([logits, self.decoder(said[:, :-1], spread(state, at))[0]], 1)
            for (row, answer), each in zip(rows, logits.log_softmax(-1), strict=True):
                found[places[row]].append(each[: len(answer)])
        return found

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.decoder.parameters()

    def copy(self) -> DecoderPolicy:
        """One with weights of its own."""
        return DecoderPolicy(copy.deepcopy(self.decoder), self.longest, chr(self.end))

    def frozen(self) -> DecoderPolicy:
        """A copy that stays as it is."""
        kept = self.copy()
        kept.decoder.requires_grad_(False)
        return kept

    def _read(self, prompts: Sequence[Prompt]) -> Iterator[tuple[list[int], Tensor, State]]:
        """Prompts of one length side by side: their places, the logits of what comes next (B, N) and the states."""
        lengths: dict[tuple[int, int], list[int]] = {}
        for place, prompt in enumerate(prompts):
            lengths.setdefault((len(prompt.context), len(prompt.question)), []).append(place)
        for places in lengths.values():
            contexts = list(dict.fromkeys(prompts[place].context for place in places))
            _, state = self.decoder(_bytes(contexts), self.decoder.init_state(len(contexts)))
            rows = torch.tensor([contexts.index(prompts[place].context) for place in places])
            logits, state = self.decoder(_bytes([prompts[p].question for p in places]), spread(state, rows))
            yield places, logits[:, -1], state

    def _drawn(self, last: Tensor, state: State, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        tokens: list[Tensor] = []
        log_probs: list[Tensor] = []
        ended = torch.zeros(len(last), dtype=torch.bool)
        while len(tokens) < self.longest and not bool(ended.all()):
            if tokens:
                last, state = self.decoder.step(tokens[-1], state)
            likely = last.log_softmax(-1)
            tokens.append(torch.multinomial(likely.exp(), 1, generator=draw)[:, 0])
            log_probs.append(likely.gather(-1, tokens[-1][:, None])[:, 0])
            ended |= tokens[-1] == self.end
        return torch.stack(tokens, 1), torch.stack(log_probs, 1)


def spread(state: State, rows: Tensor) -> State:
    """The state whose rows are these rows of ``state``, as often as they are named."""
    return State(state.layout, state.version, {n: t[rows] for n, t in state.tensors.items()}, state.numbers)


def _bytes(texts: Sequence[str]) -> Tensor:
    return torch.tensor([list(text.encode("latin-1")) for text in texts])
