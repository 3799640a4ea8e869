"""The reader: the small slow adapters with which the top half reads pages, and the router's weights beside them.

Slow weights learn to read fast ones (Schmidhuber 1992, "Learning to control fast-weight memories"). A reader is trained
once per core (`fastslow model train-reader`) on invented worlds that share no name, wording or seed with any judged
one. It is switched on only while a page is read, so that the core is untouched otherwise.

There are two adapters, because one that had learned to read prose read statements less well (docs/lab/medium.md): the
length of the pages decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.decode import LONG
from fastslow.errors import CoreError
from fastslow.medium.router import RouterWeights
from fastslow.state import State

FORMAT = "2"
POSE = "Ask me one question about what you remember."  # the second thing a reader is taught, which `sleep` needs


@dataclass(frozen=True, eq=False)
class Reader:
    """Two adapters of the same shape, one that reads statements and one that reads prose; the weights that route; and
    ``about``: core, seed, steps and command that made them."""

    statements: Delta
    prose: Delta
    router: RouterWeights
    about: dict[str, str]

    def adapter(self, pages: Sequence[Tensor]) -> Delta:
        """The one that reads these pages (T_i, width) together: they are prose where one is longer than `LONG`."""
        return self.prose if any(len(page) > LONG for page in pages) else self.statements

    def hash(self) -> str:
        """sha256 over everything that decides what it reads."""
        tensors = {"query": self.router.query, "key": self.router.key}
        for adapter in (self.statements, self.prose):
            tensors |= {
                f"{adapter.name}.{n}.{p}": t
                for n, pair in adapter.factors.items()
                for p, t in zip("AB", pair, strict=True)
            }
        return State(f"reader, threshold {self.router.threshold!r}", 1, tensors).hash()

    def to_bytes(self) -> bytes:
        """safetensors: both adapters side by side, (2, rank, in) and (2, out, rank), in 8 bits with one scale for every
        rank of a map; ``scales`` has them in the order of the names. The router in half precision."""
        tensors = {"router.query": self.router.query.half(), "router.key": self.router.key.half()}
        scales = []
        for name in sorted(self.statements.factors):
            pairs = [_rounded(adapter.factors[name]) for adapter in (self.statements, self.prose)]
            for part, own in zip("AB", zip(*pairs, strict=True), strict=True):
                tensors[f"{name}.{part}"] = torch.stack([codes for codes, _ in own])
                scales.append(torch.stack([scale.flatten() for _, scale in own]))
        tensors["scales"] = torch.cat(scales, 1)
        plain = {name: t.detach().contiguous() for name, t in tensors.items()}
        return save(plain, {**self.about, "format": FORMAT, "threshold": repr(self.router.threshold)})

    @classmethod
    def load(cls, path: Path) -> Reader:
        """Raises CoreError when the file is no reader of this format."""
        with _opened(path) as file:
            about = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if about.get("format") != FORMAT:
            raise CoreError(
                f"{path} has reader format {about.get('format')}, this version reads format {FORMAT}: make one"
                " with `fastslow model train-reader`"
            )
        query, key, scales = (tensors.pop(name).float() for name in ("router.query", "router.key", "scales"))
        router = RouterWeights(query, key, float(about["threshold"]))
        both: tuple[dict[str, tuple[Tensor, Tensor]], ...] = ({}, {})
        at = 0
        for name in sorted({name[:-2] for name in tensors}):
            a, b = tensors[f"{name}.A"].float(), tensors[f"{name}.B"].float()
            rank = a.shape[1]
            for own, codes_a, codes_b, scale in zip(both, a, b, scales[:, at : at + 2 * rank], strict=True):
                own[name] = codes_a * scale[:rank, None], codes_b * scale[rank:]
            at += 2 * rank
        return cls(Delta("statements", both[0]), Delta("prose", both[1]), router, about)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CoreError(
            f"{path} is not a readable reader: remove it, and make one with `fastslow model train-reader`"
        ) from error


def find(core: Core, folders: tuple[Path, ...] = ()) -> Reader | None:
    """The reader made for exactly this core (its weights and cut), from ``folders`` or among the shipped ones."""
    shipped = Path(str(resources.files("fastslow"))) / "readers"
    wanted = {key: core.fingerprint[key] for key in ("weights", "split")}
    for folder in (*folders, shipped):
        for path in sorted(folder.glob("*.safetensors")):
            with _opened(path) as file:
                about = dict(file.metadata() or {})
            if {key: about.get(key) for key in wanted} == wanted:
                return Reader.load(path)
    return None


def describe(reader: Reader | None) -> str:
    """One line for people."""
    if reader is None:
        return "none (the bare core reads the pages; `fastslow model train-reader` makes one)"
    count = sum(t.numel() for adapter in (reader.statements, reader.prose) for t in adapter.parameters())
    return (
        f"{count / 1e6:.2f} M weights, seed {reader.about['seed']}, {reader.about['steps']} steps in its last training"
    )


def new_adapter(core: Core, rank: int, mlp_rank: int, seed: int) -> Delta:
    """A fresh adapter on the attention maps of the whole top half, and a smaller one on its other maps: the first copy
    what a page says, the second tell what it is about."""
    paths = sorted({n.partition(".")[2] for n in core.linears})
    attention = [path for path in paths if path.startswith("self_attn.")]
    parts = [core.new_delta("reader", attention, rank, first_layer=core.split, seed=seed)]
    if mlp_rank:
        others = [path for path in paths if path not in attention]
        parts.append(core.new_delta("reader", others, mlp_rank, first_layer=core.split, seed=seed + 1))
    return Delta("reader", {name: pair for part in parts for name, pair in part.factors.items()})


@torch.no_grad()
def reshaped(delta: Delta, fresh: Delta) -> Delta:
    """What ``delta`` does, as nearly as the ranks of the ``fresh`` adapter allow (truncated singular value
    decomposition of B A), ready for an optimizer. What it lacks in maps or in rank starts fresh."""
    factors = {}
    for name, (a, b) in fresh.factors.items():
        if name in delta.factors:
            old_a, old_b = (t.float() for t in delta.factors[name])
            kept = min(len(old_a), len(a))
            u, s, v = torch.linalg.svd(old_b @ old_a, full_matrices=False)
            root = s[:kept].sqrt()
            a, b = torch.cat([root[:, None] * v[:kept], a[kept:]]), torch.cat([u[:, :kept] * root, b[:, kept:]], 1)
        factors[name] = (a.clone().requires_grad_(), b.clone().requires_grad_())
    return Delta(delta.name, factors)


@torch.no_grad()
def mixed(new: Delta, old: Delta, share: float) -> Delta:
    """What both do, ``share`` of the new and the rest of the old one, at the rank of both together. The mean of weights
    before and after a training carries over better than either (Wortsman et al. 2022, arXiv 2109.01903)."""
    factors = {}
    for name, (a, b) in new.factors.items():
        a, b = share * a.float(), b.float()
        if name in old.factors:
            old_a, old_b = (t.float() for t in old.factors[name])
            a, b = torch.cat([a, (1 - share) * old_a]), torch.cat([b, old_b], 1)
        factors[name] = (a, b)
    return Delta(new.name, factors)


def frozen(delta: Delta) -> Delta:
    """What an adapter will be after its round trip through 8 bits: train, then use exactly what is stored."""
    factors = {}
    for name, pair in delta.factors.items():
        (a, a_scale), (b, b_scale) = _rounded(pair)
        factors[name] = a.float() * a_scale.float(), b.float() * b_scale.float()
    return Delta(delta.name, factors)


@torch.no_grad()
def _rounded(pair: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """A (rank, in) and B (out, rank) as int8 codes, each with the scales of its ranks, which broadcast to it."""
    found = []
    for t, along in zip(pair, (1, 0), strict=True):
        scale = (t.float().abs().amax(along, keepdim=True) / 127).clamp(min=1e-12).bfloat16()
        codes = (t.float() / scale.float()).round().clamp(-127, 127).to(torch.int8)
        found.append((codes, scale))
    return found
