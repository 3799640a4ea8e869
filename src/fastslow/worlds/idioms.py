"""Relations that the train split alone has and that are asked for in other words than they are told: whose soup do they
eat, where somebody cooks for the workers. A reader must know what words mean to see that a page answers, and that its
neighbour on something alike does not. The tables are `idioms.txt` and, with what is rarer in life and has more
wordings, `rarities.txt`, which a sleep leaves out of what it asks about a page.
"""

from __future__ import annotations

from pathlib import Path

from fastslow.worlds.wordings import Relation, Wordings

_SPANS = {"number": (3, 990, 1), "year": (1240, 2009, 1)}


def _relation(line: str) -> tuple[str, Relation]:
    heading, *parts = line.split("|")
    kind, value_kind, noun = heading.strip().split(" ", 2)
    told, plainly, otherwise, back = ([wording.strip() for wording in part.split("/")] for part in parts)
    back.append(f"Of whom or what is {{v}} the {noun}?")
    wordings = Wordings(noun, tuple(told), tuple(plainly), tuple(otherwise), tuple(back))
    return f"{kind}: {noun}", Relation(kind, value_kind, {"train": wordings}, span=_SPANS.get(value_kind))


def _relations(table: str) -> dict[str, Relation]:
    lines = Path(__file__).with_name(table).read_text(encoding="utf-8").splitlines()
    return dict(_relation(line) for line in lines if not line.startswith("#"))


IDIOMS = _relations("idioms.txt")
RARITIES = _relations("rarities.txt")
