"""Invented manuals: paragraphs about parts of programs that do not exist, with questions, to train a reader on prose.

A manual speaks of numbers with units, flags, files, commands and error names, where a world speaks of people and firms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from fastslow.worlds.invented import Paragraph, Probe

# A sentence on the part {t} of the program {p}, then its questions with their answers, | between the wordings.
FRAMES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "The {t} holds {n} entries at most.",
        (("How many entries can the {t} hold? | What is the largest number of entries in the {t}?", "{n}"),),
    ),
    (
        "Every {n} {unit} the {t} is written to `{file}`.",
        (
            ("Into which file is the {t} written? | Where can I find the {t} on disk?", "{file}"),
            ("How often is the {t} written? | At which interval does the {t} go to disk?", "every {n} {unit}"),
        ),
    ),
    (
        "The {t} is switched off with `--{flag}`.",
        (("Which flag switches the {t} off? | How do I run {p} without the {t}?", "--{flag}"),),
    ),
    (
        "`{p} {cmd}` rebuilds the {t}, which takes about {n} {unit}.",
        (
            ("Which command rebuilds the {t}? | What do I type to make the {t} anew?", "{p} {cmd}"),
            ("How long does it take to rebuild the {t}? | What time does rebuilding the {t} need?", "{n} {unit}"),
        ),
    ),
    (
        "When the {t} is damaged, {p} stops with exit code {small}.",
        (("What is the exit code when the {t} is damaged? | A broken {t} gives which exit code?", "{small}"),),
    ),
    (
        "By default the {t} has {n} {bytes}; the variable {var} changes that.",
        (
            ("How large is the {t} by default? | What size does the {t} have if nothing is set?", "{n} {bytes}"),
            ("Which environment variable changes the size of the {t}? | What sets how big the {t} is?", "{var}"),
        ),
    ),
    (
        "Older versions kept the {t} in {old_place}; today it lies in {place}.",
        (
            ("Where does the {t} lie today? | In what is the {t} kept now?", "{place}"),
            ("Where did older versions keep the {t}? | What was the {t} kept in before?", "{old_place}"),
        ),
    ),
    (
        "Using the {t} costs {share} % more time, measured on {n} files.",
        (("How much more time does the {t} cost? | What is the price of the {t} in time?", "{share} %"),),
    ),
    (
        "The {t} was proposed by {person} in {year}.",
        (
            ("Who proposed the {t}? | Whose idea was the {t}?", "{person}"),
            ("When was the {t} proposed? | Since which year has the {t} been an idea?", "{year}"),
        ),
    ),
    (
        "Each line of the {t} has {small} fields, of which the {field} comes first.",
        (
            ("How many fields are in a line of the {t}? | What is the count of fields per line of the {t}?", "{small}"),
            ("What comes first in a line of the {t}? | With which field does a line of the {t} begin?", "{field}"),
        ),
    ),
    (
        "After {n} {unit} the {t} has lost half of its weight.",
        (("After how long is half of the weight of the {t} gone? | What is the half-life of the {t}?", "{n} {unit}"),),
    ),
    (
        "If the {t} is full, the {policy} entry is dropped first.",
        (("Which entry is dropped first when the {t} is full? | What does a full {t} throw away?", "the {policy}"),),
    ),
    (
        "A checksum of the kind {digest} protects the {t}.",
        (("Which checksum protects the {t}? | How is damage to the {t} noticed?", "{digest}"),),
    ),
    (
        "Only {who} may change the {t}.",
        (("Who may change the {t}? | Who has the right to write into the {t}?", "{who}"),),
    ),
    (
        "Below a load of {fraction} the {t} is emptied.",
        (("Below which load is the {t} emptied? | At what load does {p} clear the {t}?", "{fraction}"),),
    ),
    (
        "What goes wrong in the {t} raises {error}.",
        (("Which error is raised by the {t}? | What is a fault in the {t} called?", "{error}"),),
    ),
    (
        "The {t} was taken over from an earlier project, {project}.",
        (("From which earlier project does the {t} come? | Where was the {t} first used?", "{project}"),),
    ),
    (
        "The {t} is built in {count} steps: first {p} {step}, and at the end it {last_step}.",
        (
            ("In how many steps is the {t} built? | How many steps make the {t}?", "{count}"),
            ("What does {p} do at the end of building the {t}? | What is the last step of the {t}?", "it {last_step}"),
        ),
    ),
    (
        "In {p}, the {t} is what other programs call the {name}.",
        (("What do other programs call the {t}? | Under which name is the {t} known elsewhere?", "the {name}"),),
    ),
    (
        "Each {t} is what {p} keeps of a {thing}: its {field} and {n} {bytes} of it.",
        (
            (
                "What does each {t} keep beside the {n} {bytes}? | Which mark of a {thing} goes into every {t}?",
                "{field}",
            ),
            ("Of what does {p} keep every {t}? | Every {t} is kept of what?", "a {thing}"),
        ),
    ),
    (
        "The {t} takes {n} {bytes} for every {thing}. Of these, {small} are a header, and the rest is the {field}.",
        (
            (
                "How much does the {t} take for every {thing}? | What is the cost of a {thing} in the {t}?",
                "{n} {bytes}",
            ),
            (
                "How many of these are the header of a {thing} in the {t}? | How long is the header in the {t}?",
                "{small}",
            ),
            ("What is the rest in the {t}, behind the header? | What follows the header in the {t}?", "{field}"),
        ),
    ),
    (
        "At most {small} {unit} after a {thing} was read, the {t} is brought up to date; until then it may be wrong.",
        (
            (
                "How long may the {t} be wrong? | When is the {t} brought up to date after a {thing} was read?",
                "{small} {unit}",
            ),
        ),
    ),
    (
        "The {t} has two parts: the {name}, which is written at once, and the {name2}, which is written at night.",
        (
            ("Which part of the {t} is written at once? | What in the {t} does not wait for the night?", "the {name}"),
            ("Which part of the {t} is written at night? | What in the {t} has to wait for the night?", "the {name2}"),
        ),
    ),
    (
        "With `--{flag}` the {t} is shown and nothing is changed; `--{flag2}` goes through with it.",
        (
            ("Which flag only shows the {t}? | How can I look at the {t} without a change?", "--{flag}"),
            (
                "Which flag goes through with the change of the {t}? | What makes the change of the {t} real?",
                "--{flag2}",
            ),
        ),
    ),
    (
        "The {t} never grows beyond {n} {bytes}, because {reason}.",
        (
            ("Beyond which size does the {t} never grow? | How big can the {t} become?", "{n} {bytes}"),
            ("Why does the {t} not grow further? | For what reason is the {t} limited?", "{reason}"),
        ),
    ),
    (
        "A {thing} whose {field} is missing goes into the {name}, not into the {t}.",
        (
            (
                "Where does a {thing} go that the {t} does not take? | What takes a {thing} instead of the {t}?",
                "the {name}",
            ),
            (
                "What is missing in a {thing} that the {t} does not take? | The {t} refuses a {thing} without what?",
                "{field}",
            ),
        ),
    ),
    (
        "The module `{module}` builds the {t}, and `{module2}` reads it back.",
        (
            ("Which module builds the {t}? | In what file is the {t} made?", "{module}"),
            ("Which module reads the {t} back? | In what file is the {t} read?", "{module2}"),
        ),
    ),
    (
        "The class {cls} stands for the {t}; its method `{verb}` returns a {thing}.",
        (
            ("Which class stands for the {t}? | What is the {t} called in code?", "{cls}"),
            (
                "Which method of the {t} returns a {thing}? | How does code get a {thing} from the {t}?",
                "{verb}",
            ),
        ),
    ),
    (
        "Sizes of {n} and of {n2} were tried for the {t}; {n2} was kept, since it was {share} % faster.",
        (
            ("Which size was kept for the {t}? | On what size did the {t} settle?", "{n2}"),
            ("How much faster was the size that the {t} has? | What did the better size of the {t} gain?", "{share} %"),
        ),
    ),
    (
        "Although the {t} could hold {n} {bytes}, {p} fills only {share} % of it.",
        (
            ("What share of the {t} does {p} fill? | How full is the {t}?", "{share} %"),
            ("How much could the {t} hold? | What would a full {t} contain?", "{n} {bytes}"),
        ),
    ),
    (
        "To move the {t} to another machine, copy {file} and run `{p} {cmd}` there.",
        (
            ("What must be copied to move the {t}? | Which file carries the {t} to another machine?", "{file}"),
            (
                "What is run on the other machine after the {t} was moved? | Which command takes in a moved {t}?",
                "{p} {cmd}",
            ),
        ),
    ),
    (
        "The key `{key}` in {file} sets the {t}; its default is {n}, and 0 turns it off.",
        (
            ("Which key sets the {t}? | Under which name does the {t} stand among the settings?", "{key}"),
            ("What is the default of the {t}? | Which number does the {t} have if nobody sets it?", "{n}"),
            ("In which file is the {t} set? | Where do the settings of the {t} stand?", "{file}"),
        ),
    ),
    (
        "It was measured that the {t} answers in {n} milliseconds on {count} cores and in {n2} on one.",
        (
            (
                "How fast is the {t} on {count} cores? | What time does the {t} need where it has {count} cores?",
                "{n} milliseconds",
            ),
            ("How fast does the {t} answer on one core? | What time does the {t} need where it has one core?", "{n2}"),
        ),
    ),
    (
        "Only the first {small} {bytes} of a {thing} reach the {t}. What is longer is cut.",
        (
            (
                "How much of a {thing} reaches the {t}? | After what length is a {thing} cut for the {t}?",
                "{small} {bytes}",
            ),
        ),
    ),
    (
        "The {t} follows the method of {person} ({year}), with {count} changes.",
        (
            ("Whose method does the {t} follow? | Who first described what the {t} does?", "{person}"),
            (
                "How many changes did the {t} make to its method? | In how many ways is the {t} unlike its source?",
                "{count}",
            ),
        ),
    ),
    (
        "| {t} | {n} {bytes} | {place} |",
        (
            ("How large is the {t}? | What size stands beside the {t}?", "{n} {bytes}"),
            ("Where is the {t} kept? | What place stands beside the {t}?", "{place}"),
        ),
    ),
    (
        "- {t}: {small} by default, set with {var}.",
        (
            ("What is the {t} by default? | Which number does the {t} start with?", "{small}"),
            ("With what is the {t} set? | Which variable decides the {t}?", "{var}"),
        ),
    ),
    (
        "Of {n} runs that were stopped in the middle, {count} left the {t} damaged.",
        (
            ("How many runs left the {t} damaged? | How often was the {t} found damaged?", "{count}"),
            ("How many runs were stopped to test the {t}? | On how many runs is the figure for the {t} based?", "{n}"),
        ),
    ),
    (
        "Every {t} is neither copied nor sent; the one thing that leaves the machine is its {field}.",
        (("What of every {t} leaves the machine? | Which part of each {t} is sent out?", "{field}"),),
    ),
    (
        "Every {thing} is looked up in the {t} by its {field}, and where two agree, the {policy} wins.",
        (
            (
                "By what is a {thing} looked up in the {t}? | What does one need to find a {thing} in the {t}?",
                "{field}",
            ),
            ("Which one wins in the {t} where two agree? | How does the {t} settle a tie?", "the {policy}"),
        ),
    ),
    (
        "While the {t} is locked, {p} waits {small} {unit} and then gives up with {error}.",
        (
            (
                "How long does {p} wait for the {t}? | What time does a locked {t} cost before {p} gives up?",
                "{small} {unit}",
            ),
            ("With what does {p} give up on the {t}? | What is raised if the {t} stays locked?", "{error}"),
        ),
    ),
)
QUALITIES = re.findall(
    r"\w+", "outer inner spare nightly shared local remote packed sorted frozen rolling second early hidden signed"
)
PARTS = re.findall(
    r"\w+", "index queue journal mirror buffer archive ledger catalogue lease roster table digest pool registry cursor"
)
WORDS: dict[str, tuple[str, ...]] = {
    "unit": ("seconds", "minutes", "hours", "days", "steps", "requests", "tokens", "pages"),
    "bytes": ("KB", "MB", "GB", "bytes", "rows", "slots"),
    "place": ("a database", "memory", "a text file", "the home folder", "a socket", "the cloud", "a zip file"),
    "policy": ("oldest", "largest", "newest", "smallest", "least used", "weakest"),
    "digest": ("CRC32", "BLAKE2", "MD5", "Adler-32", "SHA-512", "xxHash"),
    "who": ("the owner", "an administrator", "the first writer", "a signed client", "the scheduler", "nobody"),
    "field": ("date", "name", "size", "length", "owner", "version", "checksum", "state"),
    "count": ("two", "three", "four", "five", "six", "seven"),
    "step": ("reads all files", "takes a lock", "asks the server", "counts the words", "clears the screen"),
    "last_step": ("renames the result", "sends a report", "closes the door", "removes the rest", "signs the copy"),
    "thing": ("letter", "picture", "request", "sentence", "sensor", "customer", "song", "parcel", "chapter", "reading"),
    "reason": (
        "disks are slow",
        "nobody reads more",
        "memory is dear",
        "old machines would stop",
        "the first version had no limit and failed",
        "a lock would be needed",
    ),
    "name": ("heap", "attic", "shelf", "diary", "mailbox", "waiting room", "notebook", "back office"),
}
VERBS = ["keep", "skip", "fold", "trim", "seal", "lift", "split", "hold", "send", "pull", "mark"]
OBJECTS = ["all", "old", "links", "empty", "names", "colour", "dates", "cache", "quiet", "rows"]


def paragraphs(seed: int, count: int, name: Callable[[Random], str]) -> list[Paragraph]:
    """``count`` paragraphs of one manual, each on a part of its own, behind a heading; ``name`` invents a name.

    The same seed gives the same manual. Raises ValueError for more paragraphs than there are parts.
    """
    rng = Random(f"{seed}-manual")
    parts = [f"{quality} {part}" for quality in QUALITIES for part in PARTS]
    if count > len(parts):
        raise ValueError(f"A manual has at most {len(parts)} paragraphs, not {count}.")
    program = name(rng).lower()
    return [_paragraph(part, program, rng, name) for part in rng.sample(parts, count)]


def _paragraph(part: str, program: str, rng: Random, name: Callable[[Random], str]) -> Paragraph:
    sentences, probes = [], []
    for frame, questions in rng.sample(FRAMES, rng.randint(2, 4)):
        slots = _slots(rng, name) | {"t": part, "p": program}
        sentences.append(frame.format(**slots))
        for wordings, answer in questions:
            for kind, question in zip(("direct", "paraphrase"), wordings.split(" | "), strict=True):
                asked = question.format(**slots)
                probes.append(Probe(kind, asked[:1].upper() + asked[1:], answer.format(**slots), "code", ()))  # type: ignore[arg-type]
    text = " ".join(s[:1].upper() + s[1:] for s in sentences)
    if rng.random() < 0.4:
        text = text.replace("`", "")
    return Paragraph(f"The {part}: {text}" if rng.random() < 0.7 else text, probes)


def _slots(rng: Random, name: Callable[[Random], str]) -> dict[str, str]:
    word = name(rng)
    drawn = {slot: rng.choice(options) for slot, options in WORDS.items()}
    drawn["old_place"] = rng.choice([place for place in WORDS["place"] if place != drawn["place"]])
    command = f"{rng.choice(VERBS)}-{rng.choice(OBJECTS)}"
    drawn["name2"] = rng.choice([other for other in WORDS["name"] if other != drawn["name"]])
    other = f"{rng.choice(VERBS)}-{rng.choice(OBJECTS)}"
    return drawn | {
        "n": _number(rng),
        "n2": _number(rng),
        "small": str(rng.randint(2, 30)),
        "share": str(rng.choice((rng.randint(2, 40), rng.randint(11, 99) / 10))),
        "fraction": f"0.{rng.randint(2, 95):02d}",
        "year": str(rng.randint(1961, 2019)),
        "person": f"{word} {name(rng)}",
        "project": name(rng).upper() if rng.random() < 0.4 else name(rng),
        "error": f"{word}Error",
        "file": f"{word.lower()}.{rng.choice(('json', 'log', 'toml', 'db', 'txt', 'lock'))}",
        "flag": command if rng.random() < 0.6 else rng.choice(VERBS),
        "cmd": rng.choice(VERBS) if rng.random() < 0.6 else command,
        "var": f"{word.upper()}_{rng.choice(OBJECTS).upper()}",
        "flag2": other,
        "module": f"{rng.choice(VERBS)}_{word.lower()}.py",
        "module2": f"{word.lower()}/{rng.choice(OBJECTS)}.py",
        "cls": f"{word}{rng.choice(OBJECTS).capitalize()}",
        "verb": f"{rng.choice(VERBS)}_{rng.choice(OBJECTS)}",
        "key": f"{word.lower()}.{rng.choice(OBJECTS)}",
    }


def _number(rng: Random) -> str:
    return f"{rng.choice((rng.randint(2, 99), 2 ** rng.randint(5, 14), 10 * rng.randint(10, 900))):,}"
