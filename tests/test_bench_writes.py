"""The comparison of ways to write, on a tiny core: every way writes what it says, and the run writes it all down."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastslow.bench import baselines, writes
from fastslow.core import Core, Delta
from fastslow.decode import Row, bare_logits, memory_logits
from fastslow.errors import InputError
from fastslow.tiers import LearnerConfig, Tiers


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32, split=2)


@pytest.fixture(scope="module")
def exam(core: Core) -> writes.Exam:
    return writes.Exam(core, 11, 4, "tune")


def taught(core: Core, exam: writes.Exam) -> list[tuple[str, int]]:
    """The first question form of every fact, as text."""
    prompts = [core.tokenizer.decode(list(forms[0].prompt)) for forms in exam.forms]
    return [(p.split("user\n")[-1].split("<|im_end|>")[0], i) for i, p in enumerate(prompts)]


def wanted(core: Core, exam: writes.Exam) -> list[str]:
    return [core.decode(forms[0].answer) for forms in exam.forms]


def test_an_exam_asks_for_every_fact_twice_and_never_in_a_taught_wording(core: Core, exam: writes.Exam) -> None:
    assert sorted(i for _, i in exam.asked) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(probe.answer == exam.facts[i].value for probe, i in exam.asked)
    assert not {probe.question for probe, _ in exam.asked} & {question for question, _ in taught(core, exam)}
    right = {probe.question: str(probe.answer) for probe, _ in exam.asked}
    scores, lines = exam.score(lambda questions: [right[q] for q, _ in questions])
    assert scores == {"direct": 1.0, "paraphrase": 1.0}
    assert [line["kind"] for line in lines] == ["direct"] * 4 + ["paraphrase"] * 4
    assert exam.score(lambda questions: [right[q] if i else "no" for q, i in questions])[0]["direct"] == 0.75


def test_a_drill_has_the_loss_of_its_lessons(core: Core, exam: writes.Exam) -> None:
    deep = writes.cut_at(core, 2 / 3)
    assert (core.split, deep.split) == (2, 4)
    lessons = [forms[0] for forms in exam.forms]
    logits = [bare_logits(core, [*x.prompt, *x.answer])[len(x.prompt) - 1 : -1] for x in lessons]
    targets = torch.tensor([token for x in lessons for token in x.answer])
    expected = torch.nn.functional.cross_entropy(torch.cat(logits), targets)
    assert float(writes.Drill.of(deep, lessons).loss()) == pytest.approx(float(expected), rel=1e-4)


def test_the_slopes_are_those_of_the_loss(core: Core, exam: writes.Exam) -> None:
    deep = writes.cut_at(core, 2 / 3)
    name = "4.mlp.down_proj"
    drill = writes.Drill.of(deep, [forms[0] for forms in exam.forms])
    out, inner = deep.linears[name].weight.shape
    keys, slopes = writes.keys_and_slopes(drill, name, Delta("none", {}))
    tokens = int((drill.targets != -100).sum())
    assert (keys.shape, slopes.shape) == ((tokens, inner), (tokens, out))
    # The last answer token of the longest row: nothing behind it sees a change there, so the slope alone predicts it.
    ends = torch.arange(drill.targets.shape[1]).expand_as(drill.targets)[drill.targets != -100]
    n = int(ends.argmax())
    bias = torch.randn(out, generator=torch.Generator().manual_seed(0))
    losses = []
    for sign in (1e-3, -1e-3):

        def push(_: object, given: tuple[torch.Tensor], output: torch.Tensor, sign: float = sign) -> torch.Tensor:
            at = (given[0] == keys[n]).all(-1)
            assert int(at.sum()) == 1
            return output + sign * at[..., None] * bias

        hook = deep.linears[name].register_forward_hook(push)
        losses.append(float(drill.loss()))
        hook.remove()
    assert losses[0] - losses[1] == pytest.approx(2e-3 * float(slopes[n] @ bias), rel=2e-2, abs=1e-6)


def test_the_ridge_write_lowers_the_loss(core: Core, exam: writes.Exam) -> None:
    way = writes.ridge(core, exam, 1e-3, turn=2)
    assert way.logits is not None
    change = 0.0
    for lesson in (lesson for forms in exam.forms for lesson in forms):
        ids, answer = [*lesson.prompt, *lesson.answer], torch.tensor(lesson.answer)
        before, after = (
            torch.nn.functional.cross_entropy(logits[len(lesson.prompt) - 1 : -1], answer)
            for logits in (bare_logits(core, ids), way.logits("", ids, 0))
        )
        change += float(after - before)
    assert change < -0.01


def begin_as_taught(core: Core, exam: writes.Exam, way: writes.Way) -> list[bool]:
    """A random core has trouble to stop, so only the beginnings count."""
    answers = way.ask(taught(core, exam))
    return [a.startswith(w) for a, w in zip(answers, wanted(core, exam), strict=True)]


def test_breadth_first_learns_what_it_is_taught(core: Core, exam: writes.Exam) -> None:
    assert not any(begin_as_taught(core, exam, writes.breadth_first(core, exam, epochs=1)))
    way = writes.breadth_first(core, exam, epochs=250, rate=3e-3)
    assert all(begin_as_taught(core, exam, way))
    assert way.size == 2 * 64 * 128 / 4


def test_own_adapters_learn_one_fact_each(core: Core, exam: writes.Exam) -> None:
    way = writes.own_adapters(core, exam, steps=60, rate=1e-2)
    assert all(begin_as_taught(core, exam, way))
    # Layers 4 and 5, three maps each, rank 4, 2 bytes a number.
    assert way.size == 2 * 2 * 3 * 4 * (64 + 128)
    questions = taught(core, exam)
    swapped = way.ask([(question, (i + 1) % len(questions)) for question, i in questions])
    assert not any(a.startswith(w) for a, w in zip(swapped, wanted(core, exam), strict=True))


def test_associations_give_back_what_was_stored_and_leave_the_core_as_it_was(core: Core, exam: writes.Exam) -> None:
    before = bare_logits(core, core.prompt("Who are you?"))
    way = writes.associate(core, exam, 0.5)
    assert way.ask(taught(core, exam)) == wanted(core, exam)
    assert way.logits is not None
    mixed = way.logits("", core.prompt("Who are you?"), 0)
    assert torch.allclose(mixed.exp().sum(-1), torch.ones(len(mixed)), atol=1e-4)
    closed = writes.associate(core, exam, 3.0).logits
    assert closed is not None
    assert torch.allclose(closed("", core.prompt("Who are you?"), 0), before.log_softmax(-1), atol=1e-4)
    assert torch.equal(bare_logits(core, core.prompt("Who are you?")), before)


def test_pages_without_small_words_are_smaller_and_the_oracle_gives_the_right_one(
    core: Core, exam: writes.Exam
) -> None:
    tiers = [Tiers(core, None, LearnerConfig()) for _ in range(2)]
    full = writes.pages(tiers[0], exam, oracle=True)
    bare = writes.pages(tiers[1], exam, oracle=True, small_words=False)
    assert 0.3 * full.size < bare.size < full.size
    kept = tiers[1].episodes.records["0"].key.words
    assert int((kept == 0).sum()) == 0
    assert set(kept.tolist()) < set(tiers[0].episodes.records["0"].key.words.tolist())
    assert full.logits is not None
    ids = core.prompt("Who?")
    expected = memory_logits(core, Row(ids, tiers[0].episodes.pages(["1"])))
    assert torch.equal(full.logits("Who?", ids, 1), expected)
    assert not torch.equal(full.logits("Who?", ids, 2), expected)


def test_what_has_no_page_is_answered_by_the_bare_core(core: Core, exam: writes.Exam) -> None:
    delta = core.new_delta("noise", ["mlp.down_proj"], 2, first_layer=2, seed=0)
    loud = Delta("noise", {n: (a.detach(), torch.ones_like(b)) for n, (a, b) in delta.factors.items()})
    page = core.hidden(exam.lines[0])
    prompt = core.prompt("Who?")
    out = writes.read_all(core, [Row(prompt), Row(prompt, (page,))], (loud,))
    assert out[0] == baselines.answers(core, ["Who?"])[0]
    assert out[1] != out[0]


def test_a_run_judges_every_way_and_writes_it_down(core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes.texts, "general", lambda: ["A bell rang.", "Snow fell."])
    monkeypatch.setattr(writes.texts, "chat", lambda: ["Who are you?"])
    monkeypatch.setattr(writes, "TUNING_FACTS", 2)
    path, said = tmp_path / "writes.json", []
    result = writes.run(path, facts=2, core=core, say=said.append)
    assert json.loads(path.read_text()) == result
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    page = path.with_suffix(".md").read_text()
    names = {row["name"] for row in result["rows"]}
    assert names >= {"bare core", "line pasted", "naive LoRA", "gradient ridge", "own LoRA"}
    assert all(f"| {name} |" in page for name in names)
    assert any("has none" in name for name in names)
    assert len(result["curve"]) == 12
    sizes = [point["bytes"] for point in result["curve"][:8:2]]
    assert sizes == sorted(sizes, reverse=True)
    kl = {row["name"]: row["kl"] for row in result["rows"]}
    assert kl["bare core"] == 0.0 < kl["naive LoRA"]
    assert len(result["answers"]["own LoRA, oracle"]) == 4
    assert len(said) >= len(result["rows"])


def test_the_world_of_the_rates_is_not_judged(core: Core) -> None:
    with pytest.raises(InputError, match="12"):
        writes.run(core=core, seed=12)


def test_a_drill_can_take_some_of_its_rows(core: Core, exam: writes.Exam) -> None:
    drill = writes.Drill.of(core, [forms[0] for forms in exam.forms])
    one = replace(drill, states=drill.states[2:3], targets=drill.targets[2:3])
    assert float(drill.loss(torch.tensor([2]))) == pytest.approx(float(one.loss()))
