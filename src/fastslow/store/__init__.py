"""The episode log (the truth), snapshots, and the home that holds them."""

from fastslow.store.home import Home
from fastslow.store.log import Event, Log

__all__ = ["Event", "Home", "Log"]
