"""Several handlers as one."""

from __future__ import annotations

import pytest

from stepflow.auth.base import AuthContext, AuthResult, Denial, Handler, Route, checked_auth, decide
from stepflow.auth.combining import allow_all, any_of
from stepflow.auth.keys import api_key_auth, public_key_auth
from stepflow.auth.tokens import RunTokens, run_token_auth
from stepflow.errors import DefinitionError
from tests.unit.auth.requests import NOW, a_request

KEY = "sf_" + "k" * 40
PUBLIC = "sf_pub_" + "p" * 40
TOKENS = RunTokens("s" * 32)


def refusing(denial: Denial) -> Handler:
    return lambda _: AuthResult(kind="custom", denial=denial)


async def slowly(context: AuthContext) -> AuthResult:
    return AuthResult(kind="custom", subject=f"slow {context.operation}")


async def test_each_credential_is_recognised_by_its_handler() -> None:
    handler = any_of(api_key_auth(KEY), public_key_auth(PUBLIC, workflows=["greet"]), run_token_auth())
    token, _ = TOKENS.issue("r1", NOW)

    kinds = [
        (await handler(a_request(key=KEY))).kind,
        (await handler(a_request(key=PUBLIC))).kind,
        (await handler(a_request("runs", bearer=token, run_tokens=TOKENS))).kind,
    ]

    assert kinds == ["secret", "public", "run_token"]
    assert (await handler(a_request(key="other"))).denial == "unauthenticated"
    assert (await handler(a_request())).denial == "unauthenticated"


async def test_the_first_that_recognises_the_request_is_the_last_that_is_asked() -> None:
    asked: list[str] = []

    def never(_: AuthContext) -> AuthResult:
        asked.append("never")
        return AuthResult(kind="custom")

    result = await any_of(refusing("unauthenticated"), slowly, never)(a_request())

    assert (result.subject, asked) == ("slow trigger", [])


@pytest.mark.parametrize("order", [1, -1])
async def test_of_several_refusals_the_one_that_knows_most_is_told(order: int) -> None:
    handlers = [refusing("unauthenticated"), refusing("forbidden"), refusing("unavailable")][::order]

    assert (await any_of(*handlers)(a_request())).denial == "forbidden"
    assert (await any_of(*handlers[::2])(a_request())).denial == "unavailable"


@pytest.mark.parametrize("handlers", [(), ("sf_key",)])
def test_any_of_nothing_is_refused(handlers: tuple[Handler, ...]) -> None:
    with pytest.raises(DefinitionError, match="needs handlers"):
        any_of(*handlers)


@pytest.mark.parametrize("route", ["trigger", "notify", "runs", "runsStream", "health", "operations"])
async def test_allow_all_allows_all_but_shows_no_tracebacks(route: Route) -> None:
    context = a_request(route, workflow_id="w", run_id="r", event_id="e", query={"queue": ["q"]})

    result = await decide(checked_auth(allow_all()), context)

    assert (result.allowed, result.details) == (True, False)


def test_allow_all_shows_tracebacks_where_that_is_said() -> None:
    assert allow_all(details=True)(a_request()).details
