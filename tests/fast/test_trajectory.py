"""The fast tier on a tiny core with random weights: exactness, decay and learning; `related` on the real core."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import make_tiny_core

from fastslow.bench import texts
from fastslow.bench.fast import reference
from fastslow.core import Core
from fastslow.errors import CoreError, InputError, StoreError
from fastslow.fast import trajectory as fast
from fastslow.state import State

CONFIG = fast.FastConfig(rank=4, layers=2, window=32, chunk=8, lr=0.02, half_life=64.0)
PATTERN = [30, 71, 12, 99, 140, 55, 201, 88]


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


def random_ids(count: int, seed: int = 0) -> list[int]:
    return torch.randint(3, 300, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def observed(core: Core, ids: list[int], config: fast.FastConfig = CONFIG) -> tuple[State, torch.Tensor]:
    state, nll, _ = fast.observe(core, config, fast.init_state(core, config), ids)
    return state, nll


def break_head(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = core.head
    monkeypatch.setattr(core, "head", lambda hidden: whole(hidden) * math.nan)


def test_off_predicts_what_the_bare_core_predicts(core: Core) -> None:
    ids = random_ids(64)
    _, nll = observed(core, ids, replace(CONFIG, lr=0.0))
    for start in (0, 32):
        window = ids[start : start + 32]
        logits = core.model(input_ids=torch.tensor([[core.sink_id, *window[:-1]]])).logits[0]
        bare = torch.nn.functional.cross_entropy(logits, torch.tensor(window), reduction="none")
        torch.testing.assert_close(nll[start : start + 32], bare, rtol=1e-4, atol=1e-4)


# Gemma 2 is missing because transformers has no sdpa attention for it, which Core.load asks for.
@pytest.mark.parametrize("shape", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_every_architecture_learns_from_a_stream(shape: str, tmp_path: Path) -> None:
    core = Core.load(str(make_tiny_core(tmp_path, shape)), dtype=torch.float32)
    _, off = observed(core, PATTERN * 16, replace(CONFIG, lr=0.0))
    _, on = observed(core, PATTERN * 16)
    assert float(on[-32:].mean()) < float(off[-32:].mean())


def test_a_repeated_pattern_is_learned(core: Core) -> None:
    _, off = observed(core, PATTERN * 40, replace(CONFIG, lr=0.0))
    state, on = observed(core, PATTERN * 40)
    assert torch.equal(on[:8], off[:8])  # nothing was known before the first step
    assert float(on[-64:].mean()) < 0.8 * float(off[-64:].mean())
    assert fast.size(state) > 0


def test_later_tokens_never_change_earlier_predictions(core: Core) -> None:
    ids = random_ids(64)
    _, whole = observed(core, ids)
    for cut in (1, 8, 19, 32, 47, 63):
        changed = [*ids[:cut], *random_ids(64 - cut, seed=9)]
        _, nll = observed(core, changed)
        assert torch.equal(nll[:cut], whole[:cut])
        assert not torch.equal(nll, whole)


def test_any_cut_gives_the_same_state_and_predictions(core: Core) -> None:
    ids = random_ids(45)
    whole, nll = observed(core, ids)
    for cut in range(len(ids) + 1):
        first, one = observed(core, ids[:cut])
        second, two, _ = fast.observe(core, CONFIG, first, ids[cut:])
        assert second.hash() == whole.hash(), f"cut at {cut}"
        assert torch.equal(torch.cat([one, two]), nll)


def test_token_by_token_is_the_same_too(core: Core) -> None:
    ids = random_ids(40)
    whole, _ = observed(core, ids)
    state = fast.init_state(core, CONFIG)
    for token in ids:
        state, _, _ = fast.observe(core, CONFIG, state, [token])
    assert state.hash() == whole.hash()


def test_the_pending_tokens_are_predicted_as_if_their_chunk_were_complete(core: Core) -> None:
    ids = random_ids(40)
    _, whole = observed(core, ids)
    state, nll = observed(core, ids[:37])
    assert len(nll) == 32
    torch.testing.assert_close(fast.pending_nll(core, CONFIG, state), whole[32:37], rtol=1e-4, atol=1e-4)
    assert len(fast.pending_nll(core, CONFIG, fast.init_state(core, CONFIG))) == 0


def test_the_input_state_is_not_mutated(core: Core) -> None:
    state, _ = observed(core, random_ids(21))
    before = state.hash()
    fast.observe(core, CONFIG, state, random_ids(50, seed=1))
    fast.pending_nll(core, CONFIG, state)
    with core.using([fast.delta(core, CONFIG, state)]):
        core.upper(inputs_embeds=torch.zeros(1, 3, core.width))
    assert state.hash() == before


def test_a_restart_continues_bit_equal(core: Core) -> None:
    ids = random_ids(90)
    state, _ = observed(core, ids[:53])
    again = State.from_bytes(state.to_bytes(), layout=fast.LAYOUT, version=fast.VERSION)
    assert again.hash() == state.hash()
    one, nll_one, _ = fast.observe(core, CONFIG, state, ids[53:])
    two, nll_two, _ = fast.observe(core, CONFIG, again, ids[53:])
    assert one.hash() == two.hash()
    assert torch.equal(nll_one, nll_two)


def test_what_was_written_halves_in_one_half_life(core: Core) -> None:
    state, _ = observed(core, PATTERN * 16)
    shut = replace(CONFIG, gate=math.inf)
    start = fast.size(state)
    for halvings in (1, 2, 3):
        state, _, info = fast.observe(core, shut, state, random_ids(64, seed=halvings))
        assert (info.learned, info.skipped) == (0, 8)
        assert fast.size(state) == pytest.approx(start * 0.5**halvings, rel=1e-4)


def test_the_effect_on_other_text_fades(core: Core) -> None:
    shut = replace(CONFIG, gate=math.inf)
    other = random_ids(64, seed=5)
    _, off = observed(core, other, replace(CONFIG, lr=0.0))
    state, _ = observed(core, PATTERN * 40)
    effects = []
    for _ in range(3):
        _, nll, _ = fast.observe(core, shut, state, other)
        effects.append(float((nll - off).abs().mean()))
        state, _, _ = fast.observe(core, shut, state, random_ids(256, seed=6))
    assert effects[0] > 2 * effects[1] > 4 * effects[2]


def test_the_gate_learns_from_surprising_chunks_only(core: Core) -> None:
    careful = replace(CONFIG, gate=0.0)
    state, _, info = fast.observe(core, careful, fast.init_state(core, careful), PATTERN * 40)
    assert info.skipped > 0
    assert info.learned > 0
    assert info.learned + info.skipped == 40
    _, _, everything = fast.observe(core, CONFIG, fast.init_state(core, CONFIG), PATTERN * 40)
    assert everything == fast.Info(learned=40)
    assert state.numbers["tokens"] == 320


def test_a_loss_that_is_not_finite_is_rejected(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = observed(core, random_ids(40))
    with monkeypatch.context() as patch:
        break_head(core, patch)
        after, nll, info = fast.observe(core, CONFIG, state, random_ids(8, seed=2))
    assert info == fast.Info(rejected=1)
    assert bool(nll.isnan().all())
    assert after.hash() == state.hash()
    later, nll, info = fast.observe(core, CONFIG, after, random_ids(8, seed=3))
    assert info == fast.Info(learned=1)
    assert bool(nll.isfinite().all())
    assert later.hash() != after.hash()


def test_the_same_stream_gives_the_same_bits(core: Core) -> None:
    ids = random_ids(80)
    assert observed(core, ids)[0].hash() == observed(core, ids)[0].hash()
    assert observed(core, ids)[0].hash() != observed(core, ids, replace(CONFIG, seed=1))[0].hash()


def test_the_state_does_not_grow(core: Core) -> None:
    sizes = [observed(core, random_ids(32 * n))[0].size_bytes() for n in (1, 2, 5)]
    assert len(set(sizes)) == 1


def test_nothing_seen_is_related_to_nothing(core: Core) -> None:
    state = fast.init_state(core, CONFIG)
    hidden = core.hidden("The quick brown fox")
    assert not fast.related(CONFIG, state, hidden)
    seen, _ = observed(core, random_ids(32))
    assert not fast.related(CONFIG, seen, hidden[:0])


def test_perplexity_counts_every_token_once(core: Core) -> None:
    ids = random_ids(45)
    off = replace(CONFIG, lr=0.0)
    state, nll = observed(core, ids, off)
    mean = torch.cat([nll, fast.pending_nll(core, off, state)]).double().mean()
    assert fast.perplexity(core, ids, config=CONFIG) == pytest.approx(math.exp(float(mean)))
    learned, _ = observed(core, PATTERN * 20)
    assert fast.perplexity(core, PATTERN * 4, learned, CONFIG) < fast.perplexity(core, PATTERN * 4, config=CONFIG)


@pytest.mark.parametrize(
    "wrong", [{"window": 100, "chunk": 64}, {"rank": 0}, {"targets": ()}, {"half_life": 0.0}, {"lr": -1.0}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        fast.FastConfig(**wrong)  # type: ignore[arg-type]


def test_a_wrong_state_or_target_is_refused(core: Core) -> None:
    with pytest.raises(StoreError, match="init_state"):
        fast.observe(core, CONFIG, State("fast/other", 1), [1])
    with pytest.raises(CoreError, match="no linear map"):
        fast.init_state(core, replace(CONFIG, targets=("mlp.nothing",)))
    with pytest.raises(InputError, match="no token"):
        fast.perplexity(core, [])


@pytest.mark.core
def test_the_real_core_tells_what_continues_a_stream(default_core_folder: Path) -> None:
    core = Core.load(str(default_core_folder))
    config = fast.FastConfig(lr=0.0)
    ids = core.encode(reference("tune"))
    state, _, _ = fast.observe(core, config, fast.init_state(core, config), ids[:2048])
    following = [core.decode(ids[i : i + 512]) for i in (2048, 2560, 3072)]
    unrelated = [core.tokenizer.decode(core.prompt(question)) for question in texts.chat()[:12]]
    unrelated += [text for text in texts.general() if "moon" in text or "soup" in text or "garden" in text]
    assert len(unrelated) > 13
    assert [fast.related(config, state, core.hidden(text)) for text in following] == [True] * 3
    assert not any(fast.related(config, state, core.hidden(text)) for text in unrelated)
