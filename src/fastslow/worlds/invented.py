"""An invented world: a seeded stream of short facts about people, firms, places and products, with probes.

The same generator trains a reader and judges a memory. The splits share no name, no wording and no plain value; about
40 % of the relations of `tune` and `test` never occur in `train`. For a sample:
`python -m fastslow.worlds.invented --seed 1 --facts 10 --split test`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Literal, get_args

from fastslow.worlds.heard import RETOLD
from fastslow.worlds.names import MONTHS, SPLITS, Namer, Split, plain_values
from fastslow.worlds.relations import RELATIONS, Relation
from fastslow.worlds.templates import PADDING, SHORT_NAME, stock

EventKind = Literal["teach", "restate", "update", "retract"]
ProbeKind = Literal[
    "direct", "paraphrase", "reverse", "two_hop", "neighbour", "turned", "never_taught", "updated", "retracted"
]
RelationSet = Literal["all", "shared", "own"]
PROBE_KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)
KINDS = ("firm", "person", "product", "place")
ENTITY = {"person": "person", "firm": "firm", "place": "city", "product": "product"}  # kind -> its value kind
SUBJECT_OF = {value_kind: kind for kind, value_kind in ENTITY.items()}
WH = {"person": "who", "firm": "which firm", "city": "which city"}
MUTUAL = frozenset(  # what holds of both when it holds of one
    {
        *("rival", "cousin", "flatmate", "tennis_partner", "dance_partner_of_person", "best_friend_of_person"),
        *("running_mate_of_person", "person: neighbour", "person: opponent at chess", "person: correspondent"),
        *("competitor", "partner_company_of_firm", "twin_town", "place: rival town", "ferry_destination_of_place"),
        "end_of_the_railway",
    }
)
POOL = 30  # values drawn per world for a numeric relation: few enough to collide
ENTITY_POOL = 40
MOST = 14  # relations of one kind of subject in one world; only train has more to choose from


@dataclass(frozen=True)
class Fact:
    """One statement about a subject; an updated fact keeps its id."""

    id: str
    subject: str
    kind: str
    relation: str
    value: str
    value_kind: str


@dataclass(frozen=True)
class Event:
    """One line of the stream. `fact` holds what is true after it (for retract: what was withdrawn)."""

    kind: EventKind
    fact: Fact
    text: str
    old: str | None = None


@dataclass(frozen=True)
class Probe:
    """One question; an answer of None means that no taught value may be given. ``sentence`` is the answer in a sentence
    of its own, where somebody has written one."""

    kind: ProbeKind
    question: str
    answer: str | None
    value_kind: str
    facts: tuple[str, ...]
    sentence: str | None = None


@dataclass(frozen=True)
class Paragraph:
    """A few sentences of prose with questions on each fact in them."""

    text: str
    probes: list[Probe]


def relations_of(split: Split, which: RelationSet = "all") -> dict[str, Relation]:
    """The relations a split uses: all, those shared with the other side, or only its own (train | tune and test)."""
    mine = {name: spec for name, spec in RELATIONS.items() if split in spec.wordings}
    if which == "all":
        return mine
    return {name: spec for name, spec in mine.items() if (len(spec.wordings) == len(SPLITS)) == (which == "shared")}


def _some(specs: dict[str, Relation], rng: Random) -> dict[str, Relation]:
    """At most ``MOST`` relations of each kind of subject, so that a world has subjects enough; a third of them thin
    ones, where the split has such."""
    chosen: set[str] = set()
    for kind in KINDS:
        names = [name for name, spec in specs.items() if spec.kind == kind]
        thin = rng.sample(found := [n for n in names if specs[n].thin], min(MOST // 3, len(found)))
        full = [n for n in names if not specs[n].thin]
        chosen.update(thin, rng.sample(full, min(MOST - len(thin), len(full))))
    return {name: spec for name, spec in specs.items() if name in chosen}


def _mixed(own: tuple[str, ...], generic: tuple[str, ...], rng: Random) -> tuple[str, ...]:
    """A relation's own wordings and two of those that serve every relation: train has a large stock of the latter,
    which would drown the former."""
    return own + (generic if len(generic) <= 2 else tuple(rng.sample(generic, 2)))


def retold(told: str, split: Split, wordings: Sequence[str]) -> tuple[str, ...]:
    """How train says of a fact, in the ``wordings`` of its relation, that it has changed, was wrong or is withdrawn:
    what people write seldom has a frame's "the {n} of {s}"."""
    if split != "train":
        return ()
    plain = [wording for wording in wordings if "{av}" not in wording and not wording.startswith("{v}")]
    return tuple(
        frame.format(old=wording.replace("{v}", "{o}"), new=wording) for wording in plain for frame in RETOLD[told]
    )


def say(frame: str, name: str, split: Split, subject: str, value: str = "", old: str = "") -> str:
    """Fill one wording of a relation; the first letter becomes a capital."""
    spec = RELATIONS[name]
    text = frame.format(
        s=subject,
        v=value,
        o=old,
        av=_with_article(value),
        n=spec.wordings[split].noun,
        V=spec.phrase.format(v=value, av=_with_article(value)),
        O=spec.phrase.format(v=old, av=_with_article(old)),
        wh=WH.get(spec.value_kind, "what"),
    )
    return text[:1].upper() + text[1:]


def _with_article(value: str) -> str:
    return f"{'an' if value[:1].lower() in 'aeiou' else 'a'} {value}"


@dataclass(frozen=True)
class World:
    """Facts as first taught, the stream of events in time order, and the subjects that were never taught."""

    seed: int
    split: Split
    facts: list[Fact]
    events: list[Event]
    strangers: list[tuple[str, str]]  # (kind, name)
    relations: dict[str, Relation]

    @classmethod
    def make(
        cls,
        seed: int,
        facts: int,
        split: Split,
        *,
        updates: float = 0.1,
        restates: float = 0.1,
        retracts: float = 0.03,
        relations: RelationSet = "all",
    ) -> World:
        """A world of exactly `facts` distinct facts; the rates are shares of facts that get one later event.

        The same arguments give the same world. Raises ValueError for an impossible number or share.
        """
        if facts < 1:
            raise ValueError(f"A world needs at least 1 fact, not {facts}.")
        if split not in SPLITS:
            raise ValueError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
        if min(updates, restates, retracts) < 0 or updates + restates + retracts > 1:
            raise ValueError("updates, restates and retracts must not be negative and must sum to at most 1.")
        rng = Random(f"{seed}-{split}")
        specs = _some(relations_of(split, relations), Random(f"{seed}-{split}-relations"))
        builder = _Builder(rng, split, specs, facts)
        taught = builder.facts(facts)
        events = builder.events(taught, updates, restates, retracts)
        return cls(seed, split, taught, events, builder.strangers, specs)

    @cached_property
    def final(self) -> dict[str, Fact]:
        """The facts that hold at the end of the stream, by id; retracted ones are gone."""
        state: dict[str, Fact] = {}
        for event in self.events:
            if event.kind == "retract":
                del state[event.fact.id]
            else:
                state[event.fact.id] = event.fact
        return state

    @cached_property
    def _taught(self) -> dict[str, set[str]]:
        taught: dict[str, set[str]] = defaultdict(set)
        for event in self.events:
            taught[event.fact.value_kind].add(event.fact.value)
            taught[ENTITY[event.fact.kind]].add(event.fact.subject)
        return dict(taught)

    def taught_values(self, value_kind: str = "") -> set[str]:
        """All values, of a kind or of any, that were ever taught, current and old; subjects count as values too."""
        return set(self._taught.get(value_kind, ())) if value_kind else set().union(*self._taught.values())

    def old_value(self, fact_id: str) -> str | None:
        """The value a fact had before its update or retraction, or None if it had neither."""
        return self._changed.get(fact_id, (None, None))[1]

    @cached_property
    def _changed(self) -> dict[str, tuple[EventKind, str | None]]:
        return {e.fact.id: (e.kind, e.old) for e in self.events if e.kind in ("update", "retract")}

    @cached_property
    def _valued(self) -> set[tuple[str | None, str]]:
        """Every value, current and old, with the relation that has it."""
        return {(value, e.fact.relation) for e in self.events for value in (e.fact.value, e.old)}

    def probes(self, kind: ProbeKind, per_fact: int = 1) -> list[Probe]:
        """Questions of one kind on the final state, with up to `per_fact` wordings each, in a fixed shuffled order."""
        if kind not in PROBE_KINDS:
            raise ValueError(f"There is no probe kind {kind!r}; choose one of {', '.join(PROBE_KINDS)}.")
        if per_fact < 1:
            raise ValueError(f"per_fact must be at least 1, not {per_fact}.")
        rng = Random(f"{self.seed}-{self.split}-{kind}")
        build = {
            "reverse": self._reverse,
            "two_hop": self._two_hop,
            "neighbour": self._neighbour,
            "turned": self._turned,
        }
        if kind in build:
            probes = build[kind](rng, per_fact)
        elif kind == "never_taught":
            probes = [
                probe
                for subject_kind, name in self.strangers
                for relation, spec in self.relations.items()
                if spec.kind == subject_kind
                for probe in self._unknown("never_taught", relation, name, rng, per_fact)
            ]
        else:
            probes = [p for fact in self.facts for p in self._on_fact(kind, fact, rng, per_fact)]
        rng.shuffle(probes)
        return probes

    def _wordings(self, relation: str, kind: str, rng: Random) -> tuple[str, ...]:
        words = self.relations[relation].wordings[self.split]
        direct = _mixed(words.direct, stock("direct", self.split), rng)
        paraphrase = _mixed(words.paraphrase, stock("paraphrase", self.split), rng)
        return {"direct": direct, "paraphrase": paraphrase}.get(kind, direct + paraphrase)

    def _ask(self, relation: str, kind: str, subject: str, rng: Random, count: int) -> list[str]:
        frames = self._wordings(relation, kind, rng)
        return [say(f, relation, self.split, subject) for f in rng.sample(frames, min(count, len(frames)))]

    def _ask_back(self, relation: str, value: str, rng: Random, count: int) -> list[str]:
        frames = self.relations[relation].wordings[self.split].reverse
        return [say(f, relation, self.split, "", value) for f in rng.sample(frames, min(count, len(frames)))]

    def _on_fact(self, kind: ProbeKind, fact: Fact, rng: Random, count: int) -> list[Probe]:
        change = self._changed.get(fact.id, ("teach", None))[0]
        if change != {"updated": "update", "retracted": "retract"}.get(kind, "teach"):
            return []
        answer = self.final[fact.id].value if fact.id in self.final else None
        questions = self._ask(fact.relation, kind, fact.subject, rng, count)
        return [Probe(kind, question, answer, fact.value_kind, (fact.id,)) for question in questions]

    def _unknown(self, kind: ProbeKind, relation: str, subject: str, rng: Random, count: int) -> list[Probe]:
        questions = self._ask(relation, kind, subject, rng, count)
        return [Probe(kind, question, None, self.relations[relation].value_kind, ()) for question in questions]

    def _neighbour(self, rng: Random, count: int) -> list[Probe]:
        taught = {(f.subject, f.relation) for f in self.facts}
        subjects = dict.fromkeys((f.kind, f.subject) for f in self.facts)
        return [
            probe
            for kind, subject in subjects
            for relation, spec in self.relations.items()
            if spec.kind == kind and (subject, relation) not in taught
            if relation not in MUTUAL or (subject, relation) not in self._valued
            for probe in self._unknown("neighbour", relation, subject, rng, count)
        ]

    def _turned(self, rng: Random, count: int) -> list[Probe]:
        """Facts between two of a kind turned round, which nobody told: who taught the teacher."""
        taught = {(e.fact.subject, e.fact.relation) for e in self.events}
        probes = []
        for fact in self.facts:
            if fact.value_kind != ENTITY[fact.kind] or fact.relation in MUTUAL or fact.id in self._changed:
                continue
            if (fact.value, fact.relation) not in taught:
                probes += self._unknown("turned", fact.relation, fact.value, rng, count)
            if (fact.subject, fact.relation) not in self._valued:
                for question in self._ask_back(fact.relation, fact.subject, rng, count):
                    probes.append(Probe("turned", question, None, fact.value_kind, ()))
        return probes

    def _reverse(self, rng: Random, count: int) -> list[Probe]:
        """From value to subject, where the value was only ever taught for one subject of that kind."""
        holders: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for event in self.events:
            holders[event.fact.kind, event.fact.value_kind, event.fact.value].add(event.fact.subject)
        probes = []
        for fact in self.facts:
            if fact.id in self._changed or len(holders[fact.kind, fact.value_kind, fact.value]) > 1:
                continue
            for question in self._ask_back(fact.relation, fact.value, rng, count):
                probes.append(Probe("reverse", question, fact.subject, ENTITY[fact.kind], (fact.id,)))
        return probes

    def _two_hop(self, rng: Random, count: int) -> list[Probe]:
        """A fact about the value of another fact; the entity in the middle is not named in the question."""
        by_subject: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.final.values():
            by_subject[fact.subject].append(fact)
        probes = []
        for first in self.final.values():
            noun = self.relations[first.relation].wordings[self.split].noun
            middle = f"the {noun} of {first.subject}"
            for second in by_subject.get(first.value, ()):
                if second.value == first.subject:
                    continue
                for question in self._ask(second.relation, "direct", middle, rng, count):
                    probes.append(Probe("two_hop", question, second.value, second.value_kind, (first.id, second.id)))
        return probes

    def paragraphs(self) -> list[Paragraph]:
        """Prose of 3 to 6 sentences: 3 to 5 final facts on one or two subjects, every fact at most once."""
        rng = Random(f"{self.seed}-{self.split}-paragraphs")
        groups: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.final.values():
            groups[fact.subject].append(fact)
        paragraphs: list[Paragraph] = []
        held: list[list[Fact]] = []
        for facts in groups.values():
            held.append(facts[: 5 - sum(map(len, held))])
            size = sum(map(len, held))
            if size >= 3 and (len(held) == 2 or size == 5 or rng.random() < 0.7):
                paragraphs.append(self._paragraph(held, rng))
                held = []
            elif len(held) == 2:
                held = held[1:]
        return paragraphs

    def _paragraph(self, groups: Sequence[list[Fact]], rng: Random) -> Paragraph:
        sentences: list[str] = []
        probes: list[Probe] = []
        for facts in groups:
            frames: list[str] = []
            for place, fact in enumerate(facts):
                # A later sentence often uses a short name, as prose does, but only where it cannot be mistaken.
                alone = len({f[0].kind for f in groups}) == len(groups)
                short = place > 0 and alone and rng.random() < 0.5
                subject = SHORT_NAME.get(fact.kind, fact.subject.split()[-1]) if short else fact.subject
                own = self.relations[fact.relation].wordings[self.split].teach
                options = _mixed(own * 2, stock("teach", self.split), rng)
                frame = rng.choice([option for option in options if option not in frames])
                frames.append(frame)
                sentences.append(say(frame, fact.relation, self.split, subject, fact.value))
                for kind in ("direct", "paraphrase"):
                    question = self._ask(fact.relation, kind, fact.subject, rng, 1)[0]
                    probes.append(Probe(kind, question, fact.value, fact.value_kind, (fact.id,)))
        if len(sentences) < 6 and rng.random() < 0.6:
            sentences.insert(rng.randint(1, len(sentences)), rng.choice(PADDING[self.split]))
        return Paragraph(" ".join(sentences), probes)


class _Builder:
    """Draws subjects, values, facts and events of one world from one random stream."""

    def __init__(self, rng: Random, split: Split, specs: dict[str, Relation], facts: int) -> None:
        self.rng, self.split, self.specs = rng, split, specs
        self.namer = Namer(rng, split)
        per_subject = 2 / 3 * len(specs) / len(KINDS)  # the other third is left for neighbour probes
        count = max(min(2, facts), round(facts / per_subject))
        self.subjects = [(KINDS[i % len(KINDS)], self.namer.name(KINDS[i % len(KINDS)])) for i in range(count)]
        aside = max(1, round(count / len(KINDS) / 6))
        self.strangers = [(kind, self.namer.name(kind)) for kind in KINDS for _ in range(aside)]
        self.pools = {name: self._pool(spec) for name, spec in specs.items()}

    def _pool(self, spec: Relation) -> list[str]:
        rng = self.rng
        if spec.span:
            low, high, step = spec.span
            return [str(n) for n in rng.sample(range(low, high + 1, step), POOL)]
        if spec.value_kind == "date":
            return [f"{rng.randint(1, 28)} {rng.choice(MONTHS)}" for _ in range(POOL)]
        if spec.value_kind in ("person", "firm", "city", "river"):
            kind = SUBJECT_OF.get(spec.value_kind, spec.value_kind)
            known = [name for k, name in self.subjects if k == kind][:ENTITY_POOL]
            return known + [self.namer.name(kind) for _ in range(5 - len(known))]
        return plain_values(spec.value_kind, self.split)

    def facts(self, count: int) -> list[Fact]:
        """`count` facts in the order of their teaching, at least one for every subject."""
        rng = self.rng
        mine = {
            subject: rng.sample(names := [n for n, s in self.specs.items() if s.kind == subject[0]], len(names))
            for subject in self.subjects
        }
        first = [(subject, names[0]) for subject, names in mine.items()]
        rest = [(subject, name) for subject, names in mine.items() for name in names[1:]]
        rng.shuffle(rest)
        chosen = (first + rest)[:count]
        if len(chosen) < count:
            raise ValueError(f"These relations allow only {len(chosen)} facts, not {count}; use more relations.")
        rng.shuffle(chosen)
        return [
            Fact(f"f{i}", name, kind, relation, self._value(relation, name), self.specs[relation].value_kind)
            for i, ((kind, name), relation) in enumerate(chosen)
        ]

    def _value(self, relation: str, *excluded: str) -> str:
        return self.rng.choice([value for value in self.pools[relation] if value not in excluded])

    def events(self, facts: list[Fact], updates: float, restates: float, retracts: float) -> list[Event]:
        """Teach everything in order, with the other events at random later times, mostly in the second half."""
        rng, total = self.rng, len(facts)
        timed: list[tuple[float, Event]] = []
        frames: dict[str, str] = {}
        for index, fact in enumerate(facts):
            frames[fact.id] = rng.choice(self._teach(fact))
            timed.append((index, self._event("teach", fact, frames[fact.id])))
        counts = [round(total * share) for share in (updates, restates, retracts)]
        order = rng.sample(range(total), min(total, sum(counts)))
        names: tuple[EventKind, ...] = ("update", "restate", "retract")
        kinds = [name for name, number in zip(names, counts, strict=True) for _ in range(number)]
        for index, kind in zip(order, kinds, strict=False):  # rounding can give one kind more than there are facts
            fact = facts[index]
            time = rng.uniform(max(index, total / 2), total)
            if kind == "restate":
                frame = rng.choice([f for f in self._teach(fact) if f != frames[fact.id]])
                timed.append((time, self._event("restate", fact, frame)))
            elif kind == "update":
                timed.append((time, self._update(fact)))
            else:
                timed.append((time, self._event("retract", fact, self._changed("retract", fact), fact.value)))
        return [event for _, event in sorted(timed, key=lambda pair: pair[0])]

    def _teach(self, fact: Fact) -> tuple[str, ...]:
        # Twice the relation's own wordings, so that the stream does not read like a form.
        return _mixed(self.specs[fact.relation].wordings[self.split].teach * 2, stock("teach", self.split), self.rng)

    def _update(self, fact: Fact) -> Event:
        spec = self.specs[fact.relation]
        told = "correct" if spec.fixed else "change"
        new = replace(fact, value=self._value(fact.relation, fact.subject, fact.value))
        return self._event("update", new, self._changed(told, fact), fact.value)

    def _changed(self, told: str, fact: Fact) -> str:
        """A frame; where train also has the relation's own words for it, as often these."""
        spec = self.specs[fact.relation]
        frames = stock(told, self.split)
        frames += spec.update.get(self.split, ()) if told == "change" else ()
        own = retold(told, self.split, spec.wordings[self.split].teach)
        return self.rng.choice(self.rng.choice([frames, own]) if own else frames)

    def _event(self, kind: EventKind, fact: Fact, frame: str, old: str | None = None) -> Event:
        text = say(frame, fact.relation, self.split, fact.subject, fact.value, old or "")
        return Event(kind, fact, text, old)


def main() -> None:
    """Print a small world."""
    parser = argparse.ArgumentParser(description="Print a sample of the invented world.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--facts", type=int, default=10)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--probes", type=int, default=5, help="questions shown per probe kind")
    args = parser.parse_args()
    world = World.make(args.seed, args.facts, args.split)
    for event in world.events:
        print(f"{event.kind:9} {event.text}")
    for kind in PROBE_KINDS:
        for probe in world.probes(kind)[: args.probes]:
            print(f"{kind:13} {probe.question}  -> {probe.answer}")
    for paragraph in world.paragraphs()[: args.probes]:
        print(f"\n{paragraph.text}")


if __name__ == "__main__":
    main()
