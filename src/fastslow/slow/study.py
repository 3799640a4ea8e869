"""What an episode is studied with: questions, blanks and the text itself as lessons, and other questions as checks.

A core learns a fact it can use, not a string it can repeat, only from many wordings and from both directions
(Allen-Zhu and Li 2023, arXiv 2309.14316; Berglund et al. 2023, arXiv 2309.12288). Rules make some of them from any
sentence with a number, a date or a name. A reader that poses and answers questions with the page in sight makes the
better ones; pass them as ``posed``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DATE = rf"\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{MONTH}(?: \d{{4}})?|{MONTH} \d{{1,2}}(?:, \d{{4}})?"
NUMBER = r"\d+(?:[.,:]\d+)*"
NAME = r"[A-Z][\w'’-]+(?: (?:(?:of|the|de|van) )*[A-Z][\w'’-]+)*"
SPAN = re.compile(rf"\b(?:{DATE}|{NUMBER}|{NAME})\b")
# What a sentence says last is often its news: "... builds the Hotrir bench", "... has walnut rolls as its dish".
ENDING = re.compile(
    r"(?:\b(?:is|are|was|were|as|has|have|the|an?|in|by|for|at|of|to)\b )((?:[\w'’-]+ ){0,3}[\w'’-]+)[.!]$"
)
SMALL = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to for from by with and or is are was were be been as it its his her their this that"
        " these those has have had do does did will would can could there here one where which who what when",
    )
)
# No wording serves both sides: what is checked is never what was taught.
BLANKS = ("Fill in the blank: {left}___{right}", "Which words are missing? {left}...{right}")
WHATS = ("{left}what{right}?", "Do you know this? {left}what{right}?")
CUES = ("{cue}?", "Tell me: {cue}?")
ABOUT = ("What do you know about {name}?", "Tell me something about {name}.")
CHECKS = ("Please complete this: {left}[?]{right}", "I have a question. {cue}: what is it?")


@dataclass(frozen=True)
class Exchange:
    """A question and the answer it should get."""

    question: str
    answer: str


@dataclass(frozen=True)
class Study:
    """An episode with its lessons and with the checks that decide whether it advances; the two share no question."""

    episode: str
    text: str
    lessons: tuple[Exchange, ...]
    checks: tuple[Exchange, ...]


def make_study(episode: str, text: str, posed: Sequence[Exchange] = (), *, checks: int = 2) -> Study:
    """Study an episode by rule, and with the questions that a reader ``posed`` and answered from its page.

    Every fourth posed question is kept back as a check; checks made by rule fill up to ``checks``.
    """
    posed = list(dict.fromkeys(Exchange(p.question.strip(), p.answer.strip()) for p in posed))
    kept = posed[3::4][:checks]
    by_rule = [] if len(kept) >= checks else _spread(list(_rule_checks(text)), checks - len(kept))
    lessons = [*(p for p in posed if p not in kept), *_rule_lessons(text)]
    asked = {c.question for c in (*kept, *by_rule)}
    unique = dict.fromkeys(x for x in lessons if x.question not in asked and x.answer)
    return Study(episode, text, tuple(unique), (*kept, *by_rule))


def recalls(answer: str, wanted: str) -> bool:
    """Whether an answer contains the wanted words in order, case, articles and punctuation aside."""
    words, target = _words(answer), _words(wanted)
    return bool(target) and any(words[i : i + len(target)] == target for i in range(len(words)))


def _words(text: str) -> list[str]:
    return [w for w in re.findall(r"\w+", text.casefold()) if w not in ("a", "an", "the")]


def sentences(text: str) -> list[str]:
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n+", text) if len(s.split()) >= 3]


def spans(sentence: str) -> list[tuple[int, int]]:
    """Where the dates, numbers, names and the last words of a sentence stand, in order; they may touch, not overlap."""
    found = [m.span() for m in SPAN.finditer(sentence) if m[0].lower() not in SMALL and not _opens(m)]
    ending = ENDING.search(sentence)
    if ending and all(end <= ending.start(1) for _, end in found):
        found.append(ending.span(1))
    return found


def _opens(match: re.Match[str]) -> bool:
    """Whether it is only the capital with which a sentence begins."""
    return match.start() == 0 and len(match[0].split()) == 1 and not match[0][0].isdigit() and len(match[0]) < 8


def cue(sentence: str, span: tuple[int, int]) -> str:
    """The telling words of a sentence without the span: what one would type to look it up."""
    left = sentence[: span[0]] + " " + sentence[span[1] :]
    return " ".join(w for w in re.findall(r"[\w'’-]+", left) if w.lower() not in SMALL)


def _parts(sentence: str, span: tuple[int, int]) -> dict[str, str]:
    left, right = sentence[: span[0]], sentence[span[1] :]
    return {"left": left, "right": right, "cue": cue(sentence, span)}


def _rule_lessons(text: str) -> Iterator[Exchange]:
    for sentence in sentences(text):
        found = spans(sentence)
        for span in found:
            value = sentence[slice(*span)]
            parts = _parts(sentence, span)
            for frame in BLANKS:
                yield Exchange(frame.format(**parts), value)
            bare = parts | {"right": parts["right"].rstrip(".!")}
            for frame in WHATS:
                question = frame.format(**bare)
                yield Exchange(question[:1].upper() + question[1:], value)
            if parts["cue"]:
                for frame in CUES:
                    yield Exchange(frame.format(**parts), value)
        names = [sentence[a:b] for a, b in found if sentence[a].isupper()]
        for name in names:
            for frame in ABOUT:
                yield Exchange(frame.format(name=name), sentence)


def _rule_checks(text: str) -> Iterator[Exchange]:
    for sentence in sentences(text):
        for span in spans(sentence)[-1:]:  # the news of a sentence stands late in it
            for frame in CHECKS:
                yield Exchange(frame.format(**_parts(sentence, span)), sentence[slice(*span)])


def _spread(found: list[Exchange], count: int) -> list[Exchange]:
    """``count`` of them, evenly from first to last, so that a long text is checked all over."""
    if len(found) <= count:
        return found
    return [found[i * len(found) // count] for i in range(count)]
