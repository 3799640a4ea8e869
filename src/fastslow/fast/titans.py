"""The three places that Titans gives its long-term memory beside attention: as context, as a gate, as a layer
(Behrouz et al. 2025, arXiv 2501.00663, section 4).

Letters of shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from fastslow.fast.attention import Attention
from fastslow.fast.frame import Held, LayerConfig, Memory, unit
from fastslow.fast.test_time import Titans

PERSISTENT = 4  # learned tokens that are always in sight, the third memory of the paper


class _Placed(Memory):
    """A long-term memory and a short-term one, attention, whose states are held side by side."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.long = Titans(config)
        self.short = Attention(self.attended(config), PERSISTENT)

    def attended(self, config: LayerConfig) -> LayerConfig:
        """What attention sees: a window of two chunks unless the config names another."""
        return replace(config, window=config.window or 2 * config.chunk)

    @property
    def layout(self) -> str:
        return f"fast/{self.rule} of {self.long.layout} and {self.short.layout}"

    def empty(self, batch: int) -> Held:
        parts = {"long": self.long.empty(batch), "short": self.short.empty(batch)}
        return {f"{part}.{name}": t for part, held in parts.items() for name, t in held.items()}

    def on(self, part: str, x: Tensor, held: Held, seen: int, single: bool) -> tuple[Tensor, Held]:
        """One of the two on ``x``: what it says, and what it holds under its names here."""
        memory: Memory = getattr(self, part)
        mine = {name.removeprefix(f"{part}."): t for name, t in held.items() if name.startswith(f"{part}.")}
        said, after = memory.run(x, mine, seen, single=single)
        return said, {f"{part}.{name}": t for name, t in after.items()}


class MemoryAsLayer(_Placed):
    """The memory first, then attention over a window of what it says. Eq. 28-31."""

    rule = "titans_mal"

    def run(self, x: Tensor, held: Held, seen: int, *, single: bool) -> tuple[Tensor, Held]:
        said, long = self.on("long", x, held, seen, single)
        said, short = self.on("short", said, held, seen, single)
        return said, {**long, **short}


class MemoryAsGate(_Placed):
    """Attention over a window beside the memory; what both say is normalised and multiplied, the memory's through a
    sigmoid. Eq. 26-28."""

    rule = "titans_mag"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.norm_long, self.norm_short = nn.RMSNorm(config.width), nn.RMSNorm(config.width)
        self.to_out = nn.Linear(config.width, config.width, bias=False)

    def run(self, x: Tensor, held: Held, seen: int, *, single: bool) -> tuple[Tensor, Held]:
        remembered, long = self.on("long", x, held, seen, single)
        attended, short = self.on("short", x, held, seen, single)
        out = self.norm_short(attended) * self.norm_long(remembered).sigmoid()
        return self.to_out(out), {**long, **short}


class MemoryAsContext(_Placed):
    """What the memory of before a segment says of each of its tokens stands beside the segment, and attention within
    the segment reads both; the memory then learns what attention said, and gates it. Eq. 21-25.

    A segment is a chunk of the memory, and what has been seen of an unfinished one is part of the state. A token sees
    what was recalled for itself and those before it: the paper recalls for a whole segment at once, which no decoder
    can do for tokens that are still to come.
    """

    rule = "titans_mac"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_query = nn.Linear(config.width, config.heads * config.key, bias=False)
        self.to_context = nn.Linear(config.heads * config.value, config.width, bias=False)
        self.norm_long, self.norm_short = nn.RMSNorm(config.width), nn.RMSNorm(config.width)
        self.to_out = nn.Linear(config.width, config.width, bias=False)

    def attended(self, config: LayerConfig) -> LayerConfig:
        return replace(config, window=None)  # a segment is short

    def run(self, x: Tensor, held: Held, seen: int, *, single: bool) -> tuple[Tensor, Held]:
        out, t, size = [x[:, :0]], 0, self.config.chunk
        while t < x.shape[1]:
            place = (seen + t) % size
            if place == 0:
                held = {**held, **{name: held[name][:, :, :0] for name in ("short.keys", "short.values")}}
            part = x[:, t : t + size - place]
            both = torch.stack([self._recalled(part, held, place), part], 2).flatten(1, 2)
            attended, short = self.on("short", both, held, 2 * place, False)
            said = attended[:, 1::2]
            remembered, long = self.on("long", said, held, seen + t, single)
            out.append(self.to_out(self.norm_short(said) * self.norm_long(remembered).sigmoid()))
            held, t = {**long, **short}, t + part.shape[1]
        return torch.cat(out, 1), held

    def _recalled(self, x: Tensor, held: Held, place: int) -> Tensor:
        """What the memory as it was at the segment's start says to each token, (B, T, D)."""
        said = unit(self.long.per_head(self.to_query(x))).to(held["long.now0"].dtype)
        for n in range(self.long.depth):
            weight = held[f"long.{'start' if place else 'now'}{n}"]
            said = (self.long.act(said) if n else said) @ weight[..., :-1, :] + weight[..., -1:, :]
        return self.to_context(said.to(x.dtype).transpose(1, 2).flatten(2))


PLACED: dict[str, type[_Placed]] = {memory.rule: memory for memory in (MemoryAsContext, MemoryAsGate, MemoryAsLayer)}
