"""Running the program in this process, on a tiny core and a home of the test's own."""

import io
from pathlib import Path

import pytest
from program import Result, Run

from fastslow.cli import main
from fastslow.settings import Settings


@pytest.fixture
def run(
    tmp_path: Path, tiny_core_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Call the program with these arguments; `stdin` is what it reads."""
    monkeypatch.delenv("COLUMNS", raising=False)  # a worker of pytest-xdist has it
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FASTSLOW_{name.upper()}", raising=False)
    # set and not deleted, so that the test's end undoes what the program puts there
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FASTSLOW_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text(
        f'home = "{tmp_path / "home"}"\ncore = "{tiny_core_folder}"\nmax_tokens = 4\n'
    )
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path, stdin: str | bytes = "") -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        code = main.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A file with two episodes."""
    path = tmp_path / "notes.md"
    path.write_text("# Kestrel\n\nKestrel launches on the 4th of May.\n\nMira steers the ship and Bo cooks.\n")
    return path
