"""Copying: a word that has begun goes on as it was read, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastslow import copying
from fastslow.copying import BEGUN, copied_words, onward, rare_words
from fastslow.core import Core
from fastslow.decode import Row, generate

WORDS = frozenset({"Snisonond", "Sena", "1746", "945"})


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


def pieces(core: Core, said: str, words: frozenset[str] = WORDS) -> set[str]:
    """What may follow, as the tokenizer writes it."""
    written = {i: piece for piece, i in core.vocabulary.items()}
    return {written[i] for i in onward(core, said, words)}


def test_a_word_that_has_begun_goes_on_as_it_was_read(core: Core) -> None:
    found = pieces(core, "It is Sni")
    assert "s" in found and all("sonond".startswith(piece) for piece in found)
    assert all("onond".startswith(piece) for piece in pieces(core, "snis"))  # whatever its first letter
    assert pieces(core, "S") == pieces(core, "S", frozenset({"Snisonond"})) | pieces(core, "S", frozenset({"Sena"}))
    assert pieces(core, "In 17") <= {"4", "46"} and "4" in pieces(core, "In 17")


@pytest.mark.parametrize("said", ["", "It is ", "Snisonond", "Sena", "Tolvar", "Snix", "It is Sena."])
def test_nothing_else_is_touched(core: Core, said: str) -> None:
    assert onward(core, said, WORDS) == []


def test_rare_is_what_takes_several_pieces(core: Core) -> None:
    text = "The Drahol Institute has 1721."
    assert {"Drahol", "1721"} <= rare_words(core, text)
    assert all(len(core.encode(" " + word)) > 1 for word in rare_words(core, text))
    assert rare_words(core, "") == frozenset()


def test_copied_is_what_takes_several_pieces_where_an_answer_begins_with_it(core: Core) -> None:
    text = "Drahol keeps a volleyball and a volley in Oslo."
    copied = copied_words(core, text)
    assert rare_words(core, text) <= copied
    in_pieces = {word for word in text.rstrip(".").split() if len(core.encode(word.capitalize())) > 1}
    assert "volleyball" in in_pieces and in_pieces <= copied
    assert "volley" in copied and onward(core, "Volley", copied) == []  # it is a word of the text itself
    assert onward(core, "Volleyb", copied)


@pytest.mark.core
def test_a_letter_that_is_two_bytes_is_copied(default_core_folder: Path) -> None:
    core = Core.load(str(default_core_folder))
    for name, rest in (("Zoé", "é"), ("Güneş", "üneş"), ("Renée", "ée")):
        following = onward(core, name.removesuffix(rest), {name})
        assert following and all(rest.startswith(core.tokenizer.decode([token])) for token in following)


def test_an_answer_copies_what_its_row_reads(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core, here of random weights, begins as it likes; with an endless bonus it then ends the word as it was read.
    A row beside it that reads nothing says what it says alone."""
    pages, prompt = (core.hidden("x"),), core.prompt("Who?")
    plain = generate(core, [Row(prompt, pages)], max_tokens=1, stop=False)[0]
    begun = BEGUN.search(core.decode(plain))
    assert begun, "the tiny core begins with no letter: take another prompt"
    word = begun[0] + "qzjx"
    monkeypatch.setattr(copying, "BONUS", 1e4)
    rows = [Row(prompt, pages, frozenset({word})), Row(prompt, pages)]
    copied, alone = generate(core, rows, max_tokens=12, stop=False)
    assert word in core.decode(copied)
    assert alone == generate(core, [Row(prompt, pages)], max_tokens=12, stop=False)[0]
