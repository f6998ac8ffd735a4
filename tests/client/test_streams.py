"""Streams that are cut, restarted under, expired and doubled: the reader is told everything, once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.app import Stepflow
from stepflow.client import (
    ExecutionComplete,
    RunPaused,
    RunSnapshot,
    StepComplete,
    StepRetry,
    StepStart,
    StreamEvent,
)
from stepflow.client.reading import Reading
from stepflow.errors import (
    DeserializationError,
    RunNotFoundError,
    ServerUnavailableError,
    UnauthenticatedError,
)
from stepflow.http import allow_all
from stepflow.http.options import ApiOptions
from stepflow.testing.adapter_contract import program
from stepflow.testing.clock import FakeClock
from stepflow.wire.sse import encode_message
from tests.client.running import Background, Clients, Server
from tests.servers.proxy import FaultProxy

SEEDS = range(3)


@pytest.fixture
def proxy(server: Server, background: Background) -> Iterator[FaultProxy]:
    found = server.proxy()
    yield found
    background.call(found.__aexit__(None, None, None))


def behind(proxy: FaultProxy) -> str:
    return f"http://127.0.0.1:{proxy.port}/base"


def journal(events: list[StreamEvent]) -> list[StreamEvent]:
    return [each for each in events if not isinstance(each, StepStart | StepRetry)]


# ------------------------------------------------------------------ cuts
@pytest.mark.deadline(60)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_that_is_cut_anywhere_again_and_again_has_no_gap_and_no_duplicate(
    clients: Clients, client: Any, proxy: FaultProxy, seed: int
) -> None:
    run = client.trigger("talk", 40)
    run.result(timeout="30s")
    whole = list(run.stream(after="0"))
    random = Random(seed)
    proxy.cut_answers(*(random.randrange(0, 3000) for _ in range(12)))

    seen = list(clients(behind(proxy), api_key=program.SECRET).stream(run.id, after="0"))

    assert proxy.struck > 2
    assert journal(seen) == journal(whole)
    assert sum(isinstance(each, ExecutionComplete) for each in seen) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_running_run_is_followed_through_cuts_from_how_it_is(
    clients: Clients, client: Any, proxy: FaultProxy, seed: int
) -> None:
    event = f"{proxy.port}/{clients.kind}/{seed}"
    run = client.trigger("two-waits", event)
    random = Random(seed)
    proxy.cut_answers(*(random.randrange(100, 2000) for _ in range(8)))
    seen: list[StreamEvent] = []

    for each in clients(behind(proxy), api_key=program.SECRET).stream(run.id):
        seen.append(each)
        for wait in getattr(each, "waits", getattr(getattr(each, "run", None), "waits", ())):
            client.notify(wait.event_id, 1)

    steps = [each.step_name for each in seen if isinstance(each, StepComplete)]
    known = [step.name for step in seen[0].run.steps if step.status == "completed"]
    assert isinstance(seen[0], RunSnapshot)
    assert sum(isinstance(each, RunSnapshot) for each in seen) == 1
    assert [*known, *steps] == ["note", f"{event}/1", "note", f"{event}/2", "note"]
    assert isinstance(seen[-1], ExecutionComplete)


def test_several_runs_are_followed_through_cuts(clients: Clients, client: Any, proxy: FaultProxy) -> None:
    runs = [client.trigger("talk", 15) for _ in range(3)]
    for run in runs:
        run.result(timeout="30s")
    proxy.cut_answers(*(Random(1).randrange(0, 2500) for _ in range(10)))
    stream = clients(behind(proxy), api_key=program.SECRET).subscribe(*(run.id for run in runs), after="0")

    seen = list(stream)

    for run in runs:
        mine = [each for each in seen if each.run_id == run.id]
        assert [each.result for each in mine if isinstance(each, StepComplete)] == list(range(15))
        assert sum(isinstance(each, ExecutionComplete) for each in mine) == 1


def test_pauses_are_as_long_as_the_server_wants_and_grow_while_nothing_comes(
    clients: Clients, client: Any, proxy: FaultProxy
) -> None:
    run = client.trigger("talk", 3)
    run.result(timeout="20s")
    pauses: list[float] = []
    proxy.cut_answers(800, 0, 0, 0)  # the first one tells how long to wait

    list(clients(behind(proxy), sleep=pauses.append, api_key=program.SECRET).stream(run.id, after="0"))

    assert all(pause >= 1.0 for pause in pauses)
    assert [pause < later for pause, later in pairwise(pauses)][:3] == [True] * 3


# ------------------------------------------------------------------ servers that go
def test_a_server_that_is_restarted_in_the_middle_is_waited_for(
    clients: Clients, serve: Callable[..., Server]
) -> None:
    server = serve()
    asked = threading.Event()
    client = clients(server.url, sleep=lambda seconds: asked.set(), api_key=program.SECRET)
    run = client.trigger("two-waits", "e")
    seen: list[StreamEvent] = []
    restarted = False

    for each in run.stream(after="0"):
        seen.append(each)
        waits = [wait.event_id for wait in getattr(each, "waits", ())]
        if "e/1" in waits and not restarted:
            server.stop()
            server.start()
            restarted = True
        for event in waits:
            client.notify(event, 1)

    assert asked.is_set()
    names = [each.step_name for each in seen if isinstance(each, StepComplete)]
    assert names == ["note", "e/1", "note", "e/2", "note"]
    assert sum(isinstance(each, ExecutionComplete) for each in seen) == 1


def test_a_server_that_stays_away_ends_the_clients_patience(
    clients: Clients, serve: Callable[..., Server]
) -> None:
    server, clock = serve(), FakeClock()
    client = clients(server.url, sleep=clock.advance, clock=clock, api_key=program.SECRET, patience="2m")
    run = client.trigger("wait", "never")
    stream = run.stream(after="0")
    next(iter(stream))
    server.stop()

    with pytest.raises(ServerUnavailableError):
        list(stream)

    assert 120 <= clock.monotonic() < 200


def test_a_run_that_is_deleted_ends_its_stream_with_an_error(clients: Clients, client: Any) -> None:
    run = client.trigger("wait", "never")
    stream = run.stream(after="0")
    next(iter(stream))
    client.pause(run.id)
    client.wait(run.id, timeout="20s")
    client.delete(run.id)

    with pytest.raises(RunNotFoundError):
        for each in stream:
            assert not isinstance(each, RunSnapshot)


def test_a_run_that_has_ended_and_is_gone_does_not_end_the_stream_of_others(
    clients: Clients, client: Any, proxy: FaultProxy
) -> None:
    event = f"gone/{clients.kind}/{proxy.port}"
    done, goes_on = client.trigger("echo", 1), client.trigger("wait", event)
    stream = clients(behind(proxy), api_key=program.SECRET).subscribe(done.id, goes_on.id, after="0")
    seen: list[StreamEvent] = []
    for each in stream:
        seen.append(each)
        ended = {one.run_id for one in seen if isinstance(one, ExecutionComplete)}
        if ended == {done.id} and each.run_id == done.id:
            client.delete(done.id)
            proxy.cut_all()
            client.notify(event, "late", run_id=goes_on.id)

    assert [each.data for each in seen if isinstance(each, ExecutionComplete)] == [1, "late"]
    assert not any(isinstance(each, RunSnapshot) for each in seen)


# ------------------------------------------------------------------ credentials that expire
def expiring(serve: Callable[..., Server], clock: FakeClock) -> Server:
    options = program.options()
    options["heartbeat"] = 0.05
    return serve(partial(Stepflow, "memory://", workflows=[program], clock=clock), options)


def test_a_token_that_expires_in_mid_stream_is_an_error(
    clients: Clients, serve: Callable[..., Server], background: Background
) -> None:
    clock = FakeClock()
    server = expiring(serve, clock)
    run = clients(server.url, api_key=program.SECRET).trigger("wait", "e")
    stream = clients(server.url, token=run.token).stream(run.id, after="0")

    with pytest.raises(UnauthenticatedError):
        for _ in stream:
            background.call(moved(clock, "25h"))


def test_a_token_that_expires_in_mid_stream_is_replaced_if_there_is_another(
    clients: Clients, serve: Callable[..., Server], background: Background
) -> None:
    clock = FakeClock()
    server = expiring(serve, clock)
    owner = clients(server.url, api_key=program.SECRET)
    run = owner.trigger("wait", "e")
    issued: list[str] = []

    def fresh() -> str:
        # (Not by ``owner``: its loop may be the one that this is called on.)
        issued.append(background.call(token_of(server, run.id)))
        return issued[-1]

    seen: list[StreamEvent] = []
    for each in clients(server.url, token=fresh).stream(run.id, after="0"):
        seen.append(each)
        if getattr(each, "waits", ()) and len(issued) == 1:
            background.call(moved(clock, "25h"))
            background.call(notified(server, "e"))

    assert len(issued) >= 2 or isinstance(seen[-1], ExecutionComplete)
    assert len(set(map(repr, seen))) == len(seen)
    assert isinstance(seen[-1], ExecutionComplete)


async def moved(clock: FakeClock, duration: str) -> None:
    clock.advance(duration)


async def notified(server: Server, event: str) -> None:
    assert server.app is not None
    await server.app.notify(event, "yes")


async def token_of(server: Server, run_id: str) -> str:
    from stepflow.auth.tokens import kept_run_tokens
    from stepflow.http.hosting import service_of

    assert server.app is not None
    service = service_of(server.app)
    tokens = await kept_run_tokens(service.storage)
    return tokens.issue(run_id, service.clock.now())[0]


def test_a_paused_run_stays_followed(clients: Clients, client: Any) -> None:
    run = client.trigger("wait", f"paused/{clients.kind}")
    stream = run.stream(after="0")
    names: list[str] = []
    for each in stream:
        names.append(type(each).__name__)
        if getattr(each, "waits", ()) and "RunPaused" not in names:
            client.pause(run.id)
        if isinstance(each, RunPaused):
            run.cancel(force=True)

    assert names[-1] == "ExecutionCancelled"


# ------------------------------------------------------------------ bytes, without a server
def frames() -> tuple[bytes, int]:
    """A stream with everything in it, and how many events the reader is to get."""
    at = '"at":"2026-01-01T00:00:00.000Z","runId":"r"'
    step = f'{at},"stepName":"a","key":"a","attempt":1'
    parts = [
        b"retry: 1234\n\n:\n\n",
        encode_message(event="run:resumed", id="1.0", data=f'{{"type":"run:resumed",{at}}}'.encode()),
        encode_message(event="step:start", data=f'{{"type":"step:start",{step}}}'.encode()),
        b":\n\n",
        encode_message(event="brand:new", id="1.1", data=b'{"of": "tomorrow"}'),
        encode_message(event="step:retry", data=f'{{"type":"step:retry",{step}}}'.encode()),
        encode_message(event="step:complete", id="2.0", data=f'{{"type":"step:complete",{step}}}'.encode()),
        encode_message(event="step:start", data=f'{{"type":"step:start",{step}}}'.encode()),
        encode_message(event="execution:complete", id="2.1", data=f'{{"type":"execution:complete",{at},"data":"é"}}'.encode()),
    ]  # fmt: skip
    return b"".join(parts), 6


def after(whole: bytes, cursor: str | None) -> bytes:
    """What a server sends to a reader that comes back."""
    if cursor is None:
        return whole
    mark = f"id: {cursor}\n".encode()
    place = whole.index(b"\n\n", whole.index(mark)) + 2
    return b"retry: 1234\n\n" + whole[place:]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=12), st.integers(1, 80))
def test_bytes_in_any_pieces_and_cut_anywhere_are_each_event_once(cuts: list[int], size: int) -> None:
    whole, wanted = frames()
    reading = Reading(["r"], several=False, cursor=None)
    seen: list[StreamEvent] = []
    for cut in [*cuts, len(whole)]:
        reading.connected()
        sent = after(whole, reading.cursor)[:cut]
        for start in range(0, len(sent), size):
            reading.feed(sent[start : start + size])
            while (event := reading.take()) is not None:
                seen.append(event)

    assert len(seen) == wanted
    assert [type(each).__name__ for each in journal(seen)] == [
        "RunResumed",
        "StepComplete",
        "ExecutionComplete",
    ]
    assert reading.over
    assert reading.retry == 1.234


def test_an_event_that_can_not_be_read_is_told() -> None:
    reading = Reading(["r"], several=False, cursor=None)
    reading.feed(encode_message(event="run:resumed", id="1.0", data=b"{}"))

    with pytest.raises(DeserializationError, match="run:resumed"):
        reading.take()


def test_a_stream_that_has_nothing_more_ends_it(clients: Clients, serve: Callable[..., Server]) -> None:
    server = serve(options=ApiOptions(auth=allow_all()))
    client = clients(server.url)
    run = client.trigger("echo", 1)
    run.result(timeout="20s")
    with run.stream(after="0") as events:
        list(events)
        last = events.cursor

    assert list(run.stream(after=last)) == []
