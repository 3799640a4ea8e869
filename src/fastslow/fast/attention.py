"""Attention with its cache of keys and values: the fast weights of a transformer, one record a token.

Letters of shapes: B batch, H heads, T tokens, S tokens that are kept, K and V channels of a key and of a value.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastslow.errors import InputError
from fastslow.fast.frame import Held, LayerConfig, Memory, per_head


class Attention(Memory):
    """o_t = sum_s softmax_s(q_t k_s / sqrt(K)) v_s over all tokens s <= t, or over the last ``config.window`` of them
    (Vaswani et al. 2017; the window of Beltagy et al. 2020, arXiv 2004.05150), with rotary positions (Su et al. 2021,
    arXiv 2104.09864).

    The state is the cache: it grows with the tokens that are kept, the only one here that does. ``persistent`` keys and
    values are learned and always in sight (Sukhbaatar et al. 2019, arXiv 1907.01470).
    """

    rule = "attention"

    def __init__(self, config: LayerConfig, persistent: int = 0) -> None:
        super().__init__()
        if config.key % 2:
            raise InputError(f"rotary positions turn pairs of channels: give key an even size, not {config.key}")
        self.config, self.width, self.persistent = config, config.width, persistent
        self.sizes = [config.heads * size for size in (config.key, config.key, config.value)]
        self.to_qkv = nn.Linear(config.width, sum(self.sizes), bias=False)
        self.to_out = nn.Linear(self.sizes[2], config.width, bias=False)
        if persistent:
            self.keys = nn.Parameter(0.5 * torch.randn(config.heads, persistent, config.key))
            self.values = nn.Parameter(0.5 * torch.randn(config.heads, persistent, config.value))

    @property
    def layout(self) -> str:
        c = self.config
        return f"fast/{self.rule} H{c.heads} K{c.key} V{c.value} window{c.window} width{c.width}"

    def empty(self, batch: int) -> Held:
        c = self.config
        return {"keys": torch.zeros(batch, c.heads, 0, c.key), "values": torch.zeros(batch, c.heads, 0, c.value)}

    def run(self, x: Tensor, held: Held, seen: int, *, single: bool) -> tuple[Tensor, Held]:
        parts = self.to_qkv(x).split(self.sizes, -1)
        q, k, v = (per_head(part, self.config.heads) for part in parts)
        k = torch.cat([held["keys"].to(x.dtype), rotated(k, seen)], 2)
        v = torch.cat([held["values"].to(x.dtype), v], 2)
        out = self._attend(rotated(q, seen), k, v, seen)
        keep = slice(self._first(k.shape[2]), None)
        kept = {"keys": k[:, :, keep].to(held["keys"].dtype), "values": v[:, :, keep].to(held["values"].dtype)}
        return self.to_out(out.transpose(1, 2).flatten(2)), kept

    def merged(self, earlier: Held, later: Held, before: int, after: int) -> Held:
        # positions are angles, so the later keys are turned on by as many tokens as came before
        both = {
            "keys": torch.cat([earlier["keys"], rotated_by(later["keys"], before)], 2),
            "values": torch.cat([earlier["values"], later["values"]], 2),
        }
        return {name: t[:, :, self._first(t.shape[2]) :] for name, t in both.items()}

    def _first(self, tokens: int) -> int:
        """The first of the ``tokens`` so far that the next one will still see."""
        return 0 if self.config.window is None else max(0, tokens - self.config.window + 1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, seen: int) -> Tensor:
        """Chunk by chunk, with the keys that a chunk sees and no others: a chunk is computed in the same shapes, and so
        comes out in the same bits, wherever the stream was cut before it, and what it cannot see costs nothing."""
        before, size, parts, t = k.shape[2] - q.shape[2], self.config.chunk, [], 0
        while t < q.shape[2]:
            end = min(t + size - (seen + t) % size, q.shape[2])
            seeing = slice(self._first(before + t), before + end)
            parts.append(self._attend_chunk(q[:, :, t:end], k[:, :, seeing], v[:, :, seeing]))
            t = end
        return torch.cat(parts, 2)

    def _attend_chunk(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        sight = visible(q.shape[2], k.shape[2], self.config.window, q.device)
        if self.persistent:
            sight = nn.functional.pad(sight, (self.persistent, 0), value=True)
            k, v = (
                torch.cat([always.to(t.dtype).expand(len(t), -1, -1, -1), t], 2)
                for always, t in ((self.keys, k), (self.values, v))
            )
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=sight)


def visible(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """Which of ``keys`` tokens each of the last ``queries`` of them sees, (queries, keys): itself and those before it,
    at most ``window`` in all."""
    at = torch.arange(keys - queries, keys, device=device)[:, None]
    back = at - torch.arange(keys, device=device)
    return (back >= 0) & (back < (keys + 1 if window is None else window))


def rotated(x: Tensor, seen: int, base: float = 10_000.0) -> Tensor:
    """Channels (B, H, T, K) turned in pairs (c, c + K / 2) by angles that grow with the position, which begins
    at ``seen``."""
    return rotated_by(x, torch.arange(seen, seen + x.shape[2], dtype=torch.float64, device=x.device)[:, None], base)


def rotated_by(x: Tensor, positions: Tensor | int, base: float = 10_000.0) -> Tensor:
    """The same by the angles of ``positions``, (T, 1) or one for all."""
    half = x.shape[-1] // 2
    angle = positions * base ** (-torch.arange(half, dtype=torch.float64, device=x.device) / half)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.split(half, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
