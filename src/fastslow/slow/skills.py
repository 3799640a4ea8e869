"""A skill: what fast-slow training leaves in a learner's home. Contexts, which are text; an adapter, which is weights;
and a gate, which opens on questions like the task's and is shut, exactly, on all others.

On the disk a skill is a folder: the adapter in PEFT's format, so that other programs load it too, the gate, and
``skill.json`` with the contexts, where they came from and the checksums of the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.errors import InputError, StoreError
from fastslow.gate import LAYOUT as GATE_LAYOUT
from fastslow.gate import VERSION as GATE_VERSION
from fastslow.gate import Gate
from fastslow.slow.audit import prompt_hidden
from fastslow.slow.contexts import Context, under
from fastslow.slow.domain import unrelated
from fastslow.slow.experts import FACTOR_DTYPE
from fastslow.state import State
from fastslow.store import io

ABOUT, ADAPTER, CONFIG, GATE = "skill.json", "adapter_model.safetensors", "adapter_config.json", "gate.safetensors"


@dataclass(frozen=True, eq=False)
class Skill:
    """What was learned of ``task``: the contexts, best first, a delta of the core and its gate. ``about`` says how: the
    method, steps, rollouts and the reward, as plain JSON values."""

    task: str
    contexts: tuple[Context, ...]
    delta: Delta
    gate: Gate
    about: dict[str, Any]

    @classmethod
    def make(
        cls,
        core: Core,
        task: str,
        contexts: Sequence[Context],
        delta: Delta,
        questions: Sequence[str],
        about: dict[str, Any] | None = None,
    ) -> Skill:
        """The gate is fitted on the task's ``questions``; ``about``, of JSON values, is kept with it. Raises InputError
        where a factor is not finite, or where there are too few questions for a gate."""
        if not contexts:
            raise InputError("a skill has at least one context, which may be empty")
        factors = {}
        for key, (a, b) in delta.factors.items():
            factors[key] = (a.detach().to(FACTOR_DTYPE), b.detach().to(FACTOR_DTYPE))
            if not all(bool(t.isfinite().all()) for t in factors[key]):
                raise InputError(f"the factors of {key} are not finite: train with a smaller --rate")
        gate = Gate.fit([prompt_hidden(core, question) for question in questions], unrelated(core))
        return cls(task, tuple(contexts), Delta(f"skill-{task}", factors), gate, json.loads(json.dumps(about or {})))

    @property
    def lines(self) -> tuple[str, ...]:
        """What is put before a question: the best context."""
        return self.contexts[0].lines()

    def asked(self, question: str) -> str:
        """The question under the best context."""
        return under(self.lines, question)

    def size_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for pair in self.delta.factors.values() for t in pair)

    def hash(self) -> str:
        """sha256 over contexts, factors, gate and what is said about the training."""
        return sha256(b"".join(self._files("", "").values())).hexdigest()

    def _files(self, core: str, prefix: str) -> dict[str, bytes]:
        adapter, config = to_peft(self.delta, core, prefix)
        said = {"task": self.task, "contexts": [c.to_dict() for c in self.contexts], "about": self.about}
        files = {ADAPTER: adapter, CONFIG: json.dumps(config, indent=1).encode(), GATE: self.gate.state().to_bytes()}
        said["sha256"] = {name: sha256(data).hexdigest() for name, data in files.items()}
        return files | {ABOUT: json.dumps(said, indent=1, ensure_ascii=False).encode()}

    def save(self, folder: Path, core: Core) -> None:
        """Writes the folder, ``skill.json`` last, which names the rest by their checksums."""
        io.make_dir(folder)
        for name, data in self._files(core.name, core.model.base_model_prefix).items():
            io.write_atomic(folder / name, data)

    @classmethod
    def load(cls, folder: Path) -> Skill:
        """Raises StoreError where a file is missing or is not what ``skill.json`` says."""
        try:
            said = json.loads((folder / ABOUT).read_bytes())
            files = {name: (folder / name).read_bytes() for name in said["sha256"]}
            wrong = [name for name, data in files.items() if sha256(data).hexdigest() != said["sha256"][name]]
            if wrong:
                raise StoreError(f"{folder / wrong[0]} is not what was saved: remove {folder}, and train again")
            delta = replace(from_peft(files[ADAPTER]), name=f"skill-{said['task']}")
            gate = Gate.from_state(State.from_bytes(files[GATE], layout=GATE_LAYOUT, version=GATE_VERSION))
            contexts = tuple(Context.from_dict(each) for each in said["contexts"])
            return cls(said["task"], contexts, delta, gate, said["about"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the skill in {folder} cannot be read ({error}): remove the folder, and train again"
            ) from error


def to_peft(delta: Delta, core: str, prefix: str) -> tuple[bytes, dict[str, Any]]:
    """A delta as PEFT's adapter file and its settings, for the ``core`` of this name whose layers are in its part
    ``prefix``. The scale is folded into B, so alpha is the rank."""
    tensors: dict[str, Tensor] = {}
    for key, (a, b) in delta.factors.items():
        name = f"base_model.model.{prefix}.layers.{key}"
        tensors |= {f"{name}.lora_A.weight": a.contiguous(), f"{name}.lora_B.weight": b.contiguous()}
    parts = [key.partition(".") for key in delta.factors]
    rank = next(iter(delta.factors.values()))[0].shape[0]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": core,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({path.rpartition(".")[2] for _, _, path in parts}),
        "layers_to_transform": sorted({int(layer) for layer, _, _ in parts}),
        "inference_mode": True,
    }
    return save(tensors), config


def from_peft(adapter: bytes) -> Delta:
    """The delta in PEFT's adapter file. Raises KeyError where a factor has no partner."""
    tensors, factors = load(adapter), {}
    for name, a in tensors.items():
        if found := re.fullmatch(r".*?\.layers\.(.+)\.lora_A\.weight", name):
            factors[found[1]] = (a, tensors[name.replace("lora_A", "lora_B")])
    return Delta("", dict(sorted(factors.items(), key=lambda item: (int(item[0].partition(".")[0]), item[0]))))
