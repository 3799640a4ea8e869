"""The core in two halves: together they are the model, bit for bit, and deltas come and go without a trace."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny import make_tiny_core
from torch import Tensor

from fastslow.core import PLAIN_TEMPLATE, AdaptedLinear, Core, Delta
from fastslow.errors import CoreError

QUESTION = "When was the institute founded? The quick brown fox jumps over the lazy dog."


def load(folder: Path) -> Core:
    return Core.load(str(folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def core(tiny_core_folders: Path) -> Core:
    return load(tiny_core_folders)


@pytest.fixture(scope="module")
def llama(tiny_core_folder: Path) -> Core:
    return load(tiny_core_folder)


@torch.no_grad()
def whole(core: Core, ids: list[int]) -> Tensor:
    return core.model(input_ids=torch.tensor([ids])).logits[0]


@torch.no_grad()
def halves(core: Core, ids: list[int]) -> Tensor:
    hidden = core.bottom(input_ids=torch.tensor([ids])).last_hidden_state
    return core.top(inputs_embeds=hidden).logits[0]


def a_delta(core: Core, seed: int = 0, size: float = 0.05) -> Delta:
    delta = core.new_delta("test", ["mlp.down_proj", "self_attn.o_proj"], 4, first_layer=core.split, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    factors = {n: (a.detach(), torch.randn(b.shape, generator=generator) * size) for n, (a, b) in delta.factors.items()}
    return Delta("test", factors)


def test_bottom_and_top_are_the_whole_model_bit_for_bit(core: Core) -> None:
    ids = core.prompt(QUESTION)
    assert len(ids) > 16  # longer than the sliding window of the cores that have one
    assert torch.equal(halves(core, ids), whole(core, ids))


def test_upper_and_head_are_the_top_half(core: Core) -> None:
    ids = core.prompt(QUESTION)
    with torch.no_grad():
        hidden = core.bottom(input_ids=torch.tensor([ids])).last_hidden_state
        last = core.upper(inputs_embeds=hidden).last_hidden_state
        assert torch.equal(core.head(last)[0], whole(core, ids))


@pytest.mark.parametrize("split", [1, 3, 5])
def test_every_cut_gives_the_same_model(tiny_core_folders: Path, split: int) -> None:
    core = Core.load(str(tiny_core_folders), dtype=torch.float32, split=split)
    ids = core.prompt(QUESTION)
    assert torch.equal(halves(core, ids), whole(core, ids))


@pytest.mark.parametrize("split", [-1, 6, 7])
def test_a_cut_outside_the_core_is_refused(tiny_core_folder: Path, split: int) -> None:
    with pytest.raises(CoreError, match="cut must lie between layer 1 and 5"):
        Core.load(str(tiny_core_folder), dtype=torch.float32, split=split)


def test_deltas_change_the_top_half_alone_and_leave_no_trace(core: Core) -> None:
    ids, delta = core.prompt(QUESTION), a_delta(core)
    before, hidden = whole(core, ids), core.hidden(QUESTION)
    for merge in (True, False):
        with core.using([delta], merge=merge):
            assert not torch.allclose(halves(core, ids), before, atol=1e-3)
            assert torch.equal(whole(core, ids), before)
            assert torch.equal(core.hidden(QUESTION), hidden)
        assert torch.equal(halves(core, ids), before)
        assert torch.equal(whole(core, ids), before)
    assert all(linear.weight is linear.original and not linear.live for linear in core.linears.values())


def test_merged_deltas_are_the_live_ones(core: Core) -> None:
    ids, deltas = core.prompt(QUESTION), [a_delta(core, 1), a_delta(core, 2)]
    with core.using(deltas):
        merged = halves(core, ids)
    with core.using(deltas, merge=False):
        live = halves(core, ids)
    torch.testing.assert_close(merged, live, atol=1e-4, rtol=1e-4)
    with core.using(deltas[:1]):
        assert not torch.allclose(halves(core, ids), merged, atol=1e-3)  # the second one counts too


def test_more_sets_of_deltas_than_are_kept_give_the_same_answers_again(llama: Core) -> None:
    ids, deltas = llama.prompt(QUESTION), [a_delta(llama, seed) for seed in range(5)]
    found = []
    for delta in [*deltas, *deltas]:
        with llama.using([delta]):
            found.append(halves(llama, ids))
    assert all(torch.equal(a, b) for a, b in zip(found[:5], found[5:], strict=True))
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("merge", [True, False])
def test_a_delta_that_fails_leaves_no_trace(llama: Core, merge: bool) -> None:
    good = a_delta(llama)
    bad = Delta("bad", {**good.factors, "99.mlp.down_proj": (torch.zeros(1, 1), torch.zeros(1, 1))})
    ids = llama.prompt(QUESTION)
    with pytest.raises(KeyError), llama.using([bad], merge=merge):
        pass
    with pytest.raises(ZeroDivisionError), llama.using([good], merge=merge):
        _ = 1 / 0
    assert torch.equal(halves(llama, ids), whole(llama, ids))


def test_a_new_delta_changes_nothing_and_follows_its_seed(core: Core) -> None:
    ids = core.prompt(QUESTION)
    delta = core.new_delta("new", ["mlp.up_proj"], 4, first_layer=4, seed=3)
    with torch.no_grad(), core.using([delta], merge=False):
        assert torch.equal(halves(core, ids), whole(core, ids))
    assert set(delta.factors) == {"4.mlp.up_proj", "5.mlp.up_proj"}
    again, other = (core.new_delta("new", ["mlp.up_proj"], 4, first_layer=4, seed=s) for s in (3, 4))
    assert torch.equal(delta.factors["4.mlp.up_proj"][0], again.factors["4.mlp.up_proj"][0])
    assert not torch.equal(delta.factors["4.mlp.up_proj"][0], other.factors["4.mlp.up_proj"][0])


def test_a_delta_on_maps_that_are_not_there_is_refused(llama: Core) -> None:
    with pytest.raises(CoreError, match="no linear map"):
        llama.new_delta("new", ["mlp.no_such_map"], 4, first_layer=2, seed=0)
    with pytest.raises(CoreError, match="no linear map"):
        llama.new_delta("new", ["mlp.up_proj"], 4, first_layer=6, seed=0)


def test_gradients_flow_into_live_deltas_and_into_nothing_else(llama: Core) -> None:
    delta = llama.new_delta("new", ["mlp.down_proj"], 4, first_layer=llama.split, seed=0)
    ids = torch.tensor([llama.prompt(QUESTION)])
    hidden = llama.bottom(input_ids=ids).last_hidden_state
    with llama.using([delta], merge=False):
        llama.upper(inputs_embeds=hidden).last_hidden_state.square().sum().backward()
    assert all(b.grad is not None and bool(b.grad.abs().sum() > 0) for _, b in delta.factors.values())
    assert all(p.grad is None for p in llama.model.parameters())


def test_linears_share_the_models_own_weights(core: Core) -> None:
    assert all(isinstance(linear, AdaptedLinear) for linear in core.linears.values())
    own = {id(p) for p in core.model.parameters()}
    assert all(id(linear.weight) in own for linear in core.linears.values())
    assert {int(name.partition(".")[0]) for name in core.linears} == set(range(core.split, core.depth))


def test_hidden_states_do_not_depend_on_what_follows(core: Core) -> None:
    long, short = core.hidden("Mira lives in Tolvar and works."), core.hidden("Mira lives in Tolvar")
    assert long.shape == (len(core.encode("Mira lives in Tolvar and works.")), core.width)
    torch.testing.assert_close(long[: len(short)], short, atol=1e-4, rtol=1e-4)


def test_texts_beyond_the_context_are_read_in_windows(tmp_path: Path) -> None:
    core = load(make_tiny_core(tmp_path / "short", "llama", max_position_embeddings=32))
    ids = core.encode(QUESTION * 4)
    hidden = core.hidden(QUESTION * 4)
    assert hidden.shape == (len(ids), core.width)
    second = torch.tensor([[core.sink_id, *ids[31:62]]])
    with torch.no_grad():
        assert torch.equal(hidden[31:62], core.bottom(input_ids=second).last_hidden_state[0, 1:])


def test_no_text_has_no_states(core: Core) -> None:
    assert core.hidden("").shape == (0, core.width)


def test_fingerprint_names_weights_cut_and_dtype(tiny_core_folder: Path, tmp_path: Path, llama: Core) -> None:
    assert load(tiny_core_folder).fingerprint == llama.fingerprint
    other = load(make_tiny_core(tmp_path / "other", "llama", seed=1))
    assert other.fingerprint["weights"] != llama.fingerprint["weights"]
    cut = Core.load(str(tiny_core_folder), dtype=torch.float32, split=3)
    assert (cut.fingerprint["split"], cut.fingerprint["weights"]) == ("3", llama.fingerprint["weights"])
    half = Core.load(str(tiny_core_folder), dtype=torch.bfloat16)
    assert half.fingerprint["dtype"] == "bfloat16"


def test_a_delta_that_is_on_does_not_change_the_fingerprint(tiny_core_folder: Path, llama: Core) -> None:
    fresh = load(tiny_core_folder)
    with fresh.using([a_delta(fresh)]):
        assert fresh.fingerprint == llama.fingerprint


def test_prompt_goes_through_the_chat_template(llama: Core) -> None:
    text = llama.tokenizer.decode(llama.prompt("Hello there"))
    assert text == "<|im_start|>user\nHello there<|im_end|>\n<|im_start|>assistant\n"
    assert llama.prompt([{"role": "user", "content": "Hello there"}]) == llama.prompt("Hello there")
    assert llama.decode([*llama.encode("Mira lives"), *llama.stop_ids]) == "Mira lives"


def test_a_core_without_a_template_gets_a_plain_one(tiny_core_folder: Path, tmp_path: Path) -> None:
    folder = make_tiny_core(tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    core = load(folder)
    assert core.tokenizer.chat_template == PLAIN_TEMPLATE
    assert core.decode(core.prompt("Hello")) == "user: Hello\nassistant:"


def test_a_folder_without_a_core_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CoreError):
        Core.load(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CoreError):
        Core.load(str(tmp_path / "empty"))


def test_a_truncated_core_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_core(tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CoreError):
        load(folder)


def test_pickled_weights_beside_others_are_not_loaded(tiny_core_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(tiny_core_folder, folder)
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(CoreError, match=r"model\.safetensors"):
        Core.load(str(folder))
