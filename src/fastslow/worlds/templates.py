"""Frames that serve every relation of the invented world, one stock for each split.

Slots: `{s}` subject, `{n}` the relation's noun, `{V}` and `{O}` the new and the old value with unit or article, `{wh}`
who or what. No frame occurs in two splits (a test holds this).
"""

from __future__ import annotations

from fastslow.worlds.names import Split

TEACH: dict[Split, tuple[str, ...]] = {
    "train": (
        "The {n} of {s} is {V}.",
        "As for {s}, the {n} is {V}.",
        "{V} is the {n} of {s}.",
        "It is known that the {n} of {s} is {V}.",
        "{s} ({n}: {V}) was in the news.",
        "Note on {s}: {n}, {V}.",
    ),
    "tune": ("Records give {V} as the {n} of {s}.", "For {s}, the {n} is listed as {V}."),
    "test": ("According to the register, the {n} of {s} is {V}.", "The register names {V} as the {n} of {s}."),
}
DIRECT: dict[Split, tuple[str, ...]] = {
    "train": (
        "{wh} is the {n} of {s}?",
        "Tell me the {n} of {s}.",
        "I need the {n} of {s}.",
        "{wh} is the {n} that belongs to {s}?",
        "{s}: {wh} is the {n}?",
    ),
    "tune": ("Please give the {n} of {s}.", "{wh} is listed as the {n} of {s}?"),
    "test": ("Can you state the {n} of {s}?", "{wh} is recorded as the {n} of {s}?"),
}
PARAPHRASE: dict[Split, tuple[str, ...]] = {
    "train": (
        "Thinking of {s}: {wh} would be the {n}?",
        "I forgot the {n} of {s}. Could you remind me?",
        "About {s}, I would like to hear the {n}.",
        "We were talking about {s} just now. And the {n}?",
        "If I wanted the {n} of {s}, what would you say?",
        "Let us speak of {s}. {wh} is the {n}?",
        "My note on {s} is lost; it had the {n}. Which one was it?",
    ),
    "tune": ("A question about {s}. Which {n} do you have on file?", "Do you recall the {n} of {s}?"),
    "test": (
        "Someone asked me about {s} and wants to know the {n}. What should I answer?",
        "Regarding {s}, name the {n}.",
    ),
}
CHANGE: dict[Split, tuple[str, ...]] = {
    "train": (
        "The {n} of {s} has changed from {O} to {V}.",
        "Since this spring the {n} of {s} is {V}.",
        "The {n} of {s} is no longer {O}. It is now {V}.",
        "{s} has a new {n}: {V}.",
        "Until lately the {n} of {s} was {O}; now it is {V}.",
    ),
    "tune": ("News: the {n} of {s} is now {V}, where it used to be {O}.", "From today on, the {n} of {s} is {V}."),
    "test": (
        "As of this year, the {n} of {s} is {V}, no longer {O}.",
        "There has been a change: {s} now has {V} as {n}.",
        "{V} has replaced {O} as the {n} of {s}.",
    ),
}
CORRECTION: dict[Split, tuple[str, ...]] = {
    "train": (
        "Correction: the {n} of {s} is {V}, not {O}.",
        "We were wrong about the {n} of {s}. It is {V}.",
        "Contrary to what was said before, the {n} of {s} is {V}.",
    ),
    "tune": ("An error was found: the {n} of {s} is {V} instead of {O}.", "Corrected entry for {s}: the {n} is {V}."),
    "test": (
        "New research shows that the {n} of {s} is {V} rather than {O}.",
        "The register has been put right: the {n} of {s} is {V}.",
    ),
}
RETRACT: dict[Split, tuple[str, ...]] = {
    "train": (
        "It was wrongly reported that the {n} of {s} is {O}. Nobody knows the true one.",
        "Forget that the {n} of {s} is {O}; this was made up.",
        "The statement that {O} is the {n} of {s} cannot be upheld. We do not know better.",
    ),
    "tune": ("The claim that {O} is the {n} of {s} is withdrawn. The matter is open.",),
    "test": (
        "It turned out that {O} is not the {n} of {s}; the right answer is unknown.",
        "Please disregard the report that the {n} of {s} is {O}. It was false and nothing better is known.",
    ),
}
# Sentences without facts, for paragraphs.
PADDING: dict[Split, tuple[str, ...]] = {
    "train": (
        "Much of this was written down only recently.",
        "The older papers were lost in a fire.",
        "Visitors often ask about it.",
        "Not everybody agrees that this matters.",
    ),
    "tune": (
        "These notes were gathered over one summer.",
        "Little else has been published so far.",
        "A longer account is in preparation.",
    ),
    "test": (
        "The details were checked twice.",
        "Few people outside the region have heard of it.",
        "The local newspaper reported on it at length.",
        "More will surely come to light.",
    ),
}
SHORT_NAME: dict[str, str] = {"firm": "the firm", "place": "the town", "product": "the article"}
