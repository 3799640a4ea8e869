"""Contexts are edited by item, hold their budget, and never tell a problem its own answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastslow.errors import InputError, StoreError
from fastslow.slow.contexts import ORDER, Context, Item, frontier, survivors

items = st.builds(
    Item,
    st.sampled_from(ORDER),
    st.text("abc", min_size=1, max_size=5),
    st.sampled_from(["", "x", "y"]),
    st.frozensets(st.sampled_from("pqr")),
)


@given(st.lists(items, max_size=12), st.integers(0, 30))
def test_a_budget_holds_and_nothing_is_said_twice(new: list[Item], budget: int) -> None:
    context = Context().plus(new, budget, "rule")
    fixed = sum(len(i.text) + 1 for i in context.items if i.kind in ("role", "format"))
    assert context.size() <= max(budget, fixed)
    assert len({(i.kind, i.text) for i in context.items}) == len(context.items)
    about = [i.about for i in context.items if i.about]
    assert len(set(about)) == len(about)
    assert Context.from_dict(context.to_dict()) == context


def test_a_newer_rule_on_the_same_replaces_the_older() -> None:
    old = Context().plus([Item("rule", "a=1", "a"), Item("rule", "b=2", "b")], 100, "rule")
    new = old.plus([Item("rule", "a=7", "a")], 100, "rule")
    assert new.lines() == ("b=2", "a=7") and new.parent == old.id and new.id != old.id


def test_a_problem_is_not_told_what_was_made_from_it_alone() -> None:
    alone = Item("demonstration", "ab>12", sources=frozenset({"p"}))
    shared = Item("rule", "a=1", "a", sources=frozenset({"p"}))
    context = (
        Context().plus([alone, shared], 100, "rule").plus([Item("rule", "a=1", "a", frozenset({"q"}))], 100, "rule")
    )
    assert context.lines("p") == ("a=1",)  # it was seen elsewhere too
    assert context.lines("q") == ("a=1", "ab>12") == context.lines()


def test_the_frontier_is_who_wins_somewhere() -> None:
    scores = {
        "broad": {"1": 1.0, "2": 1.0, "3": 0.0},
        "narrow": {"1": 1.0, "2": 0.0, "3": 0.0},  # wins nothing that broad does not
        "other": {"1": 0.0, "2": 0.0, "3": 1.0},
        "none": {"1": 0.0, "2": 0.0, "3": 0.0},
    }
    assert frontier(scores) == ["broad", "other"]
    assert survivors(scores, 3) == ["broad", "other", "narrow"] and survivors(scores, 1) == ["broad"]
    assert frontier({"only": {"1": 0.0}}) == ["only"]


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        frontier({})
    with pytest.raises(InputError, match="same problems"):
        frontier({"a": {"1": 1.0}, "b": {"2": 1.0}})
    with pytest.raises(InputError, match="kind"):
        Item("rule", " ")
    with pytest.raises(StoreError, match="not a saved context"):
        Context.from_dict({"items": [{"kind": "rule"}]})
