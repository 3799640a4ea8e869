"""Opening a learner for a command: settings, core with its progress bars, home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from fastslow.cli import output
from fastslow.errors import InputError

if TYPE_CHECKING:
    from fastslow.core import Core
    from fastslow.learner import Learner
    from fastslow.settings import Settings


def settings(**flags: Any) -> Settings:
    """The settings of this call, with what other modules read from the environment put there."""
    from fastslow.settings import resolve  # a quarter of a second, which `--help` should not take

    chosen = resolve(**flags).settings
    os.environ["FASTSLOW_CACHE"] = str(chosen.cache)
    return chosen


def load_core(chosen: Settings, progress: Progress) -> Core:
    """Fetch the core where it is not cached, and load it. Raises CoreError."""
    task = progress.add_task(f"opening {chosen.core}", total=None)
    prepare(chosen, progress)
    from fastslow.core import Core

    core = Core.load(chosen.core)
    progress.update(task, description=f"opened {chosen.core}", total=1, completed=1)
    return core


def prepare(chosen: Settings, progress: Progress) -> None:
    """What comes before loading: the threads, and a core in the cache."""
    # imported here because torch takes seconds, and most errors are found without it
    import torch

    from fastslow import cores

    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    cores.locate(chosen.core, progress)


@contextmanager
def open_learner(chosen: Settings, *, create: bool = False) -> Iterator[Learner]:
    """The learner in the home of these settings.

    Raises InputError, before the core is loaded, where there is no home and none is to be made; and what a home that
    is in use or damaged raises.
    """
    from fastslow.store.home import Home, is_home

    if not create:
        require_home(chosen)
    if is_home(chosen.home):
        Home.open(chosen.home, create=False).close()
    with output.bars(brief=True) as progress:
        core = load_core(chosen, progress)
        progress.add_task(f"opening {output.short_path(chosen.home)}", total=None)
        from fastslow.learner import Learner

        learner = Learner.open(chosen.home, core, create=create)
    with learner:
        yield learner


def require_home(chosen: Settings) -> None:
    from fastslow.store.home import is_home

    if not is_home(chosen.home):
        raise InputError(
            f"there is no home in {chosen.home}: learn something first (fastslow learn PATH), "
            "or name another with --home"
        )
