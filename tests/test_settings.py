from pathlib import Path

import pytest

from fastslow import cores
from fastslow.errors import InputError
from fastslow.settings import Settings, config_file, resolve


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file of the test's own, and no setting in the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FASTSLOW_{name.upper()}", raising=False)
    path = tmp_path / "config.toml"
    path.write_text("")
    monkeypatch.setenv("FASTSLOW_CONFIG", str(path))
    return path


def test_defaults(file: Path) -> None:
    found = resolve()
    assert found.settings.core == cores.DEFAULT_CORE
    assert found.settings.home == Path.home() / ".fastslow" / "notes"
    assert set(found.sources.values()) == {"default"}


def test_flag_beats_environment_beats_file_beats_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('core = "from-file"\nthreads = 3\nmax_tokens = 7\n')
    monkeypatch.setenv("FASTSLOW_CORE", "from-environment")
    monkeypatch.setenv("FASTSLOW_THREADS", "2")
    found = resolve(core="from-flag", home=None)
    values = found.settings
    assert (values.core, values.threads, values.max_tokens, values.chat_max_tokens) == ("from-flag", 2, 7, 200)
    wanted = {"core": "flag", "threads": "environment", "max_tokens": "file", "chat_max_tokens": "default"}
    assert {name: found.sources[name] for name in wanted} == wanted


def test_a_home_is_expanded_from_every_source(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('home = "~/a"')
    assert resolve().settings.home == Path.home() / "a"
    monkeypatch.setenv("FASTSLOW_HOME", "~/b")
    assert resolve().settings.home == Path.home() / "b"
    assert resolve(home=Path("~/c")).settings.home == Path.home() / "c"


def test_an_empty_variable_counts_as_unset(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_CORE", "")
    assert resolve().sources["core"] == "default"


def test_a_variable_that_is_no_setting_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_DEBUG", "1")
    resolve()
    monkeypatch.setenv("FASTSLOW_HOEM", "/tmp/notes")
    with pytest.raises(InputError, match=r"FASTSLOW_HOEM is no setting.*FASTSLOW_HOME"):
        resolve()


def test_the_cache_that_the_settings_name_is_the_one_cores_use(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastslow.cli import session

    monkeypatch.setenv("FASTSLOW_CACHE", "before")
    monkeypatch.delenv("FASTSLOW_CACHE")
    file.write_text('cache = "/tmp/elsewhere"')
    session.settings()
    assert cores.cache_folder() == Path("/tmp/elsewhere")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('hom = "x"', ["'hom'", "config.toml", "home"]),
        ('threads = "many"', ["threads", "config.toml", "'many'"]),
        ("threads = -1", ["threads", "config.toml", "-1"]),
        ('core = ""', ["core", "config.toml"]),
        ("core", ["config.toml", "TOML"]),
    ],
)
def test_a_bad_file_is_named_with_its_key(file: Path, text: str, words: list[str]) -> None:
    file.write_text(text)
    with pytest.raises(InputError) as error:
        resolve()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_bad_variable_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_MAX_TOKENS", "0")
    with pytest.raises(InputError, match="FASTSLOW_MAX_TOKENS is '0'"):
        resolve()


def test_a_bad_flag_is_named(file: Path) -> None:
    with pytest.raises(InputError, match="--max-tokens is 0"):
        resolve(max_tokens=0)


def test_a_file_that_broke_in_its_encoding(file: Path) -> None:
    file.write_bytes(b'core = "\xff"')
    with pytest.raises(InputError, match="TOML"):
        resolve()


def test_a_file_that_is_named_must_exist(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_CONFIG", str(file.with_name("other.toml")))
    with pytest.raises(InputError, match=r"other\.toml, which does not exist"):
        resolve()


def test_the_usual_file_may_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FASTSLOW_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_file().name == "config.toml"
    assert not resolve().file_exists
