"""The kernel through flash-linear-attention, on a CUDA device where that package is installed.

Its operation for a transition of a diagonal plus a low rank covers the whole family of :mod:`fastslow.fast.kernel`, so
that one route serves every rule. It is never taken unless asked for (``LayerConfig(kernel="fla")``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastslow.errors import InputError
from fastslow.fast.kernel import Inputs


def chunk(inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`fastslow.fast.kernel.chunk`, with gradients.

    Raises InputError where the tensors are not on a CUDA device or the package is not installed.
    """
    inputs.check_state(state)
    if state.device.type != "cuda":
        raise InputError(f"flash-linear-attention needs a CUDA device, this is on {state.device}: take kernel='chunk'")
    return run(inputs, state)


def run(inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """The same on whatever device its kernels run on. Raises InputError where the package is not installed."""
    try:
        from fla.ops.generalized_delta_rule import chunk_dplr_delta_rule
    except ImportError as error:
        raise InputError(
            f"flash-linear-attention is not installed ({error}): pip install 'fastslow[peers]', or take kernel='chunk'"
        ) from error
    there = {name: tensor.transpose(1, 2).contiguous() for name, tensor in arguments(inputs).items()}
    out, end = chunk_dplr_delta_rule(**there, scale=1.0, initial_state=state, output_final_state=True)
    return out.transpose(1, 2), end


def arguments(inputs: Inputs) -> dict[str, Tensor]:
    """The rule in its terms, S_t = Diag(exp gk) S_{t-1} + b (a^T S_{t-1}) + k v^T, each (B, H, T, *): ``a`` reads the
    state before it decays."""
    gk = torch.zeros_like(inputs.k) if inputs.g is None else inputs.g.expand_as(inputs.k)
    a = torch.zeros_like(inputs.k) if inputs.e is None else -inputs.e * gk.exp()
    return {"q": inputs.q, "k": inputs.k, "v": inputs.u, "a": a, "b": inputs.k, "gk": gk}
