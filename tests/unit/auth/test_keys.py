"""API keys: what they allow, how they are rotated, and that comparing them tells nothing."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.auth.base import checked_auth, decide
from stepflow.auth.keys import api_key_auth, create_key, matches, public_key_auth
from stepflow.errors import DefinitionError
from tests.unit.auth.requests import a_request

KEY = "sf_" + "k" * 40
NEXT = "sf_" + "n" * 40
PUBLIC = "sf_pub_" + "p" * 40


def test_a_new_key_has_its_prefix_and_256_random_bits() -> None:
    keys = {create_key() for _ in range(20)} | {create_key(public=True) for _ in range(20)}

    assert len(keys) == 40
    assert {len(key.removeprefix("sf_").removeprefix("pub_")) for key in keys} == {43}
    assert sum(key.startswith("sf_pub_") for key in keys) == 20


def test_a_new_key_is_one_that_its_handler_takes() -> None:
    secret, public = create_key(), create_key(public=True)

    assert api_key_auth(secret)(a_request(key=secret)).allowed
    assert public_key_auth(public, workflows=["greet"])(a_request(key=public)).allowed


def test_the_secret_key_may_do_everything() -> None:
    result = api_key_auth(KEY)(a_request(key=KEY))

    assert result.scope == "secret:"
    assert (result.workflows, result.runs, result.events) == (None, None, None)
    assert (result.operations, result.options, result.details, result.values) == (True, True, True, True)


@pytest.mark.parametrize(
    "given", [None, "", "sf_", KEY[:-1], KEY + "k", KEY.upper(), "ключ", "\ud800", "\x00"]
)
def test_any_other_key_lets_nobody_in(given: str | None) -> None:
    assert api_key_auth(KEY)(a_request(key=given)).denial == "unauthenticated"


def test_while_keys_are_rotated_both_count_and_idempotency_keys_keep_their_scope() -> None:
    both = api_key_auth([NEXT, KEY])
    after = api_key_auth([NEXT])

    assert (
        both(a_request(key=KEY)).scope == both(a_request(key=NEXT)).scope == after(a_request(key=NEXT)).scope
    )
    assert not after(a_request(key=KEY)).allowed


def test_tenants_are_told_apart_by_their_subject() -> None:
    assert api_key_auth(KEY, subject="acme")(a_request(key=KEY)).scope == "secret:acme"


async def test_the_public_key_triggers_what_is_listed_and_nothing_else() -> None:
    auth = checked_auth(public_key_auth(PUBLIC, workflows=["greet"], subject="web"))

    async def denial(context: Any) -> str | None:
        return (await decide(auth, context)).denial

    assert await denial(a_request(key=PUBLIC, workflow_id="greet")) is None
    assert await denial(a_request(key=PUBLIC, workflow_id="payroll")) == "hidden"
    assert await denial(a_request(key=PUBLIC, workflow_id="greet", query={"runId": ["r1"]})) == "forbidden"
    assert await denial(a_request("runs", key=PUBLIC, run_id="r1")) == "forbidden"
    assert await denial(a_request("runsStream", key=PUBLIC, run_id="r1")) == "forbidden"
    assert await denial(a_request("notify", key=PUBLIC, event_id="e")) == "forbidden"
    assert await denial(a_request("operations", key=PUBLIC)) == "forbidden"


def test_one_public_workflow_need_not_be_in_a_list() -> None:
    assert public_key_auth(PUBLIC, workflows="greet")(a_request(key=PUBLIC)).workflows == {"greet"}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: api_key_auth(""), "at least 16"),
        (lambda: api_key_auth([]), "needs a key"),
        (lambda: api_key_auth(None), "needs a key.*environment variable"),
        (lambda: api_key_auth("short"), "at least 16"),
        (lambda: api_key_auth([KEY, "short"]), "at least 16"),
        (lambda: api_key_auth([KEY, 7]), "at least 16"),
        (lambda: api_key_auth(KEY + "\n"), "printable ASCII"),
        (lambda: api_key_auth(KEY + " "), "printable ASCII"),
        (lambda: api_key_auth("ключ" * 10), "printable ASCII"),
        (lambda: api_key_auth(PUBLIC), "public key"),
        (lambda: public_key_auth(KEY, workflows=["greet"]), "begin with sf_pub_"),
        (lambda: public_key_auth(PUBLIC, workflows=[]), "name the workflows"),
    ],
)  # fmt: skip
def test_a_key_that_protects_nothing_is_refused_when_the_app_starts(
    make: Callable[[], object], told: str
) -> None:
    with pytest.raises(DefinitionError, match=told) as caught:
        make()

    assert KEY not in str(caught.value), "an error message ends up in logs"


def test_a_handler_shows_no_key() -> None:
    assert KEY not in repr(api_key_auth(KEY))


def test_keys_are_compared_as_digests_in_constant_time_and_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[int, int]] = []
    constant_time = hmac.compare_digest

    def compare(left: Any, right: Any) -> bool:
        compared.append((len(left), len(right)))
        return constant_time(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    handler = api_key_auth([KEY, NEXT])

    assert handler(a_request(key=KEY)).allowed
    assert not handler(a_request(key="x")).allowed
    assert compared == [(32, 32)] * 4, "an early match, or a short key, is not told by the time it takes"


def test_the_comparison_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmac, "compare_digest", lambda _left, _right: False)

    assert not api_key_auth(KEY)(a_request(key=KEY)).allowed


@given(st.text(), st.lists(st.binary(), max_size=3))
def test_no_text_matches_by_chance_or_fails(given: str, digests: list[bytes]) -> None:
    assert matches(given, digests) is False
