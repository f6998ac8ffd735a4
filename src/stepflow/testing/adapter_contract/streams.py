"""Streams: live, resumed, given back when a client leaves, and ended when the server does."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest

from stepflow.testing.adapter_contract.program import MAX_STREAMS, SECRET
from stepflow.testing.adapter_contract.serving import Client, Process, Stream, eventually, unique
from stepflow.wire.sse import Message

Start = Callable[[], tuple[Process, Client]]


def _journal(messages: list[Message]) -> list[Message]:
    """Without what is transient."""
    return [each for each in messages if each.event not in ("step:start", "step:retry", "log")]


class StreamContract:
    def test_a_stream_begins_with_the_run_and_goes_on_to_its_end(self, client: Client) -> None:
        event = unique("event")
        run_id = client.waiting("wait", event)

        with client.stream(f"/runs/{run_id}/stream") as stream:
            [first] = stream.take(1)
            client.ask("POST", f"/notify/{event}", json="done")
            rest = list(stream)

        headers = stream.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert "no-transform" in headers["cache-control"]
        assert headers["x-accel-buffering"] == "no"
        assert (first.event, json.loads(first.data)["run"]["status"]) == ("run", "suspended")
        assert first.id
        assert [each.event for each in _journal(rest)][-2:] == ["step:complete", "execution:complete"]
        assert json.loads(rest[-1].data)["data"] == "done"

    def test_a_stream_is_resumed_from_every_place_without_gap_or_duplicate(self, client: Client) -> None:
        run_id = client.finished("talk", 5)
        with client.stream(f"/runs/{run_id}/stream?lastEventId=0") as stream:
            whole = list(stream)

        assert [json.loads(each.data)["result"] for each in whole if each.event == "step:complete"] == list(
            range(5)
        )
        # What a reader made of the events is the record, to the instant: the end is when the record says.
        assert json.loads(whole[-1].data)["at"] == client.run(run_id)["endedAt"]
        for place, message in enumerate(whole[:-1]):
            headers = {"Last-Event-ID": message.id}
            with client.stream(f"/runs/{run_id}/stream", headers=headers) as stream:
                rest = list(stream)
            assert [(each.id, each.data) for each in rest] == [
                (each.id, each.data) for each in whole[place + 1 :]
            ]

    def test_who_has_seen_the_end_is_told_not_to_come_back(self, client: Client) -> None:
        run_id = client.finished("echo", 1)
        with client.stream(f"/runs/{run_id}/stream?lastEventId=0") as stream:
            last = list(stream)[-1].id

        for cursor in (last, "99999.0"):
            answer = client.ask("GET", f"/runs/{run_id}/stream", headers={"Last-Event-ID": cursor})
            assert (answer.status_code, answer.content) == (204, b"")

    def test_an_ended_run_without_a_cursor_is_told_whole(self, client: Client) -> None:
        run_id = client.finished("echo", 7)

        with client.stream(f"/runs/{run_id}/stream") as stream:
            [only] = list(stream)

        assert (only.event, json.loads(only.data)["run"]["output"]) == ("run", 7)

    @pytest.mark.parametrize("cursor", ["abc", "-1", "1", "1.x", "1.0 ", "9" * 30 + ".0", "%0D%0A"])
    def test_a_malformed_cursor_is_refused(self, client: Client, cursor: str) -> None:
        run_id = client.waiting("wait", unique("event"))

        assert client.ask("GET", f"/runs/{run_id}/stream?lastEventId={cursor}").status_code == 400

    def test_a_cursor_from_the_future_begins_anew(self, client: Client) -> None:
        run_id = client.waiting("wait", unique("event"))

        with client.stream(f"/runs/{run_id}/stream", headers={"Last-Event-ID": "4000.0"}) as stream:
            [first] = stream.take(1)

        assert (first.event, json.loads(first.data)["reset"]) == ("run", True)

    def test_a_quiet_stream_beats(self, client: Client) -> None:
        run_id = client.waiting("wait", unique("event"))

        with client.stream(f"/runs/{run_id}/stream") as stream:
            chunks = stream.response.iter_raw()
            beats = 0
            while beats < 2:
                beats += next(chunks).count(b":\n\n")

        assert beats >= 2

    def test_several_runs_share_a_stream_and_its_cursor(self, client: Client) -> None:
        events = [unique("event") for _ in range(3)]
        run_ids = [client.waiting("wait", event) for event in events]
        query = "&".join(f"runId={run_id}" for run_id in run_ids)

        with client.stream(f"/stream?{query}") as stream:
            snapshots = stream.take(3)
            client.ask("POST", f"/notify/{events[0]}", json=0)
            cursor = stream.until("execution:complete")[-1].id
        for event in events[1:]:
            client.ask("POST", f"/notify/{event}", json=1)
        with client.stream(f"/stream?{query}", headers={"Last-Event-ID": cursor}) as stream:
            rest = list(stream)

        assert {json.loads(each.data)["runId"] for each in snapshots} == set(run_ids)
        ended = [json.loads(each.data)["runId"] for each in rest if each.event == "execution:complete"]
        assert sorted(ended) == sorted(run_ids[1:])
        assert {json.loads(each.data)["runId"] for each in rest} == set(run_ids[1:])

    def test_a_stream_of_an_unknown_run_is_not_found(self, client: Client) -> None:
        assert client.ask("GET", f"/runs/{unique('run')}/stream").status_code == 404
        assert client.ask("GET", f"/stream?runId={unique('run')}").status_code == 404
        assert client.ask("GET", "/stream").status_code == 400

    def test_a_run_token_streams_its_run(self, client: Client) -> None:
        mine = client.ask("POST", "/trigger/echo", json=1).json()

        with client.stream(
            f"/runs/{mine['runId']}/stream?lastEventId=0&token={mine['publicAccessToken']}", key=None
        ) as stream:
            assert list(stream)[-1].event == "execution:complete"

    def test_streams_are_limited_and_those_that_were_left_are_given_back(self, client: Client) -> None:
        run_id = client.waiting("wait", unique("event"))
        path = f"/runs/{run_id}/stream"
        held: list[Stream] = []  # dropping one hangs up

        def open_another(stack: ExitStack) -> bool:
            stream = stack.enter_context(client.stream(path))
            if stream.response.status_code == 200:  # else one that an earlier test left is not given back yet
                held.append(stream)
                assert next(stream).event == "run"
            return stream.response.status_code == 200

        with ExitStack() as stack:
            for _ in range(MAX_STREAMS):
                eventually(partial(open_another, stack))
            refused = client.ask("GET", path)

        def is_free() -> bool:
            with client.stream(path) as stream:
                return stream.response.status_code == 200

        assert (refused.status_code, refused.json()["type"]) == (503, "too-many-streams")
        assert int(refused.headers["retry-after"]) > 0
        eventually(is_free)
        assert client.run(run_id)["status"] == "suspended", "whoever leaves a stream does not touch its run"


class ShutdownContract:
    def test_a_stream_is_ended_by_a_shutdown_and_resumed_elsewhere(self, start_server: Start) -> None:
        server, client = start_server()
        event = unique("event")
        run_id = client.waiting("two-waits", event, f"{event}/1")
        seen: list[Message] = []

        with client.stream(f"/runs/{run_id}/stream?lastEventId=0") as stream:
            seen += stream.until("run:suspended")
            server.terminate()
            try:
                seen += list(stream)
            except httpx.TransportError:
                pass  # cut off: that is resumed like one that was ended
        server.wait()
        _, other = start_server()
        for number in (1, 2):
            eventually(
                lambda: any(each["eventId"] == f"{event}/{number}" for each in other.run(run_id)["waits"])  # noqa: B023
            )
            other.ask("POST", f"/notify/{event}/{number}", json=number)
        last = [each.id for each in seen if each.id][-1]
        with other.stream(f"/runs/{run_id}/stream", headers={"Last-Event-ID": last}) as stream:
            seen += list(stream)
        with other.stream(f"/runs/{run_id}/stream?lastEventId=0") as stream:
            whole = _journal(list(stream))

        assert [(each.id, each.data) for each in _journal(seen)] == [(each.id, each.data) for each in whole]
        assert whole[-1].event == "execution:complete"

    def test_a_long_poll_is_ended_by_a_shutdown_with_a_code_to_try_again(self, start_server: Start) -> None:
        server, client = start_server()
        run_id = client.waiting("wait", unique("event"))

        with httpx.Client(timeout=60, verify=False) as http:
            request = http.build_request(
                "GET", f"{client.base_url}/runs/{run_id}?wait=60s", headers={"X-API-Key": SECRET}
            )
            answer = _terminated_meanwhile(http, request, client, server)
        server.wait()

        if answer is not None:
            assert answer.status_code in (500, 502, 503)
            if answer.status_code == 503 and "retry-after" in answer.headers:
                assert answer.json()["type"] == "closing"


def _terminated_meanwhile(
    http: httpx.Client, request: httpx.Request, client: Client, server: Process
) -> httpx.Response | None:
    """The answer to a request while whose waiting the server is told to end; None if it was cut off."""

    with ThreadPoolExecutor(1) as pool:
        waiting: Any = pool.submit(http.send, request)
        eventually(lambda: client.ask("GET", "/health/live", key=None).status_code == 200)
        server.terminate()
        try:
            found: httpx.Response = waiting.result()
            return found
        except httpx.TransportError:
            return None
