"""The manual says what is true: its links, commands, names and numbers are those of the code."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch
import typer
from typer.main import get_command

import fastslow
from fastslow import copying, core, cores, errors, reports, settings, tiers
from fastslow.bench import manual
from fastslow.cli.main import app
from fastslow.decode import LONG
from fastslow.errors import InputError
from fastslow.fast.trajectory import FastConfig
from fastslow.medium import choice, pages, reader
from fastslow.medium.episodes import RecallConfig
from fastslow.medium.router import COMMON, RouterWeights
from fastslow.medium.train_reader import ReaderRecipe
from fastslow.reports import Episode
from fastslow.slow import Bounds, DomainConfig, FactsConfig, study
from fastslow.worlds import invented, scoring
from fastslow.worlds.names import Split
from fastslow.worlds.scoring import contains, normalise

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MANUAL = sorted(DOCS.glob("*.md"))
WRITTEN = [ROOT / "README.md", *MANUAL]
QUESTIONS = manual.read_questions(DOCS / "questions.jsonl")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"\bfastslow ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def plain(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8").split())


def commands() -> dict[str, set[str]]:
    """Every command of the program, and the commands inside it."""
    group = get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return {name: set(getattr(command, "commands", {})) for name, command in group.commands.items()}


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}, which does not exist"


def test_every_page_of_the_manual_is_reached_from_the_index() -> None:
    linked = set(LINK.findall((DOCS / "index.md").read_text(encoding="utf-8")))
    assert {path.name for path in MANUAL} - {"index.md"} <= linked


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_commands_exist(path: Path) -> None:
    known = commands()
    code = re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8")) + [
        block for language, block in FENCE.findall(path.read_text(encoding="utf-8")) if language == "sh"
    ]
    for words in (found.split() for text in code for found in COMMAND.findall(text)):
        assert words[0] in known, f"{path.name} names fastslow {words[0]}, which is no command"
        if known[words[0]]:
            assert len(words) == 2 and words[1] in known[words[0]], f"{path.name} names fastslow {' '.join(words)}"


def test_every_command_is_in_the_manual() -> None:
    text = plain(DOCS / "command-line.md")
    for name, inner in commands().items():
        for command in [f"{name} {part}" for part in inner] or [name]:
            assert f"`fastslow {command}" in text, f"docs/command-line.md lacks fastslow {command}"


def test_flags_exist() -> None:
    group = get_command(app)
    known = {"--help"} | {flag for parameter in group.params for flag in parameter.opts}
    todo = list(getattr(group, "commands", {}).values())
    while todo:
        command = todo.pop()
        todo += getattr(command, "commands", {}).values()
        known |= {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for path in WRITTEN:
        own = re.sub(r"`(?:python|flock|make) [^`]*`", "", path.read_text(encoding="utf-8"))  # not of fastslow
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", own):
            assert flag in known, f"{path.name} names the flag {flag}, which no command has"


def python_blocks(path: Path) -> list[str]:
    return [block for language, block in FENCE.findall(path.read_text(encoding="utf-8")) if language == "python"]


@pytest.mark.parametrize("path", [ROOT / "README.md", DOCS / "python.md"], ids=lambda path: path.name)
def test_python_blocks_are_valid(path: Path) -> None:
    blocks = python_blocks(path)
    assert blocks
    for block in blocks:
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "fastslow":
                assert {alias.name for alias in node.names} <= set(fastslow.__all__)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "learner":
                assert hasattr(fastslow.Learner, node.attr), f"a Learner has no {node.attr}"


def test_python_names_exist() -> None:
    """Every name in backticks that looks like one of Python is a public name, or belongs to one."""
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    public = [getattr(fastslow, name) for name in fastslow.__all__]
    known = {*fastslow.__all__, *dir(errors), "seconds", "str"}
    for thing in public:
        known |= set(dir(thing)) | set(getattr(thing, "__dataclass_fields__", ()))
        for name in ("open", "learn", "learn_document", "ask", "sleep", "forget"):
            function = getattr(thing, name, None)
            known |= set(getattr(function, "__annotations__", ()))
    known |= set(reports.TraceLine.__dataclass_fields__)
    for name in re.findall(r"`([A-Za-z_]\w*)(?:[.(=`])", text):
        assert name in known or name == "fastslow", f"docs/python.md names {name}, which nothing public has"
    for name in fastslow.__all__:
        assert f"`{name}" in text or f"`{name}`" in text or name in "".join(python_blocks(DOCS / "python.md")), name


UNHEARD: tuple[Split, ...] = ("tune", "test")
CHANGE = [word for word in ("now", "new", "changed", "corrected") if word in choice.CHANGE]
DENIAL = [word for word in ("not", "never", "wrong", "withdrawn") if word in choice.DENIAL]


def test_numbers_are_those_of_the_code() -> None:
    """What the manual says of sizes, bounds and defaults. Where this fails, the manual is out of date."""
    fast, recall, config = FastConfig(), RecallConfig(), tiers.LearnerConfig()
    facts, domain, bounds, recipe = FactsConfig(), DomainConfig(), Bounds(), ReaderRecipe()
    day = 86_400
    for name, sentence in [
        ("rates", f"every {fast.chunk} tokens that stream through"),
        ("rates", f"in each of the last {fast.layers} layers, `{fast.targets[0]}` and `{fast.targets[1]}`. Their rank"),
        ("rates", f"Their rank is {fast.rank}."),
        ("rates", f"half its size after {int(fast.half_life):,} tokens"),
        ("rates", f"windows of {fast.window} tokens"),
        ("rates", f"multiplied by {fast.lr}."),
        ("rates", f"it has to exceed {fast.related}."),
        ("rates", f"rounded to {recall.bits} bits a number"),
        ("rates", f"at most {config.page} tokens when a document is split"),
        ("rates", f"a single text of up to {2 * config.page} tokens"),
        ("rates", f"used once is {int(recall.half_life / day)} days"),
        ("rates", f"strength is below {recall.fade[0][0]}, its page is rounded again, to {recall.fade[0][1]} bits"),
        ("rates", f"strength is below {recall.drop}, the page is dropped"),
        ("rates", f"those of up to {config.short} tokens"),
        ("rates", f"of rank {facts.training.rank} on `{facts.training.targets[0]}`"),
        ("rates", f"once they have {config.domain:,} tokens together, into one expert of rank {domain.training.rank}"),
        ("rates", f"bounds are {bounds.kl} nats"),
        ("rates", f"a rise of {bounds.drift:.0%}".replace("%", " %")),
        ("rates", f"at least {domain.gain} nats a token"),
        ("rates", f"saved every {facts.training.save_every} steps"),
        ("reading", f"At most {recall.direct} episodes match a question directly, all within {recall.margin} of"),
        ("reading", f"may have {recall.budget} tokens together"),
        ("reading", f"the best {recall.witnesses} episodes are read"),
        ("reading", f"it likelier, {choice.STRANGE:g} at most, and {choice.ASKED} of what a page lacks"),
        ("reading", f"Every token counts {choice.STRANGE:g} nats at most, for or against. {choice.ASKED} of their sum"),
        ("reading", f"if the doubt that is left is below {choice.FAINT} and its odds, times the"),
        ("reading", f"times the number of records, are below {choice.STRAYS:g}:"),
        ("reading", f"counts as {choice.FAR:g} nats less sure for every point"),
        ("reading", f"never as more than {-choice.SUREST:g} nats sure"),
        ("reading", f"are raised by {copying.BONUS:g} nats"),
        ("reading", f"lacks any of these names is read only if the reader's own doubt is below {choice.FAINT}."),
        ("reading", f"if its doubt of both kinds is below {choice.DOUBT_OF_NAMED}; otherwise"),
        ("reading", f"and neither its own doubt nor that of both kinds is {choice.DOUBT_OF_LAST} or more."),
        ("reading", f"Where it is {choice.AHEAD:g} nats surer than the next, its own doubt may be up to"),
        ("reading", f"its own doubt may be up to {choice.DOUBT_OF_TWO}."),
        ("reading", f"and the best {recall.hops} that share such a name are taken"),
        ("reading", f"own doubt at {choice.DOUBT} or more may be the first of two"),
        ("reading", f"if the log-odds of its doubt are {choice.SURER:g} nats lower"),
        ("reading", f"A pair below a doubt of {choice.DOUBT_OF_TWO} has"),
        ("reading", f"only where the log-odds of its doubt are below {choice.SURE_TOGETHER:g}:"),
        ("reading", f"or below {choice.DOUBT_OF_TWO} if it speaks of the same thing or of a change"),
        ("reading", f"among later ones, and the first {recall.hops} of them that hold the name"),
        ("reading", f"stands in more than {choice.COMMON:.0%}".replace("%", " %") + " of all records"),
        ("reading", f"names the statement's answer and leaves a doubt below {choice.DOUBT_OF_LAST}"),
        ("reading", f"With both it must leave a doubt below {choice.DOUBT_OF_LAST};"),
        ("reading", f"a doubt below {choice.DOUBT} and be at most {choice.NEAR:g} nats less sure"),
        ("reading", f"a word such as {', '.join(CHANGE[:-1])} or {CHANGE[-1]}"),
        ("reading", f"a word such as {', '.join(DENIAL[:-1])} or {DENIAL[-1]}"),
        ("reading", f"leave a doubt of {choice.DOUBT}, the statement has been taken back; {choice.FAINT} is enough"),
        ("reading", f"From {recall.certain} on it is about what was learned"),
        ("reading", f"stands in {int(COMMON)} episodes counts half"),
        ("reading", f"without a trained reader it is {RouterWeights.untrained(8).threshold}."),
        ("reading", f"an adapter of rank {recipe.rank} on the attention maps of the top half and of rank"),
        ("reading", f"of rank {recipe.mlp_rank} on its feed-forward maps, or of {recipe.pair_rank} and"),
        ("reading", f"weights are kept in {reader.BITS} bits"),
        ("reading", f"has more than {LONG} tokens"),
        ("reading", f"only a page of up to {LONG} tokens that is alone is read in order"),
        ("rates", f"asked in up to {study.TOLD} wordings"),
        ("guarantees", f"at most {recall.budget} tokens of pages"),
        ("quickstart", f"needs {cores.DEFAULT_CORE_NEEDS // 1_000_000} MB"),
        ("quickstart", f"wheel has {round(cores.WHEEL_BYTES / 1e6)} MB"),
        ("command-line", f"at most {settings.Settings().max_tokens} tokens"),
        ("command-line", f"answer in a chat may have {settings.Settings().chat_max_tokens}."),
        ("worlds", f"a pool of {invented.POOL},"),
        ("worlds", f"at most {scoring.MAX_WORDS} words"),
        ("worlds", f"at most {manual.MAX_WORDS} words"),
        *(("worlds", f"There are {len(invented.relations_of(s))} relations in each of the tune") for s in UNHEARD),
        *(("worlds", f"and {len(invented.relations_of(s, 'own'))} of them never occur in train") for s in UNHEARD),
    ]:
        assert sentence in plain(DOCS / f"{name}.md"), f"docs/{name}.md no longer says: {sentence}"
    assert (facts.accept, facts.group, fast.gate, recipe.pose) == (0.5, 1, float("-inf"), 0.25)


def test_size_of_a_page_is_as_told() -> None:
    width, tokens = 576, 7
    standard = pages.Standard(torch.zeros(width), torch.ones(width))
    labels = {"words": torch.zeros(tokens, dtype=torch.int64), "rarity": torch.zeros(tokens)}
    page = pages.compress(torch.randn(tokens, width), standard, 8, **labels)
    assert f"takes {page.size_bytes() // tokens} bytes for every token" in plain(DOCS / "rates.md")


def test_exit_codes_are_as_told() -> None:
    text = plain(DOCS / "command-line.md")
    for told, error in [
        ("cannot be used gives the exit code 2", errors.InputError),
        ("unwritable store 3", errors.StoreError),
        ("a home in use 4", errors.HomeInUse),
        ("a home of another core 5", errors.HomeMismatch),
        ("cannot be loaded 6", errors.CoreError),
        ("an unknown episode 7", errors.UnknownEpisode),
    ]:
        assert told in text and told.endswith(str(error.exit_code))


def test_settings_are_as_told() -> None:
    names = list(settings.Settings.model_fields)
    listed = ", ".join(names[:-1]) + f" and {names[-1]}"
    assert f"There are six settings: {listed}." in plain(DOCS / "command-line.md") and len(names) == 6


# ---------------------------------------------------------------------- the questions


def test_there_are_enough_questions() -> None:
    assert sum(q.split == "test" for q in QUESTIONS) >= 40
    assert sum(q.split == "tune" for q in QUESTIONS) >= 12
    assert len({q.question for q in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.question[:40])
def test_questions_are_answered_by_their_page_and_give_nothing_away(question: manual.Question) -> None:
    assert question.stands_in((ROOT / question.source).read_text(encoding="utf-8"))
    assert not question.stands_in(question.question), "the question gives its answer away"
    assert all(len(answer.split()) <= 5 and normalise(answer) for answer in question.answers)
    assert not {normalise(answer) for answer in question.answers} & {"yes", "no"}
    for path in WRITTEN:
        assert not contains(path.read_text(encoding="utf-8"), question.question), f"{path.name} has it verbatim"


def test_an_answer_counts_when_it_is_short_and_holds_the_value() -> None:
    question = manual.Question("How many tokens?", ("8,192", "8192 tokens"), "docs/rates.md", "test")
    assert question.right("It takes 8192 tokens.")
    assert not question.right("It takes 18,192 tokens.")
    assert not question.right("8192 " + "word " * manual.MAX_WORDS)


def test_the_right_paragraph_is_the_one_that_answers() -> None:
    def episode(name: str, text: str, source: str = "docs/a.md") -> Episode:
        return Episode(name, text, source, "Heading", 0.0, 1.0, 1, "awake", 0, 8)

    found = [episode("e1", "The door has 7 hinges."), episode("e2", "The window has 7 panes of green glass.")]
    question = manual.Question("How many panes are in the window?", ("7",), "docs/a.md", "test")
    assert manual.gold(question, found) == ["Heading: The window has 7 panes of green glass."]
    with pytest.raises(InputError, match="mend the question"):
        manual.gold(question, [episode("e3", "The window has 7 panes.", "docs/b.md")])


def test_a_damaged_question_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(
        '{"question": "Why?", "answers": ["so"], "source": "docs/a.md", "split": "test"}\n{"question": 1}\n'
    )
    with pytest.raises(InputError, match="line 2"):
        manual.read_questions(path)


def test_the_experiment_on_the_manual(
    tiny_core_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "doors.md").write_text(
        "# Doors\n\nThe door has 7 hinges.\n\nThe gate has 9 locks.\n\nThe roof has a cock.\n"
    )
    lines = [
        {"question": "Hinges of the door?", "answers": ["7"], "source": "docs/doors.md", "split": "test"},
        {"question": "Locks of the gate?", "answers": ["9"], "source": "docs/doors.md", "split": "tune"},
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    loaded = core.Core.load(str(tiny_core_folder))
    result = manual.run(tmp_path / "manual.json", core=loaded)
    assert json.loads((tmp_path / "manual.json").read_text())["rows"] == result["rows"]
    assert set(result["rows"]) == {
        "bare core",
        "memory",
        "right paragraph pasted",
        "bm25 top 1 pasted",
        "bm25 top 3 pasted",
    }
    assert result["episodes"] == 3
    assert [line["question"] for line in result["answers"]["memory"]] == ["Hinges of the door?"]
    assert result["answers"]["right paragraph pasted"][0]["hits"] == ("Doors: The door has 7 hinges.",)
    assert "questions on the manual" in capsys.readouterr().out
    with pytest.raises(InputError, match="no split"):
        manual.run(core=loaded, split="train")
