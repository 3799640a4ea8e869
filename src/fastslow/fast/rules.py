"""The rules of the decay-erase-write family: what each gives to the one kernel (:mod:`fastslow.fast.kernel`).

Every function takes the tensors of its paper, per head and already projected, convolved and normalised, and returns the
kernel's inputs. Shapes: q, k (B, H, T, K); v (B, H, T, V); write strengths and scalar log decays (B, H, T, 1); log
decays of channels (B, H, T, K). Queries are scaled by K ** -0.5 where the paper does so. Everything is a plain function
of its arguments: gates, convolutions and norms belong to the layers.

Rules that take several steps of the kernel for one token (DeltaProduct, RWKV-7) return T times as many steps; read the
outputs of the last step of each token with :func:`last`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastslow.fast.kernel import CHUNK, Inputs, segments


def scaled(q: Tensor) -> Tensor:
    """Queries (.., K) times K ** -0.5."""
    return q * q.shape[-1] ** -0.5


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Inputs:
    """S_t = S_{t-1} + k v^T. Katharopoulos et al. 2020 (arXiv 2006.16236), eq. 16-20, and the additive fast weight
    programmer of Schmidhuber 1992: features go in as ``k`` and ``q``. For the normaliser give ``with_ones(v)``."""
    return Inputs(q, k, v)


def retnet(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Inputs:
    """S_t = gamma S_{t-1} + k v^T with a fixed log decay for each head, ``decay`` (H,). Sun et al. 2023
    (arXiv 2307.08621), eq. 6; gamma = 1 - 2^(-5-h) there."""
    g = decay[:, None, None].expand(*k.shape[:-1], 1)
    return Inputs(scaled(q), k, v, g=g)


def mamba2(c: Tensor, b: Tensor, x: Tensor, delta: Tensor, a: Tensor) -> Inputs:
    """S_t = exp(delta a) S_{t-1} + b (delta x)^T, read by c. Dao and Gu 2024 (arXiv 2405.21060), eq. 1-2 with the
    scalar a (H,) < 0 of SSD and step sizes ``delta`` (B, H, T, 1)."""
    return Inputs(c, b, delta * x, g=delta * a[:, None, None])


def gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Inputs:
    """S_t = Diag(exp g) S_{t-1} + k v^T. Gated linear attention, Yang et al. 2023 (arXiv 2312.06635), eq. 3."""
    return Inputs(scaled(q), k, v, g=g)


def delta_net(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Inputs:
    """S_t = S_{t-1} + beta k (v - S_{t-1}^T k)^T. Schlag et al. 2021 (arXiv 2102.11174), eq. 23-25; in parallel, and
    with the scaled query, Yang et al. 2024 (arXiv 2406.06484)."""
    return Inputs(scaled(q), k, beta * v, beta * k)


def gated_delta_net(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Inputs:
    """The delta rule on the decayed state: S~ = exp(g) S_{t-1}; S_t = S~ + beta k (v - S~^T k)^T. Yang et al. 2024
    (arXiv 2412.06464), eq. 10, with a scalar ``g``; with a ``g`` for each channel it is KDA (:func:`kda`)."""
    return Inputs(scaled(q), k, beta * v, beta * k, g)


def kda(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> Inputs:
    """Kimi delta attention: the gated delta rule with a log decay for each channel (B, H, T, K). Kimi team 2025
    (arXiv 2510.26692), eq. 1."""
    return Inputs(scaled(q), k, beta * v, beta * k, g)


def comba(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, feedback: Tensor, correction: Tensor) -> Inputs:
    """S_t = exp(g) S_{t-1} + beta k (v - S_{t-1}^T p)^T with p = feedback k; the query is q - correction p. Comba, Hu
    et al. 2025 (arXiv 2506.02475): a transition of a scalar plus low rank; ``feedback`` and ``correction`` (H,), the
    first in (0, 1).

    Unlike Gated DeltaNet's, the erase reads the undecayed state, so its key is divided by the decay. (fla's kernel does
    so too, but normalises p, which undoes the feedback.)
    """
    p = feedback[:, None, None] * k
    return Inputs(scaled(q - correction[:, None, None] * p), k, beta * v, beta * p * (-g).exp(), g)


def falcon(q: Tensor, x: Tensor, v: Tensor, eta: Tensor, shrink: Tensor) -> Inputs:
    """S_t = (1 - eta shrink) S_{t-1} + eta x (v - S_{t-1}^T x)^T, where x is the feature of the *previous* token's
    key, so that a pair is (what came before, what came now). Falcon-1 (arXiv 2608.27763).

    The erase reads the undecayed state, so its key is divided by the decay; eta shrink must stay below 1.
    """
    kept = 1 - eta * shrink
    return Inputs(q, x, eta * v, eta * x / kept, kept.log())


def delta_product(q: Tensor, k: Sequence[Tensor], v: Sequence[Tensor], beta: Sequence[Tensor], g: Tensor) -> Inputs:
    """n delta steps a token, the decay on the first, read after the last. Siems et al. 2025 (arXiv 2502.10297), eq.
    4-6; ``k``, ``v``, ``beta`` list the n Householder steps."""
    nothing = torch.zeros_like(q)
    return interleaved(
        [
            Inputs(
                scaled(q) if n == len(k) - 1 else nothing,
                k[n],
                beta[n] * v[n],
                beta[n] * k[n],
                g if n == 0 else torch.zeros_like(g),
            )
            for n in range(len(k))
        ]
    )


def rwkv7(r: Tensor, k: Tensor, v: Tensor, g: Tensor, removal: Tensor, rate: Tensor) -> Inputs:
    """S_t = Diag(w) S_{t-1} - (rate removal) (S_{t-1}^T removal)^T + k v^T with w = exp(g). RWKV-7, Peng et al. 2025
    (arXiv 2503.14456), eq. 3 and 17; ``removal`` is the normalised removal key, ``rate`` the in-context learning rate,
    both (B, H, T, K). Two steps: the first decays and removes, the second adds.

    The removal reads the undecayed state, so its key is divided by w; the paper keeps g above -0.61.
    """
    nothing = torch.zeros_like(v)
    first = Inputs(torch.zeros_like(r), rate * removal, nothing, removal * (-g).exp(), g)
    return interleaved([first, Inputs(r, k, v, torch.zeros_like(k), torch.zeros_like(g))])


def mlstm(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, m: Tensor, size: int = CHUNK) -> tuple[Inputs, Tensor]:
    """C_t = f C_{t-1} + i k v^T and n_t = f n_{t-1} + i k with i = exp(``i``) and log f = ``f``, both (B, H, T, 1),
    kept in range by the running maximum m (B, H, 1) of the last token, which is returned anew for every token, (B, H,
    T, 1). Beck et al. 2024 (arXiv 2405.04517), eq. 19-27.

    The state has the normaliser n as its last column; divide with :func:`mlstm_read`. The maximum is taken over
    ``size`` tokens at once.
    """
    start, parts = m[:, :, None], []
    for strength, kept in zip(i.split(size, 2), f.split(size, 2), strict=True):  # sums over all tokens lose digits
        total = kept.cumsum(2)
        parts.append(total + torch.maximum((strength - total).cummax(2).values, start))
        start = parts[-1][:, :, -1:]
    highest = torch.cat([m[:, :, None], *parts], 2)
    before, highest = highest[:, :, :-1], highest[:, :, 1:]
    return Inputs(q, scaled(k), (i - highest).exp() * with_ones(v), g=f + before - highest), highest


def mlstm_read(read: Tensor, m: Tensor) -> Tensor:
    """h~ = C^T q / max(|n^T q|, exp(-m)) from what the kernel read (B, H, T, V + 1) and the running maximum."""
    value, norm = read[..., :-1], read[..., -1:]
    return value / torch.maximum(norm.abs(), (-m).exp())


def mesa(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, ridge: Tensor, gram: Tensor, size: int = 16
) -> tuple[Inputs, Tensor]:
    """o_t = S_t^T (H_t + Diag(ridge))^-1 q_t with S_t = exp(g) S_{t-1} + beta k v^T and H_t = exp(g) H_{t-1} + beta k
    k^T: the exact least-squares fit of all pairs so far, weighted by their decay. MesaNet, von Oswald et al. 2025
    (arXiv 2506.05233), eq. 3-4, solved directly where the paper takes conjugate gradient steps.

    ``ridge`` (H, K) > 0; ``gram`` (B, H, K, K) is H before the first token; the last one is returned. ``size`` tokens
    are solved at once.
    """
    solved = []
    for start in range(0, k.shape[2], size):
        now = slice(start, start + size)
        pairs = (beta[:, :, now] * k[:, :, now]).unsqueeze(-1) * k[:, :, now].unsqueeze(-2)  # (B, H, C, K, K)
        between = segments(g[:, :, now]).exp().squeeze(-1)
        into = g[:, :, now].cumsum(2).exp()[..., None]
        grams = into * gram[:, :, None] + torch.einsum("bhij,bhjkl->bhikl", between, pairs)
        regular = grams + torch.diag_embed(ridge)[:, None]
        solved.append(torch.linalg.solve(regular, q[:, :, now].unsqueeze(-1)).squeeze(-1))
        gram = grams[:, :, -1]
    return Inputs(torch.cat([q[:, :, :0], *solved], 2), k, beta * v, g=g), gram


def with_ones(v: Tensor) -> Tensor:
    """Values with a last channel of ones, under which the state sums up the keys: the normaliser of linear
    attention."""
    return torch.cat([v, torch.ones_like(v[..., :1])], -1)


def normalised(read: Tensor, least: float = 1e-6) -> Tensor:
    """What was read of ``with_ones`` values, divided by the sum of attention (at least ``least``)."""
    return read[..., :-1] / read[..., -1:].clamp(min=least)


def interleaved(steps: Sequence[Inputs]) -> Inputs:
    """Several steps for each token in turn: T tokens become T * len(steps) steps of the kernel."""

    def woven(name: str) -> Tensor | None:
        parts = [getattr(step, name) for step in steps]
        return None if parts[0] is None else torch.stack(parts, 3).flatten(2, 3)

    return Inputs(**{name: woven(name) for name in ("q", "k", "u", "e", "g")})  # type: ignore[arg-type]


def last(read: Tensor, steps: int) -> Tensor:
    """What was read at the last of the ``steps`` of each token: (B, H, T * steps, V) as (B, H, T, V)."""
    return read[:, :, steps - 1 :: steps]


def elu_features(x: Tensor) -> Tensor:
    """phi(x) = elu(x) + 1. Katharopoulos et al. 2020, eq. 7."""
    return torch.nn.functional.elu(x) + 1


def dpfp_features(x: Tensor, nu: int = 1) -> Tensor:
    """Deterministic parameter-free projection, (.., K) as (.., 2 K nu): products of relu([x, -x]) with itself rolled
    by 1 to nu, divided by their sum. Schlag et al. 2021, eq. 37 and the sum normalisation of section 4.2."""
    both = torch.cat([x, -x], -1).relu()
    features = torch.cat([both * both.roll(n, -1) for n in range(1, nu + 1)], -1)
    return sum_normalised(features)


def sum_normalised(x: Tensor) -> Tensor:
    """Features (.., K) that sum to 1, without which the delta rule of positive features diverges (Schlag et al.
    2021)."""
    return x / x.sum(-1, keepdim=True).clamp(min=1e-6)
