"""State: what a memory holds, as a named set of tensors and integers that can be saved, hashed and forked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fastslow.errors import InputError, StoreError

# One metadata key, because safetensors writes several in random order and equal states must give equal bytes.
_METADATA_KEY = "fastslow"


@dataclass(frozen=True, eq=False)
class State:
    """What a memory holds.

    layout: what the names and shapes mean, for example "fast/down_proj-lora".
    version: of that layout; a state is never read as another version.
    tensors: name -> tensor of any dtype, shape and device. Kept contiguous and in name order.
    numbers: name -> int (counters, positions). Kept in name order.

    Compare states with `hash()`: `==` is identity. Raises TypeError where a value is neither Tensor nor int.
    """

    layout: str
    version: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.tensors.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"state tensor {name!r} is a {type(value).__name__}: give a torch Tensor")
        for name, number in self.numbers.items():
            if type(number) is not int:
                raise TypeError(f"state number {name!r} is a {type(number).__name__}: give an int")
        # Neither strides nor dict order survive a reload, and both can change the last bit of what is computed
        # from a state (the kernel chosen, the order of a sum). So a live state has them as a reloaded one does.
        object.__setattr__(self, "tensors", {name: self.tensors[name].contiguous() for name in sorted(self.tensors)})
        object.__setattr__(self, "numbers", {name: self.numbers[name] for name in sorted(self.numbers)})

    def fork(self) -> Self:
        """A deep copy, cut from any autograd graph: changing one never changes the other."""
        tensors = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        return type(self)(self.layout, self.version, tensors, dict(self.numbers))

    def hash(self) -> str:
        """sha256 (hex) of layout, version, numbers, and each tensor's name, dtype, shape and raw bytes."""
        digest = sha256()
        header = [self.layout, self.version, list(self.numbers.items()), list(self.tensors)]
        digest.update(json.dumps(header).encode())
        for name, tensor in self.tensors.items():
            # The header of a tensor fixes how many raw bytes follow it, so no two states share one encoding.
            digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
            # numpy knows no bf16, so every dtype is hashed as bytes
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def size_bytes(self) -> int:
        """Bytes of tensor data."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def to_bytes(self) -> bytes:
        """The state as one safetensors file; equal states give equal bytes."""
        about = {"layout": self.layout, "version": self.version, "numbers": self.numbers}
        # safetensors refuses tensors that share memory, so views are copied
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in self.tensors.items()}
        return save(tensors, metadata={_METADATA_KEY: json.dumps(about)})

    @classmethod
    def from_bytes(cls, data: bytes, *, layout: str, version: int) -> Self:
        """The state that `to_bytes` saved, bit-equal, on the CPU.

        Raises StoreError where the bytes are damaged or hold another layout or version than the one asked for.
        """
        try:
            loaded = load(data)
            header_length = int.from_bytes(data[:8], "little")
            about = json.loads(json.loads(data[8 : 8 + header_length])["__metadata__"][_METADATA_KEY])
            # A fresh allocation is aligned as all of torch is; a loaded buffer is not, and kernels may then differ.
            tensors = {name: tensor.clone() for name, tensor in loaded.items()}
            state = cls(about["layout"], about["version"], tensors, dict(about["numbers"]))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"these bytes are not a saved state ({error}): rebuild it from the log") from error
        if (state.layout, state.version) != (layout, version):
            found, wanted = f"{state.layout!r} version {state.version}", f"{layout!r} version {version}"
            raise StoreError(f"the saved state has layout {found}, but {wanted} is needed: rebuild it from the log")
        return state

    @classmethod
    def join(cls, layout: str, version: int, parts: Mapping[str, "State"]) -> Self:
        """One state that holds several, each value under the name of its part."""
        tensors = {f"{name}.{key}": t for name, part in parts.items() for key, t in part.tensors.items()}
        numbers = {f"{name}.{key}": n for name, part in parts.items() for key, n in part.numbers.items()}
        return cls(layout, version, tensors, numbers)

    def part(self, name: str, layout: str, version: int) -> "State":
        """One of the states that were joined, as what its own layout is."""
        start = f"{name}."
        tensors = {key.removeprefix(start): t for key, t in self.tensors.items() if key.startswith(start)}
        numbers = {key.removeprefix(start): n for key, n in self.numbers.items() if key.startswith(start)}
        return State(layout, version, tensors, numbers)

    @classmethod
    def stack(cls, states: "Sequence[State]") -> Self:
        """States of a row or more each as one with all their rows. Raises InputError where their layouts, numbers or
        shapes differ, as they do where rows have seen different numbers of tokens."""
        first = states[0]
        for state in states:
            alike = {n: t.shape[1:] for n, t in state.tensors.items()} == {
                n: t.shape[1:] for n, t in first.tensors.items()
            }
            if (state.layout, state.numbers) != (first.layout, first.numbers) or not alike:
                raise InputError(
                    f"a state of {state.layout!r} with {state.numbers} does not go beside one of {first.layout!r} with "
                    f"{first.numbers}: stack rows that have seen as many tokens"
                )
        tensors = {name: torch.cat([state.tensors[name] for state in states]) for name in first.tensors}
        return cls(first.layout, first.version, tensors, first.numbers)

    def rows(self) -> "list[State]":
        """Each row of a batch as a state of its own."""
        count = len(next(iter(self.tensors.values())))
        return [
            State(self.layout, self.version, {n: t[i : i + 1] for n, t in self.tensors.items()}, self.numbers)
            for i in range(count)
        ]
