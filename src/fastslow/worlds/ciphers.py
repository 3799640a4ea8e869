"""Tasks of a few letters for a character model of a million parameters: is what a task needs better kept as text or in
the weights?

A line of this world is a context of fixed width, a question and an answer: ``    b=3;d=7|bd>37``. A *table* gives
every letter a digit, and the answer spells the letters of the question. Who finds the rows in the context can look
them up; where a row is missing, any digit is as good. A *sum* asks for the last digit of a sum: no row helps there.

A model that has read :func:`lines` looks rows up, guesses what it cannot look up, and does a quarter of the sums. A
:class:`Cipher` is then a task with one hidden table (declarative: what is missing can be written down), and
:class:`Sums` is one of skill.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from fastslow.worlds.tasks import Problem, Verdict

LETTERS, DIGITS = "abcdefgh", "0123456789"
WIDTH = 40  # characters of a context, spaces before it
ASKED, END = ">", "\n"
REMARKS = ("hi", "go", "do it", "well", "as said", "look up", "be brief", "yes")  # what says nothing


def rendered(lines: tuple[str, ...], question: str) -> str:
    """A prompt. Lines that do not fit are cut at their beginning, since what is last is what was meant last."""
    return f"{';'.join(lines)[-WIDTH:]:>{WIDTH}}|{question}{ASKED}"


def table(seed: int) -> dict[str, str]:
    """A digit for each letter."""
    random = Random(f"table-{seed}")
    return {letter: random.choice(DIGITS) for letter in LETTERS}


def lines(random: Random, count: int, sums: float = 0.2) -> list[str]:
    """What the model is pretrained on, each line with a table of its own."""
    return [_sum(random) if random.random() < sums else _spelt(random) for _ in range(count)]


def _spelt(random: Random) -> str:
    digits = {letter: random.choice(DIGITS) for letter in LETTERS}
    known = random.sample(LETTERS, random.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 8)))
    said, shown = [], known
    while shown:  # rows, and now and then a question with its answer, which holds several
        several = random.random() < 0.15
        now, shown = shown[: random.randint(1, 4) if several else 1], shown[random.randint(1, 4) if several else 1 :]
        said.append(f"{''.join(now)}>{''.join(digits[n] for n in now)}" if several else f"{now[0]}={digits[now[0]]}")
    if random.random() < 0.3:
        said.insert(random.randrange(len(said) + 1), random.choice(REMARKS))
    question = "".join(random.choices(LETTERS, k=random.randint(1, 4)))
    context = ";".join(said)[-WIDTH:]
    held = {part[0]: part[-1] for part in context.split(";") if len(part) == 3 and part[1] == "="}
    for part in context.split(";"):
        left, _, right = part.partition(ASKED)
        if len(left) == len(right):
            held |= dict(zip(left, right, strict=True))
    return rendered((context,), question) + "".join(held.get(q, random.choice(DIGITS)) for q in question) + END


def _sum(random: Random) -> str:
    a, b = random.choice(DIGITS), random.choice(DIGITS)
    right = str((int(a) + int(b)) % 10)
    said = [f"{letter}={random.choice(DIGITS)}" for letter in random.sample(LETTERS, random.randint(0, 8))]
    if random.random() < 0.3:
        said.append(random.choice(REMARKS))
    return rendered(tuple(said), f"{a}+{b}") + (right if random.random() < 0.25 else random.choice(DIGITS)) + END


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
    """The last digit of the sum of two digits. All that the verifier can say is the sum that was wrong."""

    seed: int = 0

    @property
    def name(self) -> str:
        return f"sums-{self.seed}"

    def problem(self, index: int, *, unseen: bool = False) -> Problem:
        random = Random(f"{self.name}-{'unseen' if unseen else 'seen'}-{index}")
        a, b = random.choice(DIGITS), random.choice(DIGITS)
        return Problem(f"{self.name}-{unseen}-{index}", f"{a}+{b}", str((int(a) + int(b)) % 10))

    def verify(self, problem: Problem, answer: str) -> Verdict:
        right = answer == problem.answer
        told = f"{problem.question}{ASKED}{problem.answer}"
        return Verdict(float(right), "" if right else told, about=problem.question)
