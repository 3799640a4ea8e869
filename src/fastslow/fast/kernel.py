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
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from fastslow.errors import InputError

CHUNK, BLOCK = 32, 8  # tokens of a chunk, and of a block within it where every channel decays for itself


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
        named = [(f.name, getattr(self, f.name)) for f in fields(self)]
        return [(name, tensor) for name, tensor in named if tensor is not None]

    @property
    def length(self) -> int:
        return self.k.shape[2]

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same with every tensor changed."""
        return Inputs(**{name: change(tensor) for name, tensor in self._tensors()})

    def at(self, t: int) -> Inputs:
        """The inputs of one token."""
        return self.map(lambda x: x[:, :, t : t + 1])

    def check_state(self, state: Tensor) -> None:
        """Raises InputError where ``state`` is not (B, H, K, V) of these inputs, or not all are of one dtype."""
        batch, heads, _, channels = self.k.shape
        wanted = (batch, heads, channels, self.u.shape[3])
        if state.shape != wanted:
            raise InputError(f"the state has shape {tuple(state.shape)}, these inputs need {wanted}: (B, H, K, V)")
        if any(tensor.dtype != state.dtype for _, tensor in self._tensors()):
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
    x = inputs.map(lambda t: _chunks(t, size))
    g = x.k.new_zeros(*x.k.shape[:-1], 1) if x.g is None else x.g
    total = g.cumsum(-2)  # its last row is the sum, in an order that no layout changes
    into, tail, kept = total.exp(), _after(g).exp(), total[..., -1:, :].exp().mT
    left = x.q if x.e is None else torch.cat([x.q, x.e], -2)
    pairs = _ScalarPairs.apply(left, x.k, g) if g.shape[-1] == 1 else _ChannelPairs.apply(left, x.k, g)
    new, seen = x.u, None
    if x.e is not None:
        unit = torch.eye(size, dtype=g.dtype, device=g.device)
        lower = pairs[..., size:, :].tril(-1) + unit
        # the inverse of so small a triangle, and one product, is faster than solving for all columns
        inverse = torch.linalg.solve_triangular(lower, unit.expand_as(lower), upper=False, unitriangular=True)
        new, seen = inverse @ x.u, inverse @ (x.e * into)
    begin = state.flatten(0, 1)
    out, end = _Scan.apply(x.q * into, pairs[..., :size, :], x.k * tail, kept, new, seen, begin)
    return out.movedim(0, 1).flatten(1, 2)[:, :length].unflatten(0, (batch, heads)), end.view_as(state)


def _chunks(x: Tensor, size: int) -> Tensor:
    """(B, H, T, *) as (N, B * H, C, *), zeros behind the end: what is done chunk by chunk lies side by side."""
    padded = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[2] % size)).flatten(0, 1)
    return padded.unflatten(1, (-1, size)).transpose(0, 1).contiguous()


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
    return spread.cumsum(-3).masked_fill(~square.tril()[..., None], -torch.inf)


class _Scan(torch.autograd.Function):
    """From chunk to chunk: missing = new - seen S, S <- kept S + keys^T missing; read out = queries S + inner missing.

    queries, keys, seen: (N, BH, C, K), inner (N, BH, C, C), kept (N, BH, 1 or K, 1), new (N, BH, C, V), the state (BH,
    K, V). Only what must wait for the chunk before, or in the backward pass behind, is done one by one.
    """

    @staticmethod
    def forward(ctx, queries, inner, keys, kept, new, seen, state):  # type: ignore[no-untyped-def]
        before, missing, turned = [], [], keys.mT
        for n in range(len(new)):
            before.append(state)
            missing.append(new[n] if seen is None else torch.baddbmm(new[n], seen[n], state, alpha=-1))
            state = torch.baddbmm(state * kept[n], turned[n], missing[n])
        states, absent = torch.stack(before), torch.stack(missing)
        ctx.save_for_backward(queries, inner, keys, kept, seen, states, absent)
        return queries @ states + inner @ absent, state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, of_out, of_state):  # type: ignore[no-untyped-def]
        queries, inner, keys, kept, seen, states, missing = ctx.saved_tensors
        of_out = of_out.contiguous()  # a gradient may come as one number seen from everywhere, which is slow
        of_missing, through = inner.mT @ of_out, queries.mT @ of_out
        of_each, of_ends = [], []
        for n in reversed(range(len(states))):
            of_ends.append(of_state)
            of_each.append(torch.baddbmm(of_missing[n], keys[n], of_state))
            of_state = torch.addcmul(through[n], kept[n], of_state)
            if seen is not None:
                of_state = torch.baddbmm(of_state, seen[n].mT, of_each[-1], alpha=-1)
        of_new, of_end = torch.stack(of_each[::-1]), torch.stack(of_ends[::-1])
        of_kept = (of_end * states).sum(-1, keepdim=True)
        of_kept = of_kept.sum(-2, keepdim=True) if kept.shape[-2] == 1 else of_kept
        of_seen = None if seen is None else -(of_new @ states.mT)
        of_keys = missing @ of_end.mT
        return of_out @ states.mT, of_out @ missing.mT, of_keys, of_kept, of_new, of_seen, of_state


class _ScalarPairs(torch.autograd.Function):
    """What the keys that look back find of each token's key, decayed: ``left`` (.., R * C, K) are R kinds of them, k
    (.., C, K), g (.., C, 1), and the result (.., R * C, C), zero for what is still to come."""

    @staticmethod
    def forward(ctx, left, k, g):  # type: ignore[no-untyped-def]
        decay = segments(g).exp().squeeze(-1)
        found = left @ k.mT
        pairs = found.unflatten(-2, (-1, len(decay[0, 0]))).mul_(decay[..., None, :, :]).flatten(-3, -2)
        ctx.save_for_backward(left, k, decay, pairs)
        return pairs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, of_pairs):  # type: ignore[no-untyped-def]
        left, k, decay, pairs = ctx.saved_tensors
        kinds = (-1, decay.shape[-1])
        undecayed = (of_pairs.unflatten(-2, kinds) * decay[..., None, :, :]).flatten(-3, -2)
        grown = (of_pairs * pairs).unflatten(-2, kinds).sum(-3)
        # the decay between j and i is exp(G_i - G_j) with G the sum of g so far
        of_sum = grown.sum(-1) - grown.sum(-2)
        return undecayed @ k, undecayed.mT @ left, _from(of_sum[..., None])


class _ChannelPairs(torch.autograd.Function):
    """The same where every channel decays for itself, g (.., C, K).

    Between two blocks the decay is split at the end of the earlier and the start of the later one, so that every part
    is a sum of log decays (secondary chunking, Yang et al. 2023, arXiv 2312.06635, section 4). Within a block it is
    taken pair by pair.
    """

    @staticmethod
    def forward(ctx, left, k, g):  # type: ignore[no-untyped-def]
        size = k.shape[-2]
        length = BLOCK if size % BLOCK == 0 else size
        lefts = left.unflatten(-2, (-1, size // length, length)).movedim(-4, -2)  # (.., M, L, R, K)
        k, g = (t.unflatten(-2, (-1, length)) for t in (k, g))  # (.., M, L, K)
        inside = segments(g).exp()  # (.., M, L, L, K): as each token sees the block
        own = lefts @ (inside * k[..., None, :, :]).mT  # (.., M, L, R, L)
        into = g.cumsum(-2).exp()
        before = torch.nn.functional.pad(g.sum(-2)[..., :-1, :], (0, 0, 1, 0))  # the total of the block before
        gap = torch.nn.functional.pad(segments(before)[..., 1:, :], (0, 0, 0, 1), value=-torch.inf)  # (.., M, M, K)
        outside = (gap[..., None, :] + _after(g)[..., None, :, :, :]).exp()  # (.., M, M, L, K)
        far = (outside * k[..., None, :, :, :]).flatten(-3, -2)  # (.., M, C, K)
        cross = (lefts * into[..., None, :]).flatten(-3, -2) @ far.mT  # (.., M, L * R, C)
        pairs = cross.unflatten(-2, (length, -1)).unflatten(-1, (-1, length))  # (.., M, L, R, M, L)
        for m in range(size // length):
            pairs[..., m, :, :, m, :] = own[..., m, :, :, :]
        ctx.save_for_backward(lefts, k, inside, into, outside, far)
        return pairs.flatten(-2).movedim(-2, -4).flatten(-4, -2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, of_pairs):  # type: ignore[no-untyped-def]
        lefts, k, inside, into, outside, far = ctx.saved_tensors
        blocks, length = k.shape[-3:-1]
        of_pairs = of_pairs.unflatten(-2, (-1, blocks, length)).movedim(-4, -2)  # (.., M, L, R, C)
        of_own = of_pairs.unflatten(-1, (blocks, length)).diagonal(dim1=-5, dim2=-2).movedim(-1, -4)  # (.., M, L, R, L)
        of_left = of_own @ (inside * k[..., None, :, :])
        of_k = ((of_own.mT @ lefts) * inside).sum(-3)
        of_cross = of_pairs.flatten(-3, -2)  # the decay between a block and itself or a later one is 0 in what follows
        of_left = of_left + (of_cross @ far).unflatten(-2, (length, -1)) * into[..., None, :]
        of_far = of_cross.mT @ (lefts * into[..., None, :]).flatten(-3, -2)
        of_k = of_k + (of_far.unflatten(-2, (blocks, length)) * outside).sum(-4)
        of_sum = (of_left * lefts).sum(-2) - of_k * k
        return of_left.movedim(-2, -4).flatten(-4, -2), of_k.flatten(-3, -2), _from(of_sum.flatten(-3, -2))
