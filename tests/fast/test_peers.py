"""Our rules against what others wrote: transformers' torch forms, and the naive forms of flash-linear-attention where
it is installed (``pip install 'fastslow[peers]'``).

Outputs, final states and gradients, relative, in single precision, which is what most peers compute in. Not every peer
is an oracle: flash-linear-attention's Titans has a wrong gradient of its layer norm, and its TTT changes its input.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.mamba2 import modeling_mamba2
from transformers.models.qwen3_next import modeling_qwen3_next
from transformers.models.xlstm import modeling_xlstm

from fastslow.errors import InputError
from fastslow.fast import fla, rules
from fastslow.fast.frame import LayerConfig
from fastslow.fast.kernel import Inputs, chunk, reference
from fastslow.fast.layers import LAYERS

B, H, T, K, V = 2, 3, 64, 16, 8
Run = Callable[[], tuple[Tensor, Tensor]]


def peer(module: str, name: str) -> Any:
    """A function of flash-linear-attention, or a skipped test."""
    if find_spec("fla") is None:
        pytest.skip("flash-linear-attention is not installed: pip install 'fastslow[peers]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that there is no GPU, and of what else is not installed
        return getattr(import_module(f"fla.ops.{module}"), name)


class Data:
    """Leaves (B, H, T, *) in single precision, and a state that is not empty."""

    def __init__(self) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.leaves: list[Tensor] = []
        self.q, self.v = self.leaf(self.normal(K)), self.leaf(self.normal(V))
        self.k = self.leaf(torch.nn.functional.normalize(self.normal(K), dim=-1))
        self.beta = self.leaf(self.normal(1).sigmoid())
        self.g = self.leaf(torch.nn.functional.logsigmoid(self.normal(1) + 2))
        self.gk = self.leaf(torch.nn.functional.logsigmoid(self.normal(K) + 2))
        self.state = self.leaf(torch.randn(B, H, K, V, generator=self.random))

    def normal(self, channels: int, tokens: int = T) -> Tensor:
        return torch.randn(B, H, tokens, channels, generator=self.random)

    def leaf(self, x: Tensor) -> Tensor:
        self.leaves.append(x.requires_grad_())
        return x


def theirs(*tensors: Tensor) -> list[Tensor]:
    """(B, H, T, C) as most others have it, (B, T, H, C)."""
    return [t.transpose(1, 2) for t in tensors]


def flat(*tensors: Tensor) -> list[Tensor]:
    """(B, H, T, 1) as (B, T, H)."""
    return [t.squeeze(-1).transpose(1, 2) for t in tensors]


def ours(inputs: Inputs, state: Tensor) -> list[Run]:
    return [lambda: chunk(inputs, state), lambda: reference(inputs, state)]


def agree(made: Sequence[Run], wanted: Run, leaves: Sequence[Tensor]) -> None:
    """Within 1e-5, relative in norm: outputs, final states, and the gradients of both in every leaf."""

    def measured(run: Run) -> list[Tensor]:
        out, state = run()
        weight = torch.linspace(-1, 1, out.numel()).view_as(out)
        total = (out * weight).sum() + state.square().sum()
        found = torch.autograd.grad(total, leaves, allow_unused=True, retain_graph=True)
        return [out.detach(), state.detach(), *(torch.zeros(1) if g is None else g for g in found)]

    expected = measured(wanted)
    for run in made:
        for a, b in zip(measured(run), expected, strict=True):
            assert float((a - b).norm() / b.norm().clamp(min=1e-6)) < 1e-5


# ---------------------------------------------------------------------- transformers


def test_the_gated_delta_rule_of_qwen3_next() -> None:
    d = Data()
    them = inspect.unwrap(modeling_qwen3_next.torch_chunk_gated_delta_rule)  # else it would call what has no GPU here

    def wanted() -> tuple[Tensor, Tensor]:
        q, k, v = theirs(d.q, d.k, d.v)
        out, state = them(q, k, v, *flat(d.g, d.beta), initial_state=d.state, output_final_state=True)
        return out.transpose(1, 2), state

    agree(ours(rules.gated_delta_net(d.q, d.k, d.v, d.beta, d.g), d.state), wanted, d.leaves)


def test_mamba2_of_transformers() -> None:
    d = Data()
    delta, a = d.leaf(d.normal(1).sigmoid()), d.leaf(-torch.rand(H, generator=d.random) - 0.1)
    them = inspect.unwrap(modeling_mamba2.mamba2_chunk_scan)

    def wanted() -> tuple[Tensor, Tensor]:
        x, b, c = theirs(d.v, d.k, d.q)
        out, state = them(x, *flat(delta), a, b, c, chunk_size=16, initial_states=d.state.mT, return_final_states=True)
        return out.transpose(1, 2), state.mT

    agree(ours(rules.mamba2(d.q, d.k, d.v, delta, a), d.state), wanted, d.leaves)


def test_mlstm_of_transformers() -> None:
    d = Data()
    i, f, m = d.leaf(d.normal(1)), d.leaf(d.normal(1) + 3), torch.zeros(B, H, 1)

    def wanted() -> tuple[Tensor, Tensor]:
        out, (cell, norm, highest) = modeling_xlstm.mlstm_recurrent_sequence_native(
            d.q, d.k, d.v, i.squeeze(-1), f.squeeze(-1), return_last_states=True, eps=0.0
        )
        scale = K**-0.5  # which they give to the query and we to the key, and so to the state
        return out, torch.cat([scale * cell, scale * norm[..., None], highest[..., None].expand(-1, -1, K, 1)], -1)

    def made() -> tuple[Tensor, Tensor]:
        inputs, running = rules.mlstm(d.q, d.k, d.v, i, torch.nn.functional.logsigmoid(f), m)
        out, state = chunk(inputs, torch.zeros(B, H, K, V + 1))
        last = running[:, :, -1:].expand(-1, -1, K, 1)
        return rules.mlstm_read(out, running), torch.cat([state, last], -1)

    agree([made], wanted, d.leaves)


# ---------------------------------------------------------------------- flash-linear-attention


def test_delta_rules_of_fla() -> None:
    d = Data()
    recurrence = peer("delta_rule.naive", "delta_rule_recurrence")
    delta = ours(rules.delta_net(d.q, d.k, d.v, d.beta), d.state)
    agree(delta, lambda: recurrence(d.q, d.k, d.v, d.beta, initial_state=d.state), d.leaves)
    gated = peer("gated_delta_rule.naive", "naive_recurrent_gated_delta_rule")

    def wanted(form: Callable[..., Any], decay: list[Tensor], **more: Any) -> Run:
        def run() -> tuple[Tensor, Tensor]:
            q, k, v = theirs(d.q, d.k, d.v)
            named = {"q": q, "k": k, "v": v, "beta": flat(d.beta)[0], "g": decay[0], **more}
            out, state = form(**named, initial_state=d.state, output_final_state=True)
            return out.transpose(1, 2), state

        return run

    agree(ours(rules.gated_delta_net(d.q, d.k, d.v, d.beta, d.g), d.state), wanted(gated, flat(d.g)), d.leaves)
    kda = peer("kda.naive", "naive_recurrent_kda")
    agree(ours(rules.kda(d.q, d.k, d.v, d.beta, d.gk), d.state), wanted(kda, theirs(d.gk)), d.leaves)
    comba = peer("comba.naive", "naive_recurrent_comba")
    back, share = torch.tensor([0.3, 0.6, 0.9]), torch.tensor([0.02, 0.1, 0.5])
    # Theirs erases from the decayed state: the paper's key p is given to it divided by the decay, as ours does inside.
    q, p = d.q - share[:, None, None] * back[:, None, None] * d.k, back[:, None, None] * d.k * (-d.g).exp()
    made = ours(rules.comba(d.q, d.k, d.v, d.beta, d.g, back, share), d.state)
    agree(made, wanted(comba, flat(d.g), q=theirs(q)[0], p=theirs(p)[0]), d.leaves)


def test_gated_linear_attention_of_fla() -> None:
    d = Data()
    gla, simple = peer("gla.naive", "naive_recurrent_gla"), peer("simple_gla.naive", "naive_recurrent_simple_gla")

    def wanted(form: Callable[..., Any], *decay: Tensor) -> Run:
        def run() -> tuple[Tensor, Tensor]:
            out, state = form(*theirs(d.q, d.k, d.v), *decay, initial_state=d.state, output_final_state=True)
            return out.transpose(1, 2), state

        return run

    agree(ours(rules.gla(d.q, d.k, d.v, d.gk), d.state), wanted(gla, *theirs(d.gk)), d.leaves)
    decay = torch.tensor([-0.1, -0.02, -0.5])
    each = decay.expand(B, T, H)
    agree(ours(rules.retnet(d.q, d.k, d.v, decay), d.state), wanted(simple, each), d.leaves)


def test_delta_product_of_fla() -> None:
    d = Data()
    product = peer("gated_delta_product.naive", "naive_recurrent_gated_delta_product")
    keys = [d.k, d.leaf(torch.nn.functional.normalize(d.normal(K), dim=-1))]
    values, strengths = [d.v, d.leaf(d.normal(V))], [d.beta, d.leaf(2 * d.normal(1).sigmoid())]

    def wanted() -> tuple[Tensor, Tensor]:
        k, v, beta = (torch.stack(x, 3).flatten(2, 3) for x in (keys, values, strengths))
        q, k, v = theirs(d.q, k, v)
        g, beta = flat(d.g, beta)
        out, state = product(
            q, k, v, g, beta, K**-0.5, initial_state=d.state, output_final_state=True, num_householder=2
        )
        return out.transpose(1, 2), state

    inputs = rules.delta_product(d.q, keys, values, strengths, d.g)
    made = [lambda form=form: _last(form(inputs, d.state)) for form in (chunk, reference)]
    agree(made, wanted, d.leaves)


def test_rwkv7_as_a_diagonal_plus_low_rank_of_fla() -> None:
    d = Data()
    recurrence = peer("generalized_delta_rule.dplr.naive", "dplr_recurrence")
    rate = d.leaf(d.normal(K).sigmoid())
    removal = d.leaf(torch.nn.functional.normalize(d.normal(K), dim=-1))
    g = -0.6 * d.gk.sigmoid()

    def wanted() -> tuple[Tensor, Tensor]:
        return recurrence(d.q * K**0.5, d.k, d.v, -removal, rate * removal, g, initial_state=d.state)

    inputs = rules.rwkv7(d.q, d.k, d.v, g, removal, rate)
    made = [lambda form=form: _last(form(inputs, d.state)) for form in (chunk, reference)]
    agree(made, wanted, d.leaves)


def test_mesa_net_of_fla() -> None:
    d = Data()
    exact = peer("mesa_net.naive", "naive_mesa_net_exact")
    v, ridge = d.leaf(d.normal(K)), torch.full((H, K), 0.8)

    def wanted() -> tuple[Tensor, Tensor]:
        out, gram, _ = exact(*theirs(d.q, d.k, v), *flat(d.g), ridge, *flat(d.beta))
        return out.transpose(1, 2), gram

    def made() -> tuple[Tensor, Tensor]:
        inputs, gram = rules.mesa(d.q, d.k, v, d.beta, d.g, ridge, torch.zeros(B, H, K, K))
        return chunk(inputs, torch.zeros(B, H, K, K))[0], gram

    agree([made], wanted, d.leaves)


@pytest.mark.parametrize("kind", ["adds", "erases", "decays", "all"])
def test_the_route_through_fla_states_the_same_rule(kind: str) -> None:
    d = Data()
    recurrence = peer("generalized_delta_rule.dplr.naive", "dplr_recurrence")
    erase = d.beta * d.k if kind in ("erases", "all") else None
    decay = {"decays": d.g, "all": d.gk}.get(kind)
    inputs = Inputs(d.q, d.k, d.beta * d.v, erase, decay)
    there = fla.arguments(inputs)
    named = {
        "q": there["q"] * K**0.5,
        "alpha": there["a"],
        "beta": there["b"],
        **{n: there[n] for n in ("k", "v", "gk")},
    }
    agree(ours(inputs, d.state), lambda: recurrence(**named, initial_state=d.state), d.leaves)


def test_the_kernels_of_fla_give_the_same_in_tritons_interpreter() -> None:
    """Its very kernels, forward and backward, without a GPU."""
    peer("generalized_delta_rule", "chunk_dplr_delta_rule")
    script = Path(__file__).with_name("interpreted_fla.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert set(found) == {"adds", "erases", "decays", "all"}
    assert all(float(error) < 1e-5 for error in found.values()), found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("rule", ["gla", "delta_net", "gated_delta_net", "kda"])
def test_a_layer_through_fla_on_a_gpu_gives_the_same(rule: str) -> None:
    peer("generalized_delta_rule", "chunk_dplr_delta_rule")
    found = []
    for form in ("chunk", "fla"):
        torch.manual_seed(0)
        layer = LAYERS[rule](LayerConfig(width=64, heads=2, kernel=form)).cuda()  # type: ignore[call-arg, arg-type]
        x = torch.randn(2, 96, 64, generator=torch.Generator().manual_seed(1)).cuda().requires_grad_()
        out, state = layer(x, layer.init_state(2))
        found.append([out, state.tensors["memory"], *torch.autograd.grad(out.square().sum(), [x])])
    for a, b in zip(*found, strict=True):
        assert float((a - b).detach().norm() / b.detach().norm()) < 5e-3  # it multiplies in TF32


def test_the_route_through_fla_says_what_it_needs() -> None:
    layer = LAYERS["gated_delta_net"](LayerConfig(width=16, kernel="fla"))  # type: ignore[call-arg]
    with pytest.raises(InputError, match="needs a CUDA device"):
        layer(torch.randn(1, 8, 16), layer.init_state(1))


def _last(made: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return rules.last(made[0], 2), made[1]
