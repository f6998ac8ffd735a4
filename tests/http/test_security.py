"""Section K of the failures: what an attacker sends is refused, tells nothing and touches nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow import Event
from stepflow.app import Stepflow
from stepflow.auth.base import AuthContext, AuthResult
from stepflow.errors import DefinitionError, InputError, RunNotFoundError, StorageUnavailableError
from stepflow.http import Api, allow_all, any_of, api_key_auth, asgi_app, run_token_auth, wsgi_app
from stepflow.http.messages import ClientGone, Response
from stepflow.testing.adapter_contract import program
from stepflow.wire.routes import ROUTES
from tests.http.direct import body_of, header, served

SECRET = "sf_a_secret_of_this_test_0123456789"
KEY = {"x-api-key": SECRET}

HOSTILE = [
    "../../etc/passwd",
    "..",
    "%2e%2e%2f",
    "a\0b",
    "a\\b",
    "x" * 10_000,
    "\u2024\u2024/",
    "' OR 1=1 --",
    "'; DROP TABLE runs; --",
    '" OR ""="',
    "1) UNION SELECT * FROM settings --",
    "*\r\nFLUSHALL\r\n",
    "{{7*7}}",
    "$(id)",
    "\x1b[31mred\x1b[0m",
    "\ufeff",
    "a\nb",
]


async def test_without_auth_nothing_is_served() -> None:
    app = Stepflow("memory://", workflows=[program])

    for serve in (asgi_app, wsgi_app, Api):
        with pytest.raises(DefinitionError, match="allow_all"):
            serve(app)


@pytest.mark.parametrize(
    "options", [{"endpoints": "everything"}, {"cors": ["*"]}, {"cors": ["null"]}, {"cors": ["https://a.b/c"]}]
)
async def test_an_option_that_means_nothing_is_refused_when_it_is_given(options: dict[str, Any]) -> None:
    with pytest.raises((InputError, DefinitionError)):
        Api(Stepflow("memory://", workflows=[program]), auth=allow_all(), **options)


@pytest.mark.parametrize("value", HOSTILE)
async def test_a_hostile_id_is_refused_on_every_route_and_touches_nothing(value: str) -> None:
    async with served() as direct:
        for route in ROUTES:
            if "{" not in route.path:
                continue
            path = route.path.format(**{"runId": value, "workflowId": value, "*eventId": value})
            answer = await direct.ask(route.method, path)
            event = route.name == "notify" and answer.status == 200  # some of these are fine event ids
            assert event or answer.status in (400, 404, 405), (route.name, answer.body)
        for query in ("workflowId", "queue", "status", "tag", "cursor", "createdAfter", "parentId", "limit"):
            listed = await direct.ask("GET", f"/runs?{query}={quote(value)}")
            assert listed.status in (200, 400), (query, listed.body)
            if listed.status == 200:
                assert body_of(listed)["items"] == []
        started = await direct.ask("POST", f"/trigger/echo?runId={quote(value)}", json=1)
        assert started.status == 400


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "get"]),
    path=st.one_of(
        st.text(max_size=40).map(lambda text: f"/{text}"),
        st.builds(
            lambda head, middle, tail: f"{head}{middle}{tail}",
            st.sampled_from(["/runs/", "/trigger/", "/notify/", "/stream", "/health/"]),
            st.text(max_size=30),
            st.sampled_from(["", "/stream", "/steps", "/cancel", "/tokens"]),
        ),
    ),
    query=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "content-type",
                "content-length",
                "origin",
                "last-event-id",
                "idempotency-key",
                "authorization",
                "x-api-key",
            ]
        ),
        st.text(max_size=30),
    ),
    body=st.binary(max_size=60),
    keyed=st.booleans(),
)
def test_no_request_whatever_makes_the_server_fail(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes, keyed: bool
) -> None:
    import asyncio

    async def one() -> tuple[int, bytes]:
        async with served(auth=any_of(api_key_auth(SECRET), run_token_auth())) as direct:
            sent = {**headers, **(KEY if keyed else {})}
            answer = await direct.answer(method, f"{path}?{query}", headers=sent, body=body)
            if not isinstance(answer, Response):
                await answer.frames.aclose()
                return answer.status, b""
            return answer.status, answer.body

    status, answered = asyncio.run(one())

    assert status < 500, answered


BOMBS = {
    "depth": b"[" * 100_000,
    "closed depth": b"[" * 5_000 + b"]" * 5_000,
    "an integer of 10⁶ digits": b"1" * 1_000_000,
    "NaN": b"NaN",
    "an exponent": b"1e999999",
    "no utf-8": b'"\xff\xfe"',
    "a lone surrogate": b'"\\ud800"',
    "two values": b"1 1",
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_json_bomb_is_refused(name: str) -> None:
    async with served() as direct:
        for path in ("/trigger/echo", "/notify/e", "/notify", "/runs/r/tokens"):
            answer = await direct.ask(
                "POST", path, body=BOMBS[name], headers={"content-type": "application/json"}
            )
            assert answer.status == 400, (path, answer.body)


async def test_many_keys_and_duplicate_keys_are_plain_json() -> None:
    keys = ",".join(f'"k{number}":{number}' for number in range(100_000))
    async with served() as direct:
        for body in (f"{{{keys}}}".encode(), b'{"a": 1, "a": 2}'):
            answer = await direct.ask(
                "POST", "/trigger/echo", body=body, headers={"content-type": "application/json"}
            )
            assert answer.status == 200


async def test_a_body_is_refused_at_its_limit_whatever_it_says_of_its_length() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 1000

    async with served(max_body=10_000) as direct:
        headers = {"content-type": "application/json"}
        unsaid = await direct.ask("POST", "/trigger/echo", body=endless(), headers=headers)
        chunks = read
        said = await direct.ask(
            "POST",
            "/trigger/echo",
            body=endless(),
            headers={**headers, "content-length": "99999999999999999999"},
        )

    assert (unsaid.status, said.status) == (413, 413)
    assert chunks == 11
    assert read == chunks, "a body that is said to be too long is not read at all"


async def test_a_body_that_never_comes_is_given_up() -> None:
    async def silent() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with served(body_timeout=0.01) as direct:
        answer = await direct.ask(
            "POST", "/trigger/echo", body=silent(), headers={"content-type": "application/json"}
        )

    assert (answer.status, body_of(answer)["type"]) == (408, "request-timeout")


async def test_the_body_of_a_refused_request_is_read_within_limits() -> None:
    read = 0

    async def chunks(count: int) -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(count):
            read += 1
            yield b"x" * 1024

    async def silent() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with served(auth=api_key_auth(SECRET), body_timeout=0.01) as direct:
        statuses = []
        for count, expected in ((3, 3), (10_000, 65)):
            read = 0
            statuses.append((await direct.ask("POST", "/trigger/echo", body=chunks(count))).status)
            assert read == expected
        statuses.append((await direct.ask("POST", "/trigger/echo", body=silent())).status)

    assert statuses == [401, 401, 401]


async def test_a_client_that_hangs_up_within_its_body_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"1"
        raise ClientGone

    async with served() as direct:
        with pytest.raises(ClientGone):
            await direct.ask(
                "POST", "/trigger/echo", body=broken(), headers={"content-type": "application/json"}
            )

    assert "failed" not in caplog.text


async def test_a_compressed_body_is_refused_unopened() -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    async with served() as direct:
        assert (await direct.ask("POST", "/trigger/echo", body=b"\x1f\x8b", headers=headers)).status == 415


async def test_what_a_client_may_not_set_is_ignored() -> None:
    async with served() as direct:
        body = {"status": "completed", "owner": "me", "attempt": 9}
        started = body_of(await direct.ask("POST", "/trigger/echo?status=failed&attempt=7&seq=9", json=body))
        run = body_of(await direct.ask("GET", f"/runs/{started['runId']}?wait=10s"))

    assert (run["status"], run["attempt"], run["output"]) == ("completed", 1, body)


async def test_an_idempotency_key_belongs_to_its_credential() -> None:
    mine, other = "sf_the_first_tenant_0123456789", "sf_the_other_tenant_0123456789"
    auth = any_of(api_key_auth(mine, subject="first"), api_key_auth(other, subject="other"))
    async with served(auth=auth) as direct:
        runs = [
            body_of(
                await direct.ask(
                    "POST", "/trigger/echo", json=1, headers={"x-api-key": key, "idempotency-key": "k"}
                )
            )
            for key in (mine, other, mine)
        ]

    assert runs[0]["runId"] == runs[2]["runId"] != runs[1]["runId"]
    assert [run["created"] for run in runs] == [True, True, False]


async def test_a_delay_beyond_all_calendars_is_refused() -> None:
    async with served() as direct:
        answers = [
            await direct.ask("POST", f"/trigger/echo?delay={delay}", json=1)
            for delay in ("3000000d", "36526d", "999999999d")
        ]

    assert [(each.status, body_of(each)["type"]) for each in answers] == [(400, "invalid-input")] * 3


@pytest.mark.parametrize("name", ["workflowId", "queue", "parentId"])
@pytest.mark.parametrize("value", ["%00", "a%0Ab", "x" * 501])
async def test_what_no_store_can_be_asked_for_is_refused_before_it_is(name: str, value: str) -> None:
    async with served() as direct:
        answer = await direct.ask("GET", f"/runs?{name}={value}")

    assert answer.status == 400, "PostgreSQL takes a NUL for a failure of its own"


@pytest.mark.parametrize("error", [StorageUnavailableError("away"), RuntimeError("a bug")])
async def test_a_path_writes_no_lines_of_its_own_into_the_log(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(context: AuthContext) -> AuthResult:
        raise error

    async with served(auth=broken) as direct:
        await direct.ask("GET", "/runs/r1\n2026-11-22 all is well\x1b[2J\u2028")

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].isprintable()


# ------------------------------------------------------------------ cookies
async def with_cookie(context: AuthContext) -> AuthResult:
    """A handler of an app that signs its users in with cookies."""
    return AuthResult(kind="custom", subject="anna", workflows=None, runs=None, operations=True, ambient=True)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 403),
        ("null", 403),
        ("https://evil.example", 403),
        ("https://api.example.evil.example", 403),
        ("http://api.example", 403),
        ("https://api.example", 200),
        ("https://friend.example", 200),
    ],
)
async def test_a_cookie_counts_only_from_a_known_page(origin: str | None, status: int) -> None:
    async with served(auth=with_cookie, cors=["https://friend.example"]) as direct:
        headers = {"host": "api.example", **({} if origin is None else {"origin": origin})}
        answer = await direct.ask("POST", "/trigger/echo", json=1, headers=headers, scheme="https")
        read = await direct.ask("GET", "/runs", headers=headers, scheme="https")

    assert (answer.status, read.status) == (status, 200)


# ------------------------------------------------------------------ what leaks
async def test_an_error_of_the_server_tells_its_log_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    def broken(context: AuthContext) -> AuthResult:
        raise RuntimeError("the canary password")

    async with served(auth=broken) as direct:
        with caplog.at_level(logging.ERROR, "stepflow.http"):
            answer = await direct.ask("GET", "/runs")

    assert (answer.status, body_of(answer)["type"]) == (500, "internal-error")
    assert b"canary" not in answer.body
    assert "canary" in caplog.text


async def test_a_credential_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async with served(auth=any_of(api_key_auth(SECRET), run_token_auth())) as direct:
        with caplog.at_level(logging.DEBUG):
            token = body_of(await direct.ask("POST", "/trigger/echo", json=1, headers=KEY))[
                "publicAccessToken"
            ]
            await direct.ask("GET", f"/runs?token={token}&api_key={SECRET}")
            await direct.ask("GET", f"/runs/nobody?token={token}")

    assert SECRET not in caplog.text
    assert token not in caplog.text


async def test_a_refusal_is_heard_by_the_app() -> None:
    heard: list[tuple[str, str | None]] = []

    async def hear(context: AuthContext, result: AuthResult) -> None:
        heard.append((context.operation, result.denial))

    async with served(auth=api_key_auth(SECRET), on_auth_failure=hear) as direct:
        answer = await direct.ask("GET", "/runs")

    assert heard == [("listRuns", "unauthenticated")]
    assert set(body_of(answer)) == {"type", "title", "status", "detail"}


async def test_a_run_token_may_be_shown_the_state_and_not_the_values() -> None:
    auth = any_of(api_key_auth(SECRET), run_token_auth())
    async with served(auth=auth, run_token_view="status") as direct:
        started = body_of(await direct.ask("POST", "/trigger/echo", json="private", headers=KEY))
        bearer = {"authorization": f"Bearer {started['publicAccessToken']}"}
        run = await direct.ask("GET", f"/runs/{started['runId']}?wait=10s&full=true", headers=bearer)
        frames = await direct.frames(f"/runs/{started['runId']}/stream?lastEventId=0", headers=bearer)

    assert body_of(run)["status"] == "completed"
    assert b"private" not in run.body
    assert frames[-1].event == "execution:complete"
    assert all(b"private" not in frame.data for frame in frames)


async def test_a_token_that_the_app_made_opens_its_run_and_its_events_for_a_while() -> None:
    approval = Event("approval/{id}", int)
    async with served(auth=run_token_auth()) as direct:
        run = await direct.app.trigger("wait", "approval/1")
        token = await direct.app.create_run_token(run.id, expires="1h", notify=[approval(id=1)])
        bearer = {"authorization": f"Bearer {token}"}
        await direct.until(run.id, "suspended", waits_for="approval/1")

        seen = await direct.ask("GET", f"/runs/{run.id}", headers=bearer)
        other = await direct.ask("POST", "/notify/approval/2", json=1, headers=bearer)
        sent = await direct.ask("POST", "/notify/approval/1", json=1, headers=bearer)

        assert (seen.status, other.status, sent.status) == (200, 403, 200)
        assert await run.result() is not None


async def test_a_token_is_made_for_a_run_that_is_there_and_for_a_week_at_most() -> None:
    async with served() as direct:
        run = await direct.app.trigger("echo", 1)
        for expires in ("0s", "8d"):
            with pytest.raises(InputError, match="at most 7 days"):
                await direct.app.create_run_token(run.id, expires=expires)
        with pytest.raises(RunNotFoundError):
            await direct.app.create_run_token("nobody")


async def test_a_server_with_a_secret_of_its_own_takes_the_tokens_made_with_it() -> None:
    own = "a secret that the operator keeps, and not the storage"
    async with served(auth=run_token_auth(), run_token_secret=own) as direct:
        run = await direct.app.trigger("echo", 1)

        async def status(token: str) -> int:
            bearer = {"authorization": f"Bearer {token}"}
            return (await direct.ask("GET", f"/runs/{run.id}", headers=bearer)).status

        assert await status(await direct.app.create_run_token(run.id)) == 401
        assert await status(await direct.app.create_run_token(run.id, secret=own)) == 200


async def test_a_traceback_is_for_secret_keys() -> None:
    auth = any_of(api_key_auth(SECRET), run_token_auth())
    async with served(auth=auth) as direct:
        started = body_of(await direct.ask("POST", "/trigger/fail", json="no luck", headers=KEY))
        bearer = {"authorization": f"Bearer {started['publicAccessToken']}"}
        path = f"/runs/{started['runId']}?wait=10s"
        secret = body_of(await direct.ask("GET", path, headers=KEY))
        token = body_of(await direct.ask("GET", path, headers=bearer))

    assert "traceback" in secret["error"]
    assert token["error"] == {"type": "ValueError", "message": "no luck"}


async def test_endpoints_that_are_switched_off_are_not_there() -> None:
    async with served(endpoints="private") as direct:
        for method, path in (("POST", "/trigger/echo"), ("POST", "/notify/e"), ("POST", "/notify")):
            assert (await direct.ask(method, path, json=1)).status == 404
        assert (await direct.ask("GET", "/runs")).status == 200
    async with served(endpoints="internal") as direct:
        assert (await direct.ask("GET", "/runs")).status == 404
        assert (await direct.ask("GET", "/health")).status == 200


async def test_each_endpoint_may_have_a_handler_of_its_own() -> None:
    async with served(auth={"runs": allow_all(), "health": api_key_auth(SECRET)}) as direct:
        assert (await direct.ask("GET", "/runs/nobody")).status == 404
        assert (await direct.ask("GET", "/runs")).status == 401
        assert (await direct.ask("GET", "/health")).status == 401
        assert (await direct.ask("GET", "/health/live")).status == 200


async def test_an_answer_says_nothing_of_other_origins_by_default() -> None:
    async with served() as direct:
        answer = await direct.ask("GET", "/runs", headers={"origin": "https://a.example"})

    assert header(answer, "access-control-allow-origin") is None
    assert json.loads(answer.body)["items"] == []
