"""Contexts that are learned: text before a question as a weight that changes in minutes (the textual fast weights of
Fast-Slow Training, arXiv 2605.12484).

A context is a list of typed items and not a free text, so that it is edited item by item and never rewritten, which is
what made contexts collapse elsewhere (ACE, arXiv 2510.04618).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, Literal

from fastslow.errors import InputError, StoreError

Kind = Literal["role", "format", "rule", "demonstration", "contrast"]
ORDER: tuple[Kind, ...] = ("role", "format", "rule", "demonstration", "contrast")


@dataclass(frozen=True)
class Item:
    """One line. ``about`` is what a rule is about, and a newer one replaces it; ``sources`` are the ids of the problems
    it was made from."""

    kind: Kind
    text: str
    about: str = ""
    sources: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.kind not in ORDER or not self.text.strip():
            raise InputError(f"{self}: give a kind of {', '.join(ORDER)} and a text")


@dataclass(frozen=True)
class Context:
    """Items in the order in which they came, and the context it was made from with the edit that made it."""

    items: tuple[Item, ...] = ()
    parent: str = ""
    edit: str = "seed"

    @property
    def id(self) -> str:
        """Of what it says, whatever its history."""
        return sha256("\n".join(f"{item.kind}:{item.text}" for item in self.items).encode()).hexdigest()[:16]

    def lines(self, problem: str | None = None) -> tuple[str, ...]:
        """What is put before a question, by kind. Of items made from this ``problem`` alone nothing is said: they would
        hold its answer."""
        told = [item for item in self.items if problem is None or item.sources != frozenset({problem})]
        return tuple(item.text for kind in ORDER for item in told if item.kind == kind)

    def size(self) -> int:
        """Characters with the breaks between lines."""
        return sum(len(item.text) + 1 for item in self.items)

    def plus(self, items: Sequence[Item], budget: int, edit: str) -> Context:
        """With these items at the end. The same text, or the same ``about``, replaces the older item, whose sources it
        keeps if it says the same; above ``budget`` characters the oldest rules, demonstrations and contrasts go."""
        held = list(self.items)
        for item in items:
            same = next((old for old in held if (old.kind, old.text) == (item.kind, item.text)), None)
            held = [o for o in held if o is not same and not (item.about and o.about == item.about)]
            held.append(replace(item, sources=item.sources | same.sources) if same else item)
        child = Context(tuple(held), self.id, edit)
        while child.size() > budget and (loose := [i for i in child.items if i.kind not in ("role", "format")]):
            child = replace(child, items=tuple(i for i in child.items if i is not loose[0]))
        return child

    def without(self, item: Item) -> Context:
        return Context(tuple(other for other in self.items if other is not item), self.id, "drop")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        items = [asdict(item) | {"sources": sorted(item.sources)} for item in self.items]
        return {"items": items, "parent": self.parent, "edit": self.edit}

    @classmethod
    def from_dict(cls, about: Mapping[str, Any]) -> Context:
        """Raises StoreError where it is no context."""
        try:
            items = [Item(**{**item, "sources": frozenset(item["sources"])}) for item in about["items"]]
            return cls(tuple(items), about["parent"], about["edit"])
        except (KeyError, TypeError) as error:
            raise StoreError(f"this is not a saved context ({error})") from error


def under(lines: Sequence[str], question: str) -> str:
    """A question under the lines of a context, as it stands in the user's message."""
    return "\n".join([*lines, question])


def frontier(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The contexts that are best on some problem, without those whose problems another wins too and more; the best mean
    first. ``scores`` are by context and problem (the instance-wise Pareto frontier of GEPA, arXiv 2507.19457).

    Raises InputError for an empty population, or where problems differ.
    """
    if not scores or any(set(each) != set(next(iter(scores.values()))) for each in scores.values()):
        raise InputError("give at least one context, and score all on the same problems")
    problems = list(next(iter(scores.values())))
    best = {p: max(each[p] for each in scores.values()) for p in problems}
    wins = {name: {p for p in problems if each[p] == best[p]} for name, each in scores.items()}
    kept = [name for name in scores if wins[name] and not any(wins[name] < wins[other] for other in scores)]
    return sorted(kept or scores, key=lambda name: -sum(scores[name].values()))


def survivors(scores: Mapping[str, Mapping[str, float]], count: int) -> list[str]:
    """At most ``count`` contexts: of the frontier the best by mean score, filled up from the others."""
    front = frontier(scores)
    rest = sorted((n for n in scores if n not in front), key=lambda name: -sum(scores[name].values()))
    return [*front, *rest][:count]
