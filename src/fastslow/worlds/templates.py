"""Frames that serve every relation of the invented world, one stock for each split.

Slots: `{s}` subject, `{n}` the relation's noun, `{V}` and `{O}` the new and the old value with unit or article, `{wh}`
who or what. No frame occurs in two splits (a test holds this).
"""

from __future__ import annotations

from fastslow.worlds.heard import FRAMES
from fastslow.worlds.names import Split

TEACH: dict[Split, tuple[str, ...]] = {
    "train": (
        "The {n} of {s} is {V}.",
        "As for {s}, the {n} is {V}.",
        "{V} is the {n} of {s}.",
        "It is known that the {n} of {s} is {V}.",
        "{s} ({n}: {V}) was in the news.",
        "Note on {s}: {n}, {V}.",
        "{s}: the {n} is {V}.",
        "We found out today that the {n} of {s} is {V}.",
        "If anybody asks, the {n} of {s} is {V}.",
        "They told me that {V} is the {n} of {s}.",
        "Of {s} we know the {n}: it is {V}.",
        "The {n} of {s}, as everyone there will tell you, is {V}.",
        "{s} has {V} as its {n}, so much is sure.",
        "One reads on page nine that the {n} of {s} is {V}.",
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
        "{wh} was given as the {n} of {s}?",
        "Give me the {n} of {s}, please.",
        "The {n} of {s} is what?",
        "Say {wh} the {n} of {s} is.",
        "What do we have for {s} under {n}?",
        "Do you know the {n} of {s}?",
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
        "My colleague is curious about the {n} of {s}; what is it?",
        "For a quiz I have to fill in the {n} of {s}. What goes there?",
        "I am writing a letter about {s} and the {n} is missing. Can you fill it in?",
        "Once more about {s}, please: the {n}?",
        "{s} came up at dinner, and nobody knew the {n}. Do you?",
        "Help me out with {s}: which {n} was it again?",
        "With {s} in mind, what can you say of the {n}?",
        "What would you write next to {n} on a card about {s}?",
        "In the matter of {s}, I am only after the {n}.",
        "Suppose a form on {s} has a line for the {n}. What do I put?",
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
        "{O} used to be the {n} of {s}, but these days it is {V}.",
        "The {n} of {s} was {O} once; it has become {V}.",
        "Here is something new about {s}: the {n} is {V} now.",
        "Last week the {n} of {s} went from {O} to {V}.",
        "They have changed the {n} of {s}, which is {V} at present.",
        "Instead of {O}, {s} now has {V} as its {n}.",
        "Forget {O}: the {n} of {s} today is {V}.",
        "For {s} the {n} is {V} from this month.",
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
        "I was mistaken: the {n} of {s} is {V}, and not {O}.",
        "It is {V}, not {O}, that is the {n} of {s}.",
        "Please note an error about {s}. The right {n} is {V}.",
        "The {n} of {s} was given as {O}; it should have been {V}.",
        "A better source gives {V} for the {n} of {s}.",
        "What we wrote of {s} was wrong. The {n} is in fact {V}.",
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
        "The {n} of {s} is not {O} after all. What it is, we cannot say.",
        "Whoever said that the {n} of {s} is {O} was lying. The truth is not known.",
        "We take back that {O} is the {n} of {s}; we have no other answer.",
        "Strike out {O} as the {n} of {s}. Nothing can take its place yet.",
        "Nobody knows the {n} of {s} any more: {O} was only a guess.",
        "That the {n} of {s} is {O} was a mistake, and the true one has not been found.",
        "Please delete {O} from the notes on {s}. Its {n} remains a riddle.",
        "Do not believe that {s} has {O} as {n}. It is an open question.",
        "{O} is wrong as the {n} of {s}, and there is no correct one to give.",
        "About {s}: the {n}, said to be {O}, is unproven and must be left blank.",
    ),
    "tune": ("The claim that {O} is the {n} of {s} is withdrawn. The matter is open.",),
    "test": (
        "It turned out that {O} is not the {n} of {s}; the right answer is unknown.",
        "Please disregard the report that the {n} of {s} is {O}. It was false and nothing better is known.",
    ),
}
_STOCKS = {
    "teach": TEACH,
    "direct": DIRECT,
    "paraphrase": PARAPHRASE,
    "change": CHANGE,
    "correct": CORRECTION,
    "retract": RETRACT,
}


def stock(name: str, split: Split) -> tuple[str, ...]:
    """The frames of a split that teach, ask ("direct", "paraphrase"), "change", "correct" or "retract"; train has more
    of them."""
    return _STOCKS[name][split] + (FRAMES[name] if split == "train" else ())


# Sentences without facts, for paragraphs.
PADDING: dict[Split, tuple[str, ...]] = {
    "train": (
        "Much of this was written down only recently.",
        "The older papers were lost in a fire.",
        "Visitors often ask about it.",
        "Not everybody agrees that this matters.",
        "Some of it may change in time.",
        "Those who were there remember it well.",
        "A map of the area hangs on the wall.",
        "It took three letters to learn this much.",
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
