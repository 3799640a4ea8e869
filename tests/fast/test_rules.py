"""Every rule equals its paper's recurrence, written out token by token, in outputs, state and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from fastslow.fast import rules
from fastslow.fast.kernel import chunk, reference

B, H, T, K, V = 2, 2, 21, 6, 4
Run = tuple[Tensor, Tensor]


class Data:
    """The tensors that any rule of the family asks for, in fp64, as leaves."""

    def __init__(self, seed: int = 0):
        self.random = torch.Generator().manual_seed(seed)
        self.leaves: list[Tensor] = []
        self.q, self.v = self.normal(K), self.normal(V)
        self.k = self.leaf(torch.nn.functional.normalize(self.normal(K).detach(), dim=-1))
        self.beta = self.leaf(self.normal(1).detach().sigmoid())
        self.g = self.leaf(torch.nn.functional.logsigmoid(self.normal(1).detach() + 2))
        self.gk = self.leaf(-0.6 * self.normal(K).detach().sigmoid())
        self.a = self.leaf(self.normal(K).detach().sigmoid())
        self.heads = self.leaf(torch.rand(H, generator=self.random, dtype=torch.float64))

    def normal(self, channels: int) -> Tensor:
        return self.leaf(torch.randn(B, H, T, channels, generator=self.random, dtype=torch.float64))

    def leaf(self, x: Tensor) -> Tensor:
        self.leaves.append(x.requires_grad_())
        return x


def loop(update: Callable[[Tensor, int], Tensor], read: Tensor, width: int = V) -> Run:
    """``update`` makes S_t (B, H, K, V) from S_{t-1}; the outputs are S_t^T read_t."""
    state, out = torch.zeros(B, H, read.shape[-1], width, dtype=torch.float64), []
    for t in range(T):
        state = update(state, t)
        out.append(torch.einsum("bhk,bhkv->bhv", read[:, :, t], state))
    return torch.stack(out, 2), state


def outer(k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhk,bhv->bhkv", k, v)


def seen(state: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bhkv,bhk->bhv", state, k)


def at(t: int, *tensors: Tensor) -> list[Tensor]:
    return [x[:, :, t] for x in tensors]


def compared(made: Run, wanted: Run, leaves: Sequence[Tensor]) -> None:
    gradients = []
    for out, state in (made, wanted):
        assert torch.isfinite(out).all()
        gradients.append(
            torch.autograd.grad(out.square().sum() + state.sum(), leaves, allow_unused=True, retain_graph=True)
        )
    for found, expected in zip([*made, *gradients[0]], [*wanted, *gradients[1]], strict=True):
        expected = torch.zeros(()) if expected is None else expected
        found = torch.zeros(()) if found is None else found
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11, check_dtype=False)


@pytest.fixture(params=[reference, chunk], ids=["reference", "chunk"])
def run(request: pytest.FixtureRequest) -> Callable[..., Run]:
    return lambda inputs: request.param(
        inputs, torch.zeros(B, H, inputs.k.shape[-1], inputs.u.shape[-1], dtype=torch.float64)
    )


def test_linear_attention_with_its_normaliser(run: Callable[..., Run]) -> None:
    d = Data()
    q, k = rules.elu_features(d.q), rules.elu_features(d.k)
    out, state = run(rules.linear_attention(q, k, rules.with_ones(d.v)))
    weights = (q @ k.mT).tril()
    wanted = weights @ d.v / weights.sum(-1, keepdim=True)
    compared((rules.normalised(out), state[..., :-1]), (wanted, k.mT @ d.v), d.leaves)


def test_retnet(run: Callable[..., Run]) -> None:
    d = Data()
    gamma = 1 - 2.0 ** (-5 - torch.arange(H, dtype=torch.float64))
    wanted = loop(lambda s, t: gamma[:, None, None] * s + outer(*at(t, d.k, d.v)), d.q * K**-0.5)
    compared(run(rules.retnet(d.q, d.k, d.v, gamma.log())), wanted, d.leaves)


def test_mamba2(run: Callable[..., Run]) -> None:
    d = Data()
    a, delta = -d.heads, d.beta

    def update(s: Tensor, t: int) -> Tensor:
        b, x, step = at(t, d.k, d.v, delta)
        return (step * a[:, None]).exp()[..., None] * s + outer(b, step * x)

    compared(run(rules.mamba2(d.q, d.k, d.v, delta, a)), loop(update, d.q), d.leaves)


def test_gla(run: Callable[..., Run]) -> None:
    d = Data()
    wanted = loop(lambda s, t: d.gk[:, :, t].exp()[..., None] * s + outer(*at(t, d.k, d.v)), d.q * K**-0.5)
    compared(run(rules.gla(d.q, d.k, d.v, d.gk)), wanted, d.leaves)


@pytest.mark.parametrize("rule", ["delta_net", "gated_delta_net", "kda"])
def test_delta_rules(rule: str, run: Callable[..., Run]) -> None:
    d = Data()
    g = {"gated_delta_net": d.g, "kda": d.gk}.get(rule)

    def update(s: Tensor, t: int) -> Tensor:
        k, v, beta = at(t, d.k, d.v, d.beta)
        s = s if g is None else g[:, :, t].exp()[..., None] * s
        return s + outer(beta * k, v - seen(s, k))

    made = getattr(rules, rule)(d.q, d.k, d.v, d.beta, *([] if g is None else [g]))
    compared(run(made), loop(update, d.q * K**-0.5), d.leaves)


def test_comba(run: Callable[..., Run]) -> None:
    d = Data()
    correction = torch.full((H,), 0.02, dtype=torch.float64)
    p = d.heads[:, None, None] * d.k

    def update(s: Tensor, t: int) -> Tensor:
        k, v, beta, back = at(t, d.k, d.v, d.beta, p)
        return d.g[:, :, t].exp()[..., None] * s + outer(beta * k, v - seen(s, back))

    made = rules.comba(d.q, d.k, d.v, d.beta, d.g, d.heads, correction)
    compared(run(made), loop(update, (d.q - 0.02 * p) * K**-0.5), d.leaves)


def test_falcon_pairs_what_came_before_with_what_comes_now(run: Callable[..., Run]) -> None:
    d = Data()
    x = torch.nn.functional.pad(d.k[:, :, :-1], (0, 0, 1, 0))
    eta = d.beta / (x.square().sum(-1, keepdim=True) + 0.1)

    def update(s: Tensor, t: int) -> Tensor:
        key, v, rate = at(t, x, d.v, eta)
        return (1 - rate * 0.05)[..., None] * s + outer(rate * key, v - seen(s, key))

    made = rules.falcon(d.q, x, d.v, eta, torch.tensor(0.05, dtype=torch.float64))
    compared(run(made), loop(update, d.q), d.leaves)


def test_delta_product_takes_its_steps_one_after_the_other(run: Callable[..., Run]) -> None:
    d, other = Data(), Data(1)
    steps = [(x.k, x.v, 2 * x.beta) for x in (d, other)]

    def update(s: Tensor, t: int) -> Tensor:
        s = d.g[:, :, t].exp()[..., None] * s
        for k, v, beta in (at(t, *step) for step in steps):
            s = s + outer(beta * k, v - seen(s, k))
        return s

    out, state = run(rules.delta_product(d.q, *zip(*steps, strict=True), d.g))  # type: ignore[arg-type]
    compared((rules.last(out, 2), state), loop(update, d.q * K**-0.5), [*d.leaves, *other.leaves])


def test_rwkv7(run: Callable[..., Run]) -> None:
    d, other = Data(), Data(1)
    removal = other.k

    def update(s: Tensor, t: int) -> Tensor:
        k, v, kappa, rate = at(t, d.k, d.v, removal, d.a)
        return d.gk[:, :, t].exp()[..., None] * s - outer(rate * kappa, seen(s, kappa)) + outer(k, v)

    out, state = run(rules.rwkv7(d.q, d.k, d.v, d.gk, removal, d.a))
    compared((rules.last(out, 2), state), loop(update, d.q), [*d.leaves, *other.leaves])


def test_mlstm_is_stable_and_exact(run: Callable[..., Run]) -> None:
    d, other = Data(), Data(1)
    i, f = 3 * other.q[..., :1], torch.nn.functional.logsigmoid(other.v[..., :1])
    inputs, highest = rules.mlstm(d.q, d.k, d.v, i, f, torch.full((B, H, 1), -1e30, dtype=torch.float64))
    out, state = run(inputs)

    def update(s: Tensor, t: int) -> Tensor:  # without the running maximum, which fp64 can afford here
        k, v, gate, forget = at(t, d.k, rules.with_ones(d.v), i, f)
        return forget.exp()[..., None] * s + outer(gate.exp() * k * K**-0.5, v)

    plain, last = loop(update, d.q, V + 1)
    wanted = plain[..., :-1] / plain[..., -1:].abs().clamp(min=1)
    back = highest[:, :, -1:].exp()
    compared((rules.mlstm_read(out, highest), state * back), (wanted, last), [*d.leaves, *other.leaves])


def test_mesa_is_the_least_squares_fit_of_what_it_has_seen(run: Callable[..., Run]) -> None:
    d = Data()
    ridge = 0.25 + d.heads[:, None].expand(H, K)
    inputs, gram = rules.mesa(d.q, d.k, d.v, d.beta, d.g, ridge, torch.zeros(B, H, K, K, dtype=torch.float64), size=8)
    out, state = run(inputs)
    decay, wanted = d.g.cumsum(2), []
    for t in range(T):  # ridge regression from keys to values, weighted by strength and decay
        weight = d.beta[:, :, : t + 1] * (decay[:, :, t : t + 1] - decay[:, :, : t + 1]).exp()
        keys = d.k[:, :, : t + 1]
        normal = keys.mT @ (weight * keys) + torch.diag_embed(ridge)
        fit = torch.linalg.solve(normal, keys.mT @ (weight * d.v[:, :, : t + 1]))
        wanted.append(torch.einsum("bhkv,bhk->bhv", fit, d.q[:, :, t]))
    last = keys.mT @ (weight * d.v)
    compared((out, state), (torch.stack(wanted, 2), last), d.leaves)
    torch.testing.assert_close(gram, normal - torch.diag_embed(ridge))


def test_features_sum_to_one_and_are_not_negative() -> None:
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    for nu in (1, 2, 3):
        features = rules.dpfp_features(x, nu)
        assert features.shape == (3, 16 * nu) and (features >= 0).all()
        torch.testing.assert_close(features.sum(-1), torch.ones(3))
    assert (rules.elu_features(x) > 0).all()
    torch.testing.assert_close(rules.sum_normalised(rules.elu_features(x)).sum(-1), torch.ones(3))
