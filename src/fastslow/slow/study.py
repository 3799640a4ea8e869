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
from itertools import zip_longest
from random import Random

import torch
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.decode import Row, generate
from fastslow.lessons import UNKNOWN, answer_losses, make_lesson
from fastslow.worlds.idioms import RARITIES
from fastslow.worlds.relations import RELATIONS
from fastslow.worlds.templates import DIRECT, PARAPHRASE

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
FRAMES = ("Fill in the blank: {left}___{right}", "Do you know this? {left}what{rest}?", "{cue}?", "Tell me: {cue}?")
ABOUT = "What do you know about {name}?"
# Asked about a name of the text, these must not be answered with whatever the text does say of it.
UNASKED = ("What is the favourite song of {name}?", "Who is the oldest rival of {name}?")
CHECKS = ("Please complete this: {left}[?]{right}", "I have a question. {cue}: what is it?")
# How a posed question begins; each start leads the reader to another question about the same page.
STARTS = (
    *("What", "Who", "When", "Which", "Where", "How", "Tell me", "In which"),
    *("By what", "Of what", "Whose", "How many", "What does", "What is", "Which town", "Do you know"),
)
# What may be asked of whatever has a name: the relations that readers are trained on, each in all its wordings, but for
# the rarities, which would make a survey twice as long.
BANK = tuple(
    (*spec.wordings["train"].direct, *spec.wordings["train"].paraphrase)
    for name, spec in RELATIONS.items()
    if "train" in spec.wordings and not spec.thin and name not in RARITIES
)
# Frames for a noun and a name, of which so many are drawn for a value.
STOCK, FRAMED = (*DIRECT["train"], *PARAPHRASE["train"]), 3
# A survey asks further about so many relations that the reader answers from a page, with a doubt below the first bound,
# keeps so many of their wordings whose doubt is below the second, and so many relations that the page does not tell,
# those nearest above the third.
RELATED, TOLD, UNTOLD = 8, 24, 4
SURE, FAIR, UNSURE = 0.1, 0.2, 0.97


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


def make_study(
    episode: str,
    text: str,
    posed: Sequence[Exchange] = (),
    surveyed: Sequence[Exchange] = (),
    *,
    ruled: int = 20,
    checks: int = 2,
    unknown: str = UNKNOWN,
) -> Study:
    """Study an episode with the questions that a reader ``posed`` and answered from its page, with what was
    ``surveyed``, and with at most so many ``ruled`` lessons, as many for each value of the text: what the reader
    answered is one.

    Every fourth posed question is kept back as a check; checks made by rule fill up to ``checks``. ``unknown`` is what
    the reader says when it does not know; it is the answer to two more lessons.
    """
    posed = list(dict.fromkeys(Exchange(p.question.strip(), p.answer.strip()) for p in posed))
    values = list(dict.fromkeys(x.answer.rstrip(".") for x in (*posed, *surveyed) if x.answer != unknown))
    kept = posed[3::4][:checks]
    kept += _spread(list(_rule_checks(text, values)), checks - len(kept))
    made = [*posed, *_in_turn(_rule_lessons(text, values))[:ruled], *surveyed, *_unasked(text, unknown)]
    asked = {c.question for c in kept}
    return Study(episode, text, tuple(x for x in dict.fromkeys(made) if x.question not in asked), tuple(kept))


def pose(core: Core, text: str, pages: Sequence[Tensor], reader: Sequence[Delta], request: str) -> list[Exchange]:
    """Questions on a page that the ``reader`` poses when it gets ``request``, with its own answers: the teacher.

    ``pages`` are the hidden states (T_i, width) of ``text``. Each of `STARTS` is forced once as the beginning of a
    question. Kept are those whose answer stands in the text and not in the question, and which name something of the
    text and no name from elsewhere: a small reader likes to ask about cities that it knows.
    """
    seen = tuple(pages)
    starts = [Row([*core.prompt(request), *core.encode(start)], seen) for start in STARTS]
    questions = [
        f"{s} {core.decode(ids)}" for s, ids in zip(STARTS, generate(core, starts, reader, max_tokens=24), strict=True)
    ]
    questions = list(dict.fromkeys(" ".join(q.split()) for q in questions))
    answers = generate(core, [Row(core.prompt(q), seen) for q in questions], reader, max_tokens=16)
    found = [Exchange(q, core.decode(ids)) for q, ids in zip(questions, answers, strict=True)]
    return [
        x for x in found if recalls(text, x.answer) and not recalls(x.question, x.answer) and _about(x.question, text)
    ]


def survey(
    core: Core, text: str, pages: Sequence[Tensor], reader: Sequence[Delta], unknown: str = UNKNOWN
) -> list[Exchange]:
    """Questions of `BANK` about the first two names of a text: of relations that the ``reader`` finds on the ``pages``,
    in all their wordings, with its answers; and some that it does not find, with "I don't know.", so that who studies
    them learns where the text ends."""
    seen, names = tuple(pages), list(dict.fromkeys(_names(text)))[:2]
    if not names:
        return []

    def doubts(questions: Sequence[str]) -> list[float]:
        found: list[float] = []
        with torch.no_grad(), core.using(reader):
            for start in range(0, len(questions), 16):  # they share a row, and long rows cost more than they save
                lessons = [make_lesson(core, q, unknown, seen) for q in questions[start : start + 16]]
                found += [float((-losses[:-1].sum()).exp()) for losses in answer_losses(core, lessons)]
        return found

    bank = [[wording.format(s=name) for wording in wordings] for name in names for wordings in BANK]
    order = sorted(zip(doubts([wordings[0] for wordings in bank]), bank, strict=True))
    related = [wordings for doubt, wordings in order if doubt < SURE][:RELATED]
    in_turn = list(dict.fromkeys(q for rank in zip_longest(*related) for q in rank if q is not None))
    told = [q for q, doubt in zip(in_turn, doubts(in_turn), strict=True) if doubt < FAIR][:TOLD]
    answers = generate(core, [Row(core.prompt(q), seen) for q in told], reader, max_tokens=16)
    found = [Exchange(q, core.decode(ids)) for q, ids in zip(told, answers, strict=True)]
    untold = [Exchange(wordings[0], unknown) for doubt, wordings in order if doubt > UNSURE][:UNTOLD]
    return [x for x in found if recalls(text, x.answer)] + untold


def _about(question: str, text: str) -> bool:
    """Whether a question shares a telling word with the text and has no name or number that the text lacks."""
    told = set(_words(text))
    named = {w for m in SPAN.finditer(question) if not _opens(m) for w in _words(m[0])}
    shared = {w for w in _words(question) if w not in SMALL} & told
    return bool(shared) and named - SMALL <= told


def recalls(answer: str, wanted: str) -> bool:
    """Whether an answer contains the wanted words in order, case, articles and punctuation aside."""
    words, target = _words(answer), _words(wanted)
    return bool(target) and any(words[i : i + len(target)] == target for i in range(len(words)))


def _words(text: str) -> list[str]:
    return [w for w in re.findall(r"\w+", text.casefold()) if w not in ("a", "an", "the")]


def sentences(text: str) -> list[str]:
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n+", text) if len(s.split()) >= 3]


def spans(sentence: str, values: Sequence[str] = ()) -> list[tuple[int, int]]:
    """Where the dates, numbers, names and ``values`` of a sentence stand, in order, and without values its last words;
    they may touch, not overlap."""
    found = [m.span() for m in SPAN.finditer(sentence) if m[0].lower() not in SMALL and not _opens(m)]
    for value in values:
        for match in re.finditer(rf"\b{re.escape(value)}\b", sentence, re.IGNORECASE):
            if all(end <= match.start() or match.end() <= start for start, end in found):
                found.append(match.span())
    ending = None if values else ENDING.search(sentence)
    if ending and all(end <= ending.start(1) for _, end in found):
        found.append(ending.span(1))
    return sorted(found)


def _opens(match: re.Match[str]) -> bool:
    """Whether it is only the capital with which a sentence begins."""
    return match.start() == 0 and len(match[0].split()) == 1 and not match[0][0].isdigit() and len(match[0]) < 8


def cue(sentence: str, span: tuple[int, int]) -> str:
    """The telling words of a sentence without the span: what one would type to look it up."""
    left = sentence[: span[0]] + " " + sentence[span[1] :]
    return " ".join(w for w in re.findall(r"[\w'’-]+", left) if w.lower() not in SMALL)


def _parts(sentence: str, span: tuple[int, int]) -> dict[str, str]:
    left, right = sentence[: span[0]], sentence[span[1] :]
    return {"left": left, "right": right, "rest": right.rstrip(".!"), "cue": cue(sentence, span)}


def _rule_lessons(text: str, values: Sequence[str]) -> Iterator[Exchange]:
    names = _names(text)[:1]
    for sentence in sentences(text):
        found = spans(sentence, values)
        for span in found:
            yield from (x for name in names for x in _framed(sentence, span, name))
        for span in found:
            parts = _parts(sentence, span)
            for frame in FRAMES if parts["cue"] else FRAMES[:2]:
                yield Exchange(frame.format(**parts), sentence[slice(*span)])
        for start, end in found:
            if sentence[start].isupper():
                yield Exchange(ABOUT.format(name=sentence[start:end]), sentence)


def _framed(sentence: str, span: tuple[int, int], name: str) -> Iterator[Exchange]:
    """Questions for what stands in the span, in some of the frames that readers are trained on, where the ``name`` is
    that of somebody or something else: "I forgot the instrument of Flune Kronond."."""
    noun = " ".join(w for w in cue(sentence, span).split() if w not in name.split())
    if not noun or name in sentence[slice(*span)]:
        return
    for frame in Random(sentence).sample(STOCK, FRAMED):
        yield Exchange(
            frame.format(s=name, n=noun, wh="What" if frame.startswith("{wh}") else "what"), sentence[slice(*span)]
        )


def _unasked(text: str, unknown: str) -> list[Exchange]:
    return [Exchange(frame.format(name=name), unknown) for name in _names(text)[:1] for frame in UNASKED]


def _names(text: str) -> list[str]:
    return [m[0] for m in SPAN.finditer(text) if m[0][0].isupper() and not _opens(m)]


def _in_turn(lessons: Iterator[Exchange]) -> list[Exchange]:
    """One lesson of each answer, then the next of each, so that the first few cover all values and directions."""
    groups: dict[str, list[Exchange]] = {}
    for lesson in lessons:
        groups.setdefault(lesson.answer, []).append(lesson)
    return [x for rank in zip_longest(*groups.values()) for x in rank if x is not None]


def _rule_checks(text: str, values: Sequence[str]) -> Iterator[Exchange]:
    known = {value.casefold() for value in values}
    for sentence in sentences(text):
        found = spans(sentence, values)
        told = [span for span in found if sentence[slice(*span)].casefold() in known]
        for span in (told or found)[-1:]:  # the news of a sentence stands late in it
            for frame in CHECKS:
                yield Exchange(frame.format(**_parts(sentence, span)), sentence[slice(*span)])


def _spread(found: list[Exchange], count: int) -> list[Exchange]:
    """``count`` of them, evenly from first to last, so that a long text is checked all over."""
    if len(found) <= count:
        return found
    return [found[i * len(found) // count] for i in range(max(0, count))]
