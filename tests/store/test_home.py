import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastslow.errors import HomeInUse, HomeMismatch, InputError, StoreError
from fastslow.store import Home
from fastslow.store.home import is_home

CORE = {"name": "small", "sha256": "a" * 8, "shape": (2, 3)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "home"


def test_a_home_survives_a_reopen(folder: Path) -> None:
    with Home.open(folder) as home:
        home.check_core(CORE)
        event = home.log.append("learn", {"text": "x"}, "e", time=0.0)
        assert home.snapshots.is_dir()
        assert home.size_bytes() == sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) > 0
    with Home.open(folder, create=False) as home:
        home.check_core(CORE)
        assert list(home.log.events()) == [event]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_another_core_is_refused_by_name(folder: Path) -> None:
    with Home.open(folder) as home:
        home.check_core(CORE)
    with Home.open(folder) as home:
        with pytest.raises(HomeMismatch) as caught:
            home.check_core({**CORE, "name": "large", "sha256": "b" * 8})
        for part in ("small", "large", "aaaaaaaa", "bbbbbbbb", "use another home"):
            assert part in str(caught.value)
        home.check_core(CORE)


def test_an_empty_folder_becomes_a_home_and_others_do_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    Home.open(tmp_path / "empty").close()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    with pytest.raises(HomeMismatch, match="not empty and not a home"):
        Home.open(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["diary.txt"]
    with pytest.raises(InputError, match="is a file"):
        Home.open(tmp_path / "full" / "diary.txt")
    with pytest.raises(InputError, match="there is no home"):
        Home.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_a_creation_that_was_cut_off_is_finished(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "home.lock").write_text("1")
    (folder / "home.json.tmp").write_text("{")
    with Home.open(folder) as home:
        home.check_core(CORE)
    assert not (folder / "home.json.tmp").exists()


def test_leftovers_of_writes_are_removed(folder: Path) -> None:
    Home.open(folder).close()
    (folder / "snapshots" / "fast.json.tmp").write_text("old")
    Home.open(folder).close()
    assert list((folder / "snapshots").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "1", "core": null}', '{"format": 1, "core": 3}'])
def test_a_damaged_home_json_is_reported(folder: Path, text: str) -> None:
    Home.open(folder).close()
    (folder / "home.json").write_text(text)
    with pytest.raises(StoreError, match=r"home\.json is damaged"):
        Home.open(folder)


def test_a_lost_home_json_never_lets_another_core_in(folder: Path) -> None:
    Home.open(folder).close()
    (folder / "home.json").unlink()
    with pytest.raises(HomeMismatch, match=r"restore home\.json"):
        Home.open(folder)


def test_a_lost_log_is_never_replaced_by_an_empty_one(folder: Path) -> None:
    Home.open(folder).close()
    (folder / "log.sqlite").unlink()
    with pytest.raises(StoreError, match="has lost its log"):
        Home.open(folder)
    assert not (folder / "log.sqlite").exists()


def test_a_log_that_lost_its_bytes_is_never_begun_anew(folder: Path) -> None:
    with Home.open(folder) as home:
        home.log.append("learn", {"text": "x"}, "e", time=0.0)
    (folder / "log.sqlite").write_bytes(b"")
    with pytest.raises(StoreError, match=r"log\.sqlite is empty, and there was a log in it once: restore it"):
        Home.open(folder)
    assert (folder / "log.sqlite").read_bytes() == b""


def test_a_home_that_may_not_be_read_is_an_error_that_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Home.open(folder).close()

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)  # not by its mode, because tests may run as root
    for act in (Home.open, is_home):
        with pytest.raises(StoreError, match=r"cannot be read \(Permission denied\): check its permissions"):
            act(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    Home.open(folder).close()
    (folder / "home.json").write_text(json.dumps({"format": 2, "core": None}))
    with pytest.raises(HomeMismatch, match="newer fastslow"):
        Home.open(folder)


def test_a_damaged_log_gives_the_home_back(folder: Path) -> None:
    Home.open(folder).close()
    (folder / "log.sqlite").write_bytes(b"damaged" * 1000)
    for _ in range(2):
        with pytest.raises(StoreError, match="fastslow doctor"):
            Home.open(folder)


def test_a_second_process_is_told_which_one_has_the_home(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fastslow.store import Home\n"
        f"home = Home.open(Path({str(folder)!r}))\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(HomeInUse, match=f"process {owner.pid}"):
            Home.open(folder)
        owner.kill()
    Home.open(folder).close()


def test_closing_twice_is_fine(folder: Path) -> None:
    home = Home.open(folder)
    home.close()
    home.close()
