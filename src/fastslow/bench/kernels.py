"""The question: how fast is the kernel of fast weights on a CPU? Only ratios within one run say anything, so every form
is timed in turn, several times over, and the least CPU time of each counts.

`fastslow bench kernels --json docs/results/kernels.json`, one thread. The naive form of flash-linear-attention is
timed where it is installed (``pip install 'fastslow[peers]'``).
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.models.qwen3_next import modeling_qwen3_next

from fastslow.bench import experiment
from fastslow.fast import fused, kernel, rules
from fastslow.fast.frame import LayerConfig
from fastslow.fast.kernel import Inputs
from fastslow.fast.layers import LAYERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Form = Callable[[], Any]
SHAPE = (2, 4, 1024, 64)  # batch, heads, tokens, channels of keys and of values
LENGTHS = (1024, 2048, 4096, 8192, 16_384)
FASTEST_DECAY = -5.0  # of log: what KDA's safe gate allows


def run(
    file: Path | None = None,
    *,
    seed: int = 0,
    long: bool = False,
    shape: tuple[int, int, int, int] = SHAPE,
    lengths: tuple[int, ...] = LENGTHS,
) -> dict[str, Any]:
    """``long`` times everything four times as often."""
    threads, rounds = torch.get_num_threads(), 20 if long else 5
    torch.set_num_threads(1)  # two threads on shared cores are often slower than one, and never repeatable
    torch.manual_seed(seed)
    try:
        gated, channels = training(shape, rounds), training(shape, rounds, channels=True)
        result = {
            "bench": "kernels",
            "settings": {"seed": seed, "shape": list(shape), "rounds": rounds, "peers": sorted(_peers())},
            "gated delta net, ms": gated,
            "vector decay, ms": channels,
            "vector decay finite": finite(shape),
            "lengths, ms": scaling(lengths, rounds),
            "decoding, us": decoding(rounds),
            "precision, ms": precision(rounds),
        }
        return experiment.publish(file, result, _text(result), partial(_draw, result=result))
    finally:
        torch.set_num_threads(threads)


# ---------------------------------------------------------------------- what is timed


def drawn(shape: tuple[int, int, int, int], channels: bool = False) -> dict[str, Tensor]:
    """q, k, v, beta and log decays of the gated delta rule, as leaves."""
    batch, heads, tokens, size = shape
    q, k, v = torch.randn(3, batch, heads, tokens, size).unbind(0)
    g = torch.nn.functional.logsigmoid(torch.randn(batch, heads, tokens, size if channels else 1) + 3)
    made = {"q": q, "k": torch.nn.functional.normalize(k, dim=-1), "v": v, "beta": torch.rand(batch, heads, tokens, 1)}
    return {name: t.detach().requires_grad_() for name, t in (made | {"g": g}).items()}


def training(shape: tuple[int, int, int, int], rounds: int, channels: bool = False) -> dict[str, float]:
    """Forward and backward of the gated delta rule in every form, in milliseconds."""
    x = drawn(shape, channels)
    state = torch.zeros(shape[0], shape[1], shape[3], shape[3])

    def ours(form: Callable[[Inputs, Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        return form(rules.gated_delta_net(**x), state)

    forms: dict[str, Form] = {
        "chunk": lambda: ours(kernel.chunk),
        "token loop, products": lambda: ours(kernel.reference),
        "token loop, elementwise": lambda: elementwise(**x),
    }

    def peer(form: Callable[..., Any]) -> Any:
        flat = {name: x[name].squeeze(-1).transpose(1, 2) for name in ("g", "beta")}
        return form(*(x[name].transpose(1, 2) for name in "qkv"), **flat)

    if not channels:
        forms["fused chunk"] = lambda: ours(fused.chunk)
        forms |= {name: partial(peer, form) for name, form in _peers().items()}

    def learned(form: Form) -> None:
        out, state = form()
        torch.autograd.backward((out.sum() if state is None else out.sum() + state.sum()), inputs=list(x.values()))

    return timed({name: partial(learned, form) for name, form in forms.items()}, rounds, 1e3)


def elementwise(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The gated delta rule token by token without a matrix product, as most reference code has it."""
    state, out = k.new_zeros(*k.shape[:2], k.shape[3], v.shape[3]), []
    q = rules.scaled(q)
    for t in range(k.shape[2]):
        state = state * g[:, :, t, :, None].exp()
        missing = (v[:, :, t] - (state * k[:, :, t, :, None]).sum(-2)) * beta[:, :, t]
        state = state + k[:, :, t, :, None] * missing[..., None, :]
        out.append((state * q[:, :, t, :, None]).sum(-2))
    return torch.stack(out, 2), state


def _peers() -> dict[str, Callable[..., Any]]:
    """What others wrote for a CPU, taking q, k, v as (B, T, H, C) and g, beta as (B, T, H)."""
    unwrapped = inspect.unwrap(modeling_qwen3_next.torch_chunk_gated_delta_rule)
    found: dict[str, Callable[..., Any]] = {"transformers, chunk": partial(unwrapped, output_final_state=True)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that there is no GPU
            from fla.ops.gated_delta_rule.naive import naive_chunk_gated_delta_rule
        found["fla, naive chunk"] = partial(naive_chunk_gated_delta_rule, output_final_state=True)
    except ImportError:
        pass
    return found


def finite(shape: tuple[int, int, int, int]) -> bool:
    """Whether outputs and gradients stay finite where every channel decays as fast as it may, and where it forgets all
    at once."""
    for least in (FASTEST_DECAY, -torch.inf):
        x = drawn(shape, channels=True)
        x["g"] = torch.full_like(x["g"], least).requires_grad_()
        state = torch.zeros(shape[0], shape[1], shape[3], shape[3])
        out, state = kernel.chunk(rules.gated_delta_net(**x), state)
        found = torch.autograd.grad(out.sum() + state.sum(), list(x.values()))
        if not all(bool(t.isfinite().all()) for t in (out, state, *found)):
            return False
    return True


def scaling(lengths: tuple[int, ...], rounds: int) -> dict[str, dict[str, float]]:
    """Forward and backward by the number of tokens, one row and two heads, beside causal attention."""
    forms: dict[str, Form] = {}
    for tokens in lengths:
        x = drawn((1, 2, tokens, 64))
        state = torch.zeros(1, 2, 64, 64)

        def learned(form: Callable[[dict[str, Tensor]], Tensor], x: dict[str, Tensor] = x) -> None:
            torch.autograd.backward(form(x).sum(), inputs=[x[name] for name in "qkv"])

        def chunked(x: dict[str, Tensor], state: Tensor = state) -> Tensor:
            return kernel.chunk(rules.gated_delta_net(**x), state)[0]

        def attended(x: dict[str, Tensor]) -> Tensor:
            return torch.nn.functional.scaled_dot_product_attention(x["q"], x["k"], x["v"], is_causal=True)

        forms[f"chunk {tokens}"], forms[f"attention {tokens}"] = partial(learned, chunked), partial(learned, attended)
    found = timed(forms, max(2, rounds // 2), 1e3)
    return {name: {str(t): found[f"{name} {t}"] for t in lengths} for name in ("chunk", "attention")}


@torch.no_grad()
def decoding(rounds: int) -> dict[str, dict[str, float]]:
    """One token of the gated delta rule, and the time to read the state and write it once, in microseconds."""
    found = {}
    for batch in (1, 8, 64):
        x = {name: t.detach() for name, t in drawn((batch, 8, 1, 64)).items()}
        inputs, state = rules.gated_delta_net(**x), torch.randn(batch, 8, 64, 64)
        # what writes only is no lower bound, and a copy reads and writes as the rule must
        forms: dict[str, Form] = {
            "step": partial(kernel.step, inputs, state),
            "fused step": partial(fused.step, inputs, state),
            "reference": partial(kernel.reference, inputs, state),
            "state read and written": partial(torch.mul, state, 1.0001),
        }
        found[f"{state.numel() * 4 // 1024} KB"] = timed(forms, 20 * rounds, 1e6)
    return found


def precision(rounds: int) -> dict[str, float]:
    """Forward and backward of a whole layer with its projections, in single and in half precision."""
    forms: dict[str, Form] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        layer = LAYERS["gated_delta_net"](LayerConfig(width=512, heads=8, key=64, value=64)).to(dtype)  # type: ignore[call-arg]
        x = torch.randn(2, 512, 512).to(dtype)

        def learned(layer: torch.nn.Module = layer, x: Tensor = x) -> None:
            out, _ = layer(x, layer.init_state(2))  # type: ignore[operator]
            out.float().sum().backward()

        forms[name] = learned
    return timed(forms, rounds, 1e3)


def timed(forms: dict[str, Form], rounds: int, unit: float) -> dict[str, float]:
    """The best time of each form, in turn so that what disturbs one disturbs all, after one that is not counted."""
    best = dict.fromkeys(forms, float("inf"))
    for n in range(rounds + 1):
        for name, form in forms.items():
            start = time.process_time()
            form()
            if n:
                best[name] = min(best[name], time.process_time() - start)
    return {name: unit * seconds for name, seconds in best.items()}


# ---------------------------------------------------------------------- what is shown


def _text(result: dict[str, Any]) -> str:
    batch, heads, tokens, size = result["settings"]["shape"]
    forms = {"Scalar decay (Gated DeltaNet)": "gated delta net, ms", "Decay of each channel (KDA)": "vector decay, ms"}
    tables = []
    for title, key in forms.items():
        times = result[key]
        bases = [name for name in ("chunk", "fused chunk") if name in times]
        rows = [[name, f"{t:.0f}", *(f"{t / times[base]:.1f}" for base in bases)] for name, t in times.items()]
        columns = ["", "ms", *(f"of {base}" for base in bases)]
        tables.append(f"**{title}**, forward and backward:\n\n" + experiment.table(columns, rows))
    lengths = result["lengths, ms"]
    first = next(iter(lengths["chunk"]))
    rows = [
        [
            t,
            *(
                f"{lengths[n][t]:.0f} ({lengths[n][t] / int(t) / (lengths[n][first] / int(first)):.2f})"
                for n in lengths
            ),
        ]
        for t in lengths["chunk"]
    ]
    steps = [
        [kb, *(f"{t:.0f} ({t / times['state read and written']:.1f})" for t in times.values())]
        for kb, times in result["decoding, us"].items()
    ]
    halves = result["precision, ms"]
    return f"""# Speed of the kernel

`fastslow bench kernels --json docs/results/kernels.json`: B{batch} H{heads} T{tokens} K{size} V{size},
single precision, one thread, the best of {result["settings"]["rounds"]} in turn. Times belong to one machine; read the
ratios.

{tables[0]}

{tables[1]}

At a log decay of {FASTEST_DECAY:g} in every channel, and at once forgetting all, outputs and gradients are
{"finite" if result["vector decay finite"] else "NOT finite"}.

**Length** (one row, two heads; in brackets the time of a token against that at {first} tokens):

{experiment.table(["tokens", "chunk, ms", "causal attention, ms"], rows)}

**One token** (microseconds; in brackets against reading and writing the state once):

{experiment.table(["state", "step", "fused step", "reference", "state read and written"], steps)}

**A whole layer** of width 512, forward and backward: {halves["float32"]:.0f} ms in float32, {halves["bfloat16"]:.0f} ms
in bfloat16 with the state in float32.
"""


def _draw(figure: Figure, result: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    times = {**result["gated delta net, ms"]}
    names = sorted(times, key=times.__getitem__, reverse=True)
    bars = left.barh(names, [times[name] / times["fused chunk"] for name in names], color="C0")
    left.bar_label(bars, fmt="%.1f", padding=3)
    left.set(xlabel="time against the fused chunk", title="Gated DeltaNet, forward and backward")
    left.margins(x=0.15)
    for name, each in result["lengths, ms"].items():
        right.plot([int(t) for t in each], list(each.values()), marker="o", label=name)
    right.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms, forward and backward", title="By length")
    right.legend(frameon=False)
