"""A decoder over tokens with any memory in each block, so that hybrids are a list of names.

Letters of shapes: B batch, T tokens, D width, N tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from fastslow.errors import InputError, StoreError
from fastslow.fast.attention import Attention
from fastslow.fast.frame import VERSION, LayerConfig, Memory
from fastslow.fast.layers import LAYERS
from fastslow.fast.recurrent import CELLS, Cell
from fastslow.fast.rwkv import RWKV7
from fastslow.fast.test_time import LEARNERS
from fastslow.fast.titans import PLACED
from fastslow.state import State


def _sized(cell: type[Cell]) -> Callable[[LayerConfig], Memory]:
    """A cell with as many units as a layer has channels."""
    return lambda config: cell(config.width, config.heads * config.value)


MEMORIES: dict[str, Callable[[LayerConfig], Memory]] = {
    **LAYERS,
    RWKV7.rule: RWKV7,
    **LEARNERS,
    **PLACED,
    **{rule: _sized(cell) for rule, cell in CELLS.items()},
    Attention.rule: Attention,
}


@dataclass(frozen=True)
class DecoderConfig:
    """``blocks`` names the memory of each block (see ``MEMORIES``); ``layer`` is what they share; ``hidden`` is the
    width of the gated map behind each memory, 0 for none."""

    vocabulary: int
    blocks: tuple[str, ...]
    layer: LayerConfig
    hidden: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.blocks if name not in MEMORIES]
        if unknown:
            raise InputError(f"there is no memory {unknown[0]!r}: choose among {', '.join(MEMORIES)}")
        if not self.blocks or self.vocabulary < 1 or self.hidden < 0:
            raise InputError(f"a decoder has at least one block and one token, and hidden is not negative: {self}")

    def to_dict(self) -> dict[str, object]:
        """As JSON has it; ``from_dict`` reads it back."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return own | {"blocks": list(self.blocks), "layer": vars(self.layer)}

    @classmethod
    def from_dict(cls, about: dict[str, object]) -> DecoderConfig:
        """Raises InputError where a setting is unknown or impossible."""
        try:
            layer = LayerConfig(**about["layer"])  # type: ignore[arg-type]
            return cls(**{**about, "blocks": tuple(about["blocks"]), "layer": layer})  # type: ignore[arg-type]
        except (KeyError, TypeError) as error:
            raise InputError(f"these are not the settings of a decoder ({error}): train it anew") from error


class Block(nn.Module):
    """x + memory(norm x), then x + gated map(norm x) (SwiGLU, Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, name: str, config: DecoderConfig) -> None:
        super().__init__()
        width = config.layer.width
        self.memory, self.before = MEMORIES[name](config.layer), nn.RMSNorm(width)
        self.hidden = config.hidden
        if config.hidden:
            self.between = nn.RMSNorm(width)
            self.up = nn.Linear(width, 2 * config.hidden, bias=False)
            self.down = nn.Linear(config.hidden, width, bias=False)

    def forward(self, x: Tensor, state: State, single: bool) -> tuple[Tensor, State]:
        normed = self.before(x)
        if single:
            said, state = self.memory.step(normed[:, 0], state)
            x = x + said[:, None]
        else:
            said, state = self.memory(normed, state)
            x = x + said
        if self.hidden:
            gate, up = self.up(self.between(x)).chunk(2, -1)
            x = x + self.down(nn.functional.silu(gate) * up)
        return x, state


class Decoder(nn.Module):
    """Tokens in, logits of the next ones out, and one state that holds every block's. The head is the embedding."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.layer.width)
        nn.init.normal_(self.embed.weight, std=0.02)
        blocks = [Block(name, config) for name in config.blocks]
        self.blocks = nn.ModuleList(blocks)
        self.memories = [block.memory for block in blocks]  # the same modules, as a list that knows their type
        self.norm = nn.RMSNorm(config.layer.width)

    @property
    def layout(self) -> str:
        return "models/decoder " + "; ".join(memory.layout for memory in self.memories)

    def init_state(self, batch_size: int) -> State:
        """The state before the first token, for ``batch_size`` rows that never see each other."""
        return self._joined([memory.init_state(batch_size) for memory in self.memories])

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, T, N) of the token after each of ``tokens`` (B, T), and the state after them.

        Raises StoreError for a state of another decoder, InputError for tokens outside the vocabulary.
        """
        return self._go(tokens, state, single=False)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """One token (B,): logits (B, N) and the next state."""
        logits, state = self._go(token[:, None], state, single=True)
        return logits[:, 0], state

    def _go(self, tokens: Tensor, state: State, *, single: bool) -> tuple[Tensor, State]:
        if (state.layout, state.version) != (self.layout, VERSION):
            raise StoreError(
                f"a state of {state.layout!r} was given to {self.layout!r}: begin with this decoder's init_state"
            )
        if tokens.ndim != 2 or tokens.shape[1] < 1:
            raise InputError(f"tokens have shape {tuple(tokens.shape)}: give (batch, at least 1 token)")
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < self.config.vocabulary:
            raise InputError(f"tokens lie between 0 and {self.config.vocabulary - 1}, these do not")
        x, after = self.embed(tokens), []
        for n, block in enumerate(self.blocks):
            x, now = block(x, state.part(str(n), self.memories[n].layout, VERSION), single)
            after.append(now)
        return nn.functional.linear(self.norm(x), self.embed.weight), self._joined(after)

    def _joined(self, states: list[State]) -> State:
        return State.join(self.layout, VERSION, {str(n): state for n, state in enumerate(states)})

    @torch.no_grad()
    def generate(
        self, tokens: Tensor, count: int, *, state: State | None = None, temperature: float = 1.0, seed: int = 0
    ) -> tuple[Tensor, State]:
        """``count`` tokens (B, count) after ``tokens`` (B, T >= 1), greedy at temperature 0, and the state before the
        last of them."""
        draw = torch.Generator().manual_seed(seed)
        logits, state = self(tokens, self.init_state(len(tokens)) if state is None else state)
        last = logits[:, -1]
        out: list[Tensor] = []
        for n in range(count):
            if n:
                last, state = self.step(out[-1], state)
            if temperature:
                out.append(torch.multinomial((last / temperature).softmax(-1), 1, generator=draw)[:, 0])
            else:
                out.append(last.argmax(-1))
        return torch.stack(out, 1), state
