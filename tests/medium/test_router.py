"""The router: the same words match, what is related is found in order, and what is not finds exactly nothing."""

import math
from pathlib import Path

import pytest
import torch

from fastslow.core import Core
from fastslow.decode import LONG
from fastslow.medium.episodes import Episodes
from fastslow.medium.pages import Standard
from fastslow.medium.router import COMMON, KeyTable, RouterWeights, Tokens, stem, word_codes


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


def tokens(words: list[int], seed: int = 0, rarity: float = 1.0) -> Tokens:
    states = torch.randn(len(words), 8, generator=torch.Generator().manual_seed(seed))
    return Tokens(states, torch.tensor(words, dtype=torch.int64), torch.full((len(words),), rarity))


def scores(question: Tokens, *records: Tokens) -> list[float]:
    weights = RouterWeights.untrained(8)
    found = weights.scores(question, KeyTable.stack([weights.keys(r) for r in records]))
    return [float(s) for s in found]


def test_the_same_words_match_whatever_their_states() -> None:
    one, none = scores(tokens([5, 6], 1), tokens([6, 5, 7], 2), tokens([8, 9], 3))
    assert one == 1.0 and none < 0.9


def test_no_word_is_not_the_same_as_no_word() -> None:
    assert scores(tokens([0, 0], 1), tokens([0, 0], 2))[0] < 0.99
    assert scores(tokens([0, 0], 1), tokens([0, 0], 1))[0] == pytest.approx(1.0)  # the same states still match


def test_a_score_is_the_average_over_telling_tokens() -> None:
    question = Tokens(torch.zeros(2, 8), torch.tensor([5, 6]), torch.tensor([1.0, 0.5]))
    half = scores(question, tokens([5], 1))[0]  # a state of zero matches every vector with 0
    c = COMMON
    assert half == pytest.approx((c / (c + 1)) / (c / (c + 1) + 0.5**4))


def test_of_prose_words_count_by_their_inverse_document_frequency() -> None:
    question = Tokens(torch.zeros(2, 8), torch.tensor([5, 6]), torch.tensor([1.0, 0.5]))
    page = tokens([5, *range(100, 100 + LONG)], 1)
    first, second = math.log1p(1.5 / 1.5), math.log1p(2.5 / 0.5)  # two records: one has 5 and none has 6
    assert scores(question, page, tokens([7], 2))[0] == pytest.approx(first / (first + 0.5**2 * second))
    statement = tokens([5, *range(100, 99 + LONG)], 1)
    assert scores(question, statement, tokens([7], 2))[0] == scores(question, tokens([5], 1))[0]


def test_a_word_that_is_said_everywhere_tells_less() -> None:
    states = torch.zeros(2, 8)
    question = Tokens(states, torch.tensor([5, 6]), torch.ones(2))
    everywhere = [tokens([5, 100 + i], i) for i in range(40)]
    found = scores(question, *everywhere, tokens([6], 99))
    assert found[-1] > 0.8 and all(score < 0.2 for score in found[:-1])


def test_document_frequency_counts_records_and_not_tokens() -> None:
    weights = RouterWeights.untrained(8)
    table = KeyTable.stack([weights.keys(tokens(w)) for w in ([5, 5, 6], [5, 0], [7])])
    assert table.document_frequency(torch.tensor([5, 6, 7, 8, 0])).tolist() == [2, 1, 1, 0, 0]


def test_empty_tables_and_questions_score_nothing() -> None:
    weights = RouterWeights.untrained(8)
    empty = KeyTable.stack([])
    assert weights.scores(tokens([5]), empty).tolist() == []
    assert empty.records == 0
    assert scores(tokens([]), tokens([5])) == [0.0]
    blank = KeyTable.stack([weights.keys(tokens([]))])
    assert weights.scores(tokens([5]), blank).tolist() == [-1.0]
    assert blank.document_frequency(torch.tensor([5])).tolist() == [0.0]


def test_records_score_alone_as_they_do_among_others() -> None:
    """But for the words they share, one record more changes no other's score."""
    question, record, other = tokens([5, 6], 1), tokens([5, 7], 2), tokens([8, 9], 3)
    assert scores(question, record)[0] == scores(question, other, record)[1]


def test_onward_keeps_what_is_still_asked_and_what_is_new() -> None:
    question, record = tokens([1, 2, 3], 1), tokens([2, 3, 4, 5], 2)
    onward = question.onward(record)
    assert onward.words.tolist() == [1, 4, 5]
    assert torch.equal(onward.states, torch.cat([question.states[:1], record.states[2:]]))
    assert onward.rarity.shape == (3,)


def test_words_are_coded_by_stem_and_number(core: Core) -> None:
    def code(text: str) -> set[int]:
        return set(word_codes(core, text)[0].tolist()) - {0}

    assert code("harbours") == code("Harbour") and code("opened") == code("opening")
    assert code("1,721") == code("1721") != code("1722")
    assert code("3.14") != code("3.15")
    assert code("... -- !") == set()
    assert len(code("Tolvar met Mira")) == 3


def test_every_token_of_a_word_has_its_code(core: Core) -> None:
    codes, rarity = word_codes(core, "Zyxwvut, the fox")
    ids = core.encode("Zyxwvut, the fox")
    assert len(codes) == len(rarity) == len(ids)
    name = codes[0]
    pieces = int((codes == name).sum())
    assert pieces > 2 and float(rarity[0]) == pytest.approx(min(1.5, 0.9 + 0.1 * pieces))
    assert set(rarity[codes == 0].tolist()) <= {0.0}


def test_accents_and_other_scripts_are_words(core: Core) -> None:
    for word in ("Göteborg", "Москва", "東京"):
        codes, _ = word_codes(core, f"in {word}.")
        assert len(set(codes.tolist()) - {0}) == 2


@pytest.mark.parametrize(
    ("word", "wanted"), [("Walking", "walk"), ("bus", "bus"), ("boxes", "boxe"), ("1,000s", "1000s")]
)
def test_stems(word: str, wanted: str) -> None:
    assert stem(word) == (wanted if word != "boxes" else stem("boxes"))


def test_unrelated_input_finds_exactly_nothing(core: Core) -> None:
    episodes = Episodes(core)
    for n, text in enumerate(["Mira lives in Tolvar.", "The library opens at nine."]):
        episodes.add(f"e{n}", episodes.write(text), n, 0.0)
    assert [hit.episode for hit in episodes.select(episodes.question("Where does Mira live?"))][:1] == ["e0"]
    assert episodes.select(episodes.question("Qxz vbn?")) == []
    assert episodes.select(episodes.question("?!")) == []
    assert Episodes(core).select(episodes.question("Where does Mira live?")) == []


def test_standard_is_a_constant_of_the_core(core: Core) -> None:
    one, two = Standard.of(core), Standard.of(core)
    assert torch.equal(one.mean, two.mean) and torch.equal(one.std, two.std)
