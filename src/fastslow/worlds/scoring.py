"""Scores for free answers: what counts as right, as a false memory, and as saying that one does not know."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Protocol

from fastslow.worlds.names import MONTHS

MAX_WORDS = 25

_MONTH = "|".join(month.lower() for month in MONTHS)
_ABSTENTIONS = ("don't know", "do not know", "not known", "no information")


class Asked(Protocol):
    """What scoring needs of a probe."""

    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str | None: ...


def normalise(text: str) -> str:
    """Lower case, no articles or punctuation, single spaces; "1,250" is "1250", "March 3rd" is "3 march"."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"'s\b", "", text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", text)
    text = re.sub(r"[^\w\s.]|_", " ", text)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    text = re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", r"\1", text)
    text = re.sub(rf"\b(\d{{1,2}})\s+of\s+({_MONTH})\b", r"\1 \2", " ".join(text.split()))
    # "9 December. 42 guests" has its day already.
    return re.sub(rf"(?<!\d )\b({_MONTH}) (\d{{1,2}})\b", r"\2 \1", text)


def contains(text: str, value: str) -> bool:
    """Whether `value` stands in `text` as whole words, both normalised; an empty value is in nothing."""
    wanted = normalise(value)
    return bool(wanted) and f" {wanted} " in f" {normalise(text)} "


def is_correct(answer_text: str, probe: Asked, taught_values: Iterable[str]) -> bool:
    """Whether a short answer gives the right value and no other taught one.

    `taught_values` are the values of the probe's value kind (`World.taught_values`). Values in the question and values
    inside the right one do not count against the answer. Raises ValueError for a probe that has no answer.
    """
    if probe.answer is None:
        raise ValueError("This probe has no answer; score it with is_false_memory or is_abstention.")
    if len(answer_text.split()) > MAX_WORDS or not contains(answer_text, probe.answer):
        return False
    others = (v for v in taught_values if not contains(probe.answer, v) and not contains(probe.question, v))
    return not any(contains(answer_text, value) for value in others)


def is_false_memory(answer_text: str, probe: Asked, taught_values: Iterable[str]) -> bool:
    """Whether the answer names a taught value that the question does not; for probes without an answer.

    Raises ValueError for a probe that has an answer.
    """
    if probe.answer is not None:
        raise ValueError("This probe has an answer; score it with is_correct.")
    return any(contains(answer_text, v) for v in taught_values if not contains(probe.question, v))


def is_abstention(text: str) -> bool:
    """Whether the text says that the answer is not known."""
    lowered = " ".join(text.casefold().replace("’", "'").split())
    return any(phrase in lowered for phrase in _ABSTENTIONS)
