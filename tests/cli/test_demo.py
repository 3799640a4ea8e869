"""The demo, whole, on a tiny core; and its judgement of answers."""

import json
from pathlib import Path

import pytest
from program import Run

from fastslow.cli import demo
from fastslow.cli.demo_report import Question
from fastslow.errors import HomeInUse, InputError


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    folder = tmp_path / "manual"
    folder.mkdir()
    (folder / "a.md").write_text("# Kestrel\n\nKestrel launches on the 4th of May.\n")
    row = {"question": "When does Kestrel launch?", "answers": ["4th of May", "4 May"], "source": "a.md"}
    (folder / "questions.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_the_demo(run: Run, manual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a tiny core knows no answer; with everything right, the forgetting is shown too
    monkeypatch.setattr(Question, "right", lambda self, answer: True)
    monkeypatch.setattr(demo, "WORLD_QUESTIONS", {"direct": 2, "never_taught": 1})
    result = run("demo", "--manual", manual, "--into", "run")
    assert result.code == 0, result.err
    for words in (
        "Questions on the manual",
        "Questions on the invented stream",
        "every answer is the same in a new process",
        "One fact forgotten",
        "found 0 times in the bytes of the home",
        "extra prompt tokens",
        "What went wrong",
        "picture.png",
    ):
        assert words in result.out, words
    assert all(words in result.err for words in ("opened", "learning a.md", "asking again in a new process"))
    assert (tmp_path / "run" / "picture.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["same_after_restart"] is True and report["cost"]["prompt_tokens_added"] == 0
    assert [row["about"] for row in report["questions"]] == ["manual", "invented", "invented", "invented"]
    assert report["scores"]["manual"]["with memory"] == [1, 1]
    assert report["scores"]["invented"]["bare core"] == [2, 2]  # what was never taught does not count as right


def test_the_home_of_a_demo_is_replaced(tmp_path: Path) -> None:
    from fastslow.store import Home

    Home.open(tmp_path / "home").close()
    assert demo.fresh_home(tmp_path) == tmp_path / "home"
    assert not (tmp_path / "home").exists()


def test_a_home_in_use_is_not_removed(tmp_path: Path) -> None:
    from fastslow.store import Home

    with Home.open(tmp_path / "home"), pytest.raises(HomeInUse):
        demo.fresh_home(tmp_path)
    assert (tmp_path / "home" / "home.json").exists()


def test_a_folder_that_is_no_home_is_moved_aside(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "letter").write_text("mine")
        demo.fresh_home(tmp_path)
        assert (tmp_path / f"home.{number}" / "letter").read_text() == "mine"


def test_questions_are_spread_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    rows = [json.dumps({"question": f"q{i}", "answers": ["a"]}) for i in range(40)]
    (tmp_path / "questions.jsonl").write_text("\n".join(rows))
    _, questions = demo.read_manual(tmp_path)
    assert [q.text for q in questions] == [f"q{i}" for i in range(0, 40, 4)]


def test_questions_that_were_used_for_tuning_are_not_asked(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    rows = [json.dumps({"question": s, "answers": ["a"], "split": s}) for s in ("tune", "test", "tune")]
    (tmp_path / "questions.jsonl").write_text("\n".join(rows))
    _, questions = demo.read_manual(tmp_path)
    assert [q.text for q in questions] == ["test"]


def test_a_broken_question_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    (tmp_path / "questions.jsonl").write_text('{"answers": []}\n')
    with pytest.raises(InputError, match="is no question"):
        demo.read_manual(tmp_path)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is Miro.", True),
        ("the city of miro", True),
        ("Miro or Tavass.", False),
        ("Tavass.", False),
        ("Miro " + "very " * 30, False),
        ("", False),
    ],
)
def test_an_answer_is_right_with_the_value_and_no_other(answer: str, right: bool) -> None:
    question = Question("Where was Vlaze born?", "invented", "direct", ("Miro",), ("Miro", "Tavass"))
    assert question.right(answer) is right


def test_what_was_never_taught_must_not_be_answered_with_a_taught_value() -> None:
    question = Question("Which tree is on the flag of Tavass?", "invented", "never_taught", (), ("oak", "Tavass"))
    assert question.right("I don't know about Tavass.")
    assert not question.right("An oak.")
