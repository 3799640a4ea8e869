"""Settings: flags first, then ``FASTSLOW_*``, then a TOML file, then defaults. Few, and each with its source."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from fastslow import cores
from fastslow.errors import InputError

PREFIX = "FASTSLOW_"
OTHERS = ("CONFIG", "DEBUG", "WHEELS")  # variables that are no settings


class Settings(BaseSettings):
    """What every command needs to know. ``threads`` 0 leaves the number to torch."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    home: Path = Field(Path("~/.fastslow/notes"), description="the folder in which the learner lives")
    core: str = Field(cores.DEFAULT_CORE, min_length=1, description="name, folder, .gguf file or hub id")
    cache: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path("fastslow"), description="where cores and readers are kept"
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads; 0 leaves it to torch")
    max_tokens: int = Field(48, ge=1, le=4096, description="longest answer to a question, in tokens")
    chat_max_tokens: int = Field(200, ge=1, le=4096, description="longest turn of a chat, in tokens")


@dataclass(frozen=True)
class Resolved:
    """Settings, and for each name where its value comes from: flag, environment, file or default."""

    settings: Settings
    sources: dict[str, str]
    file: Path
    file_exists: bool


def config_file() -> Path:
    """``FASTSLOW_CONFIG`` where it is set, else ``config.toml`` in the user's configuration folder."""
    chosen = os.environ.get("FASTSLOW_CONFIG")
    return Path(chosen).expanduser() if chosen else platformdirs.user_config_path("fastslow") / "config.toml"


def resolve(**flags: Any) -> Resolved:
    """Merge the four sources; a flag of None was not given. Raises InputError that names the value and its source."""
    path = config_file()
    _check_names()
    given = {
        "flag": {name: value for name, value in flags.items() if value is not None},
        "environment": EnvSettingsSource(Settings)(),
        "file": _read(path),
    }
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, "default")
    for source in ("file", "environment", "flag"):  # the strongest last
        values |= given[source]
        sources |= dict.fromkeys(given[source], source)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise InputError(_explain(error, sources, path)) from None
    expanded = {name: _expanded(getattr(settings, name)) for name in ("home", "cache")}
    return Resolved(settings.model_copy(update=expanded), sources, path, path.is_file())


def _check_names() -> None:
    """A variable with a slip in its name would be a setting that is silently not there."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *OTHERS)}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            raise InputError(f"the variable {name} is no setting: unset it, or use one of {', '.join(sorted(known))}")


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise InputError(f"{path} begins with the ~ of no user: write it out") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if os.environ.get("FASTSLOW_CONFIG"):
            raise InputError(f"FASTSLOW_CONFIG names {path}, which does not exist: make it or unset it") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML ({error}): mend it or remove it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
    unknown = sorted(set(values) - set(Settings.model_fields))
    if unknown:
        known = ", ".join(Settings.model_fields)
        raise InputError(f"{path} has the unknown key {unknown[0]!r}: remove it, or use one of {known}")
    return values


def _explain(error: ValidationError, sources: dict[str, str], path: Path) -> str:
    problem = error.errors()[0]
    name = str(problem["loc"][0])
    where = {
        "file": f"{name} in {path}",
        "environment": PREFIX + name.upper(),
        "flag": f"--{name.removeprefix('chat_').replace('_', '-')}",  # chat has a --max-tokens of its own
    }.get(sources[name], name)
    return f"{where} is {problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
