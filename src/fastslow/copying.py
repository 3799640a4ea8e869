"""Copying: a word that was read is spelled as it was read.

A core copies a name piece by piece, and a small one now and then drops a piece or slips into another word. So once an
answer has begun a word as a word of what it reads begins, the tokens that go on with that word are raised. It is the
idea of a pointer network (See et al. 2017, arXiv 1704.04368) with the spelling in the place of attention: what is said
is the model's choice, and how it is spelled is the memory's.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from fastslow.core import Core

BONUS = 10.0  # nats
WORD = re.compile(r"[^\W_]+")
BEGUN = re.compile(r"[^\W_]+$")


def rare_words(core: Core, text: str) -> frozenset[str]:
    """The words of a text that the core has to write in several pieces: names, numbers, and what else is rare."""
    return frozenset(filter(core.is_rare, WORD.findall(text)))


def copied_words(core: Core, text: str) -> frozenset[str]:
    """The words of a text that an answer copies: the rare ones, those that take several pieces where an answer begins
    with them ("Oboe" does, " oboe" does not), and the words that one of these goes on from."""
    words = frozenset(WORD.findall(text))
    copied = rare_words(core, text) | {word for word in words if len(core.encode(word.capitalize())) > 1}
    return copied | {word for word in words if any(_begins(word, other) for other in copied)}


def onward(core: Core, said: str, words: Collection[str]) -> list[int]:
    """The tokens that go on with the word that an answer has begun, where it begins one of the ``words`` and is none
    of them itself. The case of the first letter does not matter."""
    begun = BEGUN.search(said)
    if begun is None:
        return []
    start = begun[0]
    alike = [word for word in words if _begins(start, word)]
    if any(len(word) == len(start) for word in alike):
        return []
    rests = {word[len(start) :] for word in alike}
    pieces = {rest[:n] for rest in rests for n in range(1, len(rest) + 1)}
    return sorted(token for token in map(core.token, pieces) if token is not None)


def _begins(start: str, word: str) -> bool:
    return word[1:].startswith(start[1:]) and word[0].casefold() == start[0].casefold()
