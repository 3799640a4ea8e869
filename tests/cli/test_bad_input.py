"""Whatever is wrong: one message that says what to do, the right exit code, and nothing learned or lost."""

import os
from pathlib import Path

import pytest
from program import Run

from fastslow.cli import session


@pytest.fixture
def no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Input is checked before a core is loaded: loading one fails the test."""

    def never(*_: object) -> None:
        pytest.fail("the core was loaded before the input was checked")

    monkeypatch.setattr(session, "load_core", never)


BAD_FILES = {
    "binary.txt": (b"text\0more", ["binary.txt", "binary", "byte 4"]),
    "empty.md": (b" \n\n", ["empty.md is empty"]),
    "latin.txt": (b"one\ncaf\xe9 au lait", ["latin.txt", "byte 7 (0xe9)", "line 2", "--encoding", "--replace"]),
}


@pytest.mark.usefixtures("no_core")
@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("first", [True, False])
def test_a_bad_file_among_good_ones_is_found_before_anything_is_learned(
    run: Run, tmp_path: Path, notes: Path, name: str, first: bool
) -> None:
    data, words = BAD_FILES[name]
    bad = tmp_path / name
    bad.write_bytes(data)
    result = run("learn", *((bad, notes) if first else (notes, bad)))
    assert result.code == 2
    assert all(word in result.err for word in words), result.err
    assert result.err.count("\n") == 1 and "Traceback" not in result.err
    assert result.out == ""
    assert not (tmp_path / "home").exists()


@pytest.mark.usefixtures("no_core")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["learn", "missing.txt"], 2, "there is no file or folder missing.txt"),
        (["learn", "void"], 2, "the folder void has no text files (*.txt, *.md)"),
        (["learn", "notes.md", "--encoding", "utf-99"], 2, "there is no encoding 'utf-99'"),
        (["learn"], 2, "fastslow learn --help"),
        (["learn", ""], 2, "one of the paths is empty"),
        (["learn", "-"], 2, "- is empty"),
        (["ask", " "], 2, "there is no question"),
        (["ask", "-"], 2, "there is no question"),
        (["ask", "Who?", "--max-tokens", "0"], 2, "--max-tokens"),
        (["ask", "Who?"], 2, "there is no home in"),
        (["history"], 2, "learn something first"),
        (["status"], 2, "--home"),
        (["sleep"], 2, "there is no home in"),
        (["trace", "Who?"], 2, "there is no home in"),
        (["forget", "e1"], 2, "there is no home in"),
        (["doctor"], 2, "there is no home in"),
        (["import", "missing.jsonl"], 2, "there is no file missing.jsonl"),
        (["export", "nowhere/a.jsonl"], 2, "there is no folder nowhere"),
        (["export", "void"], 2, "void is a folder"),
        (["export", "notes.md"], 2, "--force"),
        (["model", "train-reader", "--out", "x.bin"], 2, ".safetensors"),
        (["bench", "recall", "--json", "nowhere/a.json"], 2, "cannot write nowhere/a.json"),
        (["train", "decoder"], 2, "--world SEED"),
        (["train", "fst", "--task", "nonsense"], 2, "there is no task"),
        (["train", "fst", "--task", "cipher-9"], 2, "1 to 4 letters"),
        (["train", "fst", "--task", "cipher", "--core", "speller", "--group", "6"], 2, "give a multiple"),
        (["train", "notes.md"], 2, "too few for windows"),
        (["train", "notes.md", "--blocks", "lstn"], 2, "there is no memory 'lstn'"),
        (["train", "notes.md", "--width", "30"], 2, "heads of one even size"),
        (["demo", "--manual", "void"], 2, "there are no *.md files in void"),
        (["dance"], 2, "dance"),
        (["status", "--colour"], 2, "fastslow status --help"),
    ],
)
def test_what_cannot_be_used(
    run: Run, tmp_path: Path, notes: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "void").mkdir()
    result = run(*arguments)
    assert result.code == code
    assert words in result.err
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert result.out == ""
    assert not (tmp_path / "home").exists()


def test_a_core_that_is_not_there(run: Run, notes: Path) -> None:
    result = run("learn", notes, "--core", "no-such-core")
    assert result.code == 6
    assert "there is no core 'no-such-core'" in result.err


@pytest.mark.usefixtures("no_core")
def test_a_file_that_may_not_be_read(run: Run, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    # not by its mode, because tests may run as root, who reads everything
    monkeypatch.setattr(Path, "read_bytes", refuse)
    result = run("learn", notes)
    assert result.code == 2
    assert "notes.md cannot be read (Permission denied): check its permissions" in result.err


def test_broken_utf8_can_be_learned_with_another_encoding_or_with_marks(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"The caf\xe9 opens at nine.")
    assert run("learn", path, "--encoding", "latin-1").code == 0
    assert run("learn", path, "--replace").code == 0
    texts = [episode["text"] for episode in run("history", "--json").json]
    assert texts == ["The café opens at nine.", "The caf\ufffd opens at nine."]


def test_what_shows_its_fault_only_when_decoded_is_found_before_anything_is_learned(
    run: Run, notes: Path, tmp_path: Path
) -> None:
    for name, data, encoding, words in (
        ("mark.txt", b"\xef\xbb\xbf \n", "utf-8", "mark.txt has no text in it: is it utf-8?"),
        ("nul.txt", "a\0b".encode("utf-16"), "utf-16", "nul.txt has a NUL in it: is it utf-16?"),
    ):
        (tmp_path / name).write_bytes(data)
        ok = tmp_path / "ok.txt"
        ok.write_bytes("Bo paints.".encode(encoding))
        result = run("learn", ok, name, "--encoding", encoding)
        assert (result.code, words in result.err) == (2, True)
        assert run("history").code == 2  # there is no home yet


def test_a_file_name_that_is_no_text_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.txt").write_text("The café opens at nine.")
    result = run("learn", tmp_path)
    assert result.code == 2 and "is not valid Unicode: rename the file" in result.err


def test_questions_that_are_no_text_are_refused(run: Run, notes: Path) -> None:
    run("learn", notes)
    for command in (["ask", "-"], ["chat"]):
        result = run(*command, stdin=b"Who steers the caf\xe9?\n")
        assert result.code == 2 and "standard input is not valid utf-8" in result.err


def test_a_flag_of_chat_is_named_as_it_is_given(run: Run) -> None:
    assert "--max-tokens is 0" in run("chat", "--max-tokens", "0").err


def test_a_byte_order_mark_is_no_part_of_the_text(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfMira steers the ship.")
    assert run("learn", path).code == 0
    assert run("history", "--json").json[0]["text"] == "Mira steers the ship."


def test_every_error_has_a_json_form(run: Run, tmp_path: Path) -> None:
    for arguments, code in ((["learn", "missing.txt"], 2), (["status"], 2), (["status", "--colour"], 2)):
        result = run(*arguments, "--json")
        assert result.code == code
        assert set(result.json) == {"error", "exit_code"}
        assert result.json["exit_code"] == code
        assert result.json["error"] in result.err


def test_an_unknown_episode_changes_nothing(run: Run, notes: Path) -> None:
    run("learn", notes)
    before = run("history", "--json").json
    result = run("forget", before[0]["id"], "e-unknown", "--yes")
    assert result.code == 7
    assert "e-unknown" in result.err
    assert [e["id"] for e in run("history", "--json").json] == [e["id"] for e in before]


def test_a_home_in_use(run: Run, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastslow.store import io

    run("learn", notes)
    monkeypatch.setattr(session, "load_core", None)  # it is told before the core is loaded
    lock = io.lock(tmp_path / "home" / "home.lock")
    try:
        result = run("history")
    finally:
        io.unlock(lock)
    assert result.code == 4
    assert f"in use by process {os.getpid()}" in result.err


def test_a_home_of_another_core(run: Run, notes: Path, tmp_path: Path) -> None:
    from tiny import make_tiny_core

    run("learn", notes)
    result = run("history", "--core", make_tiny_core(tmp_path / "other", seed=1))
    assert result.code == 5
    assert "was made with the core" in result.err


def test_a_folder_that_is_no_home(run: Run, notes: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("mine")
    result = run("learn", notes)
    assert result.code == 5
    assert (tmp_path / "home" / "letter.txt").read_text() == "mine"


def test_what_was_learned_before_an_error_stays_and_is_reported(
    run: Run, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastslow.cli.sources import Source
    from fastslow.errors import InputError

    read, opened = Source.read, []

    def vanishing(self: Source) -> str:
        opened.append(self.name)
        if opened.count(self.name) == 2 and self.name.endswith("second.txt"):
            raise InputError("second.txt has vanished")
        return read(self)

    monkeypatch.setattr(Source, "read", vanishing)
    second = tmp_path / "second.txt"
    second.write_text("Bo paints.")
    result = run("learn", notes, second, "--json")
    assert result.code == 2
    assert "second.txt has vanished (2 episodes learned before that are kept)" in result.err
    assert result.json["new"] == 2 and len(result.json["files"]) == 1
    assert len(run("history", "--json").json) == 2


def test_ctrl_c_in_the_middle_of_a_document(run: Run, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastslow.learner import Learner

    learn, done = Learner._learn, []

    def interrupted(self: Learner, *arguments: object) -> object:
        if done:
            raise KeyboardInterrupt
        done.append(learn(self, *arguments))  # type: ignore[arg-type]
        return done[0]

    monkeypatch.setattr(Learner, "_learn", interrupted)
    result = run("learn", notes, "--json")
    assert result.code == 130
    assert "1 episode learned before that is kept" in result.err
    assert result.json["unfinished"] == [done[0].id]  # type: ignore[attr-defined]
    monkeypatch.undo()


def test_ctrl_c_anywhere_else(run: Run, monkeypatch: pytest.MonkeyPatch, notes: Path) -> None:
    run("learn", notes)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "load_core", interrupted)
    result = run("status", "--json")
    assert result.code == 130 and result.json["exit_code"] == 130
    assert "nothing that was acknowledged is lost" in result.err


def test_a_bug_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch, notes: Path) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr(session, "load_core", broken)
    result = run("learn", notes)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "unexpected RuntimeError: a wheel came off" in result.err and "FASTSLOW_DEBUG" in result.err


def test_an_option_before_the_command(run: Run) -> None:
    result = run("--home", "elsewhere", "status")
    assert result.code == 2 and "options go behind the command" in result.err
