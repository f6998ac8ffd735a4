"""Keys: their form is a contract with every journal that exists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow._engine.keys import CALLBACK_SCOPE, END, Scope, end_key, member_key, scope_of
from stepflow.model.names import escape, name_of, unescape

NAMES = st.text(alphabet=st.sampled_from("ab~/:[]12 \u00e4"), min_size=1, max_size=6)
"""Names full of what is special in a key."""


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("charge", "charge"),
        ("charge card", "charge card"),
        ("a:b", "a:b"),
        ("a:2", "a~22"),
        ("a:2b", "a:2b"),
        ("a/b", "a~1b"),
        ("a[0]", "a~30~4"),
        ("a~end", "a~0end"),
    ],
)
def test_names_are_written_as_they_always_were(name: str, escaped: str) -> None:
    assert escape(name) == escaped
    assert unescape(escaped) == name


def test_keys_are_written_as_they_always_were() -> None:
    scope, _ = Scope().child("audit")
    again, _ = scope.child("step")
    third, _ = scope.child("step")

    assert [scope.key("x"), scope.key("x"), again.key("a/b"), third.key("x")] == [
        "audit/x",
        "audit/x:2",
        "audit/step/a~1b",
        "audit/step:2/x",
    ]
    assert member_key("audit/x:2", "a/b") == "audit/x:2[a~1b]"
    assert end_key("audit/x") == f"audit/x{END}" == "audit/x~end"


@given(NAMES, NAMES)
def test_no_two_names_are_written_alike(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@given(NAMES)
def test_a_name_is_read_from_every_key_it_is_in(name: str) -> None:
    scope, _ = Scope().child(name)
    keys = [Scope().key(name), scope.key(name), scope.key(name)]

    assert [name_of(key) for key in keys] == [name] * 3
    assert [name_of(end_key(key)) for key in keys] == [name] * 3
    assert name_of(member_key(keys[1], name)) == name


@given(st.lists(st.tuples(st.sampled_from(["step", "task"]), NAMES, NAMES), max_size=12))
def test_no_key_is_given_twice(calls: list[tuple[str, str, str]]) -> None:
    root = Scope()
    root.child(CALLBACK_SCOPE)
    scopes = [root]
    keys: list[str] = []
    for what, name, member in calls:
        scope = scopes[len(keys) % len(scopes)]
        if what == "task":
            scopes.append(scope.child(name)[0])
        key = scope.key(name)
        keys += [key, end_key(key), member_key(key, member)]

    assert len(set(keys)) == len(keys)
    paths = [scope.path for scope in scopes]
    assert len(set(paths)) == len(paths)


@given(NAMES, NAMES)
def test_the_scope_is_read_from_a_key(task: str, name: str) -> None:
    scope, _ = Scope().child(task)

    assert scope_of(scope.key(name)) == scope.path
    assert scope_of(Scope().key(name)) == ""


def test_a_scope_that_was_taken_back_is_given_again() -> None:
    root = Scope()
    first, take_back = root.child("work")
    take_back()

    second, _ = root.child("work")

    assert first.path == second.path == "work/"
    assert root.known == {"work/"}


def test_only_the_last_scope_can_be_taken_back() -> None:
    root = Scope()
    _, take_back = root.child("work")
    root.child("work")

    take_back()

    assert root.known == {"work/", "work:2/"}
    assert root.child("work")[0].path == "work:3/"
