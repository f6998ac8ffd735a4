"""Row K19 of the failures: a flood of one caller is refused early, costs the others nothing, and fills no memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepflow.app import Stepflow
from stepflow.auth.base import AuthContext, AuthResult
from stepflow.errors import DefinitionError
from stepflow.http import Api, allow_all, any_of, api_key_auth, public_key_auth, run_token_auth
from stepflow.http.inputs import Refused
from stepflow.http.limiting import Limiter, caller_of, parse_rate
from stepflow.http.messages import Request
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.adapter_contract import program
from stepflow.testing.adapter_contract.serving import Process, eventually, free_port
from stepflow.testing.clock import FakeClock
from stepflow.testing.faults import FaultyStorage
from tests.http.direct import Direct, body_of, header, served

SECRET = "sf_secret-of-the-limits-0123456789"
PUBLIC = "sf_pub_of-the-limits-0123456789"


# ------------------------------------------------------------------ the arithmetic
def times(limiter: Limiter, count: int, now: float, caller: str = "a") -> list[bool]:
    return [limiter.count(caller, now) == 0.0 for _ in range(count)]


def test_as_many_as_the_number_says_may_come_at_once_and_then_one_by_one() -> None:
    limiter = Limiter(parse_rate("4/s"))

    assert times(limiter, 6, 100.0) == [True] * 4 + [False] * 2
    assert limiter.count("a", 100.0) == pytest.approx(0.25)
    assert times(limiter, 2, 100.25) == [True, False]
    assert times(limiter, 6, 200.0) == [True] * 4 + [False] * 2, "a long silence saves no more than that"


def test_a_smaller_burst_spreads_the_same_rate() -> None:
    limiter = Limiter(parse_rate("60/m, burst 2"))

    assert times(limiter, 3, 0.0) == [True, True, False]
    assert times(limiter, 2, 1.0) == [True, False]
    assert sum(times(limiter, 1, 1.0 + second)[0] for second in range(1, 61)) == 60


def test_over_a_long_time_exactly_the_rate_gets_through() -> None:
    limiter = Limiter(parse_rate("10/s, burst 1"))

    allowed = sum(limiter.count("a", number / 1000) == 0.0 for number in range(60_000))

    assert 598 <= allowed <= 600


def test_refusals_are_not_held_against_anybody() -> None:
    limiter = Limiter(parse_rate("1/s"))
    times(limiter, 1_000, 0.0)

    assert times(limiter, 2, 1.0) == [True, False]


def test_callers_do_not_count_for_each_other() -> None:
    limiter = Limiter(parse_rate("1/m"))

    assert times(limiter, 2, 0.0, "a") == [True, False]
    assert times(limiter, 2, 0.0, "b") == [True, False]


def test_ever_new_callers_fill_no_memory_and_the_busy_ones_are_remembered() -> None:
    limiter = Limiter(parse_rate("1000/s, burst 1"), most=100)
    for number in range(10_000):
        now = number / 1000
        limiter.count("busy", now)
        limiter.count(f"new-{number}", now)

    assert limiter.callers == 100
    assert limiter.count("busy", 9.999) > 0


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", (100, 1.0, 100)),
        ("600/m", (600, 60.0, 600)),
        (" 5000 / H ", (5000, 3600.0, 5000)),
        ("600/m, burst 20", (600, 60.0, 20)),
        ("600/m burst 20", (600, 60.0, 20)),
    ],
)
def test_a_rate_is_written_as_people_say_it(text: str, rate: tuple[int, float, int]) -> None:
    parsed = parse_rate(text)

    assert (parsed.requests, parsed.seconds, parsed.burst) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "0/s", "-1/s", "1.5/s", "100/d", "100/s, burst 0", "100/s,", "١/s", "9" * 99 + "/s"]
)
def test_what_is_no_rate_is_refused_when_the_api_is_made(text: str) -> None:
    with pytest.raises(DefinitionError, match="100/s"):
        Api(Stepflow("memory://"), auth=allow_all(), rate_limit=text)


def someone(kind: Any, subject: str = "", denial: Any = None) -> AuthResult:
    return AuthResult(kind=kind, subject=subject, denial=denial)


@pytest.mark.parametrize(
    ("who", "address", "caller"),
    [
        (someone("secret"), "192.0.2.1", "secret:"),
        (someone("run_token", "r1"), "192.0.2.1", "run_token:r1"),
        (someone("custom", "ada"), "192.0.2.1", "custom:ada"),
        (someone("custom"), "192.0.2.1", "from 192.0.2.1"),
        (someone("public"), "192.0.2.1", "from 192.0.2.1"),
        (someone("anonymous"), "192.0.2.1", "from 192.0.2.1"),
        (someone("secret", denial="unauthenticated"), "192.0.2.1", "from 192.0.2.1"),
        (someone("anonymous"), "2001:db8:1:2:3:4:5:6", "from 2001:db8:1:2::/64"),
        (someone("anonymous"), "fe80::1%eth0", "from fe80::/64"),
        (someone("anonymous"), "::ffff:192.0.2.1", "from 192.0.2.1"),
        (someone("anonymous"), "testclient", "from testclient"),
        (someone("anonymous"), None, "from ?"),
    ],
)
def test_a_caller_is_a_credential_of_its_own_or_an_address(
    who: AuthResult, address: str | None, caller: str
) -> None:
    assert caller_of(who, address) == caller


# ------------------------------------------------------------------ the API
@asynccontextmanager
async def limited(rate: str, **options: Any) -> AsyncGenerator[tuple[Direct, FakeClock, FaultyStorage]]:
    clock, storage = FakeClock(), FaultyStorage(MemoryStorage())
    app = Stepflow(storage, workflows=[program], worker=False, clock=clock)
    async with served(app, rate_limit=rate, **options) as direct:
        yield direct, clock, storage


async def statuses(direct: Direct, count: int, **more: Any) -> list[int]:
    return [(await direct.ask("GET", "/workflows", **more)).status for _ in range(count)]


async def test_too_many_requests_are_told_when_to_come_back_and_may_then() -> None:
    async with limited("2/m") as (direct, clock, _):
        first = await statuses(direct, 2)
        refused = await direct.ask("GET", "/workflows")
        clock.advance("29s")
        early = await direct.ask("GET", "/workflows")
        clock.advance("1s")
        late = await direct.ask("GET", "/workflows")

    assert first == [200, 200]
    assert (refused.status, body_of(refused)["type"]) == (429, "too-many-requests")
    assert (header(refused, "retry-after"), body_of(refused)["retryAfter"]) == ("30", 30)
    assert (early.status, header(early, "retry-after")) == (429, "1")
    assert late.status == 200


async def test_a_refused_trigger_is_neither_read_nor_stored() -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"1"

    async with limited("1/m") as (direct, _, storage):
        await statuses(direct, 1)
        before = storage.calls.copy()
        headers = {"content-type": "application/json"}
        request = Request(method="POST", path="/trigger/echo", headers=headers, body=body())
        with pytest.raises(Refused) as refused:
            await direct.api._handle(request)  # pyright: ignore[reportPrivateUsage]
        cost = storage.calls - before

    assert refused.value.problem.status == 429
    assert read == 0
    assert not cost


async def test_a_credential_that_is_exhausted_leaves_others_alone() -> None:
    auth = any_of(
        api_key_auth(SECRET, subject="one"),
        api_key_auth(SECRET + "2", subject="two"),
        public_key_auth(PUBLIC, workflows=["echo"]),
        run_token_auth(),
    )
    async with limited("2/m", auth=auth) as (direct, _, _):
        one = await statuses(direct, 3, headers={"x-api-key": SECRET}, client="192.0.2.1")
        two = await statuses(direct, 3, headers={"x-api-key": SECRET + "2"}, client="192.0.2.1")
        nobody = await statuses(direct, 3, client="192.0.2.1")
        wrong = await statuses(direct, 1, headers={"x-api-key": SECRET + "3"}, client="192.0.2.1")
        elsewhere = await statuses(direct, 3, client="192.0.2.2")

    assert one == two == [200, 200, 429]
    assert nobody == elsewhere == [401, 401, 429]
    assert wrong == [429], "guesses count for where they come from"


async def test_nobody_is_told_of_refusals_that_were_limited() -> None:
    told: list[AuthContext] = []

    def heard(context: AuthContext, _: AuthResult) -> None:
        told.append(context)

    async with limited("3/m", auth=api_key_auth(SECRET), on_auth_failure=heard) as (direct, _, _):
        await statuses(direct, 50)

    assert len(told) == 3


async def test_liveness_and_preflights_are_not_counted() -> None:
    async with limited("1/h", cors=["https://shop.example"]) as (direct, _, _):
        await statuses(direct, 2)
        alive = [(await direct.ask("GET", "/health/live")).status for _ in range(5)]
        headers = {"origin": "https://shop.example", "access-control-request-method": "POST"}
        asked = [(await direct.ask("OPTIONS", "/runs", headers=headers)).status for _ in range(5)]

    assert set(alive) == {200}
    assert 429 not in asked


async def test_an_open_stream_is_one_request() -> None:
    async with limited("3/h") as (direct, _, _):
        await direct.ask("POST", "/trigger/wait?runId=r1", json="e")
        frames = await direct.stream("/runs/r1/stream")
        first = await anext(frames)
        last = await statuses(direct, 2)
        await frames.aclose()

    assert first is not None
    assert last == [200, 429]


# ------------------------------------------------------------------ over a socket
@pytest.mark.timeout(90)
@pytest.mark.deadline(80)
async def test_a_flood_over_sockets_is_limited_by_its_address(tmp_path: Path) -> None:
    port = free_port()
    command = [
        "env",
        "RATE=5/h",
        sys.executable,
        "-m",
        "uvicorn",
        "tests.http.programs.limited_asgi:application",
    ]
    server = Process([*command, "--port", str(port)], storage="memory://", log=tmp_path / "server.log")
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await asyncio.to_thread(eventually, lambda: server.ended or alive(port))
            assert not server.ended, server.log
            answers = await asyncio.gather(*(client.get("/workflows") for _ in range(20)))
    finally:
        await asyncio.to_thread(server.stop)

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 15
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 700 <= int(refused.headers["Retry-After"]) <= 720
    assert refused.headers["Content-Type"] == "application/problem+json"


def alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
    except httpx.TransportError:
        return False
