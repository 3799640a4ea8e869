"""The reader: a small slow adapter with which the top half reads pages, and the router's weights beside it.

Slow weights learn to read fast ones (Schmidhuber 1992, "Learning to control fast-weight memories"). A reader is trained
once per core (`fastslow model train-reader`) on invented worlds that share no name, wording or seed with any judged
one. It is switched on only while a page is read, so that the core is untouched otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fastslow.core import Core, Delta
from fastslow.errors import CoreError
from fastslow.medium.router import RouterWeights

FORMAT = "1"
POSE = "Ask me one question about what you remember."  # the second thing a reader is taught, which `sleep` needs


@dataclass(frozen=True, eq=False)
class Reader:
    """The adapter that reads, the weights that route, and ``about``: core, seed, steps and command that made them."""

    delta: Delta
    router: RouterWeights
    about: dict[str, str]

    def to_bytes(self) -> bytes:
        """safetensors, in half precision."""
        tensors = {"router.query": self.router.query, "router.key": self.router.key}
        for name, (a, b) in self.delta.factors.items():
            tensors[f"reader.{name}.A"], tensors[f"reader.{name}.B"] = a, b
        half = {name: t.detach().half().contiguous() for name, t in tensors.items()}
        return save(half, {**self.about, "format": FORMAT, "threshold": repr(self.router.threshold)})

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
        names = sorted({n.removeprefix("reader.")[:-2] for n in tensors if n.startswith("reader.")})
        factors = {n: (tensors[f"reader.{n}.A"], tensors[f"reader.{n}.B"]) for n in names}
        query, key = tensors["router.query"].float(), tensors["router.key"].float()
        router = RouterWeights(query, key, float(about["threshold"]))
        return cls(Delta("reader", factors), router, about)


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
    count = sum(t.numel() for t in reader.delta.parameters())
    return f"{count / 1e6:.2f} M weights, " + json.dumps({k: reader.about[k] for k in ("seed", "steps")})


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
    """What a reader will be after its round trip through half precision: train, then use exactly what is stored."""
    return Delta(delta.name, {n: (a.detach().half(), b.detach().half()) for n, (a, b) in delta.factors.items()})
