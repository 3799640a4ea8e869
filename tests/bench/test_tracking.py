"""Words of permutations, and the memory that follows them with two steps a token (Siems et al. 2025)."""

from __future__ import annotations

import json
from functools import reduce
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from fastslow.bench import tracking
from fastslow.fast import kernel, rules

TINY = tracking.Plan(length=8, batch=32, steps=20, width=16, heads=2, channels=8, rate=3e-3, seeds=2)


def test_every_label_is_the_product_of_the_permutations_so_far() -> None:
    tokens, products = tracking.words(20, 9, torch.Generator().manual_seed(0))

    def after(done: tuple[int, ...], word: int) -> tuple[int, ...]:
        return tuple(done[place] for place in tracking.GROUP[word])

    for word, labels in zip(tokens.tolist(), products.tolist(), strict=True):
        for end, label in enumerate(labels):
            assert tracking.GROUP[label] == reduce(after, word[: end + 1], (0, 1, 2))
    order = {(a, b): int(tracking.PRODUCT[a, b]) for a in range(6) for b in range(6)}
    assert any(order[a, b] != order[b, a] for a, b in order)


def test_two_reflections_a_token_track_the_state_exactly() -> None:
    """With keys along the differences of two axes and a strength of 2 a delta step swaps two things."""
    one = torch.eye(3, dtype=torch.float64)
    axes = [(one[i] - one[j]) / 2**0.5 for i, j in ((0, 1), (0, 2), (1, 2))]
    steps = [(axes[0], 0.0), *((axis, 2.0) for axis in axes)]  # strength 0 leaves all as it is

    def matrix(first: tuple[Tensor, float], second: tuple[Tensor, float]) -> Tensor:
        return reduce(torch.matmul, [one - beta * torch.outer(k, k) for k, beta in (second, first)])

    wanted = [one[list(g)] for g in tracking.GROUP]  # the transposed matrix of each permutation
    pairs = [next(p for p in product(steps, steps) if torch.allclose(matrix(*p), m)) for m in wanted]
    tokens, products = tracking.words(4, 300, torch.Generator().manual_seed(0))
    k = [torch.stack([p[n][0] for p in pairs])[tokens][:, None] for n in range(2)]
    beta = [torch.tensor([[p[n][1]] for p in pairs], dtype=torch.float64)[tokens][:, None] for n in range(2)]
    nothing = torch.zeros_like(k[0])
    inputs = rules.delta_product(nothing, k, [nothing, nothing], beta, torch.zeros_like(beta[0]))
    _, state = kernel.chunk(inputs, one.expand(4, 1, 3, 3))
    torch.testing.assert_close(state[:, 0], torch.stack(wanted)[products[:, -1]])


def test_a_word_is_measured_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "tracking.json"
    result = tracking.measure(file, TINY, tracking.MODELS[:3], seed=0)
    assert json.loads(file.read_text()) == result
    assert [[len(run["right"]) for run in model["runs"]] for model in result["models"]] == [[32, 32]] * 3
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "![tracking](tracking.png)" in file.with_suffix(".md").read_text()
