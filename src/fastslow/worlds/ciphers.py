"""Tasks of a few letters for a character model of a million parameters: is what a task needs better kept as text or in
the weights?

A page of this world is a context and questions of four places with their answers: ``    b=3;d=7|bd  >37``. A *table*
gives every letter a digit, and the answer spells the letters of the question. Who finds the rows in the context can
look them up; where a row is missing, any digit is as good. A *sum* asks for the sum of two small digits: no row
helps there.

A model that has read many a :func:`page` looks rows up, guesses what it cannot look up, and does some of the sums.
A :class:`Cipher` is then a task with one hidden table (declarative: what is missing can be written down), and
:class:`Sums` is one of skill.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from fastslow.worlds.tasks import Problem, Verdict

LETTERS, DIGITS, SMALL = "abcdefgh", "0123456789", "01234"
WIDTH, PLACES = 40, 4  # characters of a context, spaces before it, and of a question, spaces behind it
ASKED, END = ">", "\n"
SUMS, SKILLED = 0.3, 0.4  # sums among the questions of a page; those of them that are done, and not guessed
REMARKS = ("hi", "go", "do it", "well", "as said", "look up", "be brief", "yes")  # what says nothing


def rendered(lines: tuple[str, ...], question: str) -> tuple[str, str]:
    """A context and a question. Lines that do not fit are cut at their beginning, since what is last is what was meant
    last."""
    return f"{';'.join(lines)[-WIDTH:]:>{WIDTH}}|", f"{question:<{PLACES}}{ASKED}"


def table(seed: int) -> dict[str, str]:
    """A digit for each letter."""
    random = Random(f"table-{seed}")
    return {letter: random.choice(DIGITS) for letter in LETTERS}


def page(random: Random, count: int, easy: bool = False) -> tuple[str, set[int]]:
    """What the model is pretrained on: a context with ``count`` questions and answers, and where its answers are. An
    ``easy`` one has rows alone, and asks for nothing else."""
    digits = {letter: random.choice(DIGITS) for letter in LETTERS}
    known = random.sample(LETTERS, random.randint(1, 8) if easy else random.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 8)))
    context = ";".join(f"{letter}={digits[letter]}" for letter in known) if easy else _told(random, digits, known)
    held = shown(context)
    text, answers = rendered((context,), "")[0], set[int]()
    for _ in range(count):
        if not easy and random.random() < SUMS:
            question, right = _sum(random)
            answer = right if random.random() < SKILLED else random.choice(DIGITS)
        else:
            question = "".join(random.choices(known if easy else LETTERS, k=random.randint(1, PLACES)))
            answer = "".join(held.get(letter) or random.choice(DIGITS) for letter in question)
        text += rendered((), question)[1]
        answers |= set(range(len(text), len(text) + len(answer) + 1))
        text += answer + END
    return text, answers


def _sum(random: Random) -> tuple[str, str]:
    a, b = random.choice(SMALL), random.choice(SMALL)
    return f"{a}+{b}", str(int(a) + int(b))


def _told(random: Random, digits: dict[str, str], known: list[str]) -> str:
    """Rows, and now and then a question with its answer, which holds several, or what says nothing."""
    said, left = [], known
    while left:
        several = random.randint(1, PLACES) if random.random() < 0.15 else 0
        now, left = left[: several or 1], left[several or 1 :]
        sign = ASKED if several else "="
        said.append("".join(now) + sign + "".join(digits[letter] for letter in now))
    if random.random() < 0.3:
        said.insert(random.randrange(len(said) + 1), random.choice(REMARKS))
    return ";".join(said)[-WIDTH:]


def shown(context: str) -> dict[str, str]:
    """The digits of the letters that a context shows, whole, as rows or as questions with their answers."""
    held: dict[str, str] = {}
    for part in context.split(";"):
        for sign in ("=", ASKED):
            left, _, right = part.strip().partition(sign)
            if right and len(left) == len(right):
                held |= dict(zip(left, right, strict=True))
    return held


@dataclass(frozen=True)
class Cipher:
    """One hidden table and questions of ``letters`` letters. The verifier says one row that was wrong."""

    seed: int
    letters: int = 2

    @property
    def name(self) -> str:
        return f"cipher-{self.letters}-{self.seed}"

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        random = Random(f"{self.name}-{'unseen' if unseen else 'seen'}-{index}")
        question = "".join(random.choices(LETTERS, k=self.letters))
        return Problem(f"{self.name}-{unseen}-{index}", question, "".join(table(self.seed)[q] for q in question))

    def verify(self, problem: Problem, answer: str) -> Verdict:
        if answer == problem.answer:
            return Verdict(1.0)
        said = zip(problem.question, problem.answer, answer.ljust(self.letters), strict=False)
        letter, digit = next(
            ((q, right) for q, right, given in said if right != given), (problem.question[0], problem.answer[0])
        )
        return Verdict(0.0, f"{letter}={digit}", about=letter)


@dataclass(frozen=True)
class Sums:
    """The sum of two digits below five. All that the verifier can say is the sum that was wrong, and a context has not
    enough room for all of them."""

    seed: int = 0

    @property
    def name(self) -> str:
        return f"sums-{self.seed}"

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        random = Random(f"{self.name}-{'unseen' if unseen else 'seen'}-{index}")
        return Problem(f"{self.name}-{unseen}-{index}", *_sum(random))

    def verify(self, problem: Problem, answer: str) -> Verdict:
        right = answer == problem.answer
        told = f"{problem.question}{ASKED}{problem.answer}"
        return Verdict(float(right), "" if right else told, about=problem.question)
