"""What is decided on a request: by the handler, and by holding its answer against what is asked for."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.auth.base import (
    ROUTES,
    AuthContext,
    AuthResult,
    Handler,
    Route,
    api_key,
    bearer_token,
    checked_auth,
    decide,
    query_token,
)
from stepflow.auth.combining import allow_all
from stepflow.errors import DefinitionError
from tests.unit.auth.requests import a_request

NOBODY = AuthResult(kind="custom", subject="nobody")
SHAPED_LIKE_A_KEY = "sf_" + "a" * 43


def answering(result: AuthResult) -> Handler:
    return lambda _: result


async def decided(result: AuthResult, context: AuthContext) -> str | None:
    return (await decide(checked_auth(answering(result)), context)).denial


# ------------------------------------------------------------------ which handler is asked
@pytest.mark.parametrize("auth", [None, "sf_key", 3])
def test_an_app_without_a_handler_does_not_start(auth: object) -> None:
    with pytest.raises(DefinitionError, match="allow_all"):
        checked_auth(auth)  # type: ignore[arg-type]


def test_an_empty_mapping_is_no_auth() -> None:
    with pytest.raises(DefinitionError, match="empty"):
        checked_auth({})


def test_an_unknown_route_is_told_with_those_there_are() -> None:
    with pytest.raises(DefinitionError, match=r"no route 'webhooks'.*trigger, notify"):
        checked_auth({"webhooks": allow_all()})


def test_a_key_is_not_taken_for_a_handler() -> None:
    with pytest.raises(DefinitionError, match="for 'global' has to be a handler"):
        checked_auth({"global": "sf_something"})  # type: ignore[dict-item]


async def test_the_handler_of_the_route_goes_before_the_global_one() -> None:
    auth = checked_auth({"global": answering(NOBODY), "runs": allow_all()})

    assert (await decide(auth, a_request("runs", run_id="r1"))).allowed
    assert (await decide(auth, a_request("trigger"))).denial == "forbidden"


@pytest.mark.parametrize("route", [route for route in ROUTES if route not in ("runs", "health")])
async def test_a_route_that_no_handler_was_given_for_is_refused(route: Route) -> None:
    auth = checked_auth({"runs": allow_all()})

    assert (await decide(auth, a_request(route))).denial == "unauthenticated"


async def test_a_handler_may_be_asynchronous() -> None:
    async def handler(context: AuthContext) -> AuthResult:
        return AuthResult(kind="custom", subject=context.extra, runs=None)

    result = await decide(checked_auth(handler), a_request("runs", run_id="r1", extra="ada"))

    assert (result.allowed, result.scope) == (True, "custom:ada")


@pytest.mark.parametrize("answer", [None, True, {"ok": True}])
async def test_an_answer_that_is_no_result_lets_nobody_in(answer: object) -> None:
    with pytest.raises(DefinitionError, match="not an AuthResult"):
        await decide(checked_auth(lambda _: answer), a_request())  # type: ignore[arg-type, return-value]


async def test_health_is_answered_to_everybody_without_details() -> None:
    result = await decide(checked_auth(answering(NOBODY)), a_request("health"))

    assert (result.allowed, result.details) == (True, False)


async def test_health_with_a_wrong_credential_is_refused() -> None:
    refusing = checked_auth(answering(AuthResult(kind="anonymous", denial="unauthenticated")))

    assert (await decide(refusing, a_request("health", key="wrong"))).denial == "unauthenticated"
    assert (await decide(refusing, a_request("health", bearer="wrong"))).denial == "unauthenticated"


async def test_health_with_a_handler_of_its_own_is_what_that_says() -> None:
    auth = checked_auth({"health": answering(AuthResult(kind="anonymous", denial="forbidden"))})

    assert (await decide(auth, a_request("health"))).denial == "forbidden"


# ------------------------------------------------------------------ what it may do
@pytest.mark.parametrize("route", [route for route in ROUTES if route != "health"])
async def test_nothing_is_allowed_that_a_result_does_not_say(route: Route) -> None:
    assert await decided(NOBODY, a_request(route)) == "forbidden"


async def test_health_is_allowed_to_every_valid_credential() -> None:
    assert await decided(NOBODY, a_request("health", key="valid")) is None


async def test_a_refusal_of_the_handler_stands() -> None:
    refused = AuthResult(kind="custom", workflows=None, denial="unavailable")

    assert await decided(refused, a_request("trigger", workflow_id="greet")) == "unavailable"


async def test_a_workflow_that_is_not_listed_is_hidden() -> None:
    result = AuthResult(kind="public", workflows=frozenset(["greet"]))

    assert await decided(result, a_request("trigger", workflow_id="greet")) is None
    assert await decided(result, a_request("trigger", workflow_id="payroll")) == "hidden"


@pytest.mark.parametrize("option", ["runId", "queue", "priority", "tag", "delay"])
async def test_the_options_of_a_trigger_have_to_be_allowed(option: str) -> None:
    context = a_request("trigger", workflow_id="greet", query={option: ["1"]})

    assert await decided(AuthResult(kind="public", workflows=None), context) == "forbidden"
    assert await decided(AuthResult(kind="public", workflows=None, options=True), context) is None


@pytest.mark.parametrize("route", ["runs", "runsStream"])
async def test_a_run_of_somebody_else_is_hidden(route: Route) -> None:
    result = AuthResult(kind="run_token", runs=frozenset(["r1"]))

    assert await decided(result, a_request(route, run_id="r1")) is None
    assert await decided(result, a_request(route, run_id="r2")) == "hidden"


async def test_a_stream_of_several_runs_is_hidden_if_one_of_them_is() -> None:
    result = AuthResult(kind="custom", runs=frozenset(["r1", "r2"]))

    assert await decided(result, a_request("runsStream", query={"runId": ["r1", "r2"]})) is None
    assert await decided(result, a_request("runsStream", query={"runId": ["r1", "r3"]})) == "hidden"


async def test_only_listed_events_may_be_sent() -> None:
    result = AuthResult(kind="run_token", runs=frozenset(["r1"]), events=frozenset(["ok"]), notify_run="r1")

    assert await decided(result, a_request("notify", event_id="ok")) is None
    assert await decided(result, a_request("notify", event_id="other")) == "forbidden"
    assert await decided(result, a_request("notify")) is None, "the body tells which: asked later"
    assert (result.may_notify("ok"), result.may_notify("other")) == (True, False)


async def test_an_event_goes_to_no_other_run() -> None:
    own = AuthResult(kind="run_token", runs=frozenset(["r1"]), events=None, notify_run="r1")
    some = AuthResult(kind="custom", runs=frozenset(["r1"]), events=None)
    every = AuthResult(kind="custom", runs=None, events=None, notify_run="r1")

    for result in (own, some, every):
        assert await decided(result, a_request("notify", event_id="e", query={"runId": ["r1"]})) is None
        assert await decided(result, a_request("notify", event_id="e", query={"runId": ["r2"]})) == "hidden"


async def test_operations_have_to_be_allowed_by_name() -> None:
    sees_all = AuthResult(kind="bearer", workflows=None, runs=None, events=None)
    operates = AuthResult(kind="bearer", runs=None, operations=True)

    assert await decided(sees_all, a_request("operations")) == "forbidden"
    assert await decided(operates, a_request("operations")) is None
    assert await decided(operates, a_request("operations", run_id="r1")) is None


async def test_who_operates_on_some_runs_can_not_list_the_others() -> None:
    result = AuthResult(kind="bearer", runs=frozenset(["r1"]), operations=True)

    assert await decided(result, a_request("operations", run_id="r1", operation="cancelRun")) is None
    assert await decided(result, a_request("operations", run_id="r2", operation="cancelRun")) == "hidden"
    assert await decided(result, a_request("operations")) == "forbidden"


def test_a_denied_result_may_do_nothing_whatever_else_it_says() -> None:
    result = AuthResult(kind="custom", workflows=None, runs=None, events=None, denial="forbidden")

    assert not (result.may_trigger("w") or result.sees("r") or result.may_notify("e"))


def test_a_result_can_not_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        NOBODY.operations = True  # type: ignore[misc]


# ------------------------------------------------------------------ where credentials travel
@pytest.mark.parametrize("name", ["api_key", "apiKey", "access_token", "Authorization", "X-API-Key"])
async def test_a_credential_in_the_address_is_refused_whatever_else_is_sent(name: str) -> None:
    context = a_request("runs", run_id="r1", key="valid", query={name: ["x"]})

    assert (await decide(checked_auth(allow_all()), context)).denial == "unauthenticated"


async def test_what_looks_like_a_key_is_refused_in_any_place_of_the_query() -> None:
    context = a_request("runs", run_id="r1", query={"wait": [SHAPED_LIKE_A_KEY]})

    assert (await decide(checked_auth(allow_all()), context)).denial == "unauthenticated"


@pytest.mark.parametrize(
    ("route", "method", "tokens", "taken"),
    [
        ("runs", "GET", ["pat_x"], True),
        ("runsStream", "GET", ["pat_x"], True),
        ("runs", "POST", ["pat_x"], False),
        ("notify", "POST", ["pat_x"], False),
        ("operations", "GET", ["pat_x"], False),
        ("runs", "GET", ["a.jwt.token"], False),
        ("runs", "GET", ["pat_x", "pat_y"], False),
        ("runs", "GET", [], False),
    ],
)
async def test_only_a_run_token_travels_in_the_query_and_for_reading_only(
    route: Route, method: str, tokens: list[str], taken: bool
) -> None:
    context = a_request(route, run_id="r1", method=method, query={"token": tokens})

    assert query_token(context) == ("pat_x" if taken else None)
    assert (await decide(checked_auth(allow_all()), context)).allowed is taken


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER  abc ", "abc"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
        ("Bearer a b", None),
        ("Bearer schlüssel", None),
    ],
)
def test_a_bearer_token_is_read_from_its_header(header: str, token: str | None) -> None:
    assert bearer_token(a_request(headers={"authorization": header})) == token


def test_an_empty_api_key_is_none() -> None:
    assert api_key(a_request(key="")) is None
    assert api_key(a_request(key="k")) == "k"


@given(
    headers=st.dictionaries(st.sampled_from(["authorization", "x-api-key", "cookie"]), st.text()),
    query=st.dictionaries(st.text(), st.lists(st.text(), max_size=3)),
    route=st.sampled_from(ROUTES),
)
def test_no_request_is_so_malformed_that_reading_its_credentials_fails(
    headers: dict[str, str], query: dict[str, list[str]], route: Route
) -> None:
    context = a_request(route, headers=headers, query=query)

    assert isinstance(bearer_token(context), str | None)
    assert isinstance(query_token(context), str | None)
    assert isinstance(api_key(context), str | None)
