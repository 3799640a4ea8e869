"""Memories that learn at test time: each token is a step of gradient descent on a small model whose weights are the
state. Test-time training (Sun et al. 2024, arXiv 2407.04620), Titans (Behrouz et al. 2025, arXiv 2501.00663) and the
three of Miras (Behrouz et al. 2025, arXiv 2504.13173).

In all of them the chunk is part of the meaning: every gradient of a chunk is taken at the weights of the chunk's start.
The weights after a token are then linear in the gradients so far,

    A_t = a_t A + b_t S + sum_{s <= t} M_ts G_s,    G_s = h_s d_s^T for each map of the small model,

so that reading never builds the weights of a token: q A_t = a_t q A + b_t q S + sum_s M_ts (q h_s) d_s (the dual form
of Sun et al., section 2.5, for any momentum and decay). The state holds the weights at the chunk's start and now and
the momentum, and so is of one size and can be cut anywhere.

Letters of shapes: B batch, H heads, T tokens, C tokens of (a part of) a chunk, K and V channels of a key and a value, I
and O the inputs (with one for the bias) and outputs of a map.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastslow.errors import InputError
from fastslow.fast.frame import Held, Layer, LayerConfig, unit
from fastslow.fast.kernel import segments


@dataclass(frozen=True)
class Scan:
    """How the weights and the momentum after each token of a chunk come about, all (B, H, C, 1) or (B, H, C, C): the
    weights are ``own`` A + ``push`` S + ``each`` G, the momentum is ``kept`` S + ``gathered`` G."""

    own: Tensor
    push: Tensor
    each: Tensor
    kept: Tensor
    gathered: Tensor


class TestTimeLayer(Layer):
    """The frame. A subclass has a loss, and the gates that make a :class:`Scan`."""

    __test__ = False  # not a test, whatever its name
    hidden: ClassVar[int] = 4  # times K, in a model of more than one map

    def __init__(self, config: LayerConfig, depth: int | None = None) -> None:
        super().__init__(config)
        self.depth = config.depth if depth is None else depth
        widths = [config.key, *[self.hidden * config.key] * (self.depth - 1), config.value]
        self.first = nn.ParameterList(
            self.born(torch.randn(config.heads, before + 1, after), before) for before, after in pairwise(widths)
        )

    # ------------------------------------------------------------------ what a rule says

    @abstractmethod
    def gates(self, x: Tensor) -> Sequence[Tensor]:
        """What the stream (B, T, D) decides, each (B, H, T, 1)."""

    @abstractmethod
    def scan(self, gates: Sequence[Tensor], place: int) -> Scan:
        """From the gates of C tokens, the first of them the ``place``-th of its chunk."""

    @abstractmethod
    def loss(self, said: Tensor, k: Tensor, v: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """The loss of each token (B, H, C), from what the small model says of ``k``."""

    def born(self, noise: Tensor, inputs: int) -> Tensor:
        """A map (H, I, O) before the first token, from normal noise."""
        noise = noise / math.sqrt(inputs)
        noise[:, -1] = 0.0
        return noise

    def weights(self, held: Tensor) -> Tensor:
        """The map that is read, (.., I, O), from what is held; as it is unless the rule retains otherwise."""
        return held

    def answer(self, said: Tensor, q: Tensor) -> Tensor:
        return said

    def act(self, x: Tensor) -> Tensor:
        """Between two maps."""
        return nn.functional.gelu(x, approximate="tanh")

    # ------------------------------------------------------------------ Memory

    @property
    def layout(self) -> str:
        c = self.config
        return (
            f"fast/{self.rule} H{c.heads} K{c.key} V{c.value} conv{c.conv} depth{self.depth} chunk{c.chunk}"
            f" width{c.width}"
        )

    def empty(self, batch: int) -> Held:
        held = super().empty(batch)
        for n, first in enumerate(self.first):
            whole = first.expand(batch, *first.shape)
            held |= {f"start{n}": whole, f"now{n}": whole, f"momentum{n}": torch.zeros_like(whole)}
        return held

    def remember(
        self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held, seen: int, *, single: bool
    ) -> tuple[Tensor, Held]:
        kept = held["start0"].dtype
        q, key, value = (t.to(kept) for t in (unit(q), unit(k[0]), v[0]))
        gates = [g.to(kept) for g in self.gates(x)]
        start, now, momentum = ([held[f"{name}{n}"] for n in range(self.depth)] for name in _NAMES)
        out, t = [value[:, :, :0]], 0
        while t < x.shape[1]:
            place = (seen + t) % self.config.chunk
            part = slice(t, t + self.config.chunk - place)
            inside = [g[:, :, part] for g in gates]
            start = now if place == 0 else start
            keys, deltas = self.gradients(start, key[:, :, part], value[:, :, part], inside)
            scan = self.scan(inside, place)
            out.append(self.read(scan, q[:, :, part], keys, deltas, now, momentum))
            t += keys[0].shape[2]
            after = [_after(*pair) for pair in zip(keys, deltas, now, momentum, [scan] * self.depth, strict=True)]
            ended = (seen + t) % self.config.chunk == 0
            now, momentum = self.carry([a for a, _ in after], [s for _, s in after], now, ended)
        lists = zip(_NAMES, (start, now, momentum), strict=True)
        return torch.cat(out, 2), {f"{name}{n}": t for name, maps in lists for n, t in enumerate(maps)}

    def carry(
        self, after: list[Tensor], momentum: list[Tensor], before: list[Tensor], ended: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The weights and the momentum that go on; ``ended``: whether the chunk has."""
        return after, momentum

    # ------------------------------------------------------------------ learning and reading

    def gradients(
        self, start: Sequence[Tensor], k: Tensor, v: Tensor, gates: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For each map the inputs h (B, H, C, I) and d (B, H, C, O) whose outer products are the tokens' gradients."""
        maps = [self.weights(held) for held in start]

        def losses(taps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            inputs, said = [], k
            for n, (weight, tap) in enumerate(zip(maps, taps, strict=True)):
                inputs.append(_with_one(self.act(said) if n else said))
                said = inputs[-1] @ weight + tap
            return self.loss(said, k, v, gates).sum(), inputs

        taps = [k.new_zeros(*k.shape[:3], weight.shape[-1]) for weight in maps]
        deltas, inputs = torch.func.grad(losses, has_aux=True)(taps)
        return inputs, deltas

    def read(
        self,
        scan: Scan,
        q: Tensor,
        keys: Sequence[Tensor],
        deltas: Sequence[Tensor],
        now: Sequence[Tensor],
        momentum: Sequence[Tensor],
    ) -> Tensor:
        """What the small model of each token says of its query."""
        linear, said = type(self).weights is TestTimeLayer.weights, q
        for n, (h, d, a, s) in enumerate(zip(keys, deltas, now, momentum, strict=True)):
            query = _with_one(self.act(said) if n else said)
            if linear:
                said = scan.own * (query @ a) + scan.push * (query @ s) + ((query @ h.mT) * scan.each) @ d
            else:  # what is read is no linear map of what is held, so that every token's weights are built
                every = torch.einsum("bhts,bhsi,bhso->bhtio", scan.each, h, d)
                every = every + scan.own[..., None] * a[:, :, None] + scan.push[..., None] * s[:, :, None]
                said = (query[..., None, :] @ self.weights(every)).squeeze(-2)
        return self.answer(said, q)


_NAMES = ("start", "now", "momentum")


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)


def _after(h: Tensor, d: Tensor, now: Tensor, momentum: Tensor, scan: Scan) -> tuple[Tensor, Tensor]:
    """The weights and the momentum after the last token."""
    ends = (scan.each, scan.gathered)
    grown, pushed = ((h * each[:, :, -1, :, None]).mT @ d for each in ends)
    own, push, kept = (t[:, :, -1:] for t in (scan.own, scan.push, scan.kept))
    return own * now + push * momentum + grown, kept * momentum + pushed


def decayed(rate: Tensor, keep: Tensor, kept: Tensor | None = None) -> Scan:
    """A_t = exp(keep) A_{t-1} + S_t with S_t = exp(kept) S_{t-1} - rate G_t, or without momentum where ``kept`` is
    None: all (B, H, C, 1), the decays as logs."""
    into, weigh = keep.cumsum(2).exp(), segments(keep).exp().squeeze(-1)
    step = -rate.mT  # by the token whose gradient it is
    if kept is None:
        nothing = torch.zeros_like(into)
        return Scan(into, nothing, weigh * step, nothing, torch.zeros_like(weigh))
    fade, gather = kept.cumsum(2).exp(), segments(kept).exp().squeeze(-1)
    return Scan(into, weigh @ fade, (weigh @ gather) * step, fade, gather * step)


# ---------------------------------------------------------------------- test-time training


class TTTLinear(TestTimeLayer):
    """f(x) = x + LN(x W + b) fitted to v by 1/2 |LN(k W + b) - (v - k)|^2, the step a learned rate over K times a
    learned fraction that begins at 1 / i for the i-th token of a chunk. Sun et al. 2024, eq. 4-7 and appendix; the W of
    a token is the chunk's first W less its own fraction of all the chunk's gradients so far, as in the authors' code.
    """

    rule = "ttt_linear"
    maps: ClassVar[int] = 1

    def __init__(self, config: LayerConfig) -> None:
        if config.key != config.value:
            raise InputError(f"test-time training adds to the key: give key and value one size, not {config}")
        super().__init__(config, self.maps)
        self.to_rate = self.gate()
        self.fraction = nn.Parameter(torch.zeros(config.chunk))
        self.gain = nn.Parameter(torch.ones(config.heads, 1, config.value))
        self.bias = nn.Parameter(torch.zeros(config.heads, 1, config.value))

    def gates(self, x: Tensor) -> Sequence[Tensor]:
        return [self.per_head(self.to_rate(x)).sigmoid() / self.config.key]

    def scan(self, gates: Sequence[Tensor], place: int) -> Scan:
        (rate,) = gates
        count = rate.shape[2]
        order = torch.arange(1, self.config.chunk + 1, dtype=rate.dtype, device=rate.device)
        part = (1 / order + self.fraction.to(rate.dtype)).clamp(min=0)[place : place + count, None]
        gathered = -rate.mT * torch.ones(count, count, dtype=rate.dtype, device=rate.device).tril()
        ones = torch.ones_like(rate)
        return Scan(ones, part * ones, part * gathered, ones, gathered)

    def carry(
        self, after: list[Tensor], momentum: list[Tensor], before: list[Tensor], ended: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        return (after, [torch.zeros_like(s) for s in momentum]) if ended else (before, momentum)

    def loss(self, said: Tensor, k: Tensor, v: Tensor, gates: Sequence[Tensor]) -> Tensor:
        return 0.5 * (self._normed(said) - (v - k)).square().sum(-1)

    def answer(self, said: Tensor, q: Tensor) -> Tensor:
        return q + self._normed(said)

    def _normed(self, x: Tensor) -> Tensor:
        normed = nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6)
        return self.gain.to(x.dtype) * normed + self.bias.to(x.dtype)


class TTTMLP(TTTLinear):
    """The same with two maps and a GELU between them, 4 K channels wide."""

    rule, maps = "ttt_mlp", 2


# ---------------------------------------------------------------------- Titans


class _Forgetting(TestTimeLayer):
    """What Titans and Miras share: the loss |M(k) - v|^2, SiLU between maps, a rate of at most 0.1 and a forgetting
    gate that begins near 1 in 100."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_forget, self.to_rate = self.gate(), self.gate()
        nn.init.constant_(self.to_forget.bias, -4.6)

    def gates(self, x: Tensor) -> Sequence[Tensor]:
        rate = self.most() * self.per_head(self.to_rate(x)).sigmoid()
        # log(1 - sigmoid(a)) is logsigmoid(-a), which never loses a small one
        return [rate, nn.functional.logsigmoid(-self.per_head(self.to_forget(x)))]

    def most(self) -> float:
        """The highest rate."""
        return 0.1

    def scan(self, gates: Sequence[Tensor], place: int) -> Scan:
        return decayed(*gates[:2])

    def loss(self, said: Tensor, k: Tensor, v: Tensor, gates: Sequence[Tensor]) -> Tensor:
        return (said - v).square().sum(-1)

    def act(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x)


class Titans(_Forgetting):
    """The long-term memory of Titans: S_t = eta_t S_{t-1} - theta_t grad |M(k_t) - v_t|^2 is the surprise with its
    momentum, M_t = (1 - alpha_t) M_{t-1} + S_t forgets. Behrouz et al. 2025, eq. 9-14; M has ``depth`` maps."""

    rule = "titans"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_momentum = self.gate()

    def most(self) -> float:
        # The gradients of a chunk are all taken at its start, so their steps add up: at up to 0.1 in chunks of 32 the
        # weights left what is finite within a thousand bytes of text. Miras' bound the weights or the gradients.
        return min(0.1, 1 / self.config.chunk)

    def gates(self, x: Tensor) -> Sequence[Tensor]:
        return [*super().gates(x), nn.functional.logsigmoid(self.per_head(self.to_momentum(x)))]

    def scan(self, gates: Sequence[Tensor], place: int) -> Scan:
        return decayed(*gates)


# ---------------------------------------------------------------------- Miras


class Moneta(_Forgetting):
    """l_p loss with p = 3 and retention by an l_q norm with q = 4: A_t = (1 - alpha) A_{t-1} - eta grad |M(k) - v|_p^p
    and W_t = A_t / |A_t|_q^(q-2), the norm over each map. Miras, eq. 24-25; |x| is sqrt(x^2 + 1e-6) there and here, for
    a gradient at 0."""

    rule = "moneta"

    def loss(self, said: Tensor, k: Tensor, v: Tensor, gates: Sequence[Tensor]) -> Tensor:
        return _smooth(said - v).pow(3).sum(-1)

    def weights(self, held: Tensor) -> Tensor:
        norm = (held.pow(4).sum((-2, -1), keepdim=True) + 1e-12).sqrt()  # |A|_4^2
        return held / norm


class Yaad(_Forgetting):
    """Huber's loss with a threshold that the token chooses: |e|^2 / 2 where the error is below delta, and delta |e|_1
    above. Miras, eq. 26."""

    rule = "yaad"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_threshold = self.gate()

    def gates(self, x: Tensor) -> Sequence[Tensor]:
        return [*super().gates(x), nn.functional.softplus(self.per_head(self.to_threshold(x)))]

    def loss(self, said: Tensor, k: Tensor, v: Tensor, gates: Sequence[Tensor]) -> Tensor:
        error, threshold = said - v, gates[2].squeeze(-1)
        squares = error.square().sum(-1)
        return torch.where(squares <= threshold.square(), 0.5 * squares, threshold * _smooth(error).sum(-1))


class Memora(_Forgetting):
    """Retention by KL divergence, which keeps every row of a map on a simplex: W_t = c softmax((1 - alpha) log W_{t-1}
    - eta grad |M(k) - v|^2). Miras, eq. 27. What is held is log W up to a constant of each row, which softmax does not
    see; c is the root of a row's length."""

    rule = "memora"

    def weights(self, held: Tensor) -> Tensor:
        return held.softmax(-1) * math.sqrt(held.shape[-1])


def _smooth(x: Tensor) -> Tensor:
    return (x.square() + 1e-6).sqrt()


LEARNERS: dict[str, type[TestTimeLayer]] = {
    layer.rule: layer for layer in (TTTLinear, TTTMLP, Titans, Moneta, Yaad, Memora)
}
