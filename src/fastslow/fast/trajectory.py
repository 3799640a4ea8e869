"""The recent trajectory: decaying fast weights in the top half of a core, written while text streams through.

Each chunk of a stream is predicted with the present fast weights; then one gradient step is taken on it. Dynamic
evaluation (Krause et al. 2018, arXiv 1709.07432; Transformers: 2019, arXiv 1904.08378) with a normalised step and a
decay to zero, on a low-rank delta ``B A`` whose ``A`` is a fixed random projection. Because only ``B`` is written, the
delta is linear in its state and decays exactly.

A stream is read in windows. A token sees the earlier tokens of its window, whose keys and values stay as the weights of
their own moment made them; the fast weights are all that crosses from one window into the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fastslow import anchors
from fastslow.core import Core, Delta, new_cache
from fastslow.errors import InputError, StoreError
from fastslow.state import State

LAYOUT, VERSION = "fast/trajectory", 1


@dataclass(frozen=True)
class FastConfig:
    """How fast weights are written. The defaults were chosen in docs/lab/fast.md on the default core.

    rank: of each delta. layers: how many of the last layers carry one, at most those of the top half. targets: which
    linear maps of a layer.
    window, chunk: in tokens; window must be a multiple of chunk. lr: root mean square of one step of an element of B.
    half_life: in tokens, after which what was written has half its size; the key fades at the same rate.
    gate: a chunk is learned from where its mean NLL lies more than this many standard deviations above the running
    mean; -inf learns from all.
    related: the cosine from which an input counts as continuing the trajectory. seed: of the random projections.
    """

    rank: int = 16
    layers: int = 20
    targets: tuple[str, ...] = ("mlp.down_proj", "self_attn.o_proj")
    window: int = 512
    chunk: int = 128
    lr: float = 5e-3
    half_life: float = 8192.0
    gate: float = -math.inf
    related: float = 0.55
    seed: int = 0

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.window < self.chunk or self.window % self.chunk:
            raise InputError(f"a window of {self.window} tokens holds no whole number of chunks of {self.chunk}")
        if self.rank < 1 or self.layers < 1 or not self.targets:
            raise InputError("fast weights need at least rank 1, one layer and one target: raise what is zero or empty")
        if not (self.lr >= 0 and self.half_life > 0):
            raise InputError(f"lr must not be negative and half_life must be positive: {self.lr}, {self.half_life}")

    @property
    def keep(self) -> float:
        """What is left of the fast weights after one chunk."""
        return float(0.5 ** (self.chunk / self.half_life))


@dataclass(frozen=True)
class Info:
    """What one call of :func:`observe` did: chunks learned from, left out by the gate, and rejected as not finite."""

    learned: int = 0
    skipped: int = 0
    rejected: int = 0


def init_state(core: Core, config: FastConfig) -> State:
    """Nothing seen and nothing learned: the fast weights are exactly zero.

    Raises CoreError where the core's top half has no such linear map.
    """
    center, scale = _general(core)
    tensors = {f"B.{name}": torch.zeros(core.linears[name].out_features, config.rank) for name in _fixed(core, config)}
    tensors |= {
        "key.center": center,
        "key.scale": scale,
        "pending": torch.zeros(0, dtype=torch.int64),  # ids of the unfinished chunk
        "key.sum": torch.zeros(core.width),
        "key.weight": torch.zeros(1),
        "surprise": torch.zeros(3),  # weight, weighted sum and weighted sum of squares of the chunks' mean NLL
    }
    return State(LAYOUT, VERSION, tensors, {"tokens": 0, "last": core.sink_id})


def observe(core: Core, config: FastConfig, state: State, ids: Sequence[int]) -> tuple[State, Tensor, Info]:
    """Predict and then learn every chunk that ``ids`` complete: the next state, their NLLs in nats, and what happened.

    The NLLs (fp32) are those of the tokens of completed chunks, the pending ones of earlier calls included, so those of
    all calls, put together, are those of one call with everything. The tokens that are left over are pending;
    :func:`pending_nll` predicts them. Cutting the stream anywhere gives the same state bit for bit. ``state`` is not
    changed.

    A chunk whose loss or gradient is not finite leaves the state as it was before it, and the chunk out of the stream.
    """
    _check(state)
    stream = torch.cat([state.tensors["pending"], torch.tensor(list(ids), dtype=torch.int64)])
    whole = len(stream) // config.chunk * config.chunk
    state = _with(state, pending=stream[:0])
    nlls, counts = [], {"learned": 0, "skipped": 0, "rejected": 0}
    fixed = _fixed(core, config) if whole else {}
    for start in range(0, whole, config.chunk):
        chunk = stream[start : start + config.chunk]
        state, nll, outcome = _observe_chunk(core, config, fixed, state, chunk)
        nlls.append(nll)
        counts[outcome] += 1
    state = _with(state, pending=stream[whole:].clone())
    return state, torch.cat(nlls) if nlls else torch.zeros(0), Info(**counts)


@torch.no_grad()
def pending_nll(core: Core, config: FastConfig, state: State) -> Tensor:
    """The NLLs of the pending tokens with the present fast weights, without learning from them: (pending,), fp32."""
    _check(state)
    if not len(state.tensors["pending"]):
        return torch.zeros(0)
    with core.using([delta(core, config, state)], merge=False):
        return _predict(core, state, state.tensors["pending"])[0]


def delta(core: Core, config: FastConfig, state: State) -> Delta:
    """The fast weights, to switch on with ``core.using([...])``."""
    _check(state)
    return Delta("fast", {name: (a, state.tensors[f"B.{name}"]) for name, a in _fixed(core, config).items()})


def size(state: State) -> float:
    """The Frobenius norm of everything written."""
    return math.sqrt(sum(float(t.double().square().sum()) for n, t in state.tensors.items() if n.startswith("B.")))


def related(config: FastConfig, state: State, hidden: Tensor) -> bool:
    """Whether an input with these hidden states at the cut, (T, width), continues the trajectory.

    Where it says no, leave the fast weights off: then the bare core runs, and its logits are its own bits.
    """
    return similarity(state, hidden) > config.related


def similarity(state: State, hidden: Tensor) -> float:
    """The cosine of the input's mean hidden state and the key, both standardised by general text; -1 before any chunk.

    Standardising keeps the few dimensions with huge activations, which all text shares, from deciding.
    """
    _check(state)
    weight = state.tensors["key.weight"]
    if not len(hidden) or not float(weight):
        return -1.0
    center, scale = state.tensors["key.center"], state.tensors["key.scale"]
    key = (state.tensors["key.sum"] / weight - center) / scale
    query = (hidden.float().mean(0) - center) / scale
    cosine = float(torch.nn.functional.cosine_similarity(key, query, dim=0))
    return cosine if math.isfinite(cosine) else -1.0


def perplexity(core: Core, ids: Sequence[int], state: State | None = None, config: FastConfig | None = None) -> float:
    """The perplexity of ``ids`` while learning from them, from ``state`` on; ``state=None`` learns nothing."""
    config = config or FastConfig()
    if not ids:
        raise InputError("there is no token to predict: give a text that is not empty")
    if state is None:
        config = replace(config, lr=0.0)
        state = init_state(core, config)
    known = len(state.tensors["pending"])
    state, nll, _ = observe(core, config, state, ids)
    return math.exp(float(torch.cat([nll, pending_nll(core, config, state)])[known:].double().mean()))


# ---------------------------------------------------------------------- one chunk


def _observe_chunk(
    core: Core, config: FastConfig, fixed: dict[str, Tensor], state: State, chunk: Tensor
) -> tuple[State, Tensor, str]:
    live = {n: (a, state.tensors[f"B.{n}"].clone().requires_grad_(config.lr > 0)) for n, a in fixed.items()}
    with core.using([Delta("fast", live)], merge=False), torch.set_grad_enabled(config.lr > 0):
        nll, hidden, caches = _predict(core, state, chunk)
        loss = nll.mean()
    learn, surprise = _surprising(config, state.tensors["surprise"], float(loss.detach()))
    steps: list[Tensor] = []
    if config.lr > 0 and learn and bool(loss.isfinite()):
        steps = list(torch.autograd.grad(loss, [b for _, b in live.values()]))
    if not all(bool(t.isfinite().all()) for t in (loss, hidden, *steps)):
        return state, nll.detach(), "rejected"
    written = {}
    for i, name in enumerate(live):
        kept = state.tensors[f"B.{name}"] * config.keep
        written[f"B.{name}"] = kept - config.lr * _normalised(steps[i]) if steps else kept
    number = state.numbers["tokens"] + len(chunk)
    closing = number % config.window == 0
    tensors = {n: t for n, t in state.tensors.items() if not n.startswith("cache.")} | written
    tensors |= {} if closing else _cache_tensors(caches)
    real = hidden[1:] if state.numbers["tokens"] % config.window == 0 else hidden  # the sink is no part of the text
    tensors["key.sum"] = state.tensors["key.sum"] * config.keep + real.float().sum(0)
    tensors["key.weight"] = state.tensors["key.weight"] * config.keep + len(real)
    tensors["surprise"] = surprise
    last = core.sink_id if closing else int(chunk[-1])
    return (
        State(LAYOUT, VERSION, tensors, {"tokens": number, "last": last}),
        nll.detach(),
        ("learned" if steps else "skipped"),
    )


def _predict(core: Core, state: State, chunk: Tensor) -> tuple[Tensor, Tensor, tuple[Any, Any]]:
    """NLLs (T,) of the chunk, the hidden states (T, width) at the cut it was predicted from, and the caches after it.

    The input is the chunk shifted right by one token, so that its first token is predicted too.
    """
    bottom, top = _cache(state, "bottom"), _cache(state, "top")
    inputs = torch.cat([torch.tensor([state.numbers["last"]]), chunk[:-1]])[None]
    position = torch.arange(inputs.shape[1])[None] + bottom.get_seq_length()
    with torch.no_grad():
        hidden = core.bottom(input_ids=inputs, position_ids=position, past_key_values=bottom).last_hidden_state
    last = core.upper(inputs_embeds=hidden, position_ids=position, past_key_values=top).last_hidden_state
    return torch.nn.functional.cross_entropy(core.head(last)[0], chunk, reduction="none"), hidden[0], (bottom, top)


def _normalised(gradient: Tensor) -> Tensor:
    rms = gradient.square().mean().sqrt()
    return gradient / rms if float(rms) > 0 else gradient


def _surprising(config: FastConfig, running: Tensor, loss: float) -> tuple[bool, Tensor]:
    """Whether a chunk with this mean NLL is to be learned from, and the running sums with it included."""
    weight, total, squares = running.tolist()
    learn = True
    if weight > 0:
        mean = total / weight
        spread = math.sqrt(max(squares / weight - mean * mean, 0.0))
        learn = loss - mean > config.gate * spread if math.isfinite(config.gate) else config.gate < 0
    return learn, running * config.keep + torch.tensor([1.0, loss, loss * loss])


# ---------------------------------------------------------------------- state


def _check(state: State) -> None:
    if (state.layout, state.version) != (LAYOUT, VERSION):
        raise StoreError(
            f"fast weights need a state {LAYOUT!r} version {VERSION}, not {state.layout!r} version {state.version}:"
            " start with init_state"
        )


def _with(state: State, **tensors: Tensor) -> State:
    return State(state.layout, state.version, {**state.tensors, **tensors}, state.numbers)


def _cache(state: State, half: str) -> Any:
    cache, layer = new_cache(), 0
    while (keys := state.tensors.get(f"cache.{half}.{layer:03}.keys")) is not None:
        cache.update(keys, state.tensors[f"cache.{half}.{layer:03}.values"], layer)
        layer += 1
    return cache


def _cache_tensors(caches: tuple[Any, Any]) -> dict[str, Tensor]:
    tensors = {}
    for half, cache in zip(("bottom", "top"), caches, strict=True):
        for i, layer in enumerate(cache.layers):
            tensors[f"cache.{half}.{i:03}.keys"] = layer.keys.detach()
            tensors[f"cache.{half}.{i:03}.values"] = layer.values.detach()
    return tensors


def _fixed(core: Core, config: FastConfig) -> dict[str, Tensor]:
    """The random projections A (rank, in) of every adapted map: a function of the core's shape and the config alone."""
    first = max(core.depth - config.layers, core.split)
    fresh = core.new_delta("fast", config.targets, config.rank, first_layer=first, seed=config.seed)
    return {name: a.detach() for name, (a, _) in fresh.factors.items()}


def _general(core: Core) -> tuple[Tensor, Tensor]:
    """Mean and spread (width,) of the mean hidden states at the cut over passages of general text."""
    if "general" not in core.constants:
        means = torch.stack([core.hidden(text).float().mean(0) for text in anchors.general()])
        core.constants["general"] = means.mean(0), means.std(0) + 1e-6
    found: tuple[Tensor, Tensor] = core.constants["general"]
    return found
