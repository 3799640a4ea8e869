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
    """The same in parallel within chunks of ``size`` tokens: one triangular solve for what the tokens of a chunk erase
    of each other, then one matrix product per chunk with the state (Yang et al. 2024, arXiv 2406.06484 and 2412.06464).

    A sequence cut at multiples of ``size`` gives the same bits. Any length works: padding writes and decays nothing.
    """
    inputs.check_state(state)
    length, values = inputs.length, inputs.u.shape[-1]
    if not length:
        return inputs.u, state
    x = inputs.map(lambda t: _chunks(t, size))
    read, erase, into, tail, kept = _within(x)
    keys, queries = (x.k * tail).mT, x.q * into
    steps = [t.unbind(2) for t in (queries, read, keys, kept.mT)]
    if erase is not None and x.e is not None:
        lower = erase + torch.eye(size, dtype=erase.dtype, device=erase.device)
        both = torch.cat([x.u, x.e * into], -1)
        solved = torch.linalg.solve_triangular(lower, both, upper=False, unitriangular=True)
        new, seen = (t.unbind(2) for t in solved.split([values, both.shape[-1] - values], -1))
    else:
        new, seen = x.u.unbind(2), None
    out = []
    for n, (query, inner, key, decay) in enumerate(zip(*steps, strict=True)):
        missing = new[n] if seen is None else new[n] - seen[n] @ state
        out.append(query @ state + inner @ missing)
        state = state * decay + key @ missing
    return torch.cat(out, 2)[:, :, :length], state


def _chunks(x: Tensor, size: int) -> Tensor:
    """(B, H, T, *) as (B, H, N, C, *), zeros behind the end."""
    padded = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[2] % size))
    return padded.unflatten(2, (-1, size))


def _within(x: Inputs) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
    """What happens within each chunk: how its tokens read each other, (B, H, N, C, C) lower triangular, and erase each
    other, strictly lower (None where nothing is erased), both decayed; and the decays from the chunk's start to each
    token, from each token to the chunk's end (B, H, N, C, 1 or K), and over the whole chunk (B, H, N, 1, 1 or K).

    No decay is a quotient or a difference of sums, so that none is too small and -inf does no harm.
    """
    g = x.k.new_zeros(*x.k.shape[:-1], 1) if x.g is None else x.g
    total = g.cumsum(-2)  # its last row is the sum, in an order that no layout changes
    into, tail, kept = total.exp(), _after(g).exp(), total[..., -1:, :].exp()
    left = torch.stack([x.q] if x.e is None else [x.q, x.e])
    if g.shape[-1] == 1:
        pairs = (left @ x.k.mT) * segments(g.squeeze(-1)).exp()
    else:
        pairs = _channelwise(left, x.k, g)
    return pairs[0], pairs[1].tril(-1) if x.e is not None else None, into, tail, kept


def _after(g: Tensor) -> Tensor:
    """The sum of what comes after each token of a chunk, (.., C, *) as it came."""
    later = torch.nn.functional.pad(g[..., 1:, :], (0, 0, 0, 1))
    return later.flip(-2).cumsum(-2).flip(-2)


def segments(g: Tensor) -> Tensor:
    """For g (.., C), the sums over the tokens after j up to i, (.., C, C), and -inf for j > i: the stable segment sum
    of Dao and Gu 2024 (arXiv 2405.21060, listing 1)."""
    size = g.shape[-1]
    square = torch.ones(size, size, dtype=torch.bool, device=g.device)
    spread = g[..., :, None].expand(*g.shape, size).masked_fill(~square.tril(-1), 0.0)
    return spread.cumsum(-2).masked_fill(~square.tril(), -torch.inf)


def _channelwise(left: Tensor, k: Tensor, g: Tensor) -> Tensor:
    """The decayed products of keys where every channel decays for itself: ``left`` (R, B, H, N, C, K) are R kinds of
    keys that look back; the result is (R, B, H, N, C, C), lower triangular.

    Between two blocks the decay is split at the end of the earlier and the start of the later one, so that every part
    is a sum of log decays (secondary chunking, Yang et al. 2023, arXiv 2312.06635, section 4). Within a block it is
    taken pair by pair.
    """
    length = BLOCK if k.shape[-2] % BLOCK == 0 else k.shape[-2]
    left, k, g = (t.unflatten(-2, (-1, length)) for t in (left, k, g))  # (.., M, L, K)
    blocks = k.shape[-3]
    near = k[..., None, :, :] * segments(g.mT).exp().movedim(-3, -1)  # (.., M, L, L, K): as each token sees the block
    own = (near @ left.movedim(0, -1)).movedim(-1, 0)  # (R, .., M, L, L)
    before = torch.nn.functional.pad(g.sum(-2)[..., :-1, :], (0, 0, 1, 0))  # the total of the block before: (.., M, K)
    gap = torch.nn.functional.pad(segments(before.mT)[..., 1:], (0, 1), value=-torch.inf).movedim(-3, -1)
    far = k[..., None, :, :, :] * (gap[..., None, :] + _after(g)[..., None, :, :, :]).exp()  # (.., M, M, L, K)
    cross = (left * g.cumsum(-2).exp()) @ far.flatten(-3, -2).mT  # (R, .., M, L, C)
    diagonal = torch.eye(blocks, dtype=k.dtype, device=k.device)[:, None, :, None]
    pairs = cross.unflatten(-1, (blocks, length)) + own[..., None, :] * diagonal
    return pairs.flatten(-2).flatten(-3, -2)
