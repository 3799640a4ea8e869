"""Procedural streams, each with its own scorer."""

from fastslow.worlds.scoring import is_abstention, is_correct, is_false_memory, normalise

__all__ = ["is_abstention", "is_correct", "is_false_memory", "normalise"]
