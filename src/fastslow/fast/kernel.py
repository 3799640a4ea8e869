"""One rule of fast weights that covers most of the field: decay, erase, write, read.

For one head with a state S of K rows (key channels) and V columns,

    S~_t = Diag(exp g_t) S_{t-1}      decay
    d_t  = u_t - S~_t^T e_t           what is missing, seen through the erase key
    S_t  = S~_t + k_t d_t^T           write
    o_t  = S_t^T q_t                  read after write

with log decays g_t <= 0, one for the head or one for each key channel. The rules of the field are choices of
(q, k, e, u, g); :mod:`fastslow.fast.rules` has them. :func:`reference` is these four lines and defines correctness,
:func:`step` is one token, and :func:`chunk` computes the same in parallel within chunks. The caller picks.

Letters of shapes: B batch, H heads, T tokens, K key channels, V value channels, N chunks, C tokens of a chunk, M blocks
of a chunk, L tokens of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastslow.errors import InputError

CHUNK, BLOCK = 32, 4  # tokens of a chunk, and of a block within it where every channel decays for itself
SEGMENT = 16  # chunks that are prepared at once


@dataclass(frozen=True)
class Inputs:
    """What the rule takes for a sequence.

    q, k: (B, H, T, K), read and write keys. u: (B, H, T, V), write values. e: (B, H, T, K), erase keys, None for rules
    that only add. g: (B, H, T, 1) or (B, H, T, K), log decays, at most 0; -inf forgets everything; None for no decay.

    Raises InputError where the shapes do not belong together.
    """

    q: Tensor
    k: Tensor
    u: Tensor
    e: Tensor | None = None
    g: Tensor | None = None

    def __post_init__(self) -> None:
        keys, tokens = self.k.shape, self.k.shape[:-1]
        wrong = {
            "q": self.q.shape != keys,
            "k": self.k.ndim < 4,
            "u": self.u.shape[:-1] != tokens,
            "e": self.e is not None and self.e.shape != keys,
            "g": self.g is not None and self.g.shape not in ((*tokens, 1), keys),
        }
        if any(wrong.values()):
            named = ", ".join(f"{n} {tuple(t.shape)}" for n, t in self._tensors())
            raise InputError(f"{named}: give q, k, e as (B, H, T, K), u as (B, H, T, V), g as (B, H, T, 1 or K)")

    def _tensors(self) -> list[tuple[str, Tensor]]:
        return [(name, tensor) for name, tensor in vars(self).items() if tensor is not None]

    @property
    def length(self) -> int:
        return self.k.shape[2]

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same with every tensor changed."""
        return Inputs(**{name: change(tensor) for name, tensor in self._tensors()})

    def split(self, length: int) -> list[Inputs]:
        """The inputs of ``length`` tokens after those of the ``length`` before, the last may be fewer."""
        names, parts = zip(*((name, tensor.split(length, 2)) for name, tensor in self._tensors()), strict=True)
        return [Inputs(**dict(zip(names, part, strict=True))) for part in zip(*parts, strict=True)]

    def at(self, t: int) -> Inputs:
        """The inputs of one token."""
        return self.map(lambda x: x[:, :, t : t + 1])

    def check_state(self, state: Tensor) -> None:
        """Raises InputError where ``state`` is not (B, H, K, V) of these inputs, or not all are of one dtype."""
        batch, heads, _, channels = self.k.shape
        wanted = (batch, heads, channels, self.u.shape[3])
        if state.shape != wanted:
            raise InputError(f"the state has shape {tuple(state.shape)}, these inputs need {wanted}: (B, H, K, V)")
        if {tensor.dtype for tensor in vars(self).values() if tensor is not None} != {state.dtype}:
            named = ", ".join(f"{name} {tensor.dtype}" for name, tensor in [*self._tensors(), ("state", state)])
            raise InputError(f"{named}: give all of one dtype")


def reference(inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """The rule as it is written above, token by token: outputs (B, H, T, V) and the last state (B, H, K, V). This is
    what the others must equal."""
    inputs.check_state(state)
    out = [inputs.u[:, :, :0]]
    for x in (inputs.at(t) for t in range(inputs.length)):
        if x.g is not None:
            state = state * x.g.exp().mT  # (B, H, 1 or K, 1)
        missing = x.u if x.e is None else x.u - x.e @ state
        state = state + x.k.mT @ missing
        out.append(x.q @ state)
    return torch.cat(out, 2), state


def step(inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token (T = 1), with as few passes over the state as torch allows: the output (B, H, 1, V) and the next state
    (B, H, K, V), which is a new tensor."""
    inputs.check_state(state)
    if inputs.length != 1:
        raise InputError(f"a step takes one token, not {inputs.length}: give several to chunk or reference")
    q, k, u, e = inputs.q, inputs.k, inputs.u, inputs.e
    left = q if e is None else torch.cat([q, e], 2)
    kept = None if inputs.g is None else inputs.g.exp()
    # The decay goes to the keys, which are small, and the read needs no pass of its own: q S_t = q S~ + (q k) d.
    seen = (left if kept is None else left * kept) @ state
    missing = u if e is None else u - seen[:, :, 1:]
    out = seen[:, :, :1] + (q * k).sum(-1, keepdim=True) * missing
    return out, torch.addcmul(state if kept is None else state * kept.mT, k.mT, missing)


def chunk(inputs: Inputs, state: Tensor, size: int = CHUNK) -> tuple[Tensor, Tensor]:
    """The same in parallel within chunks of ``size`` tokens: one triangular system for what the tokens of a chunk erase
    of each other, then one pass over the chunks with the state (Yang et al. 2024, arXiv 2406.06484 and 2412.06464).

    A sequence cut at multiples of ``size`` gives the same bits. Any length works: padding writes and decays nothing.
    Gradients are written by hand, so that there are none of second order: take :func:`reference` for those.
    """
    inputs.check_state(state)
    batch, heads, length, _ = inputs.k.shape
    if not length:
        return inputs.u, state
    out, end = [], state.flatten(0, 1)
    for part in inputs.split(SEGMENT * size):  # more at once would no longer fit the cache
        x = part.map(lambda t: _chunks(t, size))
        g = x.k.new_zeros(*x.k.shape[:-1], 1) if x.g is None else x.g
        read, end = _Chunks.apply(x.q, x.k, x.u, x.e, g, end)
        out.append(read.transpose(0, 1).flatten(1, 2))
    return torch.cat(out, 1)[:, :length].unflatten(0, (batch, heads)), end.view_as(state)


def _chunks(x: Tensor, size: int) -> Tensor:
    """(B, H, T, *) as (N, B * H, C, *), zeros behind the end."""
    missing = -x.shape[2] % size
    padded = torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing else x
    return padded.flatten(0, 1).unflatten(1, (-1, size)).transpose(0, 1).contiguous()


def _after(g: Tensor) -> Tensor:
    """The sum of what comes after each token of a chunk, (.., C, *) as it came."""
    return _from(torch.nn.functional.pad(g[..., 1:, :], (0, 0, 0, 1)))


def _from(x: Tensor) -> Tensor:
    """The sum from each token of a chunk on, (.., C, *) as it came."""
    return x.flip(-2).cumsum(-2).flip(-2)


def segments(g: Tensor) -> Tensor:
    """For g (.., C, *), the sums over the tokens after j up to i, (.., C, C, *), and -inf for j > i: the stable segment
    sum of Dao and Gu 2024 (arXiv 2405.21060, listing 1)."""
    size = g.shape[-2]
    square = torch.ones(size, size, dtype=torch.bool, device=g.device)
    spread = g[..., :, None, :].masked_fill(~square.tril(-1)[..., None], 0.0)
    return spread.cumsum(-3).masked_fill_(~square.tril()[..., None], -torch.inf)


class _Chunks(torch.autograd.Function):
    """The rule on whole chunks. q, k, e: (N, BH, C, K), u: (N, BH, C, V), g: (N, BH, C, 1 or K), e may be None; the
    state (BH, K, V); the result as u, and the last state.

    In a chunk that begins with the state S, with G the sum of its log decays so far and P(l) what the keys ``l`` find
    of the keys written, decayed:

        (1 + P(e) before the diagonal) missing = u - (e exp G) S
        out = (q exp G) S + P(q) missing,    S <- exp(G_C) S + (k exp(G_C - G))^T missing.

    Only what must wait for the chunk before, or in the backward pass behind, is done one by one, and written at once
    to where it stays: the products take half of the time, and the rest is memory.
    """

    @staticmethod
    def forward(ctx, q, k, u, e, g, state):  # type: ignore[no-untyped-def]
        into, tail, kept = _decays(g)
        pairs, decays = _pairs(g)[0]([q] if e is None else [q, e], k, g)
        inner = pairs[0]
        inverse: Any = None
        erasing: Any = None
        if e is not None:
            unit = torch.eye(k.shape[-2], dtype=k.dtype, device=k.device).expand_as(inner)
            # The inverse of so small a triangle, and one product, is faster than solving for all columns. Nothing but
            # what is before the diagonal is looked at.
            inverse, erasing = torch.linalg.solve_triangular(pairs[1], unit, upper=False, unitriangular=True), e * into
        reading, keys = q * into, (k * tail).mT
        missing = u if e is None else torch.empty_like(u)
        states = k.new_empty(len(k) + 1, *state.shape)  # before each chunk, and after the last
        states[0] = state
        for n in range(len(k)):
            if e is not None:
                torch.bmm(inverse[n], torch.baddbmm(u[n], erasing[n], states[n], alpha=-1), out=missing[n])
            torch.mul(states[n], kept[n], out=states[n + 1]).baddbmm_(keys[n], missing[n])
        ctx.save_for_backward(q, k, e, g, inner, inverse, states, missing, *decays)
        return _plus(reading @ states[:-1], inner, missing), states[-1].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, of_out, of_state):  # type: ignore[no-untyped-def]
        q, k, e, g, inner, inverse, states, missing, *decays = ctx.saved_tensors
        into, tail, kept = _decays(g)
        of_out = of_out.contiguous()  # a gradient may come as one number seen from everywhere, which is slow
        of_missing, keys = inner.mT @ of_out, k * tail
        erasing: Any = None if e is None else (e * into).mT
        given = of_missing if e is None else torch.empty_like(of_missing)
        of_states, of_total = torch.empty_like(states), torch.empty_like(states[:-1, ..., 0])
        of_states[-1] = of_state
        torch.matmul((q * into).mT, of_out, out=of_states[:-1])
        for n in reversed(range(len(k))):
            behind = of_states[n + 1]
            torch.sum(behind * states[n + 1], -1, out=of_total[n])
            of_missing[n].baddbmm_(keys[n], behind)
            of_states[n].add_(kept[n] * behind)
            if e is not None:
                torch.bmm(inverse[n].mT, of_missing[n], out=given[n])
                of_states[n].baddbmm_(erasing[n], given[n], alpha=-1)
        lefts, of_pairs, of_seen = [q], [of_out @ missing.mT], [of_out @ states[:-1].mT]
        if e is not None:
            lefts.append(e)
            of_pairs.append((given @ missing.mT).neg_().tril_(-1))
            of_seen.append((given @ states[:-1].mT).neg_())
        of_lefts, of_k = _pairs(g)[1](of_pairs, lefts, k, g, *decays)
        of_k.add_((missing @ of_states[1:].mT).mul_(tail))
        for of, seen in zip(of_lefts, of_seen, strict=True):
            of.add_(seen.mul_(into))
        # Keys that look meet exp G, keys that were written exp -G, and all that is left at the end exp G_C, so that the
        # gradient of G is seen from theirs.
        of_sum = (q * of_lefts[0]).addcmul_(k, of_k, value=-1)
        of_sum = of_sum if e is None else of_sum.addcmul_(e, of_lefts[1])
        of_sum[..., -1, :] += of_total
        of_sum = of_sum.sum(-1, keepdim=True) if g.shape[-1] == 1 else of_sum
        return of_lefts[0], of_k, given, of_lefts[1] if e is not None else None, _from(of_sum), of_states[0]


def _plus(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """x + left @ right, written to x."""
    x.flatten(0, -3).baddbmm_(left.flatten(0, -3), right.flatten(0, -3))
    return x


def _decays(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is left of the chunk's first state at each token, of each token's write at the chunk's end, and of the first
    state there, (N, BH, 1 or K, 1)."""
    total = g.cumsum(-2)  # its last row is the sum, in an order that no layout changes
    return total.exp(), _after(g).exp(), total[..., -1:, :].exp().mT


def _pairs(g: Tensor) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What the keys that look, (.., C, K) of each kind, find of each token's key, (.., C, C) of each kind and decayed,
    zero for what is still to come, with the decays; and the gradients of the keys that look and of k."""
    return (_scalar, _of_scalar) if g.shape[-1] == 1 else (_channels, _of_channels)


def _scalar(lefts: list[Tensor], k: Tensor, g: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    decay = segments(g).exp_().squeeze(-1)
    return [(left @ k.mT).mul_(decay) for left in lefts], [decay]


def _of_scalar(
    of_pairs: list[Tensor], lefts: list[Tensor], k: Tensor, g: Tensor, decay: Tensor
) -> tuple[list[Tensor], Tensor]:
    undecayed = [of.mul_(decay) for of in of_pairs]
    of_k = undecayed[0].mT @ lefts[0]
    for of, left in zip(undecayed[1:], lefts[1:], strict=True):
        _plus(of_k, of.mT, left)
    return [of @ k for of in undecayed], of_k


def _channels(lefts: list[Tensor], k: Tensor, g: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Where every channel decays for itself: between two blocks the decay is split at the end of the earlier and the
    start of the later one, so that every part is a sum of log decays (secondary chunking, Yang et al. 2023, arXiv
    2312.06635, section 4). Within a block it is taken pair by pair.
    """
    looking, (k, g) = _kinds(lefts), _blocks(k, g)
    inside = segments(g).exp_()  # (.., M, L, L, K): as each token sees the block
    own = looking @ (inside * k[..., None, :, :]).mT  # (.., M, L, R, L)
    into = g.cumsum(-2).exp()
    before = torch.nn.functional.pad(g.sum(-2)[..., :-1, :], (0, 0, 1, 0))  # the total of the block before
    gap = torch.nn.functional.pad(segments(before)[..., 1:, :], (0, 0, 0, 1), value=-torch.inf)  # (.., M, M, K)
    outside = (gap[..., None, :] + _after(g)[..., None, :, :, :]).exp_()  # (.., M, M, L, K)
    far = (outside * k[..., None, :, :, :]).flatten(-3, -2)  # (.., M, C, K)
    cross = (looking * into[..., None, :]).flatten(-3, -2) @ far.mT  # (.., M, L * R, C)
    blocks, length = k.shape[-3:-1]
    pairs = cross.unflatten(-2, (length, -1)).unflatten(-1, (-1, length))  # (.., M, L, R, M, L)
    for m in range(blocks):
        pairs[..., m, :, :, m, :] = own[..., m, :, :, :]
    return [pairs[..., r, :, :].flatten(-2).flatten(-3, -2) for r in range(len(lefts))], [inside, into, outside, far]


def _of_channels(
    of_pairs: list[Tensor], lefts: list[Tensor], k: Tensor, g: Tensor, *decays: Tensor
) -> tuple[list[Tensor], Tensor]:
    inside, into, outside, far = decays
    looking, of_found, (k,) = _kinds(lefts), _kinds(of_pairs), _blocks(k)
    blocks, length = k.shape[-3:-1]
    of_own = of_found.unflatten(-1, (blocks, length)).diagonal(dim1=-5, dim2=-2).movedim(-1, -4)  # (.., M, L, R, L)
    of_looking = of_own @ (inside * k[..., None, :, :])
    of_k = (of_own.mT @ looking).mul_(inside).sum(-3)
    of_cross = of_found.flatten(-3, -2)  # the decay between a block and itself or a later one is 0 in what follows
    of_looking.addcmul_((of_cross @ far).unflatten(-2, (length, -1)), into[..., None, :])
    of_far = of_cross.mT @ (looking * into[..., None, :]).flatten(-3, -2)
    of_k += of_far.unflatten(-2, (blocks, length)).mul_(outside).sum(-4)
    return [of_looking[..., r, :].flatten(-3, -2) for r in range(len(lefts))], of_k.flatten(-3, -2)


def _blocks(*each: Tensor) -> list[Tensor]:
    """(.., C, *) as (.., M, L, *)."""
    size = each[0].shape[-2]
    return [x.unflatten(-2, (-1, BLOCK if size % BLOCK == 0 else size)) for x in each]


def _kinds(each: list[Tensor]) -> Tensor:
    """R kinds of (.., C, *) as (.., M, L, R, *)."""
    return torch.stack(_blocks(*each), -2)
