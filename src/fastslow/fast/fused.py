"""The step of the kernel in C: the state is read once from memory and written once, where torch needs several passes.

For decoding on a CPU, without gradients. The C compiler of the machine makes it on first use, into the cache folder.
It is never taken unless asked for (``LayerConfig(kernel="fused")``).
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
from fastslow.fast.kernel import Inputs
from fastslow.store import io

SOURCE = Path(__file__).with_name("step.c")
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-shared", "-fPIC")
INSTEAD = "take kernel='chunk'"


def step(inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`fastslow.fast.kernel.step`, for fp32 on a CPU.

    Raises InputError where gradients are wanted, where the tensors are not fp32 on a CPU, under torch.compile, and
    where there is no C compiler.
    """
    if torch.compiler.is_compiling():
        raise InputError(f"the fused step is compiled already, torch cannot look into it: {INSTEAD}")
    inputs.check_state(state)
    if inputs.length != 1:
        raise InputError(f"a step takes one token, not {inputs.length}: give several to chunk or reference")
    # At a small state most of the time is Python's, so tensors are asked only what is quick to answer.
    given = [t for t in (inputs.q, inputs.k, inputs.u, inputs.e, inputs.g, state) if t is not None]
    if state.dtype != torch.float32 or False in [t.is_cpu for t in given]:
        raise InputError(f"the fused step takes float32 on a CPU, not {state.dtype} on {state.device}: {INSTEAD}")
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        raise InputError(f"the fused step has no gradients: run it under torch.no_grad(), or {INSTEAD}")
    u, dense = inputs.u.contiguous(), state.contiguous()
    keys = [None if t is None else t.contiguous() for t in (inputs.q, inputs.k, inputs.e, inputs.g)]
    out, following = torch.empty_like(u), torch.empty_like(dense)
    heads, (rows, columns) = u.shape[0] * u.shape[1], state.shape[2:]
    decays = 1 if inputs.g is None else inputs.g.shape[-1]
    where = [None if t is None else t.data_ptr() for t in (*keys, u, dense, out, following)]
    _library()(heads, rows, columns, decays, *where)
    return out, following


@cache
def _library() -> Any:
    """The C function, compiled into the cache where it is not there yet."""
    source = SOURCE.read_bytes()
    compiler = shlex.split(os.environ.get("CC", "cc"))
    made_by = hashlib.sha256(source + repr((compiler, FLAGS)).encode()).hexdigest()[:16]
    path = cache_folder() / "native" / f"step-{made_by}.so"
    if not path.exists():
        io.make_dir(path.parent)
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "step.so"
            command = [*compiler, *FLAGS, str(SOURCE), "-o", str(made), "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                why = getattr(error, "stderr", None) or error
                raise InputError(
                    f"the fused step could not be compiled with {shlex.join(compiler)} ({why}): install a C compiler,"
                    f" name one in CC, or {INSTEAD}"
                ) from error
            io.write_atomic(path, made.read_bytes())
    function = ctypes.CDLL(str(path)).step
    function.argtypes = [ctypes.c_size_t] * 4 + [ctypes.c_void_p] * 8
    function.restype = None
    return function
