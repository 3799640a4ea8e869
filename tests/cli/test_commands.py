"""What each command does and prints, on a tiny core with a real learner."""

import json
from pathlib import Path

import pytest
from program import Run

ANSWER = {"question", "answer", "hits", "experts", "fast", "prompt_tokens", "prompt_tokens_added"}
EPISODE = {"id", "text", "source", "heading", "time", "strength", "uses", "stage", "bytes", "bits"}


def test_learn_files_and_folders(run: Run, notes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("Bo paints boats.")
    (folder / "b.md").write_text("Ada counts stars.")
    (folder / "c.py").write_text("print('not a text')")
    (folder / "empty.md").touch()
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "d.md").write_text("A tool wrote this.")
    result = run("learn", notes, folder)
    assert result.code == 0
    assert result.out.endswith("learned 4 new episodes from 3 sources\n")
    assert "learning" in result.err and "learning" not in result.out
    assert [e["text"] for e in run("history", "--json").json] == [
        "Kestrel launches on the 4th of May.",
        "Mira steers the ship and Bo cooks.",
        "Ada counts stars.",
        "Bo paints boats.",
    ]


def test_learn_from_standard_input_and_again(run: Run) -> None:
    first = run("learn", "-", "--json", stdin="Kestrel launches in May.").json
    assert (first["episodes"], first["new"]) == (1, 1)
    assert first["files"][0]["source"] == "stdin"
    again = run("learn", "-", stdin="Kestrel launches in May!")
    assert again.out == "learned 0 new episodes; 1 episode said what was known and made it stronger\n"


def test_the_same_file_named_twice_is_learned_once(run: Run, notes: Path) -> None:
    assert run("learn", notes, notes, "--json").json["episodes"] == 2


def test_markup_in_a_text_comes_out_as_it_went_in(run: Run) -> None:
    text = "Press [bold]Enter[/bold] :smile: and [/x] twice."
    run("learn", "-", stdin=text)
    assert text in run("history").out


def test_ask(run: Run, notes: Path) -> None:
    run("learn", notes)
    result = run("ask", "When does Kestrel launch?", "--json")
    assert set(result.json) == ANSWER
    assert result.json["hits"] and result.json["prompt_tokens_added"] == 0
    plain = run("ask", "When does Kestrel launch?")
    assert plain.out == result.json["answer"] + "\n"
    assert plain.err == ""  # remarks are for terminals
    bare = run("ask", "When does Kestrel launch?", "--bare", "--json").json
    assert bare["hits"] == []
    assert bare["answer"] != result.json["answer"]


def test_ask_many(run: Run, notes: Path) -> None:
    run("learn", notes)
    questions = ["When does Kestrel launch?", "Who cooks?"]
    many = run("ask", "-", "--json", stdin="\n".join([questions[0], "", questions[1]])).json
    assert [row["question"] for row in many] == questions
    assert [row["answer"] for row in many] == [run("ask", q, "--json").json["answer"] for q in questions]


def test_the_longest_answer_is_a_setting(run: Run, notes: Path) -> None:
    run("learn", notes)
    short = run("ask", "Who cooks?", "--max-tokens", "1", "--json").json["answer"]
    long = run("ask", "Who cooks?", "--max-tokens", "30", "--json").json["answer"]
    assert len(short) < len(long)


def test_trace(run: Run, notes: Path) -> None:
    run("learn", notes)
    found = run("trace", "When does Kestrel launch?", "--json").json
    assert set(found) == {"question", "answer", "bare", "lines"}
    medium = [line for line in found["lines"] if line["tier"] == "medium"]
    assert medium and set(medium[0]) == {"tier", "what", "text", "weight", "effect", "through"}
    shown = run("trace", "When does Kestrel launch?").out
    assert medium[0]["what"] in shown and "bare core" in shown
    short = run("trace", "When does Kestrel launch?", "--max-tokens", "1", "--json").json
    assert len(short["answer"]["text"]) < len(found["answer"]["text"])


def test_history(run: Run, notes: Path) -> None:
    run("learn", notes)
    rows = run("history", "--json").json
    assert len(rows) == 2 and set(rows[0]) == EPISODE
    assert run("history", "--last", "1", "--json").json[0]["id"] == rows[1]["id"]
    shown = run("history").out
    assert all(row["id"] in shown for row in rows) and "Kestrel: Mira steers" in shown


def test_status(run: Run, notes: Path) -> None:
    run("learn", notes)
    now = run("status", "--json").json
    assert now["episodes"] == 2 and set(now["bytes"]) == {"fast", "medium", "slow"}
    shown = run("status").out
    assert "2 episodes, 2 awake, 0 asleep" in shown and "\x1b" not in shown


def test_forget_is_a_dry_run_unless_told_otherwise(run: Run, notes: Path, tmp_path: Path) -> None:
    run("learn", notes)
    first, second = (row["id"] for row in run("history", "--json").json)
    dry = run("forget", first)
    assert "would forget" in dry.out and "--yes" in dry.err and "Kestrel launches" in dry.out
    assert run("forget", first, "--json").json["dry_run"] is True
    assert len(run("history", "--json").json) == 2
    receipt = run("forget", first, "--yes", "--json").json
    assert receipt["episodes"] == [first] and receipt["dry_run"] is False and receipt["state_hash"]
    assert [row["id"] for row in run("history", "--json").json] == [second]
    held = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert b"4th of May" not in held


def test_what_was_forgotten_is_not_shown_again(run: Run, notes: Path) -> None:
    run("learn", notes)
    episode = run("history", "--json").json[0]["id"]
    shown = run("forget", episode, "--yes").out
    assert "erased" in shown and "Kestrel" not in shown


def test_export_and_import(run: Run, notes: Path, tmp_path: Path) -> None:
    run("learn", notes)
    assert run("export", "memories.jsonl", "--json").json["episodes"] == 2
    assert run("export", "-").out == (tmp_path / "memories.jsonl").read_text()
    result = run("import", "memories.jsonl", "--home", tmp_path / "second", "--json")
    assert len(result.json["episodes"]) == 2
    texts = [
        [(e["text"], e["heading"]) for e in run("history", "--json", *more).json] for more in ([], ["--home", "second"])
    ]
    assert texts[0] == texts[1]


def test_export_writes_over_a_file_only_when_told(run: Run, notes: Path, tmp_path: Path) -> None:
    run("learn", notes)
    (tmp_path / "mine.jsonl").write_text("mine")
    assert run("export", "mine.jsonl").code == 2
    assert (tmp_path / "mine.jsonl").read_text() == "mine"
    assert run("export", "mine.jsonl", "--force").code == 0
    assert len((tmp_path / "mine.jsonl").read_text().splitlines()) == 2


def test_import_checks_the_whole_file_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"text": "Bo paints."}\n{"no": "text"}\n')
    result = run("import", "broken.jsonl")
    assert result.code == 2 and "line 2" in result.err
    assert run("history", "--json").json == []


@pytest.mark.parametrize(
    ("command", "line"),
    [("learn", b"Kestrel launches in May.\n"), ("import", b'{"text": "Kestrel launches in May."}\n')],
)
def test_learning_from_what_can_be_read_only_once(run: Run, command: str, line: bytes) -> None:
    import os

    reading, writing = os.pipe()
    os.write(writing, line)
    os.close(writing)
    assert run(command, f"/dev/fd/{reading}", "--json").code == 0
    os.close(reading)
    assert [e["text"] for e in run("history", "--json").json] == ["Kestrel launches in May."]


def test_a_tilde_that_names_no_user(run: Run, tmp_path: Path) -> None:
    (tmp_path / "~$notes.txt").write_text("Kestrel launches in May.\n")
    assert run("learn", "~$notes.txt", "--json").json["new"] == 1
    result = run("status", "--home", "~nobody-of-this-name/home")
    assert result.code == 2 and "~nobody-of-this-name/home" in result.err


def test_chat_from_a_pipe(run: Run) -> None:
    lines = ["My boat is called Kestrel and it is green.", "", "/status", "/nothing", "/forget-last", "/forget-last"]
    lines += ["/help", "/quit", "never read"]
    log = run("chat", "--max-tokens", "4", "--json", stdin="\n".join(lines)).json
    assert [entry.get("command", "said") for entry in log] == [
        "said",
        "/status",
        "/nothing",
        "/forget-last",
        "/forget-last",
        "/help",
    ]
    assert set(log[0]) == ANSWER
    outputs = [entry.get("output", "") for entry in log]
    assert "1 episode" in outputs[1]
    assert "no command /nothing" in outputs[2]
    assert outputs[3] == "forgot the last turn and the 1 episode that it wrote"
    assert outputs[4] == "there is no turn to forget"
    assert "/quit" in outputs[5]
    assert run("history", "--json").json == []


def test_every_turn_of_a_chat_is_durable(run: Run) -> None:
    result = run("chat", "--max-tokens", "4", stdin="My boat is called Kestrel and it is green.\n")
    assert result.code == 0 and result.out.endswith("\n")
    (episode,) = run("history", "--json").json
    assert episode["source"] == "chat"


def test_forgetting_the_last_turn_keeps_what_it_only_repeated(run: Run) -> None:
    run("learn", "-", stdin="My boat is called Kestrel and it is green.")
    run("chat", "--max-tokens", "4", stdin="My boat is called Kestrel and it is green.\n/forget-last\n")
    assert len(run("history", "--json").json) == 1


def test_sleep_with_nothing_to_do(run: Run, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    run("import", "none.jsonl")
    report = run("sleep", "--json").json
    assert report["consolidated"] == [] and report["interrupted"] is False
    assert run("sleep").out == "0 episodes moved into slow weights in 0 s\n"


def test_an_interrupted_sleep(run: Run, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    from fastslow.learner import Learner
    from fastslow.reports import SleepReport

    def interrupted(self: Learner, *, progress: object, stop: object) -> SleepReport:
        assert not stop()  # type: ignore[operator]
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()  # type: ignore[operator]
        return SleepReport(seconds=2.0, interrupted=True)

    run("learn", notes)
    monkeypatch.setattr(Learner, "sleep", interrupted)
    before = signal.getsignal(signal.SIGINT)
    result = run("sleep", "--json")
    assert result.code == 130 and result.json["interrupted"] is True
    assert "sleep again to go on" in result.err
    assert signal.getsignal(signal.SIGINT) == before


def test_a_rolled_back_sleep_says_why(run: Run, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastslow.learner import Learner
    from fastslow.reports import SleepReport

    run("learn", notes)
    report = SleepReport(("e1",), {"e2": "not recalled"}, "KL 0.5 is above 0.01", 3.0)
    monkeypatch.setattr(Learner, "sleep", lambda self, **_: report)
    shown = run("sleep").out
    assert all(words in shown for words in ("KL 0.5 is above 0.01", "1 episode moved", "e2", "not recalled"))


def test_doctor_finds_and_repairs(run: Run, notes: Path, tmp_path: Path) -> None:
    run("learn", notes)
    well = run("doctor")
    assert well.code == 0 and well.out.endswith("is sound\n")
    (snapshot,) = (tmp_path / "home" / "snapshots").glob("fast*.safetensors")
    snapshot.write_bytes(snapshot.read_bytes() + b"x")
    sick = run("doctor", "--json")
    assert sick.code == 3 and len(sick.json["problems"]) == 1 and sick.json["repaired"] == []
    healed = run("doctor", "--repair")
    assert healed.code == 0
    assert "repaired: " in healed.out and healed.out.endswith("is sound\n")
    assert run("doctor", "--json").json["problems"] == []


def test_doctor_does_not_call_repaired_what_is_not(run: Run, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastslow import doctor

    run("learn", notes)
    monkeypatch.setattr(doctor, "check", lambda home, core: ["event 3 is damaged"])
    monkeypatch.setattr(doctor, "repair", lambda home, core: ["not repaired, because the truth is: event 3"])
    result = run("doctor", "--repair")
    assert result.code == 3
    assert result.out == "not repaired, because the truth is: event 3\nwrong: event 3 is damaged\n"


def test_config_show(run: Run, tmp_path: Path) -> None:
    shown = run("config", "show", "--home", "elsewhere", "--json").json
    assert shown["settings"]["home"] == {"value": "elsewhere", "source": "flag"}
    assert shown["settings"]["max_tokens"] == {"value": 4, "source": "file"}
    assert shown["settings"]["cache"]["source"] == "environment"
    assert shown["settings"]["threads"] == {"value": 0, "source": "default"}
    assert shown["file_exists"] is True
    assert "chat_max_tokens" in run("config", "show").out


def test_model_list(run: Run) -> None:
    assert run("model", "list", "--json").json == []
    assert "fastslow model fetch" in run("model", "list").out


def test_model_fetch_prints_the_folder(run: Run, tiny_core_folder: Path) -> None:
    assert run("model", "fetch").out == f"{tiny_core_folder}\n"
    assert run("model", "fetch", tiny_core_folder, "--json").json["folder"] == str(tiny_core_folder)


def test_model_show(run: Run) -> None:
    about = run("model", "show", "--json").json
    assert (about["layers"], about["width"], about["type"]) == (6, 64, "llama")
    assert 0 < about["cut"] < 6
    assert about["reader"].startswith("none")
    own = run("model", "show", "--verify", "--json")
    assert own.code == 6 and "nothing to compare it with" in own.json["error"]


def test_train_reader_writes_where_the_learner_looks(
    run: Run, tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastslow.medium import train_reader as training

    recipes = []
    real = training.train_reader

    def small(core: object, recipe: training.ReaderRecipe, **more: object) -> object:
        recipes.append(recipe)
        small = training.ReaderRecipe(
            recipe.seed, worlds=2, facts=40, router_steps=2, steps=1, pair_steps=1, prose_steps=1, batch=2, rank=2
        )
        return real(core, small, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "train_reader", small)
    steps = ("--steps", "5", "--pair-steps", "4", "--prose-steps", "2")
    made = run("model", "train-reader", *steps, "--seed", "3", "--json").json
    assert (recipes[0].steps, recipes[0].pair_steps, recipes[0].prose_steps, recipes[0].seed) == (5, 4, 2, 3)
    assert made["about"]["steps"] == "1 + 1 + 1"
    assert Path(made["file"]).parent == tmp_path / "cache" / "readers"
    run("learn", notes)
    assert not run("status", "--json").json["reader"].startswith("none")


def test_bench_passes_its_arguments_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastslow.bench import fast

    calls = []
    monkeypatch.setattr(fast, "run", lambda *arguments, **more: calls.append((arguments, more)))
    assert run("bench", "fast", "--tokens", "99", "--seed", "4", "--json", "fast.json").code == 0
    ((arguments, more),) = calls
    assert arguments == (Path("fast.json"),)
    assert (more["tokens"], more["seed"], more["core"].depth) == (99, 4, 6)


def test_bench_recall_passes_its_arguments_on(
    run: Run, tiny_core_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastslow.bench import recall

    calls = []
    monkeypatch.setattr(recall, "run", lambda *arguments: calls.append(arguments))
    assert run("bench", "recall", "--facts", "5", "--seed", "4", "--no-baselines", "--json", "r.json").code == 0
    ((bench, path),) = calls
    assert path == Path("r.json")
    assert (bench.facts, bench.seed, bench.core, bench.baselines) == (5, 4, str(tiny_core_folder), False)


def test_json_is_one_value_with_nothing_around_it(run: Run, notes: Path) -> None:
    run("learn", notes)
    for arguments in (
        ["status"],
        ["history"],
        ["ask", "Who?"],
        ["trace", "Who?"],
        ["model", "list"],
        ["config", "show"],
    ):
        json.loads(run(*arguments, "--json").out)
