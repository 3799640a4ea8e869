"""RWKV-7's time mixing as a layer (Peng et al. 2025, arXiv 2503.14456, section 4 and appendix): a delta rule whose
removal key, rate and decay are chosen by the token, with token shift where others have a convolution.

The values of the first layer that the paper mixes into those of later ones belong to a stack and are left out here.

Letters of shapes: B batch, T tokens, D width, H heads, K channels of a key and a value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fastslow.errors import InputError
from fastslow.fast import rules
from fastslow.fast.frame import Held, LayerConfig, Memory, per_head

_MIXED = ("r", "w", "k", "v", "a", "g")
STRONGEST = math.exp(-0.5)  # of the log decay: no channel loses more than 1 - exp(-0.61) a token


class RWKV7(Memory):
    """S_t = Diag(w) S_{t-1} - (a kappa) (S_{t-1}^T kappa)^T + k v^T (:func:`fastslow.fast.rules.rwkv7`) with every part
    a map of x and the token before it, mixed channel by channel; a norm for each head, a bonus (r . k) v, and an output
    gate. ``config.value`` must be ``config.key``; convolution and features are not used."""

    rule = "rwkv7"

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        if config.key != config.value:
            raise InputError(f"RWKV-7 has one size for keys and values, not {config.key} and {config.value}")
        self.config, self.width = config, config.width
        inner, low = config.heads * config.key, max(8, config.width // 8)
        self.mix = nn.ParameterDict({name: nn.Parameter(torch.rand(config.width)) for name in _MIXED})
        self.to_r, self.to_k, self.to_v = (nn.Linear(config.width, inner, bias=False) for _ in range(3))
        self.to_decay = nn.Sequential(nn.Linear(config.width, low, bias=False), nn.Tanh(), nn.Linear(low, inner))
        self.to_rate = nn.Sequential(nn.Linear(config.width, low, bias=False), nn.Linear(low, inner))
        self.to_gate = nn.Sequential(
            nn.Linear(config.width, low, bias=False), nn.Sigmoid(), nn.Linear(low, inner, bias=False)
        )
        self.removal, self.kept = nn.Parameter(torch.full((inner,), 0.85)), nn.Parameter(torch.ones(inner))
        self.bonus = nn.Parameter(torch.zeros(config.heads, config.key))
        self.norm = nn.GroupNorm(config.heads, inner, eps=64e-5)
        self.to_out = nn.Linear(inner, config.width, bias=False)

    @property
    def layout(self) -> str:
        return f"fast/{self.rule} H{self.config.heads} K{self.config.key} width{self.width}"

    def empty(self, batch: int) -> Held:
        c = self.config
        return {"memory": torch.zeros(batch, c.heads, c.key, c.key), "last": torch.zeros(batch, c.width)}

    def run(self, x: Tensor, held: Held, seen: int, *, single: bool) -> tuple[Tensor, Held]:
        stream = torch.cat([held["last"].to(x.dtype)[:, None], x], 1)
        back = stream[:, :-1] - x
        mixed = {name: x + back * mu for name, mu in self.mix.items()}
        key, rate = self.to_k(mixed["k"]), self.to_rate(mixed["a"]).sigmoid()
        removal = nn.functional.normalize(self._heads(key * self.removal), dim=-1)
        key = key * (1 + (rate - 1) * self.kept)
        r, k, v = (self._heads(t) for t in (self.to_r(mixed["r"]), key, self.to_v(mixed["v"])))
        decay = -STRONGEST * self._heads(self.to_decay(mixed["w"])).sigmoid()
        inputs = rules.rwkv7(r, k, v, decay, removal, self._heads(rate)).map(lambda t: t.to(held["memory"].dtype))
        size = 2 * self.config.chunk  # two steps a token
        read, memory = self.config.through(inputs, held["memory"], single=single, size=size)
        said = rules.last(read, 2).to(x.dtype).transpose(1, 2).flatten(2)  # (B, T, H * K)
        said = self.norm(said.flatten(0, 1)).unflatten(0, said.shape[:2])
        bonus = (r * k * self.bonus[:, None]).sum(-1, keepdim=True) * v
        out = self.to_out((said + bonus.transpose(1, 2).flatten(2)) * self.to_gate(mixed["g"]))
        return out, {"memory": memory, "last": stream[:, -1].to(held["last"].dtype)}

    def _heads(self, x: Tensor) -> Tensor:
        return per_head(x, self.config.heads)
