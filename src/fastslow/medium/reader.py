"""The reader: the small slow adapters with which the top half reads pages, and the router's weights beside them.

Slow weights learn to read fast ones (Schmidhuber 1992, "Learning to control fast-weight memories"). A reader is trained
once per core (`fastslow model train-reader`) on invented worlds that share no name, wording or seed with any judged
one. It is switched on only while a page is read, so that the core is untouched otherwise.

There are three adapters, one for a statement alone, one for several together and one for prose, because one that had
learned to read the others read each of them less well (docs/lab/medium.md): the pages decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.decode import LONG
from fastslow.errors import CoreError
from fastslow.medium.router import RouterWeights
from fastslow.state import State

FORMAT = "3"
BITS = 6  # of a stored weight: three adapters of the default core and its router are to fit into 4 MB
POSE = "Ask me one question about what you remember."  # the second thing a reader is taught, which `sleep` needs


@dataclass(frozen=True, eq=False)
class Reader:
    """Three adapters on the same maps, of any ranks: one reads a statement alone, one several together and one prose;
    the weights that route; and ``about``: core, seed, steps and command that made them."""

    statements: Delta
    pairs: Delta
    prose: Delta
    router: RouterWeights
    about: dict[str, str]

    @property
    def adapters(self) -> tuple[Delta, Delta, Delta]:
        return self.statements, self.pairs, self.prose

    def adapter(self, pages: Sequence[Tensor]) -> Delta:
        """The one that reads these pages (T_i, width) together: they are prose where one is longer than `LONG`."""
        if any(len(page) > LONG for page in pages):
            return self.prose
        return self.pairs if len(pages) > 1 else self.statements

    def hash(self) -> str:
        """sha256 over everything that decides what it reads."""
        tensors = {"query": self.router.query, "key": self.router.key}
        for adapter in self.adapters:
            tensors |= {
                f"{adapter.name}.{n}.{p}": t
                for n, pair in adapter.factors.items()
                for p, t in zip("AB", pair, strict=True)
            }
        return State(f"reader, threshold {self.router.threshold!r}", 1, tensors).hash()

    def to_bytes(self) -> bytes:
        """safetensors: the weights of all adapters in a row, in `BITS` bits, with one scale for every rank of a map,
        and the router in half precision. ``maps`` has (in, out) of every map, by name, and ``ranks`` that of every
        adapter there."""
        names = sorted(self.statements.factors)
        pairs = [[adapter.factors[name] for adapter in self.adapters] for name in names]
        rounded = [part for own in pairs for pair in own for part in _rounded(pair)]
        tensors = {
            "router.query": self.router.query.half(),
            "router.key": self.router.key.half(),
            "maps": torch.tensor([(own[0][0].shape[1], own[0][1].shape[0]) for own in pairs], dtype=torch.int32),
            "ranks": torch.tensor([[len(a) for a, _ in own] for own in pairs], dtype=torch.uint8),
            "codes": _packed(torch.cat([codes.flatten() for codes, _ in rounded])),
            "scales": torch.cat([scales.flatten() for _, scales in rounded]),
        }
        about = {**self.about, "format": FORMAT, "threshold": repr(self.router.threshold), "names": " ".join(names)}
        return save({name: t.detach().contiguous() for name, t in tensors.items()}, about)

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
        sizes = [
            (rank, size)
            for both, own in zip(tensors["maps"].tolist(), tensors["ranks"].tolist(), strict=True)
            for rank in own
            for size in both
        ]
        codes = _unpacked(tensors["codes"], sum(rank * size for rank, size in sizes)).float()
        parts = codes.split([rank * size for rank, size in sizes])
        scales = tensors["scales"].float().split([rank for rank, _ in sizes])
        rows = (c.view(-1, size) * s[:, None] for c, s, (_, size) in zip(parts, scales, sizes, strict=True))
        adapters = Delta("statements", {}), Delta("pairs", {}), Delta("prose", {})
        for name in about.pop("names").split():
            for adapter in adapters:
                adapter.factors[name] = next(rows), next(rows).T.contiguous()
        query, key = (tensors[f"router.{part}"].float() for part in ("query", "key"))
        return cls(*adapters, RouterWeights(query, key, float(about["threshold"])), about)


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
    count = sum(t.numel() for adapter in reader.adapters for t in adapter.parameters())
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
    """What an adapter will be after its round trip through `BITS` bits: train, then use exactly what is stored."""
    factors = {}
    for name, pair in delta.factors.items():
        a, b = (codes.float() * scales.float() for codes, scales in _rounded(pair))
        factors[name] = a, b.T.contiguous()
    return Delta(delta.name, factors)


@torch.no_grad()
def _rounded(pair: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """A (rank, in) and B (out, rank), this one transposed, as integer codes and the scales (rank, 1) of the ranks."""
    found, most = [], 2 ** (BITS - 1) - 1
    for rows in (pair[0].float(), pair[1].float().T):
        scales = (rows.abs().amax(1, keepdim=True) / most).clamp(min=1e-12).bfloat16()
        found.append(((rows / scales.float()).round().clamp(-most, most).to(torch.int8), scales))
    return found


def _packed(codes: Tensor) -> Tensor:
    """The low `BITS` bits of int8 codes (n,), one behind the other, as bytes."""
    bits = np.unpackbits(codes.numpy().view(np.uint8)[:, None], axis=1, bitorder="little")
    return torch.from_numpy(np.packbits(bits[:, :BITS], bitorder="little"))


def _unpacked(packed: Tensor, count: int) -> Tensor:
    """The ``count`` int8 codes that were packed."""
    bits = np.unpackbits(packed.numpy(), count=count * BITS, bitorder="little").reshape(count, BITS)
    signed = np.concatenate([bits, np.repeat(bits[:, -1:], 8 - BITS, 1)], 1)  # the last bit is the sign
    return torch.from_numpy(np.packbits(signed, axis=1, bitorder="little")[:, 0].view(np.int8))
