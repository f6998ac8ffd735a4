"""Section J of the failures: streams that are cut, slow, late, too many, or asked for nonsense."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stepflow import workflow
from stepflow.app import Stepflow
from stepflow.auth.base import AuthContext, AuthResult
from stepflow.http import following
from stepflow.http.hosting import service_of
from stepflow.http.messages import Frame, StreamingResponse
from stepflow.primitives import step
from stepflow.retry import Retry
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.adapter_contract import program
from stepflow.testing.clock import FakeClock
from stepflow.wire.sse import Parser
from tests.http.direct import Direct, body_of, next_event, served

TRANSIENT = ("step:start", "step:retry", "log")


async def started(direct: Direct, workflow_id: str, input: Any, run_id: str = "r1") -> None:
    answer = await direct.ask("POST", f"/trigger/{workflow_id}?runId={run_id}", json=input)
    assert answer.status == 200, answer.body


async def as_bytes(direct: Direct, path: str, **more: Any) -> bytes:
    answer = await direct.answer("GET", path, **more)
    assert isinstance(answer, StreamingResponse), answer
    return b"".join([chunk async for chunk in answer.chunks()])


async def test_a_stream_that_is_cut_at_any_byte_is_resumed_without_gap_or_duplicate() -> None:
    async with served() as direct:
        await started(direct, "talk", 4)
        await direct.until("r1", "completed")
        whole = await as_bytes(direct, "/runs/r1/stream?lastEventId=0")
        everything = Parser().feed(whole)

        for place in range(len(whole)):
            parser = Parser()
            seen = parser.feed(whole[:place])
            headers = {"last-event-id": parser.last_id} if parser.last_id else {}
            query = "" if parser.last_id else "?lastEventId=0"
            if len(seen) < len(everything):
                rest = Parser(last_id=parser.last_id).feed(
                    await as_bytes(direct, f"/runs/r1/stream{query}", headers=headers)
                )
                assert [*seen, *rest] == everything, place


@pytest.mark.parametrize("cursor", ["abc", "-1", "-1.0", f"{2**200}.0", "1", "1.0\r\nx: y", "٣.1", "1.0 "])
async def test_a_malformed_cursor_is_refused_wherever_it_travels(cursor: str) -> None:
    async with served() as direct:
        await started(direct, "wait", "e")

        answer = await direct.ask("GET", "/runs/r1/stream", headers={"last-event-id": cursor})

    assert (answer.status, body_of(answer)["type"]) == (400, "invalid-input")


@pytest.mark.parametrize("cursor", [f"{2**63 - 1}.0", "7.0", "1.9"])
async def test_a_cursor_that_the_journal_does_not_know_begins_anew(cursor: str) -> None:
    async with served() as direct:
        await started(direct, "wait", "e")
        await direct.until("r1", "suspended")
        frames = await direct.stream("/runs/r1/stream", headers={"last-event-id": cursor})

        name, data, id = await next_event(frames)
        await frames.aclose()

    assert (name, data["reset"], data["run"]["status"]) == ("run", True, "suspended")
    assert id is not None


async def test_the_header_of_a_reconnect_goes_before_the_query_it_began_with() -> None:
    async with served() as direct:
        await started(direct, "talk", 3)
        await direct.until("r1", "completed")
        whole = await direct.frames("/runs/r1/stream?lastEventId=0")

        rest = await direct.frames("/runs/r1/stream?lastEventId=0", headers={"last-event-id": whole[1].id})

    assert rest == whole[2:]


async def test_a_run_that_began_anew_resets_those_who_knew_its_former_journal() -> None:
    async with served() as direct:
        await started(direct, "talk", 5)
        await direct.until("r1", "completed")
        whole = await direct.frames("/runs/r1/stream?lastEventId=0")
        await direct.ask("DELETE", "/runs/r1")
        await started(direct, "wait", "e")
        await direct.until("r1", "suspended")

        frames = await direct.stream("/runs/r1/stream", headers={"last-event-id": str(whole[-1].id)})
        name, data, _ = await next_event(frames)
        await frames.aclose()

    assert (name, data["reset"], data["run"]["workflowId"]) == ("run", True, "wait")


async def test_a_reader_that_does_not_keep_up_is_told_how_things_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "BACKLOG", 5)
    async with served() as direct:
        await started(direct, "two-waits", "e")
        await direct.until("r1", "suspended", waits_for="e/1")
        frames = await direct.stream("/runs/r1/stream")
        await next_event(frames)
        # It does not read while all this happens.
        await direct.ask("POST", "/notify/e/1", json=1)
        await direct.until("r1", "suspended", waits_for="e/2")
        await direct.ask("POST", "/notify/e/2", json=2)
        await direct.until("r1", "completed")

        name, data, _ = await next_event(frames)
        rest = [frame async for frame in frames]

    assert (name, data["reset"], data["run"]["status"]) == ("run", True, "completed")
    assert rest == []


async def test_what_happens_is_told_live_with_the_starts_of_steps_before_their_ends() -> None:
    async with served() as direct:
        await started(direct, "two-waits", "e")
        await direct.until("r1", "suspended", waits_for="e/1")
        frames = await direct.stream("/runs/r1/stream")
        await next_event(frames)
        await direct.ask("POST", "/notify/e/1", json=1)
        seen: list[tuple[str, str | None]] = []
        while not seen or seen[-1][0] != "run:suspended":
            name, data, id = await next_event(frames)
            seen.append((name, data.get("stepName")))
            assert (id is None) == (name in TRANSIENT)
        await frames.aclose()

    assert [each for each in seen if each[1] == "note"] == [("step:start", "note"), ("step:complete", "note")]


async def test_a_retry_is_told_once_though_hook_and_journal_both_know_it() -> None:
    calls = 0

    @step(retry=Retry(attempts=3, delay="0s"))
    async def flaky() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ValueError("not yet")
        return "done"

    @workflow
    async def stubborn() -> str:
        return await flaky()

    async with served(Stepflow("memory://", workflows=[stubborn], worker=True)) as direct:
        await started(direct, "stubborn", None)
        answer = await direct.answer("GET", "/runs/r1/stream?lastEventId=0")
        assert isinstance(answer, StreamingResponse)
        frames = [frame async for frame in answer.frames if frame is not None]

    retries = [json.loads(frame.data)["attempt"] for frame in frames if frame.event == "step:retry"]
    assert retries == [1, 2]
    assert all(frame.id is None for frame in frames if frame.event == "step:retry")
    assert frames[-1].event == "execution:complete"


async def test_a_failed_run_that_is_retried_goes_on_for_who_saw_it_fail() -> None:
    tries = 0

    @workflow
    async def second_time() -> str:
        return await attempt()

    @step(retry=1)
    async def attempt() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("first")
        return "second"

    async with served(Stepflow("memory://", workflows=[second_time], worker=True)) as direct:
        await started(direct, "second-time", None)
        await direct.until("r1", "failed")
        failed = await direct.frames("/runs/r1/stream?lastEventId=0")
        await direct.ask("POST", "/runs/r1/retry")
        await direct.until("r1", "completed")
        rest = await direct.frames("/runs/r1/stream", headers={"last-event-id": str(failed[-1].id)})
        whole = await direct.frames("/runs/r1/stream?lastEventId=0")

    assert failed[-1].event == "execution:failed"
    assert rest[-1].event == "execution:complete"
    assert "execution:failed" not in [frame.event for frame in whole], "it was not the end"


async def test_a_stream_ends_when_its_credential_expires() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))

    def soon(context: AuthContext) -> AuthResult:
        expires_at = datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
        return AuthResult(
            kind="run_token", workflows=None, runs=None, events=None, options=True, expires_at=expires_at
        )

    app = Stepflow("memory://", workflows=[program], worker=True, clock=clock)
    async with served(app, auth=soon) as direct:
        await started(direct, "wait", "e")
        frames = await direct.stream("/runs/r1/stream")
        await next_event(frames)
        clock.advance("2s")
        names = [frame.event async for frame in frames if frame is not None]

    assert names[-1] == "token:expired"


async def test_whoever_leaves_gives_everything_back_and_touches_nothing() -> None:
    async with served() as direct:
        await started(direct, "wait", "e")
        await direct.until("r1", "suspended")
        streams = [await direct.stream("/runs/r1/stream") for _ in range(50)]
        for frames in streams:
            await next_event(frames)
        lookout = direct.api._lookout  # pyright: ignore[reportPrivateUsage]
        assert lookout is not None
        busy = (direct.api.open_streams, lookout.readers)

        for frames in streams:
            await frames.aclose()

        assert busy == (50, 50)
        assert (direct.api.open_streams, lookout.readers) == (0, 0)
        assert (await service_of(direct.app).record("r1")).status == "suspended"


class CountingStorage(MemoryStorage):
    """Counts how often a run is read, and who listens."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def get_run(self, run_id: str) -> Any:
        self.reads += 1
        await asyncio.sleep(0)  # as a server would: others get a turn meanwhile
        return await super().get_run(run_id)


async def test_many_readers_of_a_run_cost_a_few_reads() -> None:
    storage = CountingStorage()
    app = Stepflow(storage, workflows=[program], worker=True)
    async with served(app) as direct:
        await started(direct, "wait", "e")
        await direct.until("r1", "suspended")
        streams = [await direct.stream("/runs/r1/stream") for _ in range(100)]
        for frames in streams:
            await next_event(frames)

        async def rest(frames: AsyncGenerator[Frame | None, None]) -> list[str]:
            return [frame.event async for frame in frames if frame is not None]

        reading = [asyncio.create_task(rest(frames)) for frames in streams]
        await asyncio.sleep(0)
        before = storage.reads
        await direct.ask("POST", "/notify/e", json=1)
        ends = await asyncio.gather(*reading)

    assert {each[-1] for each in ends} == {"execution:complete"}
    assert storage.reads - before < 100, "each of a hundred readers read for itself"


async def test_a_quiet_stream_beats_though_the_run_is_looked_at_more_often() -> None:
    async with served(heartbeat="1500ms") as direct:  # the poll comes every second
        await started(direct, "wait", "e")
        await direct.until("r1", "suspended")
        frames = await direct.stream("/runs/r1/stream")
        await next_event(frames)

        beats = [await anext(frames) for _ in range(2)]
        await frames.aclose()

    assert beats == [None, None]


async def test_a_closing_server_ends_its_streams_and_long_polls() -> None:
    async with served() as direct:
        await started(direct, "wait", "e")
        await direct.until("r1", "suspended")
        frames = await direct.stream("/runs/r1/stream")
        await next_event(frames)
        polling = asyncio.create_task(direct.ask("GET", "/runs/r1?wait=60s"))
        await asyncio.sleep(0)

        direct.api.close()
        rest = [frame async for frame in frames]
        polled = await polling
        late = await direct.ask("GET", "/runs/r1")

    assert rest == []
    assert (polled.status, body_of(polled)["type"]) == (503, "closing")
    assert dict(polled.headers)["Retry-After"] == "1"
    assert late.status == 503


async def test_readers_that_are_cut_off_together_come_back_at_different_moments() -> None:
    async with served() as direct:
        await started(direct, "wait", "e")
        waits = set()
        for _ in range(5):
            answer = await direct.answer("GET", "/runs/r1/stream")
            assert isinstance(answer, StreamingResponse)
            waits.add(answer.retry)
            await answer.frames.aclose()

    assert all(1000 <= wait < 2000 for wait in waits)
    assert len(waits) > 1


NASTY = ["a\r\nb", "a\rb", "a\nb", "\0", "\ufeff", "🎈", "\u2028", "id: 9\n\nevent: x"]


async def test_values_and_names_with_any_character_arrive_as_they_are(tmp_path: Path) -> None:
    @step(name="pay [☃] id: 9")
    async def odd(value: Any) -> Any:
        return value

    @workflow
    async def nasty(value: Any) -> Any:
        return await odd(value)

    async with served(Stepflow("memory://", workflows=[nasty], worker=True)) as direct:
        await started(direct, "nasty", NASTY)
        await direct.until("r1", "completed")
        data = await as_bytes(direct, "/runs/r1/stream?lastEventId=0")

    parser = Parser()
    messages = [message for byte in data for message in parser.feed(bytes([byte]))]
    completed = [json.loads(each.data) for each in messages if each.event == "step:complete"]
    assert [(each["stepName"], each["result"]) for each in completed] == [("pay [☃] id: 9", NASTY)]
    assert json.loads(messages[-1].data)["data"] == NASTY


async def test_a_page_of_runs_is_neither_doubled_nor_skipped_while_runs_are_added() -> None:
    async with served() as direct:
        for number in range(6):
            await started(direct, "echo", number, f"r{number}")
        first = body_of(await direct.ask("GET", "/runs?limit=3"))
        for number in range(6, 9):
            await started(direct, "echo", number, f"r{number}")
        second = body_of(await direct.ask("GET", f"/runs?limit=3&cursor={first['nextCursor']}"))

    assert {run["id"] for run in (*first["items"], *second["items"])} == {f"r{number}" for number in range(6)}
