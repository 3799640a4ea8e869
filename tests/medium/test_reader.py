"""The reader's adapter: it starts as nothing, has both kinds of maps, and another shape of it does the same."""

from pathlib import Path

import pytest
import torch
from living import make_reader

from fastslow.core import Core, Delta
from fastslow.errors import CoreError, InputError
from fastslow.medium.reader import LONG, Reader, find, frozen, mixed, new_adapter, reshaped
from fastslow.medium.train_reader import ReaderRecipe, train_reader


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


def changes(delta: Delta) -> dict[str, torch.Tensor]:
    return {name: (b @ a).detach() for name, (a, b) in delta.factors.items()}


def trained(core: Core, rank: int, mlp_rank: int) -> Delta:
    """An adapter that does something on every map, frozen as a reader stores it."""
    generator = torch.Generator().manual_seed(3)
    factors = new_adapter(core, rank, mlp_rank, 1).factors
    return Delta(
        "reader", {n: (a.detach(), torch.randn(b.shape, generator=generator)) for n, (a, b) in factors.items()}
    )


def test_a_fresh_adapter_changes_nothing_and_is_smaller_on_the_feed_forward_maps(core: Core) -> None:
    adapter = new_adapter(core, 3, 1, 0)
    assert not any(change.any() for change in changes(adapter).values())
    ranks = {name.split(".")[1]: len(a) for name, (a, _) in adapter.factors.items()}
    assert ranks == {"self_attn": 3, "mlp": 1}
    assert {int(name.split(".")[0]) for name in adapter.factors} == set(range(core.split, core.depth))
    assert not any(".mlp." in name for name in new_adapter(core, 3, 0, 0).factors)


@pytest.mark.parametrize("rank", [2, 5])
def test_an_adapter_in_another_shape_does_the_same(core: Core, rank: int) -> None:
    old = trained(core, 2, 0)
    new = reshaped(old, new_adapter(core, rank, 1, 0))
    assert all(t.requires_grad and t.is_leaf for t in new.parameters())
    wanted = changes(old)
    for name, change in changes(new).items():
        torch.testing.assert_close(change, wanted.get(name, torch.zeros_like(change)), rtol=1e-4, atol=1e-5)


def test_a_lower_rank_keeps_the_largest_part(core: Core) -> None:
    old, new = changes(trained(core, 4, 2)), changes(reshaped(trained(core, 4, 2), new_adapter(core, 2, 1, 0)))
    for name, change in new.items():
        kept = 2 if ".self_attn." in name else 1
        left, whole = torch.linalg.svdvals(old[name] - change), torch.linalg.svdvals(old[name])
        torch.testing.assert_close(left[0], whole[kept], rtol=1e-3, atol=1e-5)


def test_a_mean_does_a_share_of_either(core: Core) -> None:
    old, new = trained(core, 2, 0), trained(core, 3, 1)
    both = changes(mixed(new, old, 0.7))
    for name, change in changes(new).items():
        wanted = 0.7 * change + 0.3 * changes(old).get(name, torch.zeros_like(change))
        torch.testing.assert_close(both[name], wanted, rtol=1e-4, atol=1e-5)


def test_six_bits_keep_an_adapter(core: Core) -> None:
    adapter = trained(core, 3, 1)
    once, twice = frozen(adapter), frozen(frozen(adapter))
    for name, change in changes(adapter).items():
        assert (changes(once)[name] - change).norm() < 0.05 * change.norm()
        assert all(torch.equal(a, b) for a, b in zip(once.factors[name], twice.factors[name], strict=True))


def test_a_reader_is_the_same_after_its_file(core: Core, tmp_path: Path) -> None:
    reader = make_reader(core, tmp_path)
    loaded = Reader.load(tmp_path / "readers" / "tiny.safetensors")
    assert reader.about.items() <= loaded.about.items() and reader.router.threshold == loaded.router.threshold
    for kept, found in zip(reader.adapters, loaded.adapters, strict=True):
        assert kept.name == found.name and kept.factors.keys() == found.factors.keys()
        for name, pair in kept.factors.items():
            assert all(torch.equal(a, b) for a, b in zip(pair, found.factors[name], strict=True))


def test_the_pages_decide_which_adapter_reads(core: Core, tmp_path: Path) -> None:
    reader = make_reader(core, tmp_path)
    short, long = torch.zeros(LONG, core.width), torch.zeros(LONG + 1, core.width)
    assert reader.adapter([short]) is reader.statements
    assert reader.adapter([short, short]) is reader.pairs
    assert reader.adapter([long]) is reader.adapter([short, long]) is reader.prose


@pytest.mark.parametrize("alone", ["statements", "pairs", "prose"])
def test_each_adapter_can_be_trained_alone(core: Core, tmp_path: Path, alone: str) -> None:
    start = make_reader(core, tmp_path)
    steps, pair_steps, prose_steps = (int(alone == name) for name in ("statements", "pairs", "prose"))
    recipe = ReaderRecipe(
        worlds=1, facts=40, steps=steps, pair_steps=pair_steps, prose_steps=prose_steps, batch=2, rank=2, mlp_rank=1
    )
    made = train_reader(core, recipe, progress=lambda *_: None, start=start)
    for old, new in zip(start.adapters, made.adapters, strict=True):
        assert (changes(old).keys(), old.name) == (changes(new).keys(), new.name)
        assert all(torch.equal(changes(new)[n], change) for n, change in changes(old).items()) == (old.name != alone)


def test_a_damaged_reader_is_named(core: Core, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no reader")
    with pytest.raises(CoreError, match=r"bad\.safetensors is not a readable reader: remove it"):
        find(core, (tmp_path,))


def test_training_does_not_begin_with_the_reader_of_another_core(core: Core, tmp_path: Path) -> None:
    reader = make_reader(core, tmp_path)
    reader.about["weights"] = "another"
    with pytest.raises(InputError, match="made for another core"):
        train_reader(core, ReaderRecipe(), progress=lambda *_: None, start=reader)
