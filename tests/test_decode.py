"""Decoding with pages: what sees what, and that caches, batches and padding change nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import make_tiny_core
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.decode import (
    LIVE,
    LONG,
    PAD,
    SINK,
    Row,
    _MemoryStepper,
    bare_logits,
    generate,
    lay_out,
    left_pad,
    masks,
    memory_logits,
    visibility,
)
from fastslow.fast import trajectory

QUESTION = "When was the institute founded? The quick brown fox jumps over the lazy dog."
TEXTS = ("The founding year of the institute is 1721.", "Mira lives in Tolvar and works at the old harbour.")


def load(folder: Path) -> Core:
    return Core.load(str(folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def core(tiny_core_folders: Path) -> Core:
    return load(tiny_core_folders)


@pytest.fixture(scope="module")
def llama(tiny_core_folder: Path) -> Core:
    return load(tiny_core_folder)


def pages(core: Core) -> tuple[Tensor, ...]:
    return tuple(core.hidden(text) for text in TEXTS)


def seen(segments: list[int], queries: int | None = None, window: int | None = None) -> list[str]:
    """Which keys each query sees, as rows of 0 and 1."""
    mask = visibility(torch.tensor([segments]), torch.float32, queries or len(segments), window)[0, 0]
    assert bool(((mask == 0) | (mask == torch.finfo(torch.float32).min)).all())
    return ["".join(str(int(x == 0)) for x in row) for row in mask]


# ---------------------------------------------------------------------- who sees whom


def test_pages_see_the_sink_and_each_other_and_the_prompt_sees_all_before_it() -> None:
    assert seen([SINK, 1, 1, 2, 2, LIVE, LIVE]) == [
        "1000000",
        "1111100",
        "1111100",
        "1111100",
        "1111100",
        "1111110",
        "1111111",
    ]


def test_a_short_page_alone_is_read_in_order_and_a_long_one_both_ways() -> None:
    for length, whole in ((LONG, False), (LONG + 1, True)):
        rows = seen([PAD, SINK, *[1] * length, LIVE])
        assert all(row[:2] == "01" and row[-1] == "0" for row in rows[2:-1])
        assert [row[2:-1] for row in rows[2:-1]] == [
            "1" * length if whole else "1" * (i + 1) + "0" * (length - i - 1) for i in range(length)
        ]
        assert rows[-1] == "0" + "1" * (length + 2)


def test_the_rows_of_a_batch_see_only_their_own_pages() -> None:
    both = torch.tensor([[SINK, 1, 1, LIVE], [PAD, SINK, 1, LIVE]])
    alone = [visibility(row[None], torch.float32, 4) for row in both]
    assert torch.equal(visibility(both, torch.float32, 4), torch.cat(alone))


def test_padding_is_seen_by_nothing_but_itself() -> None:
    assert seen([PAD, PAD, SINK, 1, LIVE]) == ["10000", "01000", "00100", "00110", "00111"]


def test_a_window_slides_over_live_tokens_and_keeps_pages_in_sight() -> None:
    assert seen([SINK, 1, LIVE, LIVE, LIVE, LIVE], window=2) == [
        "100000",
        "110000",
        "111000",
        "111100",
        "110110",
        "110011",
    ]


def test_the_last_queries_of_a_mask_are_those_of_the_whole() -> None:
    segments = [PAD, SINK, 1, 2, 2, LIVE, LIVE, LIVE]
    for window in (None, 2):
        assert seen(segments, 2, window) == seen(segments, None, window)[-2:]


def test_rows_are_laid_out_on_the_right_with_pages_before_the_prompt() -> None:
    live = [torch.full((2, 3), 9.0), torch.full((3, 3), 8.0)]
    page, sink = torch.full((1, 3), 1.0), torch.full((1, 3), 5.0)
    hidden, segments, position = lay_out(live, [[page, 2 * page], []], sink)
    assert segments.tolist() == [[SINK, 1, 2, LIVE, LIVE], [PAD, PAD, LIVE, LIVE, LIVE]]
    assert position.tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]
    assert hidden[:, :, 0].tolist() == [[5, 1, 2, 9, 9], [0, 0, 8, 8, 8]]


def test_left_padding_keeps_the_ends_together() -> None:
    ids, mask = left_pad([[5], [6, 7, 8]], 0)
    assert (ids.tolist(), mask.tolist()) == ([[0, 0, 5], [6, 7, 8]], [[0, 0, 1], [1, 1, 1]])


# ---------------------------------------------------------------------- off is off


def test_without_memory_the_logits_are_a_fresh_cores_bits(tiny_core_folders: Path, core: Core) -> None:
    used, ids = core, core.prompt(QUESTION)
    generate(used, [Row(ids, pages(used))], max_tokens=3)
    fresh = load(tiny_core_folders)
    with torch.no_grad():
        bare = fresh.model(input_ids=torch.tensor([ids])).logits[0]
    assert torch.equal(memory_logits(used, Row(ids)), bare)
    assert torch.equal(bare_logits(used, ids), bare)


def test_answers_without_memory_are_those_of_the_library(core: Core) -> None:
    ids = core.prompt(QUESTION)
    peer = core.model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()
    stops = [n for n, token in enumerate(peer) if token in core.stop_ids]
    assert generate(core, [Row(ids)], max_tokens=12)[0] == peer[: stops[0] if stops else None]


def test_both_halves_with_caches_and_no_page_are_the_bare_core(core: Core) -> None:
    ids = core.prompt(QUESTION)
    with torch.no_grad():
        assert torch.equal(_MemoryStepper(core, [Row(ids)]).prefill(len(ids))[0], bare_logits(core, ids))


def test_fast_weights_that_hold_nothing_change_nothing(llama: Core) -> None:
    config = trajectory.FastConfig(layers=2)
    delta = trajectory.delta(llama, config, trajectory.init_state(llama, config))
    ids = llama.prompt(QUESTION)
    assert torch.equal(memory_logits(llama, Row(ids), [delta]), bare_logits(llama, ids))


# ---------------------------------------------------------------------- pages


def test_pages_are_seen_by_the_prompt(core: Core) -> None:
    ids, (one, two) = core.prompt(QUESTION), pages(core)
    logits = memory_logits(core, Row(ids, (one, two)))
    assert not torch.allclose(logits, bare_logits(core, ids), atol=1e-3)
    assert not torch.allclose(logits, memory_logits(core, Row(ids, (one,))), atol=1e-3)
    assert not torch.allclose(logits, memory_logits(core, Row(ids, (two, one))), atol=1e-3)


@torch.no_grad()
def top_states(core: Core, ids: list[int], own: tuple[Tensor, ...]) -> Tensor:
    live = core.bottom(input_ids=torch.tensor([ids])).last_hidden_state[0]
    hidden, segments, position = lay_out([live], [own], core.sink())
    mask = masks(core, segments, hidden.shape[1])
    return core.upper(inputs_embeds=hidden, attention_mask=mask, position_ids=position).last_hidden_state[0]


def test_pages_see_each_other_and_not_the_prompt(core: Core) -> None:
    ids, (one, two) = core.prompt(QUESTION), pages(core)
    both, asked = top_states(core, ids, (one, two)), top_states(core, core.prompt("Hello"), (one, two))
    other, start = top_states(core, ids, (one, two.flip(0))), 1 + len(one)
    end = start + len(two)
    torch.testing.assert_close(both[:end], asked[:end], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[:1], other[:1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both[1:start], other[1:start], atol=1e-3)  # the earlier page sees that the later changed


def test_a_page_reads_as_the_text_does_in_a_plain_prefix(llama: Core) -> None:
    """One page behind the sink, then the prompt: the same as the core reading both, but for the cut's bottom half."""
    core = Core.load(llama.name, dtype=torch.float32, split=1)
    with torch.no_grad():
        ids = torch.tensor([[core.sink_id, *core.encode(TEXTS[0])]])
        page = core.bottom(input_ids=ids).last_hidden_state[0, 1:]
        segments = torch.tensor([[SINK] + [1] * len(page)])
        hidden = torch.cat([core.sink(), page])[None]
        own = core.upper(inputs_embeds=hidden, attention_mask=masks(core, segments, len(page) + 1)).last_hidden_state
        torch.testing.assert_close(core.head(own), core.model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


def from_scratch(core: Core, ids: list[int], own: tuple[Tensor, ...], deltas: list[Delta], count: int) -> list[int]:
    found: list[int] = []
    for _ in range(count):
        found.append(int(memory_logits(core, Row([*ids, *found], own), deltas)[-1].argmax()))
    return found


def a_delta(core: Core) -> Delta:
    delta = core.new_delta("test", ["mlp.down_proj"], 4, first_layer=core.split, seed=0)
    return Delta("test", {n: (a.detach(), torch.full_like(b.detach(), 0.03)) for n, (a, b) in delta.factors.items()})


def test_decoding_with_a_cache_is_computing_from_scratch(core: Core) -> None:
    """Long enough that a sliding layer loses sight of the prompt, but not of the pages."""
    ids, own = core.prompt(QUESTION), pages(core)
    for row, deltas in ((Row(ids, own), []), (Row(ids, own), [a_delta(core)]), (Row(ids), [a_delta(core)])):
        found = generate(core, [row], deltas, max_tokens=20, stop=False)[0]
        assert found == from_scratch(core, ids, row.pages, deltas, 20)


def test_a_row_of_a_ragged_batch_is_its_solo_run(core: Core) -> None:
    short, long, (one, two) = core.prompt("Hello there"), core.prompt(QUESTION), pages(core)
    rows = [Row(long, (one, two)), Row(short), Row(short, (one,)), Row(core.prompt("?"), (two,))]
    solo = [generate(core, [row], max_tokens=16, stop=False)[0] for row in rows]
    assert generate(core, rows, max_tokens=16, stop=False) == solo
    bare = [Row(long), Row(short)]
    assert generate(core, bare, max_tokens=16, stop=False) == [
        generate(core, [row], max_tokens=16, stop=False)[0] for row in bare
    ]


@torch.no_grad()
def test_logits_of_a_ragged_batch_are_those_of_solo_runs(core: Core) -> None:
    rows = [Row(core.prompt(QUESTION), pages(core)), Row(core.prompt("Hello"), pages(core)[:1])]
    together = _MemoryStepper(core, rows).prefill(1)[:, -1]
    for row, logits in zip(rows, together, strict=True):
        torch.testing.assert_close(logits, memory_logits(core, row)[-1], atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------- ends


def test_answers_end_before_the_stop_token_and_rows_go_on_alone(llama: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(llama.prompt(QUESTION)), Row(llama.prompt("Hello there"), pages(llama))]
    free = generate(llama, rows, max_tokens=12, stop=False)
    stop = next(t for t in free[0] if t not in free[1])
    monkeypatch.setattr(Core, "stop_ids", property(lambda self: {stop}))
    cut = generate(llama, rows, max_tokens=12)
    assert cut == [free[0][: free[0].index(stop)], free[1]]


def test_a_row_that_must_not_refuse_is_answered_again_beginning_otherwise(llama: Core) -> None:
    rows = [Row(llama.prompt(QUESTION), pages(llama)), Row(llama.prompt("Hello there"), pages(llama))]
    first, second = generate(llama, rows, max_tokens=6)
    refusing = [replace(rows[0], refuse=tuple(first)), replace(rows[1], refuse=(*second, 0))]
    again, other = generate(llama, refusing, max_tokens=6)
    assert again[0] != first[0] and other == second
    assert again == generate(llama, rows[:1], max_tokens=6, barred=first[:1])[0]


def test_no_rows_and_no_tokens_are_fine(llama: Core) -> None:
    assert generate(llama, []) == []
    assert generate(llama, [Row(llama.prompt("Hello"))], max_tokens=0) == [[]]


def test_pages_stay_in_sight_of_an_answer_longer_than_the_window(tmp_path: Path) -> None:
    core = load(make_tiny_core(tmp_path / "gemma", "gemma3_text", layer_types=["sliding_attention"] * 6))
    ids, (one, two) = core.prompt("Hello"), pages(core)
    with torch.no_grad():
        last = []
        for own in ((one, two), (one.flip(0), two)):
            stepper = _MemoryStepper(core, [Row(ids, own)])
            stepper.prefill(1)
            last.append([stepper.step(torch.tensor([[7]])) for _ in range(24)][-1])
    assert not torch.allclose(last[0], last[1], atol=1e-3)
