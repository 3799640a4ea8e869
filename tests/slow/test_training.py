"""Training of a delta: packing changes nothing, learning lowers the loss, a resumed training has the same bits."""

from pathlib import Path

import pytest
import torch

from fastslow.core import Core
from fastslow.decode import LONG
from fastslow.errors import InputError
from fastslow.lessons import Lesson, answer_loss, make_lesson
from fastslow.slow.training import (
    Hooks,
    Row,
    Training,
    TrainingConfig,
    TrainingDiverged,
    anchor_kl,
    batches,
    chat_prefix,
    deep_core,
    lesson_material,
    loss_of,
    make_anchors,
    pack,
    row_length,
    text_material,
    train,
)
from fastslow.state import State

CONFIG = TrainingConfig(rank=4, lr=2e-2, epochs=10, batch_tokens=256, row_tokens=128, save_every=3, anchor_weight=0.1)
PAIRS = [("Who lives in Tolvar?", "Mira"), ("When was it founded?", "1721"), ("What colour?", "green as grass")]


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def lessons(core: Core) -> list[Lesson]:
    return [make_lesson(core, question, answer) for question, answer in PAIRS]


def run(core: Core, lessons: list[Lesson], training: Training, hooks: Hooks | None = None) -> bool:
    materials = [lesson_material(core, lessons, 128), text_material(core, ["The library opens at nine."], 128)]
    anchors = make_anchors(core, text_material(core, ["Her favourite colour is green.", "They met."], 128))
    return train(core, training, materials, anchors, CONFIG, seed=5, hooks=hooks)


def begin(core: Core) -> Training:
    return Training.begin(core, "test", CONFIG, 3)


def same(a: Training, b: Training) -> bool:
    return a.state().hash() == b.state().hash()


def test_many_lessons_in_a_row_give_the_loss_of_each_alone(tiny_core_folders: Path) -> None:
    core = Core.load(str(tiny_core_folders), dtype=torch.float32)
    lessons = [make_lesson(core, question, answer) for question, answer in PAIRS]
    material = lesson_material(core, lessons, 512)
    rows = pack(material, range(3), 512)
    assert len(rows) == 1 and row_length(rows[0]) > len(chat_prefix(core)) > 0
    tokens, losses = [len(x.answer) for x in lessons], []
    for x in lessons:
        ids = torch.tensor([[*x.prompt, *x.answer]])
        labels = torch.tensor([[-100] * len(x.prompt) + list(x.answer)])
        losses.append(float(core.model(input_ids=ids, labels=labels).loss) * len(x.answer))
    alone = sum(losses) / sum(tokens)
    torch.testing.assert_close(float(loss_of(core, rows)), alone, rtol=1e-4, atol=1e-5)


def test_loss_of_a_text_is_the_models_own(core: Core) -> None:
    text = "The quick brown fox jumps over the lazy dog."
    material = text_material(core, [text], 512)
    ids = torch.tensor([core.encode(text)])
    expected = core.model(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(float(loss_of(core, [Row(material, (0,))])), float(expected), rtol=1e-5, atol=1e-5)


def test_a_long_text_beside_a_short_one_sees_nothing_to_come(tiny_core_folders: Path) -> None:
    core = Core.load(str(tiny_core_folders), dtype=torch.float32)
    texts = ["The quick brown fox jumps over the lazy dog. " * 8, "Mira lives in Tolvar."]
    material = text_material(core, texts, 512)
    assert len(material.pieces[0].ids) > LONG
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([core.encode(text)])
        total += float(core.model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    for rows in ([Row(material, (0,)), Row(material, (1,))], [Row(material, (0, 1))]):
        torch.testing.assert_close(float(loss_of(core, rows)), total / count, rtol=1e-4, atol=1e-5)


def test_rows_hold_every_piece_once_within_their_size(core: Core, lessons: list[Lesson]) -> None:
    material = lesson_material(core, lessons * 5, 128)
    rows = pack(material, range(15), 128)
    assert sorted(i for row in rows for i in row.members) == list(range(15))
    assert all(row_length(row) <= 128 or len(row.members) == 1 for row in rows)
    assert [row for batch in batches(rows, 256) for row in batch] == rows


def test_gradient_in_chunks_is_the_gradient(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    material = text_material(core, ["The quick brown fox jumps over the lazy dog. Mira lives in Tolvar."], 512)

    def gradients(chunk: int) -> list[torch.Tensor]:
        monkeypatch.setattr("fastslow.slow.training.CHUNK", chunk)
        training = begin(core)
        with core.using([training.delta], merge=False):
            loss = loss_of(core, [Row(material, (0,))])
            return list(torch.autograd.grad(3 * loss, training.delta.parameters()))

    for few, whole in zip(gradients(4), gradients(10_000), strict=True):
        torch.testing.assert_close(few, whole, rtol=1e-4, atol=1e-6)
    assert max(float(g.abs().max()) for g in gradients(4)) > 0


def test_learning_lowers_the_loss_and_leaves_the_core_as_it_was(core: Core, lessons: list[Lesson]) -> None:
    before = core.fingerprint["weights"]
    training = begin(core)
    rows = pack(lesson_material(core, lessons, 128), range(3), 128)
    start = float(loss_of(core, rows))
    assert run(core, lessons, training)
    with core.using([training.delta]):
        assert float(loss_of(core, rows)) < 0.7 * start
    assert float(loss_of(core, rows)) == start
    core._fingerprint = None
    assert core.fingerprint["weights"] == before


def test_a_delta_above_a_deeper_cut_is_the_same_on_the_core(core: Core, lessons: list[Lesson]) -> None:
    deep = deep_core(core, 4)
    config = TrainingConfig(rank=4, lr=5e-3, epochs=4, first_layer=4)
    training = Training.begin(deep, "deep", config, 3)
    material = lesson_material(deep, lessons, 128)
    assert train(deep, training, [material], [], config, seed=1)
    assert {int(key.split(".")[0]) for key in training.delta.factors} == {4, 5}
    with core.using([training.delta]):
        on_core = float(answer_loss(core, lessons[:1]))
    with deep.using([training.delta]):
        on_deep = float(loss_of(deep, [Row(material, (0,))]))
    torch.testing.assert_close(on_core, on_deep, rtol=1e-4, atol=1e-5)


def test_an_anchor_has_no_divergence_from_itself_and_some_from_a_change(core: Core, lessons: list[Lesson]) -> None:
    anchors = make_anchors(core, text_material(core, ["Her favourite colour is green."], 128))
    assert abs(float(anchor_kl(core, anchors))) < 1e-6
    training = begin(core)
    run(core, lessons, training)
    with core.using([training.delta]):
        assert float(anchor_kl(core, anchors)) > 1e-4


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_interrupted_and_resumed_gives_the_same_bits(core: Core, lessons: list[Lesson], cut: int) -> None:
    whole = begin(core)
    assert run(core, lessons, whole)
    first = begin(core)
    assert not run(core, lessons, first, Hooks(stop=lambda: first.step == cut))
    saved = first.state().to_bytes()
    second = begin(core)
    second.restore(State.from_bytes(saved, layout="slow/training", version=1))
    assert second.step == cut
    assert run(core, lessons, second)
    assert same(whole, second)


def test_every_offered_state_resumes(core: Core, lessons: list[Lesson]) -> None:
    offered: list[State] = []
    whole = begin(core)
    run(core, lessons, whole, Hooks(save=offered.append))
    assert [s.numbers["step"] for s in offered] == list(range(3, whole.step + 1, 3)) != []
    second = begin(core)
    second.restore(offered[0])
    run(core, lessons, second)
    assert same(whole, second)


def test_a_state_of_another_delta_is_refused(core: Core) -> None:
    other = Training.begin(core, "other", TrainingConfig(rank=2), 3)
    with pytest.raises(InputError, match="another expert"):
        begin(core).restore(other.state())


def test_what_is_not_finite_changes_nothing(core: Core) -> None:
    training = begin(core)
    before = training.state().hash()
    loss = sum(p.sum() for p in training.delta.parameters()) * float("nan")
    assert isinstance(loss, torch.Tensor)
    with pytest.raises(TrainingDiverged, match="learning rate"):
        training.update(loss, 1e-3, 1.0)
    assert training.state().hash() == before


def test_a_lesson_with_a_page_is_refused(core: Core) -> None:
    lesson = make_lesson(core, "What?", "This.", [torch.zeros(3, core.width)])
    with pytest.raises(InputError, match="no pages"):
        lesson_material(core, [lesson], 128)
