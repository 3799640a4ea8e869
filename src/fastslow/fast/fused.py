"""The kernel in C, where torch needs several passes over memory: a token reads the state once and writes it once, and a
chunk stays in the cache until it is done.

For fp32 on a CPU. The C compiler of the machine makes it on first use, into the cache folder. It is never taken unless
asked for (``LayerConfig(kernel="fused")``).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastslow.cores import cache_folder
from fastslow.errors import InputError
from fastslow.fast.kernel import CHUNK, Inputs
from fastslow.store import io

FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-shared", "-fPIC")
INSTEAD = "take kernel='chunk'"
LANES = 16  # numbers that the chunks in C take at once


def step(inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`fastslow.fast.kernel.step`.

    Raises InputError where gradients are wanted, where the tensors are not fp32 on a CPU, under torch.compile, and
    where there is no C compiler.
    """
    # At a small state most of the time is Python's, so only what is quick to ask is asked, and the rest in trouble.
    q, k, u, e, g = inputs.q, inputs.k, inputs.u, inputs.e, inputs.g
    given = [t for t in (state, q, k, u, e, g) if t is not None]
    batch, heads, tokens, rows = k.shape
    columns = u.shape[3]
    odd = [t for t in given if t.dtype is not torch.float32 or not t.is_cpu]
    if odd or tokens != 1 or state.shape != (batch, heads, rows, columns) or torch.compiler.is_compiling():
        _check("step", inputs, state)
        raise InputError(f"a step takes one token, not {tokens}: give several to chunk or reference")
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        raise InputError(f"the fused step has no gradients: run it under torch.no_grad(), or {INSTEAD}")
    keys = [None if t is None else t.contiguous() for t in (q, k, e, g)]
    u, state = u.contiguous(), state.contiguous()
    out, following = torch.empty_like(u), torch.empty_like(state)
    where = [None if t is None else t.data_ptr() for t in (*keys, u, state, out, following)]
    _function("step", 4, 8)(batch * heads, rows, columns, 1 if g is None else g.shape[3], *where)
    return out, following


def fits(inputs: Inputs, size: int) -> bool:
    """Whether :func:`chunk` takes these inputs in chunks of ``size``: one log decay a token or none, and K, V and the
    size multiples of 16."""
    one = inputs.g is None or inputs.g.shape[-1] == 1
    return one and not any(n % LANES for n in (inputs.k.shape[-1], inputs.u.shape[-1], size))


def chunk(inputs: Inputs, state: Tensor, size: int = CHUNK) -> tuple[Tensor, Tensor]:
    """As :func:`fastslow.fast.kernel.chunk`, with its gradients, on one thread.

    Raises InputError where the inputs do not fit (:func:`fits`), where the tensors are not fp32 on a CPU, under
    torch.compile, and where there is no C compiler.
    """
    _check("chunk", inputs, state)
    if not fits(inputs, size):
        raise InputError(
            f"the fused chunk takes one log decay a token and K, V and chunks that are multiples of {LANES}, not"
            f" k {tuple(inputs.k.shape)}, u {tuple(inputs.u.shape)}, chunks of {size}: {INSTEAD}"
        )
    batch, heads, length, _ = inputs.k.shape
    if not length:
        return inputs.u, state
    g = inputs.k.new_zeros(batch, heads, length, 1) if inputs.g is None else inputs.g

    def cut(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        padded = torch.nn.functional.pad(x, (0, 0, 0, -length % size)) if length % size else x
        return padded.reshape(batch * heads, -1, size, x.shape[-1]).contiguous()

    out, end = _Chunks.apply(*(cut(x) for x in (inputs.q, inputs.k, inputs.e, g, inputs.u)), state.flatten(0, 1))
    return out.view(batch, heads, -1, out.shape[-1])[:, :, :length], end.view_as(state)


class _Chunks(torch.autograd.Function):
    """chunk.c. q, k, e: (BH, N, C, K), g: (BH, N, C, 1), u: (BH, N, C, V), e may be None; the state (BH, K, V)."""

    @staticmethod
    def forward(ctx, q, k, e, g, u, state):  # type: ignore[no-untyped-def]
        sizes = (*k.shape, u.shape[-1])
        heads, chunks, size, _, _ = sizes
        out, missing, pairs = torch.empty_like(u), torch.empty_like(u), u.new_empty(heads, chunks, 2, size, size)
        states = u.new_empty(heads, chunks + 1, *state.shape[1:])
        states[:, 0] = state
        scratch = _scratch(u, *sizes[2:])
        where = (q, k, e, g, u, out, states, missing, pairs, scratch)
        _function("forward", 5, 10, "chunk")(*sizes, *map(_at, where))
        ctx.save_for_backward(q, k, e, g, states, missing, pairs)
        return out, states[:, -1].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, of_out, of_state):  # type: ignore[no-untyped-def]
        q, k, e, g, states, missing, pairs = ctx.saved_tensors
        sizes = (*k.shape, missing.shape[-1])
        of_state = of_state.clone(memory_format=torch.contiguous_format)
        of_e = None if e is None else torch.empty_like(e)
        made = [torch.empty_like(q), torch.empty_like(k), of_e, torch.empty_like(g), torch.empty_like(missing)]
        given = (q, k, e, g, states, missing, pairs, of_out.contiguous(), of_state)
        scratch = _scratch(q, *sizes[2:])
        _function("backward", 5, 15, "chunk")(*sizes, *map(_at, (*given, *made, scratch)))
        return (*made, of_state)


def _scratch(like: Tensor, size: int, keys: int, values: int) -> Tensor:
    return like.new_empty(2 * size * (1 + size) + size * (keys + max(keys, values)) + 2 * keys * values)


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _check(form: str, inputs: Inputs, state: Tensor) -> None:
    """That these are inputs and a state that C can take."""
    if torch.compiler.is_compiling():
        raise InputError(f"the fused {form} is compiled already, torch cannot look into it: {INSTEAD}")
    inputs.check_state(state)  # all are of one dtype
    elsewhere = [t for t in (state, *vars(inputs).values()) if t is not None and not t.is_cpu]
    if state.dtype is not torch.float32 or elsewhere:
        found = f"{state.dtype} on {(elsewhere or [state])[0].device}"
        raise InputError(f"the fused {form} takes float32 on a CPU, not {found}: {INSTEAD}")


@cache
def _function(name: str, sizes: int, arrays: int, source: str | None = None) -> Any:
    """A C function of so many sizes and arrays, compiled into the cache where it is not there yet."""
    file = Path(__file__).with_name(f"{source or name}.c")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    made_by = hashlib.sha256(file.read_bytes() + repr((compiler, FLAGS)).encode()).hexdigest()[:16]
    path = cache_folder() / "native" / f"{file.stem}-{made_by}.so"
    if not path.exists():
        io.make_dir(path.parent)
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "made.so"
            command = [*compiler, *FLAGS, str(file), "-o", str(made), "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                why = getattr(error, "stderr", None) or error
                raise InputError(
                    f"the fused {file.stem} could not be compiled with {shlex.join(compiler)} ({why}): install a C"
                    f" compiler, name one in CC, or {INSTEAD}"
                ) from error
            io.write_atomic(path, made.read_bytes())
    function = getattr(ctypes.CDLL(str(path)), name)
    function.argtypes = [ctypes.c_size_t] * sizes + [ctypes.c_void_p] * arrays
    function.restype = None
    return function
