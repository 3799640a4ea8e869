"""Split a document into episodes along its own structure: headings, paragraphs, list items, tables, sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEADING = re.compile(r"^(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$")
FENCE = re.compile(r"^\s*```[^`]*$")  # a line such as ```this``` is ordinary text
ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(`*])")


@dataclass(frozen=True)
class Piece:
    """One episode's worth of a document: ``heading`` is the path of headings above it (may be empty)."""

    heading: str
    text: str

    @property
    def written(self) -> str:
        return written(self.heading, self.text)


def written(heading: str, text: str) -> str:
    """What the core reads: the text, behind its heading where it has one."""
    return f"{heading}: {text}" if heading else text


def split(text: str, tokens: Callable[[str], int], limit: int = 96) -> list[Piece]:
    """Pieces of at most about ``limit`` tokens, in order. A paragraph is cut only where it is longer than that, and
    then between sentences; a sentence that is longer still is cut between words."""
    return [piece for block in _blocks(text) for piece in _pieces(*block, tokens, limit)]


def split_again(piece: Piece, tokens: Callable[[str], int], limit: int = 96) -> list[Piece]:
    """The same of one piece that is too long for another core: between its lines, where it has several, as code has."""
    lines = piece.text.split("\n")
    units, joint = (lines, "\n") if len(lines) > 1 else (_units(lines) or lines, " ")
    return list(_pieces(piece.heading, units, joint, tokens, limit))


def _pieces(heading: str, block: list[str], joint: str, tokens: Callable[[str], int], limit: int) -> Iterator[Piece]:
    size = tokens(heading) if heading else 0
    if size > limit // 2:  # it leaves no room for what stands under it
        heading, size, block = "", 0, [heading, *block]
    for part in _fit(block, joint, tokens, max(16, limit - size)):
        yield Piece(heading, part)


def _blocks(text: str) -> Iterator[tuple[str, list[str], str]]:
    """(heading path, units, what joins them) of every paragraph, list, table or code block. Units are what may be kept
    apart: sentences of a paragraph, items of a list, rows of a table, lines of code. A heading with nothing under it
    stands alone."""
    path: list[tuple[int, str, int]] = []  # level, title, number of the line
    bare: list[tuple[int, str, int]] = []  # those of the path that nothing was said under yet
    lines: list[str] = []
    fenced = False

    def flush() -> Iterator[tuple[str, list[str], str]]:
        units = _units(lines) if any(line.strip() for line in lines) else []
        if any(unit.strip() for unit in units):
            joint = "\n" if FENCE.match(lines[0]) else " "  # lines of code mean something as lines
            yield " > ".join(title for _, title, _ in path[-2:]), units, joint
            bare.clear()
        lines.clear()

    for n, line in enumerate(text.splitlines()):
        fence = bool(FENCE.match(line))
        if fence and not fenced:  # code directly under a paragraph
            yield from flush()
        fenced = fenced != fence
        match = None if fenced else HEADING.match(line)
        if match:
            yield from flush()
            level = len(match[1])
            if match[2]:
                path = [entry for entry in path if entry[0] < level] + [(level, match[2], n)]
                # What can head nothing any more stands alone, and so does what was before it: the order is kept.
                left = max((i + 1 for i, entry in enumerate(bare) if entry not in path[-2:]), default=0)
                yield from (("", [entry[1]], " ") for entry in bare[:left])
                bare = [*bare[left:], path[-1]]
        elif not line.strip() and not fenced:
            yield from flush()
        else:
            lines.append(line)
            if fence and not fenced:
                yield from flush()
    yield from flush()
    yield from (("", [title], " ") for _, title, _ in bare)


def _units(lines: list[str]) -> list[str]:
    if FENCE.match(lines[0]):
        return [line.rstrip() for line in lines if not FENCE.match(line)]
    if lines[0].lstrip().startswith("|"):
        rows = [" ".join(line.split()) for line in lines]
        return [row for row in rows if set(row) - set("|-: ")]
    items: list[str] = []
    for line in lines:
        if ITEM.match(line) or not items:
            items.append(line.strip())
        else:
            items[-1] += " " + line.strip()
    if len(items) > 1:
        return items
    return [s for s in SENTENCE_END.split(" ".join(items[0].split())) if s]


def _fit(units: list[str], joint: str, tokens: Callable[[str], int], limit: int) -> Iterator[str]:
    """Neighbouring units joined while they fit; a unit that is too long alone is cut between words."""
    current = ""
    for unit in units:
        for part in _cut(unit, tokens, limit):
            joined = f"{current}{joint}{part}" if current else part
            if current.strip() and tokens(joined) > limit:
                yield current.rstrip()
                current = part
            else:
                current = joined
    if current.strip():
        yield current.rstrip()


def _cut(unit: str, tokens: Callable[[str], int], limit: int) -> Iterator[str]:
    if tokens(unit) <= limit:
        yield unit
        return
    current: list[str] = []
    size = 0
    for word in unit.split():
        cost = tokens(" " + word)
        if current and size + cost > limit:
            yield " ".join(current)
            current, size = [], 0
        # A word with no spaces in it can still be longer than a page (base64, a long URL).
        if cost > limit:
            step = max(1, len(word) * limit // cost)
            for i in range(0, len(word), step):
                yield from _halved(word[i : i + step], tokens, limit)
            continue
        current.append(word)
        size += cost
    if current:
        yield " ".join(current)


def _halved(word: str, tokens: Callable[[str], int], limit: int) -> Iterator[str]:
    """Parts of a word that fit, however unevenly its tokens lie in it."""
    if len(word) < 2 or tokens(word) <= limit:
        yield word
        return
    half = len(word) // 2
    yield from _halved(word[:half], tokens, limit)
    yield from _halved(word[half:], tokens, limit)
