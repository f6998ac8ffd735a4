"""Ids: which are well formed, and that new ones sort by time and never meet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.errors import InvalidIdError
from stepflow.model.ids import IdMaker, check_event_id, check_id, check_name, stable_digest


@pytest.mark.parametrize("value", ["a", "0", "order-1.a_b~c:d@e", "x" * 200])
def test_a_well_formed_id_is_given_back(value: str) -> None:
    assert check_id("run id", value) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-a",
        ".a",
        "_a",
        "a b",
        "a/b",
        "a\n",
        "\na",
        "a\x00",
        "é",
        "a" * 201,
        "١",
        "a%2F",
        "\ud800",
        None,
        5,
        b"a",
    ],
    ids=lambda each: ascii(each)[:20],
)
def test_a_malformed_id_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(InvalidIdError, match=r"workflow id .* is malformed"):
        check_id("workflow id", value)


def test_a_huge_id_makes_a_short_message() -> None:
    for check in (lambda: check_id("run id", "a" * 10**6), lambda: check_event_id("a" * 10**6)):
        with pytest.raises(InvalidIdError) as caught:
            check()
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", ["a", "shipped/42", "a b/ü/日本", "x" * 200, "runs/1", "...", "a/.b"])
def test_a_well_formed_event_id_is_given_back(value: str) -> None:
    assert check_event_id(value) == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "1 to 200"),
        ("x" * 201, "1 to 200"),
        ("a\nb", "printable"),
        ("a\x1b[0m", "printable"),
        ("\ud800", "printable"),
        (None, "printable"),
        (b"a", "printable"),
        ("run/abc", "reserved"),
        ("/a", "segment"),
        ("a/", "segment"),
        ("a//b", "segment"),
        ("a/./b", "segment"),
        ("../a", "segment"),
        (".", "segment"),
    ],
    ids=lambda each: ascii(each)[:20],
)
def test_a_malformed_event_id_is_refused_with_the_reason(value: Any, problem: str) -> None:
    with pytest.raises(InvalidIdError, match=problem):
        check_event_id(value)


@pytest.mark.parametrize("value", ["charge", "send mail/2", "é", "x" * 200])
def test_a_printable_name_is_given_back(value: str) -> None:
    assert check_name("step", value) == value


@pytest.mark.parametrize(
    "value", ["", "a\n", "\x00", "\ud800", "x" * 201, None, 3], ids=lambda each: ascii(each)[:20]
)
def test_a_name_that_can_not_be_shown_is_refused(value: Any) -> None:
    with pytest.raises(InvalidIdError, match="step name"):
        check_name("step", value)


def test_a_digest_is_the_same_for_ever() -> None:
    # Child ids are made of these: another value would start children a second time.
    assert stable_digest("run-1", "charge", "0") == "3e68553f63591ce3706fea5637bab9ce"
    assert len(stable_digest("a", size=8)) == 16


@settings(deadline=None)
@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_parts_of_a_digest_do_not_run_together(one: list[str], other: list[str]) -> None:
    assert (stable_digest(*one) == stable_digest(*other)) == (one == other)


def test_new_ids_are_well_formed_and_sort_by_time_then_by_order() -> None:
    maker = IdMaker(nonce=2**40)

    made = [maker.next("run-", stamp) for stamp in (1_700_000_000_000, 1_700_000_000_000, 1_700_000_000_001)]

    assert made == sorted(made)
    assert len(set(made)) == 3
    assert [check_id("run id", each) for each in made] == made
    assert {len(each) for each in made} == {4 + 9 + 4 + 8}


def test_two_processes_make_different_ids_at_one_instant() -> None:
    assert IdMaker(nonce=1).next("", 5) != IdMaker(nonce=2).next("", 5)


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 36**9 - 1))
def test_an_id_has_one_length_whatever_its_numbers(nonce: int, stamp: int) -> None:
    assert len(IdMaker(nonce).next("w", stamp)) == 22
