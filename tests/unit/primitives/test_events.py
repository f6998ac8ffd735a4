"""Declared events: templates, their fields, and the addresses that they make."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import DefinitionError, InputError, InvalidIdError
from stepflow.model.ids import check_event_id
from stepflow.primitives import Event, EventAddress, event_address

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)

shipped = Event("shop/{shop}/shipped/{id}", int)


def test_an_event_called_with_its_fields_is_an_address() -> None:
    assert shipped(shop="north", id=17) == EventAddress("shop/north/shipped/17", int)
    assert str(shipped(shop="north", id=17)) == "shop/north/shipped/17"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("..", "%2E%2E"),
        ("ä b", "%C3%A4%20b"),
        (UUID(int=1), str(UUID(int=1))),
        (-3, "-3"),
    ],
)
def test_values_can_not_break_out_of_their_field(value: Any, encoded: str) -> None:
    assert Event("x/{id}")(id=value).id == f"x/{encoded}"


@given(TEXT, TEXT)
def test_two_values_never_make_one_address(first: str, second: str) -> None:
    event = Event("x/{id}")

    addresses = {event(id=first).id, event(id=second).id}

    assert len(addresses) == len({first, second})
    assert all(check_event_id(address) for address in addresses)


@pytest.mark.parametrize("value", ["", None, True, 1.5, b"x", ["a"], "\ud800"])
def test_a_value_that_is_no_plain_text_or_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="id"):
        Event("x/{id}")(id=value)


def test_missing_and_unknown_fields_are_refused_with_the_usage() -> None:
    with pytest.raises(InputError, match=r"called as \(shop=\.\.\., id=\.\.\.\), not with \['id'\]"):
        shipped(id=1)
    with pytest.raises(InputError):
        shipped(shop=1, id=1, extra=1)


def test_an_address_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidIdError):
        Event("x/{id}")(id="y" * 300)


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{}",
        "{0}",
        "{a.b}",
        "{a!r}",
        "{a:3}",
        "{a",
        "a//{b}",
        "run/{id}",
        "{name}",
        "{timeout}",
        "{default}",
        None,
        3,
    ],
)
def test_a_template_that_makes_no_address_is_refused(template: Any) -> None:
    with pytest.raises(DefinitionError, match="Event"):
        Event(template)


def test_a_template_may_have_no_fields_or_one_twice() -> None:
    assert Event("all")().id == "all"
    assert Event("{a}/{a}")(a=1).id == "1/1"


def test_an_event_may_be_given_as_a_text_or_as_an_address() -> None:
    assert event_address("a/b") == ("a/b", None)
    assert event_address(shipped(shop=1, id=2)) == ("shop/1/shipped/2", int)


@pytest.mark.parametrize("event", ["", "run/x", None, 3, shipped, EventAddress("run/x")])
def test_what_is_no_address_is_refused(event: Any) -> None:
    with pytest.raises(InputError):
        event_address(event)
