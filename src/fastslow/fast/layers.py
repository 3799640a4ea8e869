"""Layers with fast weights: one for every rule of :mod:`fastslow.fast.rules`, each a SequenceMemory.

All share the frame of :class:`fastslow.fast.frame.Layer` around the kernel. A subclass says what its rule needs beyond
that, with the initial values of its paper.

Letters of shapes: B batch, T tokens, D width, H heads, K and V channels of a key and of a value.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastslow.errors import InputError
from fastslow.fast import rules
from fastslow.fast.frame import Held, Layer, LayerConfig, unit
from fastslow.fast.kernel import Inputs


class FastWeightLayer(Layer):
    """A layer over the kernel. ``columns``: those of the state beside V."""

    columns: ClassVar[int] = 0
    featured: ClassVar[bool] = False  # whether keys go through ``config.features``

    # ------------------------------------------------------------------ what a rule says

    @abstractmethod
    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        """The kernel's inputs and what else is carried to the next call, from ``x`` (B, T, D), ``q``, ``k`` (B, H, T,
        K) and ``v`` (B, H, T, V)."""

    def read(self, read: Tensor, carried: Held) -> Tensor:
        """What each head says (B, H, T, V), from what the kernel read of the state."""
        return read

    def carried(self, batch: int) -> Held:
        """What a rule carries beside the state and the convolution, before the first token."""
        return {}

    @property
    def rows(self) -> int:
        """Rows of the state: K, or what the feature map makes of it."""
        mapped = self.featured and self.config.features != "elu"
        return self.config.key * (2 * int(self.config.features[-1]) if mapped else 1)

    def mapped(self, x: Tensor) -> Tensor:
        """The features of keys or queries (B, H, T, K)."""
        kind = self.config.features
        return rules.elu_features(x) if kind == "elu" else rules.dpfp_features(x, int(kind[-1]))

    # ------------------------------------------------------------------ Memory

    @property
    def layout(self) -> str:
        c = self.config
        return f"fast/{self.rule} H{c.heads} K{self.rows} V{c.value} conv{c.conv} writes{self.writes} width{c.width}"

    def empty(self, batch: int) -> Held:
        c = self.config
        memory = torch.zeros(batch, c.heads, self.rows, c.value + self.columns)
        return {**super().empty(batch), "memory": memory, **self.carried(batch)}

    def merged(self, earlier: Held, later: Held, before: int, after: int) -> Held:
        kept = self.kept(after)
        if kept is None:
            return super().merged(earlier, later, before, after)
        if self.config.conv > 1:
            raise InputError("states can be merged where no convolution joins their tokens: give the layer conv=1")
        return {"conv": later["conv"], "memory": kept * earlier["memory"] + later["memory"]}

    def kept(self, tokens: int) -> Tensor | None:
        """What ``tokens`` tokens leave of a memory, (B, H, K, V) or what expands to it, where that is all they do to
        it and known beforehand; None elsewhere."""
        return None

    def remember(
        self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held, seen: int, *, single: bool
    ) -> tuple[Tensor, Held]:
        inputs, carried = self.inputs(x, q, k, v, held)
        inputs = inputs.map(lambda t: t.to(held["memory"].dtype))
        found, memory = self.config.through(inputs, held["memory"], single=single, size=self.config.chunk)
        kept = {name: tensor for name, tensor in carried.items() if name in held}
        return self.read(found, carried), {**kept, "memory": memory}


class LinearAttention(FastWeightLayer):
    """Additive fast weights with positive features and a normaliser: the fast weight programmer of Schmidhuber 1992 as
    Katharopoulos et al. 2020 have it (features elu), or with DPFP (Schlag et al. 2021)."""

    rule, columns, featured = "linear_attention", 1, True

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        return rules.linear_attention(self.mapped(q), self.mapped(k[0]), rules.with_ones(v[0])), {}

    def read(self, read: Tensor, carried: Held) -> Tensor:
        return rules.normalised(read)

    def kept(self, tokens: int) -> Tensor:
        return torch.ones(())


class RetNet(FastWeightLayer):
    """A fixed decay for each head, 1 - 2^(-5-h) (Sun et al. 2023)."""

    rule = "retnet"

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        return rules.retnet(q, k[0], v[0], self.decay().to(x.device)), {}

    def decay(self) -> Tensor:
        """The log decays of the heads, (H,)."""
        return torch.log1p(-(2.0 ** (-5 - torch.arange(self.config.heads, dtype=torch.float64))))

    def kept(self, tokens: int) -> Tensor:
        return (tokens * self.decay()).exp()[:, None, None]


class Mamba2(FastWeightLayer):
    """Scalar decay from a step size that the token chooses, with a skip of its own (Dao and Gu 2024). a starts
    uniform in -[1, 16] and the step size log-uniform in [1e-3, 1e-1]."""

    rule = "mamba2"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_delta = self.gate(bias=False)
        self.a_log, self.delta_bias = _decay_parameters(config.heads, least=1.0)
        self.skip = nn.Parameter(torch.ones(config.heads))

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        delta = nn.functional.softplus(self.per_head(self.to_delta(x) + self.delta_bias))
        return rules.mamba2(q, k[0], v[0], delta, -self.a_log.exp()), {"skip": self.skip[:, None, None] * v[0]}

    def read(self, read: Tensor, carried: Held) -> Tensor:
        return read + carried["skip"]


class GLA(FastWeightLayer):
    """A decay for each channel, the 16th root of a sigmoid (Yang et al. 2023)."""

    rule = "gla"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_decay = nn.Sequential(nn.Linear(config.width, 16, bias=False), nn.Linear(16, config.heads * config.key))

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        return rules.gla(q, k[0], v[0], nn.functional.logsigmoid(self.per_head(self.to_decay(x))) / 16), {}


class DeltaNet(FastWeightLayer):
    """The delta rule with keys of length 1 (Yang et al. 2024), or with sum-normalised features (Schlag et al. 2021)
    where ``features`` is dpfp."""

    rule, featured = "delta_net", True

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_beta = self.gate(bias=False)

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        beta = self.per_head(self.to_beta(x)).sigmoid()
        q, key = (unit(t) if self.config.features == "elu" else self.mapped(t) for t in (q, k[0]))
        return rules.delta_net(q, key, v[0], beta), {}


class GatedDeltaNet(FastWeightLayer):
    """The delta rule on a state that decays (Yang et al. 2024, arXiv 2412.06464)."""

    rule = "gated_delta_net"

    def __init__(self, config: LayerConfig, writes: int = 1) -> None:
        super().__init__(config, writes)
        self.to_beta, self.to_delta = self.gate(writes, bias=False), self.gate(bias=False)
        self.a_log, self.delta_bias = _decay_parameters(config.heads)

    def decay(self, x: Tensor) -> Tensor:
        """log decays (B, H, T, 1): -exp(A_log) softplus(a(x) + bias)."""
        rate = nn.functional.softplus(self.to_delta(x) + self.delta_bias)
        return self.per_head(-self.a_log.exp() * rate)

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        beta = self.per_head(self.to_beta(x)).sigmoid()
        return rules.gated_delta_net(unit(q), unit(k[0]), v[0], beta, self.decay(x)), {}


class KDA(FastWeightLayer):
    """Kimi delta attention: a decay for each channel, and a sigmoid output gate (Kimi team 2025)."""

    rule = "kda"
    sigmoid_gate = True

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        channels = config.heads * config.key
        self.to_beta = self.gate(bias=False)
        self.to_decay = nn.Sequential(
            nn.Linear(config.width, config.value, bias=False), nn.Linear(config.value, channels, bias=False)
        )
        self.a_log, _ = _decay_parameters(config.heads, least=1.0)
        self.delta_bias = _decay_parameters(channels)[1]

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        rate = self.per_head(nn.functional.softplus(self.to_decay(x) + self.delta_bias))
        g = -self.a_log.exp()[:, None, None] * rate
        return rules.kda(unit(q), unit(k[0]), v[0], self.per_head(self.to_beta(x)).sigmoid(), g), {}


class Comba(GatedDeltaNet):
    """The gated delta rule with a feedback key of its own strength and a corrected query (Hu et al. 2025)."""

    rule, sigmoid_gate = "comba", True

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.feedback = nn.Parameter(torch.ones(config.heads))
        self.correction = nn.Parameter(torch.full((config.heads,), 0.02))

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        beta = self.per_head(self.to_beta(x)).sigmoid()
        back = self.feedback.sigmoid()
        return rules.comba(unit(q), unit(k[0]), v[0], beta, self.decay(x), back, self.correction), {}


class DeltaProduct(GatedDeltaNet):
    """Several delta steps a token, with strengths up to 2, so that a token can reflect as well as project: what
    tracking a state needs (Siems et al. 2025; Grazzi et al. 2024, arXiv 2411.12537)."""

    rule = "delta_product"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config, writes=config.steps)

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        beta = [2 * b.sigmoid() for b in self.per_head(self.to_beta(x)).split(1, -1)]
        return rules.delta_product(unit(q), [unit(key) for key in k], v, beta, self.decay(x)), {}

    def read(self, read: Tensor, carried: Held) -> Tensor:
        return rules.last(read, self.writes)


class Falcon(FastWeightLayer):
    """The delta rule from the token before to this one, with normalised steps and a small decay (Falcon-1, arXiv
    2608.27763). The first token of all has no token before it and writes nothing."""

    rule = "falcon"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_beta, self.to_shrink = self.gate(bias=False), self.gate(bias=True)
        nn.init.constant_(self.to_shrink.bias, -4.0)

    def carried(self, batch: int) -> Held:
        return {"key": torch.zeros(batch, self.config.heads, 1, self.config.key)}

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        keys = torch.cat([held["key"].to(x.dtype), unit(k[0])], 2)
        before = keys[:, :, :-1]
        length = before.square().sum(-1, keepdim=True)
        shrink = 0.5 * self.per_head(self.to_shrink(x)).sigmoid()
        eta = 2 * self.per_head(self.to_beta(x)).sigmoid() / (length + shrink + 1e-6)
        eta = torch.where(length > 0, eta, 0.0).clamp(max=1 / 0.51)  # eta shrink stays below 1
        return rules.falcon(unit(q), before, v[0], eta, shrink), {"key": keys[:, :, -1:].to(held["key"].dtype)}


class MLSTM(FastWeightLayer):
    """Exponential input gates, a normaliser and a running maximum (Beck et al. 2024). The forget bias starts in [3,
    6]."""

    rule, columns, sigmoid_gate = "mlstm", 1, True

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.to_input, self.to_forget = self.gate(), self.gate()
        with torch.no_grad():
            self.to_input.bias.fill_(-10.0)
            self.to_forget.bias.copy_(torch.linspace(3.0, 6.0, config.heads))

    def carried(self, batch: int) -> Held:
        return {"highest": torch.full((batch, self.config.heads, 1), -1e30)}

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        i = self.per_head(self.to_input(x)).to(held["highest"].dtype)
        f = nn.functional.logsigmoid(self.per_head(self.to_forget(x)).to(held["highest"].dtype))
        inputs, highest = rules.mlstm(q, k[0], v[0], i, f, held["highest"], self.config.chunk)
        end = highest[:, :, -1] if x.shape[1] else held["highest"]
        return inputs, {"highest": end, "maximum": highest}

    def read(self, read: Tensor, carried: Held) -> Tensor:
        return rules.mlstm_read(read, carried["maximum"])


class MesaNet(GatedDeltaNet):
    """The exact least-squares fit of all pairs so far (von Oswald et al. 2025), with a ridge that starts at
    softplus(1) + 0.25."""

    rule = "mesa_net"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.ridge = nn.Parameter(torch.ones(config.heads, config.key))

    def carried(self, batch: int) -> Held:
        return {"gram": torch.zeros(batch, self.config.heads, self.config.key, self.config.key)}

    def inputs(self, x: Tensor, q: Tensor, k: list[Tensor], v: list[Tensor], held: Held) -> tuple[Inputs, Held]:
        gram = held["gram"]
        beta = self.per_head(self.to_beta(x)).sigmoid()
        query, key, value, beta, g = (t.to(gram.dtype) for t in (unit(q), unit(k[0]), v[0], beta, self.decay(x)))
        ridge = nn.functional.softplus(self.ridge.to(gram.dtype)) + 0.25
        size = math.gcd(16, self.config.chunk)  # it divides the chunk, so that aligned cuts agree
        inputs, gram = rules.mesa(query, key, value, beta, g, ridge, gram, size)
        return inputs, {"gram": gram}


def _decay_parameters(count: int, least: float = 1e-3) -> tuple[nn.Parameter, nn.Parameter]:
    """A_log with A uniform up to 16, and the bias whose softplus is log-uniform in [1e-3, 1e-1]."""
    a = torch.empty(count).uniform_(least, 16.0)
    delta = torch.empty(count).uniform_(math.log(1e-3), math.log(1e-1)).exp()
    return nn.Parameter(a.log()), nn.Parameter(delta + torch.log(-torch.expm1(-delta)))


LAYERS: dict[str, type[FastWeightLayer]] = {
    layer.rule: layer
    for layer in (
        LinearAttention,
        RetNet,
        Mamba2,
        GLA,
        DeltaNet,
        GatedDeltaNet,
        KDA,
        Comba,
        DeltaProduct,
        Falcon,
        MLSTM,
        MesaNet,
    )
}
