"""The kernels of flash-linear-attention on a CPU, in Triton's interpreter, against the reference.

A script of its own, because Triton reads TRITON_INTERPRET when it is imported. The interpreter wants three things that
a machine without a GPU lacks: a driver, loops whose counters have the ``to`` of a tensor, and no ``gather``, for which
the kernels have another form. Prints for every kind of rule the largest relative error of outputs, state and gradients.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import warnings
from collections.abc import Iterator
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"
warnings.simplefilter("ignore")  # it warns that there is no GPU

import torch  # noqa: E402
import triton  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402

from fastslow.fast import fla  # noqa: E402
from fastslow.fast.kernel import Inputs, reference  # noqa: E402


class Driver:
    """What Triton asks a driver for before it interprets a kernel."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cpu", 0, 1)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cpu

    def get_benchmarker(self) -> Any:
        return lambda *_, **__: [1.0, 1.0, 1.0]  # of several ways to launch a kernel the first


class Counter(int):
    def to(self, _: Any) -> Counter:
        return self


def counted(*bounds: Any) -> Iterator[Counter]:
    plain = [bound.handle.data.item() if hasattr(bound, "handle") else bound for bound in bounds]
    return map(Counter, range(*map(int, plain)))


def prepare() -> None:
    triton.runtime.driver.set_active(Driver())
    del triton.language.gather
    package = importlib.import_module("fla.ops.generalized_delta_rule.dplr")
    for found in pkgutil.iter_modules(package.__path__):
        vars(importlib.import_module(f"{package.__name__}.{found.name}"))["range"] = counted


def errors(kind: str, tokens: int = 24, channels: int = 16) -> list[float]:
    torch.manual_seed(0)
    q, k, v, beta, g, gk = (torch.randn(1, 2, tokens, n) for n in (*[channels] * 3, 1, 1, channels))
    k, beta = torch.nn.functional.normalize(k, dim=-1), beta.sigmoid()
    g, gk = (torch.nn.functional.logsigmoid(decay + 2) for decay in (g, gk))
    leaves = [t.requires_grad_() for t in (q, k, v, beta, g, gk, torch.randn(1, 2, channels, channels))]
    erase = beta * k if kind in ("erases", "all") else None
    inputs, state = Inputs(q, k, beta * v, erase, {"decays": g, "all": gk}.get(kind)), leaves[-1]
    made = []
    for form in (fla.run, reference):
        out, end = form(inputs, state)
        total = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() + end.square().sum()
        gradients = torch.autograd.grad(total, leaves, allow_unused=True, retain_graph=True)
        made.append([out, end, *(torch.zeros(1) if x is None else x for x in gradients)])
    return [float((a - b).norm() / b.norm().clamp(min=1e-6)) for a, b in zip(*made, strict=True)]


if __name__ == "__main__":
    prepare()
    for kind in ("adds", "erases", "decays", "all"):
        print(kind, max(errors(kind)), flush=True)
