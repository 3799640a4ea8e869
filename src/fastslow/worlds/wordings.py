"""A relation of the invented world and how each split speaks of it.

Slots: `{s}` subject, `{v}` value, `{av}` value with a or an.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fastslow.worlds.names import Split


@dataclass(frozen=True)
class Wordings:
    """How one split speaks of one relation; the two-hop questions use the direct ones."""

    noun: str
    teach: tuple[str, ...]
    direct: tuple[str, ...]
    paraphrase: tuple[str, ...]
    reverse: tuple[str, ...]


@dataclass(frozen=True)
class Relation:
    """One relation: what it joins, how its value is written, and its wordings in the splits that use it."""

    kind: str
    value_kind: str
    wordings: dict[Split, Wordings]
    phrase: str = "{v}"
    span: tuple[int, int, int] | None = None  # lowest, highest, step of a numeric value
    fixed: bool = False  # a fact of history, which can be corrected but not change
    thin: bool = False  # hardly more than a name: `named_relations.py`
    update: dict[Split, tuple[str, ...]] = field(default_factory=dict)


def w(noun: str, teach: str, direct: str, paraphrase: str, reverse: str) -> Wordings:
    """Wordings from strings with | between the alternatives."""
    parts = (tuple(part.strip() for part in text.split("|")) for text in (teach, direct, paraphrase, reverse))
    return Wordings(noun, *parts)
