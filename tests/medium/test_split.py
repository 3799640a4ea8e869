"""Splitting documents: along their structure, within the limit, and nothing lost."""

import re
import time
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fastslow.core import Core
from fastslow.medium.split import Piece, split


def words(text: str) -> int:
    return len(text.split())


def pieces(text: str, limit: int = 20) -> list[tuple[str, str]]:
    return [(p.heading, p.text) for p in split(text, words, limit)]


def test_headings_become_paths_and_paragraphs_pieces() -> None:
    text = "# Boats\n\nA boat floats.\n\n## Kestrel\n\nShe is green.\n\nShe is fast.\n\n# Cars\nA car rolls.\n"
    assert pieces(text) == [
        ("Boats", "A boat floats."),
        ("Boats > Kestrel", "She is green."),
        ("Boats > Kestrel", "She is fast."),
        ("Cars", "A car rolls."),
    ]
    assert Piece("Boats", "A boat floats.").written == "Boats: A boat floats."
    assert Piece("", "A boat floats.").written == "A boat floats."


def test_a_heading_with_nothing_under_it_is_a_piece() -> None:
    assert pieces("# Kestrel launches in May") == [("", "Kestrel launches in May")]
    assert pieces("# A\n## B\n### C\ntext\n# D\n# E\nmore") == [("", "A"), ("B > C", "text"), ("", "D"), ("E", "more")]


def test_a_long_heading_is_text() -> None:
    title = " ".join(f"t{i}" for i in range(30))
    found = pieces(f"# {title}\n\nIt works.")
    assert all(not heading and words(text) <= 20 for heading, text in found)
    assert " ".join(text for _, text in found) == f"{title} It works."


def test_closing_marks_of_a_heading_are_no_part_of_it() -> None:
    assert pieces("## Boats ##\nfloat")[0][0] == "Boats"
    assert pieces("# Intro to C#\nsharp")[0][0] == "Intro to C#"
    assert pieces("##\nfloat") == [("", "float")]


def test_code_directly_under_a_paragraph_stays_code() -> None:
    text = "Run this:\n```\nx = 1\n\n# no heading\ny = 2\n```\nThen stop.\n```\n```"
    assert pieces(text) == [("", "Run this:"), ("", "x = 1\n\n# no heading\ny = 2"), ("", "Then stop.")]


def test_short_sentences_stay_together_and_long_paragraphs_part_between_sentences() -> None:
    text = (
        "One two three four five. Six seven eight nine ten. Eleven twelve thirteen fourteen fifteen sixteen seventeen."
    )
    assert pieces(text) == [("", text)]
    assert pieces(text, 16) == [("", text[:50].strip()), ("", text[50:].strip())]


def test_a_sentence_that_is_too_long_parts_between_words() -> None:
    text = " ".join(f"w{i}" for i in range(50))
    found = [text for _, text in pieces(text)]
    assert [words(t) for t in found] == [20, 20, 10] and " ".join(found) == text


def test_items_and_rows_and_lines_of_code_stay_whole() -> None:
    items = "- one two three four five six\n  and seven\n- eight nine ten eleven\n- twelve thirteen fourteen fifteen"
    assert [t.count("- ") for _, t in pieces(items, 16)] == [2, 1]
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
    assert pieces(table) == [("", "| a | b | | 1 | 2 | | 3 | 4 |")]
    code = "```python\nx = 1\n\n# no heading\ny = 2\n```\n\nText."
    found = pieces(code)
    assert found == [("", "x = 1\n\n# no heading\ny = 2"), ("", "Text.")]
    assert pieces("```\nif a:\n    b\n```") == [("", "if a:\n    b")]


def test_a_fence_that_never_closes_and_one_inside_a_line() -> None:
    assert pieces("```\na b\n# c\n\nd") == [("", "a b\n# c\n\nd")]
    assert pieces("```this``` is text\n\n# Heading\n\nend") == [("", "```this``` is text"), ("Heading", "end")]


def test_line_ends_of_every_kind() -> None:
    assert pieces("# A\r\n\r\none\r\n\r\ntwo") == [("A", "one"), ("A", "two")]


@pytest.mark.parametrize("text", ["", " \n\n ", "```\n```", "|---|\n|---|", "##"])
def test_no_words_no_pieces(text: str) -> None:
    assert pieces(text) == []


LINE = st.one_of(
    st.text("ab1 .é?!", max_size=40),
    st.sampled_from(
        ["", "", "# Title", "## Part two", "### Deep", "- item one", "1. first", "| a | b |", "```", "> q"]
    ),
    st.text("xyz", min_size=30, max_size=90),
    st.lists(st.sampled_from(["Mira", "lives.", "The", "nine", "A-b"]), max_size=60).map(" ".join),
)


def found_in_order(wanted: list[str], there: list[str]) -> bool:
    rest = iter(there)
    return all(word in rest for word in wanted)


@given(st.lists(LINE, max_size=25).map("\n".join), st.sampled_from([16, 24, 96]))
@example("# Title\n## Part two\n## Part two", 16)
@example("# Title\n```", 16)
@example("# Title\n```\n\n```", 16)
def test_every_word_is_kept_in_order_and_pieces_fit(text: str, limit: int) -> None:
    def size(t: str) -> int:  # about one token for three characters, as in byte-pair encodings
        return sum(-(-len(w) // 3) for w in t.split())

    found = split(text, size, limit)
    # A word longer than a page may be cut: letters are compared, not words.
    letters = list(re.sub(r"\W", "", text))
    assert found_in_order(letters, list(re.sub(r"\W", "", " ".join(p.written for p in found))))
    assert all(p.text.strip() for p in found)
    assert all(size(p.written) <= max(limit, 16) + limit // 2 for p in found)


def test_words_longer_than_a_page_are_cut_to_fit(tiny_core_folder: Path) -> None:
    core = Core.load(str(tiny_core_folder), dtype=torch.float32)
    text = "a" * 500 + "\U0001f701" * 300
    found = split(text, lambda t: len(core.encode(t)), 40)
    assert "".join(p.text for p in found).replace(" ", "") == text
    assert all(len(core.encode(p.text)) <= 44 for p in found)


def test_a_megabyte_takes_seconds(tiny_core_folder: Path) -> None:
    core = Core.load(str(tiny_core_folder), dtype=torch.float32)
    line = "Mira lives in Tolvar and works at the old harbour near the quick brown fox. "
    text = "\n\n".join(f"# Part {i}\n\n" + line * 20 for i in range(330)) + "\n\n" + line * 6800
    assert len(text) > 1_000_000
    begun = time.process_time()
    found = split(text, lambda t: len(core.encode(t)))
    assert time.process_time() - begun < 15
    assert sum(len(p.text) for p in found) > 1_000_000
