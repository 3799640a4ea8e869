"""Which of the matches a question reads: the reader's doubt and its answers are set by hand, the rest is real."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from living import QUESTION, make_reader

from fastslow.copying import rare_words
from fastslow.core import Core, Delta
from fastslow.decode import Row
from fastslow.medium import choice as choice_module
from fastslow.medium.choice import Choice, lift, strangeness
from fastslow.medium.episodes import Episodes, Hit, RecallConfig, telling_words
from fastslow.medium.reader import POSE, Reader

WHERE = "Where does Kestrel Quamby live?"


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


@pytest.fixture(scope="module")
def reader(core: Core, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return make_reader(core, tmp_path_factory.mktemp("reader"))


def choosing(core: Core, reader: Reader, question: str, *texts: str, **config: float) -> Choice:
    """A question among ``texts`` that were told in this order, as episodes "0", "1", ..."""
    episodes = Episodes(core, reader.router, RecallConfig(margin=2.0, **config))  # type: ignore[arg-type]
    for n, text in enumerate(texts):
        episodes.add(str(n), episodes.write(text), n, 0.0)
    spread = Counter(word for text in texts for word in telling_words(text))

    def row(seen: list[str]) -> Row:
        return Row(core.prompt(question), episodes.pages(seen))

    return Choice(question, episodes, reader, row, lambda episode: texts[int(episode)], spread)  # type: ignore[arg-type]


def hits(choice: Choice) -> list[Hit]:
    return choice.episodes.select(choice.episodes.question(choice.question))


def test_what_is_told_later_updates_or_takes_back(core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doubts are those of each record alone and beside the first."""
    texts = [
        "Kestrel Quamby lives in Tolvar.",
        "Kestrel Quamby plays the oboe.",
        "Where Kestrel Quamby lives is not Tolvar.",
        "Where does Kestrel Quamby live? In Ostrel.",
    ]

    def read(alone: dict[int, float], beside: dict[int, float]) -> list[int]:
        def doubted(_: Choice, groups: list[list[Hit]]) -> list[float]:
            known = beside if any(len(group) > 1 for group in groups) else alone
            return [known.get(int(group[-1].episode), 1.0 if known is alone else 0.0) for group in groups]

        monkeypatch.setattr(Choice, "doubts", doubted)
        monkeypatch.setattr(Choice, "asked", lambda _, found: torch.zeros(len(found) + 1, 1))
        choice = choosing(core, reader, WHERE, *texts)
        assert {hit.episode for hit in hits(choice)} == {"0", "1", "2", "3"}
        return [int(hit.episode) for hit in choice.made(hits(choice))[0]]

    assert read({0: 0.01}, {}) == [0]  # nothing later that the reader heeds
    assert read({0: 0.01}, {2: 0.6}) == [0]  # what does not name the answer takes nothing back
    naming = ["2"]
    monkeypatch.setattr(Choice, "naming", lambda _, __, later: [hit for hit in later if hit.episode in naming])
    assert read({0: 0.01}, {2: 0.6}) == [2]  # taken back by a record that names Tolvar too
    assert read({0: 0.01, 2: 0.3}, {2: 0.6}) == []  # in which the reader would find Tolvar again
    assert read({0: 0.01, 2: 0.3}, {2: 0.3}) == [0]  # too little doubt
    assert read({0: 0.01, 2: 0.6}, {2: 0.06}) == [2]  # enough of it where the answer is not found in it
    assert read({0: 0.01, 2: 0.6}, {2: 0.04}) == [0]
    assert read({0: 0.1, 2: 0.6}, {2: 0.19}) == [0]  # which must be more than the statement leaves by itself
    assert read({0: 0.1, 2: 0.6}, {2: 0.21}) == [2]
    assert read({0: 0.01}, {1: 0.9}) == [0]  # another thing about the same person takes nothing back
    naming.append("3")
    assert read({0: 0.01}, {3: 0.9}) == [0]  # and neither does what denies nothing
    naming.remove("3")
    monkeypatch.setattr(Choice, "new", lambda _, __, later: later.episode in ("2", "3"))
    assert read({0: 0.01, 2: 0.8}, {2: 0.6}) == [2]  # what answers anew is an update, however sure the first is
    assert read({0: 0.01, 2: 0.97}, {2: 0.3}) == [2]  # even if hardly, because it shares a word
    assert read({0: 0.01, 2: 0.99}, {2: 0.6}) == [2]  # but not where it does not answer at all: it takes back
    assert read({0: 0.01, 2: 0.99}, {2: 0.3}) == [0]
    naming.clear()
    more: list[str] = []
    monkeypatch.setattr(Choice, "names_more", lambda _, __, later: later.episode in more)
    assert read({0: 0.01, 2: 0.6}, {2: 0.3}) == [0]  # what answers in doubt must name the older answer
    assert read({0: 0.001, 2: 0.1}, {2: 0.3}) == [2]  # or share a word with it, here Tolvar,
    assert read({0: 0.001, 2: 0.2}, {2: 0.3}) == [0]  # and be nearly as sure
    assert read({0: 0.01, 3: 0.02}, {}) == [0]  # what shares no word must speak of a change
    texts[2] = "Where Kestrel Quamby lives has changed from Tolvar."
    assert read({0: 0.001, 2: 0.8}, {}) == [2]  # what does both need not be as sure
    assert read({0: 0.001, 2: 0.95}, {}) == [0]
    texts[3] = "Where does Kestrel Quamby live now? In Ostrel."
    assert read({0: 0.01, 3: 0.02}, {}) == [3]
    assert read({0: 0.01, 2: 0.02, 3: 0.02}, {}) == [3]  # of two updates the newer one is read
    more.append("3")
    assert read({0: 0.01, 3: 0.02}, {}) == [0]  # it may name nothing that is not asked about


def test_an_update_may_be_updated_or_taken_back_in_turn(
    core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every record answers with its last word."""
    texts = [
        "Kestrel Quamby lives in Tolvar.",
        "Kestrel Quamby has left Tolvar for Ostrel.",
        "Kestrel Quamby has left Ostrel for Hotrir.",
        "Kestrel Quamby does not live in Hotrir.",
    ]
    said = {0: "Tolvar", 1: "Ostrel", 2: "Hotrir", 3: "Hotrir"}
    monkeypatch.setattr(Choice, "says", lambda _, hit: telling_words(said[int(hit.episode)]))
    monkeypatch.setattr(Choice, "doubts", lambda _, groups: [0.9] * len(groups))
    heard = [(doubt, Hit(str(n), 1.0)) for n, doubt in enumerate((0.01, 0.2, 0.3, 0.8))]

    def standing(told: int) -> tuple[list[Hit], bool]:
        return choosing(core, reader, WHERE, *texts[:told]).standing(heard[:told])

    assert standing(2) == ([heard[1][1]], True)
    assert standing(3) == ([heard[2][1]], True)  # it names Ostrel, which the first one does not say
    assert standing(4) == ([heard[3][1]], False)


def test_a_change_is_found_by_the_statement_that_it_changes(
    core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need be none of the matches of the question."""
    texts = [
        "Anders now lives in Ostrel.",
        "Kestrel Quamby lives in Tolvar.",
        "Kestrel Quamby plays the oboe.",
        "Kestrel Quamby now lives in Ostrel.",
        "Kestrel Anders now lives in Tolvar.",
        "Kestrel Quamby now lives in Hotrir.",
    ]
    choice = choosing(core, reader, WHERE, *texts, hops=5)
    witness, change = Hit("1", 1.0), Hit("3", 1.0)
    assert {hit.episode for hit in choice.episodes.later(witness)} == {"2", "3", "4", "5"}
    assert {hit.through for hit in choice.episodes.later(witness)} == {"1"}
    assert {hit.episode for hit in choice.changing(witness)} == {"3", "5"}  # who is asked for, and a change
    assert choice.changing(change) == []  # what is nearest to a change is any other
    choice.episodes.records["5"] = replace(choice.episodes.records["5"], page=None)
    assert {hit.episode for hit in choice.episodes.later(witness)} == {"2", "3", "4"}  # what was dropped is not heard
    choice = choosing(core, reader, WHERE, *texts, hops=5)
    monkeypatch.setattr(Choice, "says", lambda _, hit: telling_words(texts[int(hit.episode)].split()[-1]))
    monkeypatch.setattr(Choice, "doubts", lambda _, groups: [0.1] * len(groups))
    read, found = choice.standing([(0.1, witness)])
    assert [hit.episode for hit in read] == ["5"] and found
    with monkeypatch.context() as prose:
        prose.setattr(choice_module, "LONG", 0)
        assert choice.changing(witness) == []


def test_a_record_names_more_where_it_is_about_something_else(
    core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        "Kestrel Quamby of Zorvek lives in Tolvar.",
        "Kestrel Quamby now lives in Ostrel.",
        "Zorvek now has Kestrel Quamby in Ostrel.",
        "Anders now has Kestrel Quamby in Ostrel.",
    ]
    choice, (first, *later) = choosing(core, reader, WHERE, *texts), [Hit(str(n), 1.0) for n in range(4)]
    monkeypatch.setattr(Choice, "says", lambda *_: telling_words("In Ostrel."))
    assert [choice.names_more(first, hit) for hit in later] == [False, False, True]
    priced = choosing(
        core, reader, WHERE, "Kestrel Quamby costs 900 crowns.", "Kestrel Quamby now costs 1,200.5 crowns."
    )
    monkeypatch.setattr(Choice, "says", lambda *_: telling_words("1,200.5 crowns."))
    assert not priced.names_more(first, later[0])  # a figure is one word


def test_what_two_records_share_is_what_they_speak_of(core: Core, reader: Reader) -> None:
    texts = [
        "According to the register, Kestrel Quamby lives in Tolvar.",
        "According to the register, Kestrel Quamby plays the oboe.",
        "According to the register, Kestrel Quamby bought a boat.",
        "Tolvar was left by Kestrel Quamby.",
        "According to the register, Anders Quamby has a dog.",
        "According to the register, Anders Quamby has a cat.",
    ]
    choice, found = choosing(core, reader, WHERE, *texts), [Hit(str(n), 1.0) for n in range(6)]
    assert choice.alike(found[0], found[3], found[:4])  # Tolvar
    # The register is in most of the records, and the name in the question.
    assert not any(choice.alike(found[0], hit, found[:4]) for hit in found[1:3])
    nameless = choosing(core, reader, "Where is the home?", *texts)
    assert not nameless.alike(found[1], found[3], found[:4])  # Kestrel Quamby is in half of the others too
    assert choice.follows(found[0], found[3]) and not choice.follows(found[0], found[4])


def test_the_noun_behind_a_name_is_not_what_records_speak_of(
    core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice_module, "COMMON", 1.0)  # in so few records no word is common
    texts = [
        "The Zorvek bell is made of copper from Tolvar.",
        "For 469 crowns the Zorvek bell can be yours.",
        "The Zorvek bell is now made of iron and no longer of copper.",
        "Anders Quamby rings the Zorvek bell.",
        "The Ostrel clock is made of tin.",
        "The Ostrel tower belongs to Anders.",
        "The Ostrel gate is painted red.",
    ]
    question = "Of what is the bell Zorvek made?"
    choice, found = choosing(core, reader, question, *texts), [Hit(str(n), 1.0) for n in range(7)]
    assert choice.named(found) == found[:4]
    assert not choice.alike(found[0], found[1], found)  # a bell stands in all that was told of it
    assert choice.alike(found[0], found[2], found)  # copper
    few = [found[n] for n in (0, 1, 3, 4, 5, 6)]
    assert choice.alike(found[0], found[1], few)  # one other is too few to tell


def test_a_later_statement_names_the_older_answer(core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Kestrel Quamby lives in Tolvar.", "Kestrel Quamby has left Tolvar.", "Kestrel Quamby plays the oboe."]
    first, *later = (Hit(str(n), 1.0) for n in range(3))
    monkeypatch.setattr(Choice, "says", lambda *_: telling_words("Tolvar."))
    choice = choosing(core, reader, WHERE, *texts)
    assert choice.naming(first, later) == [later[0]]
    assert choosing(core, reader, "Who lives in Tolvar?", *texts).naming(first, later) == []
    monkeypatch.setattr(choice_module, "LONG", 0)
    assert choice.naming(first, later) == []  # prose is changed by whole paragraphs


def test_a_later_statement_is_new_where_it_answers_with_what_the_earlier_lacks(
    core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = "Kestrel Quamby lives in Tolvar.", "Kestrel Quamby, once of Tolvar, has moved to Ostrel."
    before, after = Hit("0", 1.0), Hit("1", 1.0)
    choice = choosing(core, reader, WHERE, *texts)
    for said, new in {"Ostrel.": True, "Tolvar.": False, "In Hotrir.": False, "Tolvar and Ostrel.": True}.items():
        monkeypatch.setattr(Choice, "says", lambda *_, said=said: telling_words(said))
        assert choice.new(before, after) == new, said


def test_what_a_record_says_is_found_once(core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def answered(_: Core, rows: list[Row], *__: object, **___: object) -> list[list[int]]:
        asked.append(rows[0].refuse)
        return [core.encode("In Tolvar.")]

    monkeypatch.setattr(choice_module, "generate", answered)
    choice, hit = choosing(core, reader, WHERE, "Kestrel Quamby lives in Tolvar."), Hit("0", 1.0)
    assert choice.says(hit) == choice.says(hit) == {"tolvar"}
    assert asked == [choice.unknown]  # it must answer


def test_names_are_rare_words_with_a_capital_or_a_figure(core: Core, reader: Reader) -> None:
    for question, names in {
        WHERE: {"Kestrel", "Quamby"},
        "Who paid 1,200.5 crowns?": {"1,200.5"},
        "Tolvar has whom since 1721?": {"1721"},  # the first word has a capital anyway
        "Who is on the boat of 2 in the afternoon?": {"2"},  # a figure of one piece as well
        "where does she live?": set(),
    }.items():
        assert choosing(core, reader, question).names == names, question


def test_only_another_version_of_a_paragraph_replaces_prose(
    core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        "The ferry to Ostrel leaves at noon from pier two and takes an hour.",
        "The ferry to Ostrel leaves at three from pier two and takes an hour.",
        "The ferry to Tolvar is painted red, and its captain leaves nothing to chance.",
    ]
    choice = choosing(core, reader, "When does the ferry leave?", *texts)
    found = first, version, other = [Hit(str(n), 1.0) for n in range(3)]
    assert not choice.alike(first, other, found)  # a ferry that leaves is in all of them

    def read(least: float, doubt: float, later: Hit) -> list[Hit]:
        return choice.standing([(least, first), (doubt, later)])[0]

    monkeypatch.setattr(Choice, "new", lambda *_: True)
    monkeypatch.setattr(Choice, "doubts", lambda _, groups: [0.0] * len(groups))
    monkeypatch.setattr(choice_module, "LONG", 0)
    assert choice.alike(first, version, found) and not choice.alike(first, other, found)
    assert read(0.001, 0.4, version) == [version]
    assert read(0.001, 0.6, version) == [first]  # in doubt
    assert read(0.001, 0.1, other) == [first]  # another paragraph


def test_a_question_is_strange_where_the_reader_would_not_ask_it(
    core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The likelihood of every token of the question is set by hand; what is asked of whom is real."""
    choice = choosing(core, reader, WHERE, "Kestrel Quamby lives in Tolvar.", "Kestrel Quamby plays the oboe.")
    found, heard = [Hit("0", 1.0), Hit("1", 1.0)], []

    def likely(_: Core, rows: list[Row], asked: list[int], adapters: list[Delta]) -> torch.Tensor:
        heard.append((rows, asked, adapters))
        return torch.tensor([[-1.0, -2.0, -1.0], [-2.0, -1.5, -90.0], [-4.0, -1.0, -9.0]])

    monkeypatch.setattr(choice_module, "answer_log_probabilities", likely)
    asked = choice.asked(found)
    assert strangeness(asked[:-1]) == pytest.approx([0.5 - 2.75, 5.0 - 2.75])  # one token counts at most 4 nats
    together = torch.tensor([[-1.0, -1.5, -1.0], [0.0, 0.0, 90.0]])  # of others, against the same two
    assert strangeness(together, asked[:-1]) == pytest.approx([-2.75, -1.0 - 1.5 - 4.0 - 2.75])
    assert lift(asked) == pytest.approx([3.0 - 1.0 + 4.0, 2.0 - 0.5 - 4.0])  # either way
    ((rows, question, adapters),) = heard
    assert [row.prompt for row in rows] == [core.prompt(POSE)] * 3 and adapters == [reader.prose]
    assert all(torch.equal(row.pages[0], choice.row([str(n)]).pages[0]) for n, row in enumerate(rows[:2]))
    assert not rows[2].pages and list(question) == core.encode(WHERE)
    choosing(core, reader, 200 * WHERE, "Kestrel Quamby lives in Tolvar.").asked(found[:1])
    assert list(heard[1][1]) == core.encode(200 * WHERE)[:64]  # of a long question the beginning is enough


def test_a_question_reads_who_answers_it_else_what_leads_on_else_nothing(
    core: Core, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader's doubt is set by hand; who is heard, and together with whom, is real."""
    texts = [
        "Kestrel Quamby launches on the 4th of May 1721.",
        "Kestrel Quamby lives in Tolvar.",
        "Tolvar launches on the 4th of May 1721.",
    ]
    monkeypatch.setattr(Choice, "names", set())
    best, second = (hit.episode for hit in hits(choosing(core, reader, QUESTION, *texts))[:2])
    assert best == "0"

    def chosen(
        doubts: dict[str, float],
        together: float = 1.0,
        certain: float = 0.6,
        strange: dict[str, float] | None = None,
        lifted: float = 20.0,
    ) -> tuple[list[str], bool]:
        def doubted(_: Choice, groups: list[list[Hit]]) -> list[float]:
            return [doubts.get(g[0].episode, 1.0) if len(g) == 1 else together for g in groups]

        monkeypatch.setattr(Choice, "doubts", doubted)

        def asked(_: Choice, found: list[Hit]) -> torch.Tensor:
            return torch.tensor([[-(strange or {}).get(hit.episode, 0.0)] for hit in found] + [[0.0]])

        monkeypatch.setattr(Choice, "asked", asked)
        monkeypatch.setattr(choice_module, "strangeness", lambda likely, alone=None: (-likely[:, 0]).tolist())
        monkeypatch.setattr(choice_module, "lift", lambda asked: [lifted] * (len(asked) - 1))
        choice = choosing(core, reader, QUESTION, *texts, witnesses=1, certain=certain)
        read, found = choice.made(hits(choice))
        return [hit.episode for hit in read], found

    def read(*given: dict[str, float], **more: Any) -> list[str]:
        return chosen(*given, **more)[0]

    assert read({second: 0.1}) == [second]  # not the best match, but the one that answers
    with monkeypatch.context() as apart:
        apart.setattr(Choice, "alike", lambda *_: False)
        assert read({best: 0.2, second: 0.05}) == [second]  # the surer one of two statements
        assert read({best: 0.2, second: 0.05}, strange={second: 3.0, best: -3.0}) == [best]  # asked of the other
    with monkeypatch.context() as prose:
        prose.setattr(choice_module, "LONG", 0)
        assert read({best: 0.1, second: 0.05}) == [best]  # of prose the better match
        assert read({best: 0.6, second: 0.05}) == [second]  # unless it is in doubt
    with monkeypatch.context() as names:
        own = rare_words(core, texts[int(second)]) - rare_words(core, texts[int(best)])
        names.setattr(Choice, "names", own)
        (other,) = {"0", "1", "2"} - {best, second}
        assert chosen({second: 0.8}, certain=2.0) == ([second], True)  # in some doubt, but it has every name
        assert read({second: 0.8}, together=0.001, certain=2.0) == [second, other]  # unless a pair is much surer
        assert read({second: 0.8}, together=0.002, certain=2.0) == [second]
        assert read({second: 0.8}, together=0.3, certain=2.0, strange={other: -20.0}) == [
            second,
            other,
        ]  # or is asked of
        assert read({second: 0.8}, together=0.3, certain=2.0, strange={second: -10.0, other: 9.0}) == [second]
        assert read({second: 0.15}, together=0.0, certain=2.0) == [second]  # and it is not sure by itself
        strange = {second: -10.0}  # asked of it, but itself in doubt, and a pair is much surer
        assert read({second: 0.8}, together=0.001, certain=2.0, strange=strange) == [second, other]
        assert read({second: 0.45}, together=0.0, certain=2.0, strange={second: -10.0}) == [second]
        assert read({second: 0.89}, together=0.985, certain=2.0, strange={second: -30.0}) == [second]
        assert read({second: 0.97}, certain=2.0, strange={second: -30.0}) == [second]  # far ahead of the next
        assert read({second: 0.89, best: 0.95}, certain=2.0, strange={second: -30.0, best: -30.0}) == [second]
        assert read({second: 0.91, best: 0.95}, certain=2.0, strange={second: -30.0, best: -30.0}) == []
        assert read({second: 0.99}, certain=2.0, strange={second: -30.0}) == []  # however much it is asked of it
        assert read({second: 0.8}, certain=2.0, strange={second: 10.0}) == []  # a strange question to it
        assert read({second: 0.95}, certain=2.0) == []
        assert read({second: 0.95}, together=0.04, certain=2.0) == [second, other]  # where nothing else answers
        assert read({second: 0.95}, together=0.05, certain=2.0) == []  # and the two are sure enough
        assert read({second: 0.85}, together=0.97, certain=2.0) == [second]
        assert read({best: 0.4}, certain=2.0) == []  # a name is missing
        assert read({best: 0.04}, together=0.0, certain=2.0) == [best]
    assert read({best: 0.9}, certain=2.0) == [best]  # in much doubt, but such a question is asked of it
    assert read({best: 0.1}, certain=2.0, lifted=0.0) == []  # in little, but that is asked about anything
    with monkeypatch.context() as many:
        assert read({best: 0.01}, certain=2.0, lifted=0.0) == [best]
        many.setattr(choice_module, "STRAYS", choice_module.STRAYS / 1000)  # as if there were 1,000 times as many
        assert read({best: 0.01}, certain=2.0, lifted=0.0) == []
    assert read({}, together=0.0, certain=2.0) == []  # and without names it leads nowhere
    assert chosen({}, together=0.9, certain=0.0) == ([best], False)  # about what was learned: the reader may say so
