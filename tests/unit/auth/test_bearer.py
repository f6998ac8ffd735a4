"""Bearer tokens of others: the app's verifier decides on the token, the claims on what it allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.auth.base import AuthContext, AuthResult, checked_auth, decide
from stepflow.auth.bearer import Claims, bearer_auth, granted_by_scopes
from stepflow.errors import DefinitionError
from tests.unit.auth.requests import a_request

CLAIMS = {"iss": "https://id.example", "sub": "ada", "scope": "openid stepflow:read"}


def verify(token: str, context: AuthContext) -> Claims | None:
    return CLAIMS if token == "good" else None


# ------------------------------------------------------------------ the handler
async def test_a_token_that_the_verifier_accepts_gets_what_its_claims_say() -> None:
    result = await bearer_auth(verify)(a_request(bearer="good"))

    assert (result.allowed, result.kind, result.runs, result.details) == (True, "bearer", None, False)


@pytest.mark.parametrize("token", [None, "bad", "pat_good.x"])
async def test_any_other_token_lets_nobody_in(token: str | None) -> None:
    assert (await bearer_auth(verify)(a_request(bearer=token))).denial == "unauthenticated"


async def test_a_run_token_is_never_shown_to_the_verifier() -> None:
    async def accept(token: str, context: AuthContext) -> Claims:
        return CLAIMS

    assert (await bearer_auth(accept)(a_request(bearer="pat_x.y"))).denial == "unauthenticated"
    assert (await bearer_auth(accept)(a_request(bearer="eyJ"))).allowed


async def test_an_app_reads_claims_as_it_likes() -> None:
    def grant(claims: Claims) -> AuthResult:
        return AuthResult(kind="bearer", subject=claims["sub"], workflows=frozenset(["greet"]))

    auth = checked_auth(bearer_auth(verify, grant=grant))

    assert (await decide(auth, a_request(bearer="good", workflow_id="greet"))).scope == "bearer:ada"
    assert (await decide(auth, a_request(bearer="good", workflow_id="payroll"))).denial == "hidden"


async def test_while_the_provider_can_not_be_asked_the_answer_is_unavailable() -> None:
    async def unreachable(token: str, context: AuthContext) -> Claims:
        raise ConnectionError("down")

    assert (await bearer_auth(unreachable)(a_request(bearer="eyJ"))).denial == "unavailable"


@pytest.mark.parametrize("arguments", [(None,), ("secret",)])
def test_a_secret_is_no_verifier(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(DefinitionError, match="needs a verifier"):
        bearer_auth(*arguments)


# ------------------------------------------------------------------ scopes
def may(result: AuthResult) -> dict[str, bool]:
    return {
        "trigger": result.may_trigger("w"),
        "read": result.sees("r"),
        "notify": result.may_notify("e"),
        "operate": result.operations,
        "options": result.options,
    }


def allowed(*names: str) -> dict[str, bool]:
    return {name: name in names for name in ("trigger", "read", "notify", "operate", "options")}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("", allowed()),
        ("openid profile", allowed()),
        ("stepflow:trigger", allowed("trigger")),
        ("stepflow:read stepflow:notify", allowed("read", "notify")),
        ("stepflow:operate", allowed("trigger", "read", "notify", "operate", "options")),
    ],
)
def test_scopes_allow_what_they_name(scope: str, expected: dict[str, bool]) -> None:
    assert may(granted_by_scopes({"scope": scope})) == expected


@pytest.mark.parametrize("name", ["scp", "scopes", "permissions"])
def test_scopes_may_be_a_list_as_providers_write_it(name: str) -> None:
    assert may(granted_by_scopes({name: ["stepflow:trigger", 7, "other"]})) == allowed("trigger")


@pytest.mark.parametrize(
    ("claim", "check"),
    [
        ("stepflow_workflows", AuthResult.may_trigger),
        ("stepflow_runs", AuthResult.sees),
        ("stepflow_events", AuthResult.may_notify),
    ],
)
def test_a_list_narrows_what_a_scope_allows(claim: str, check: Any) -> None:
    result = granted_by_scopes({"scope": "stepflow:operate", claim: ["mine"]})

    assert (check(result, "mine"), check(result, "other")) == (True, False)


@pytest.mark.parametrize("value", ["mine", None, 7, {"mine": True}, []])
def test_a_narrowing_that_is_no_list_of_texts_leaves_nothing(value: object) -> None:
    result = granted_by_scopes({"scope": "stepflow:trigger", "stepflow_workflows": value})

    assert not result.may_trigger("mine")


def test_two_subjects_never_share_a_scope() -> None:
    scopes = {
        granted_by_scopes({"iss": issuer, "sub": subject}).scope
        for issuer, subject in [("a", "b"), ("b", "a"), ("a' of 'b", "c"), ("c", "a' of 'b"), ("", "a of b")]
    }

    assert len(scopes) == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["scope", "scp", "scopes", "permissions", "iss", "sub", "stepflow_runs", "stepflow_workflows"]
        ),
        JSON,
    )
)
def test_claims_of_any_shape_are_read_and_allow_nothing_by_chance(claims: dict[str, Any]) -> None:
    assert may(granted_by_scopes(claims)) == allowed()
