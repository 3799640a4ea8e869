"""fastslow: a persistent internal state at three rates around an autoregressive core."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastslow.core import Core
    from fastslow.errors import FastslowError
    from fastslow.learner import Learner
    from fastslow.reports import Answer, Episode, Receipt, SleepReport, Status, Trace
    from fastslow.state import State
    from fastslow.tiers import LearnerConfig

__all__ = [
    "Answer",
    "Core",
    "Episode",
    "FastslowError",
    "Learner",
    "LearnerConfig",
    "Receipt",
    "SleepReport",
    "State",
    "Status",
    "Trace",
]

_HOMES = {"Core": "core", "FastslowError": "errors", "Learner": "learner", "LearnerConfig": "tiers", "State": "state"}


def __getattr__(name: str) -> Any:
    # Loaded on first use, because torch takes seconds to import and `fastslow --help` should not wait for it.
    if name not in __all__:
        raise AttributeError(f"module 'fastslow' has no attribute {name!r}")
    return getattr(import_module(f"fastslow.{_HOMES.get(name, 'reports')}"), name)
