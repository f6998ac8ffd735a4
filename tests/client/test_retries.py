"""What is repeated, how often and after how long: rules, held against a server that answers by a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import httpx
import msgspec
import pytest

from stepflow.client import AsyncStepflowClient, StepflowClient
from stepflow.errors import (
    DeserializationError,
    InputError,
    RemoteError,
    ResultTimeoutError,
    RunNotFoundError,
    ServerUnavailableError,
    StorageUnavailableError,
    UnauthenticatedError,
)
from stepflow.testing.clock import FakeClock
from stepflow.wire.problems import problem
from tests.client.running import Blocking

Step = Exception | Callable[[httpx.Request], httpx.Response]
CUT = httpx.ReadError("cut")
NOT_SENT = httpx.ConnectError("refused")
URL = "https://shop.example/some/base/"


def reply(status: int, **content: Any) -> Step:
    """A fresh answer each time: a response can be read once."""
    return lambda request: httpx.Response(status, **content)


def busy(type_: str = "closing", retry_after: str | None = None) -> Step:
    found = problem(type_)
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return reply(found.status, content=found.encode(), headers=headers)


def answer(**body: Any) -> Step:
    return reply(200, json=body)


STARTED = {"runId": "r1", "publicAccessToken": None, "expiresAt": None, "created": True}
SENT = {"id": "e", "woken": 3}
RUN = {"id": "r1", "workflowId": "w", "status": "completed", "createdAt": "2026-01-01T00:00:00Z"}
PAUSED = {"runId": "r1", "status": "paused"}


class Scripted:
    """A client whose server answers by a script; time passes only in its pauses, and in what ``held`` says."""

    def __init__(self, kind: str, runner: asyncio.Runner) -> None:
        self.kind = kind
        self.runner = runner
        self.clock = FakeClock()
        self.pauses: list[float] = []
        self.requests: list[httpx.Request] = []
        self.script: list[Step] = []
        self.held = 0.0

    def client(self, *script: Step, **options: Any) -> Any:
        self.script = list(script)
        options = {"clock": self.clock, "random": Random(5), **options}
        if self.kind == "sync":
            http = httpx.Client(transport=httpx.MockTransport(self._answer))
            return StepflowClient(URL, http_client=http, sleep=self._pause, **options)

        async def asleep(seconds: float) -> None:
            self._pause(seconds)

        ahttp = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return Blocking(AsyncStepflowClient(URL, http_client=ahttp, sleep=asleep, **options), self.runner)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.held:
            self.clock.advance(self.held)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step(request)

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("idempotency-key") for request in self.requests]


@pytest.fixture(params=["sync", "async"])
def scripted(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    with asyncio.Runner() as runner:
        yield Scripted(request.param, runner)


@pytest.mark.parametrize("trouble", [CUT, NOT_SENT, busy(), busy("storage-unavailable"), reply(502)])
def test_a_trigger_is_sent_again_under_the_key_that_the_client_made(
    scripted: Scripted, trouble: Step
) -> None:
    client = scripted.client(trouble, trouble, answer(**STARTED))

    assert client.trigger("checkout", {"id": "o-1"}).id == "r1"

    first, *others = scripted.keys
    assert first is not None
    assert first.startswith("client-")
    assert others == [first, first]
    assert {request.content for request in scripted.requests} == {b'{"id":"o-1"}'}


def test_each_trigger_has_a_key_of_its_own_unless_the_caller_named_the_run(scripted: Scripted) -> None:
    client = scripted.client(answer(**STARTED))

    client.trigger("a")
    client.trigger("a")
    client.trigger("a", id="r1")
    client.trigger("a", idempotency_key="mine")

    first, second, named, mine = scripted.keys
    assert first != second
    assert (named, mine) == (None, "mine")


def test_a_run_that_an_earlier_attempt_started_was_created_by_this_call(scripted: Scripted) -> None:
    again = answer(**{**STARTED, "created": False})

    assert scripted.client(CUT, again).trigger("a").created
    assert not scripted.client(CUT, again).trigger("a", idempotency_key="mine").created


def test_an_event_is_sent_again_under_one_id(scripted: Scripted) -> None:
    client = scripted.client(CUT, busy("too-many-requests"), answer(**SENT))

    assert client.notify("paid", 1) == 3

    ids = {request.url.params["id"] for request in scripted.requests}
    assert len(scripted.requests) == 3
    assert len(ids) == 1


def test_what_may_not_be_done_twice_is_repeated_only_if_it_was_not_done(scripted: Scripted) -> None:
    untouched = scripted.client(NOT_SENT, busy("closing"), busy("too-many-requests"), answer(**PAUSED))
    assert untouched.pause("r1").status == "paused"
    assert len(scripted.requests) == 4

    for trouble, error in (
        (CUT, ServerUnavailableError),
        (busy("storage-unavailable"), StorageUnavailableError),
        (reply(502), ServerUnavailableError),
    ):
        scripted.requests.clear()
        with pytest.raises(error):
            scripted.client(trouble, answer(**PAUSED)).retry("r1")
        assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (busy("unauthenticated"), UnauthenticatedError),
        (busy("run-not-found"), RunNotFoundError),
        (busy("invalid-input"), InputError),
        (busy("internal-error"), RemoteError),
        (reply(301, headers={"Location": "https://evil.example"}), RemoteError),
        (reply(418, text="<html>"), RemoteError),
    ],
)
def test_a_refusal_is_final(scripted: Scripted, refusal: Step, error: type[Exception]) -> None:
    with pytest.raises(error):
        scripted.client(refusal).get_run("r1")

    assert len(scripted.requests) == 1


def test_an_answer_that_is_none_of_ours_is_told(scripted: Scripted) -> None:
    for text in ("<html>", "[]", '{"id": 3}'):
        with pytest.raises(DeserializationError, match="base_url"):
            scripted.client(reply(200, text=text)).get_run("r1")


def test_pauses_grow_within_bounds_and_never_fall_short_of_what_the_server_asks(scripted: Scripted) -> None:
    with pytest.raises(ServerUnavailableError):
        scripted.client(CUT).get_run("r1")
    grown = list(scripted.pauses)
    scripted.pauses.clear()
    scripted.client(busy(retry_after="7"), answer(**RUN)).get_run("r1")

    assert [0.125 * 2**n <= pause <= 0.25 * 2**n for n, pause in enumerate(grown)] == [True] * 4
    assert len(set(grown)) == 4
    assert scripted.pauses == [7.0]


@pytest.mark.parametrize(
    ("header", "pause"),
    [("Tue, 01 Jan 2030 00:00:09 GMT", 9.0), ("Tue, 01 Jan 1980 00:00:00 GMT", 0.25), ("soon", 0.25)],
)
def test_a_retry_after_may_be_a_date_or_nonsense(scripted: Scripted, header: str, pause: float) -> None:
    scripted.client(busy(retry_after=header), answer(**RUN)).get_run("r1")

    assert pause / 2 <= scripted.pauses[0] <= pause


def test_a_call_ends_in_time_whatever_the_server_wants(scripted: Scripted) -> None:
    with pytest.raises(ServerUnavailableError) as late:
        scripted.client(busy(retry_after="40"), answer(**RUN), timeout="30s").get_run("r1")

    assert scripted.pauses == []
    assert late.value.retry_after == 40


def test_an_answer_that_drips_is_not_waited_for_beyond_the_timeout(scripted: Scripted) -> None:
    def drip(request: httpx.Request) -> httpx.Response:
        scripted.clock.advance(31)
        return httpx.Response(200, json=RUN)

    with pytest.raises(ServerUnavailableError, match="in time"):
        scripted.client(drip, timeout="30s", retry=1).get_run("r1")


def test_retries_can_be_switched_off(scripted: Scripted) -> None:
    with pytest.raises(ServerUnavailableError):
        scripted.client(CUT, retry=1).get_run("r1")

    assert len(scripted.requests) == 1


def test_health_is_asked_once(scripted: Scripted) -> None:
    unwell = reply(503, json={"status": "unavailable"})

    assert scripted.client(unwell).health().status == "unavailable"
    with pytest.raises(ServerUnavailableError):
        scripted.client(CUT).health()

    assert len(scripted.requests) == 2


# ------------------------------------------------------------------ waiting
def test_a_wait_asks_again_for_as_long_as_the_run_goes_on(scripted: Scripted) -> None:
    going = answer(**{**RUN, "status": "running"})
    scripted.held = 30.0

    scripted.client(going, going, answer(**RUN)).wait("r1")

    assert [request.url.params["wait"] for request in scripted.requests] == ["30s", "30s", "30s"]
    assert scripted.pauses == []


def test_a_wait_ends_in_time_and_asks_for_no_more_than_is_left(scripted: Scripted) -> None:
    going = answer(**{**RUN, "status": "running"})
    scripted.held = 30.0

    with pytest.raises(ResultTimeoutError):
        scripted.client(going).wait("r1", timeout="50s")

    assert [request.url.params["wait"] for request in scripted.requests] == ["30s", "20s"]


def test_a_wait_that_nothing_holds_does_not_ask_all_the_time(scripted: Scripted) -> None:
    going = answer(**{**RUN, "status": "running"})

    scripted.client(going, going, answer(**RUN)).wait("r1")

    assert scripted.pauses == [1.0, 1.0]


def test_a_wait_outlasts_an_outage_that_a_call_would_not(scripted: Scripted) -> None:
    going = answer(**{**RUN, "status": "running"})
    scripted.held = 15.0
    outage: Sequence[Step] = [NOT_SENT] * 8

    scripted.client(going, *outage, answer(**RUN), patience="10m").wait("r1")

    assert len(scripted.requests) == 10


def test_a_result_that_was_left_out_is_asked_for_whole(scripted: Scripted) -> None:
    short = answer(**RUN, output={"omitted": 100_000})
    whole = answer(**RUN, output={"omitted": 5})  # what it was all along

    assert scripted.client(short, whole).handle("r1").result() == {"omitted": 5}
    assert scripted.requests[1].url.params["full"] == "true"


# ------------------------------------------------------------------ what is sent
def test_requests_go_below_the_base_with_their_credential(scripted: Scripted) -> None:
    scripted.client(answer(**STARTED), api_key="sf_secret").trigger("a", None)

    (request,) = scripted.requests
    assert str(request.url) == "https://shop.example/some/base/trigger/a"
    assert request.headers["x-api-key"] == "sf_secret"
    assert (request.headers["content-type"], request.content) == ("application/json", b"null")


def test_a_token_may_be_asked_anew_for_every_request(scripted: Scripted) -> None:
    tokens = iter(["one", "two"])

    client = scripted.client(CUT, answer(**RUN), token=lambda: next(tokens))
    client.get_run("r1")

    assert [request.headers["authorization"] for request in scripted.requests] == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example",
        "ftp://shop.example",
        "http://",
        "http://a:b@shop.example",
        "http://shop.example/?q",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="base_url"):
        StepflowClient(url)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "a", "token": "b"},
        {"api_key": ""},
        {"token": ""},
        {"api_key": "sécret"},
        {"token": "a\r\nX: y"},
        {"timeout": 0},
    ],
)
def test_options_that_make_no_sense_are_refused_and_never_told(options: Any) -> None:
    with pytest.raises(InputError) as refused:
        AsyncStepflowClient("http://shop.example", **options)

    assert "sécret" not in str(refused.value)


def test_both_clients_have_the_same_methods_with_the_same_words() -> None:
    def words(client: type) -> dict[str, Any]:
        return {
            name: msgspec.UNSET
            for name in dir(client)
            if not name.startswith("_") and callable(getattr(client, name))
        }

    assert words(StepflowClient) == words(AsyncStepflowClient)
