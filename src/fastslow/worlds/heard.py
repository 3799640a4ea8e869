"""What the train split alone hears: more ways to speak of its common relations (`rewordings.txt`), and what people say
around a sentence.

A reader is as good as the variety of what it heard. Test keeps the few wordings that it has, so that a judgement
stays a judgement of wordings that nobody has trained on.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

_LINES = Path(__file__).with_name("rewordings.txt").read_text(encoding="utf-8").splitlines()
_ROWS = [line.split("|") for line in _LINES if not line.startswith("#")]
# relation -> statements, direct questions, paraphrases, reverse questions
REWORDINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    name.strip(): tuple(tuple(wording.strip() for wording in part.split("/")) for part in parts)
    for name, *parts in _ROWS
}

QUESTION_AROUND: tuple[str, ...] = (
    "{q} Thank you.",
    "{q} Please be brief.",
    "Quick question: {q}",
    "Hello! {q}",
    "For my notes: {q}",
    "One more thing. {q}",
    "I have to know this for tomorrow. {q}",
    "Maybe you can help. {q}",
    "{q} I cannot find it anywhere.",
    "Let me ask you something. {q}",
    "{q} Just the answer, please.",
    "A friend asks: {q}",
    "Now to something else. {q}",
    "Question: {q}",
    "{q} You told me once.",
    "What do you remember of this? {q}",
)
STATEMENT_AROUND: tuple[str, ...] = (
    "For the record: {t}",
    "Here is what I read. {t}",
    "{t} This is all that we know.",
    "{t} I saw it myself.",
    "Listen. {t}",
    "{t} Write that down.",
    "Monday. {t}",
    "News from the office: {t}",
    "Somebody told me the following. {t}",
    "- {t}",
    "{t} (From a letter.)",
    "Remember this: {t}",
)


def around(sentence: str, frames: tuple[str, ...], slot: str, rng: Random, share: float) -> str:
    """The sentence, in ``share`` of all cases with something said around it."""
    return rng.choice(frames).format(**{slot: sentence}) if rng.random() < share else sentence
