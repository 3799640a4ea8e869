"""The bench of the kernel times what it says: every form gives the same, and what is timed is written down."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fastslow.bench import kernels
from fastslow.fast import kernel, rules


def test_the_loop_it_compares_with_is_the_same_rule() -> None:
    for channels in (False, True):
        x = kernels.drawn((1, 2, 9, 8), channels)
        wanted = kernel.reference(rules.gated_delta_net(**x), torch.zeros(1, 2, 8, 8))
        torch.testing.assert_close(kernels.elementwise(**x), wanted, rtol=1e-4, atol=1e-5)


def test_a_run_times_every_form_and_writes_it_down(tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    threads = torch.get_num_threads()
    result = kernels.run(file, shape=(1, 2, 64, 16), lengths=(64, 128))
    assert torch.get_num_threads() == threads and json.loads(file.read_text()) == result
    assert result["vector decay finite"] is True
    assert {"chunk", "token loop, products", "transformers, chunk"} <= result["gated delta net, ms"].keys()
    assert all(ms > 0 for ms in result["gated delta net, ms"].values())
    assert result["lengths, ms"]["chunk"].keys() == {"64", "128"}
    assert "of chunk" in file.with_suffix(".md").read_text()
