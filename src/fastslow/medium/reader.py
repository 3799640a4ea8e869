"""The reader: a small slow adapter with which the top half reads pages, and the router's weights beside it.

Slow weights learn to read fast ones (Schmidhuber 1992, "Learning to control fast-weight memories"). A reader is trained
once per core (`fastslow model train-reader`) on invented worlds that share no name, wording or seed with any judged
one. It is switched on only while a page is read, so that the core is untouched otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fastslow.core import Core, Delta
from fastslow.errors import CoreError
from fastslow.medium.router import RouterWeights

FORMAT = "1"
UNKNOWN = "I don't know."  # what it says when no page in sight holds the answer
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
        try:
            with safe_open(path, "pt") as file:
                about = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            raise CoreError(f"{path} is not a readable reader: make one with `fastslow model train-reader`") from error
        if about.get("format") != FORMAT:
            raise CoreError(f"{path} has reader format {about.get('format')}, this version reads format {FORMAT}")
        names = sorted({n.removeprefix("reader.")[:-2] for n in tensors if n.startswith("reader.")})
        factors = {n: (tensors[f"reader.{n}.A"], tensors[f"reader.{n}.B"]) for n in names}
        query, key = tensors["router.query"].float(), tensors["router.key"].float()
        router = RouterWeights(query, key, float(about["threshold"]))
        return cls(Delta("reader", factors), router, about)


def find(core: Core, folders: tuple[Path, ...] = ()) -> Reader | None:
    """The reader made for exactly this core (its weights and cut), from ``folders`` or among the shipped ones."""
    shipped = Path(str(resources.files("fastslow"))) / "readers"
    wanted = {key: core.fingerprint[key] for key in ("weights", "split")}
    for folder in (*folders, shipped):
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
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


def new_adapter(core: Core, rank: int, seed: int) -> Delta:
    """A fresh adapter on the attention maps of the whole top half."""
    paths = sorted({n.partition(".")[2] for n in core.linears if ".self_attn." in n})
    return core.new_delta("reader", paths, rank, first_layer=core.split, seed=seed)


def frozen(delta: Delta) -> Delta:
    """What a reader will be after its round trip through half precision: train, then use exactly what is stored."""
    return Delta(delta.name, {n: (a.detach().half(), b.detach().half()) for n, (a, b) in delta.factors.items()})


def trainable(delta: Delta) -> Delta:
    """A copy to train on, in fp32."""
    return Delta(
        delta.name,
        {
            n: (a.float().clone().requires_grad_(), b.float().clone().requires_grad_())
            for n, (a, b) in delta.factors.items()
        },
    )
