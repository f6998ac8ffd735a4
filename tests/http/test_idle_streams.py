"""Streams on which nothing happens: all of them together cost one look a second, and a lost hint costs no more than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from stepflow.app import Stepflow
from stepflow.errors import StorageUnavailableError
from stepflow.storage.base import Storage
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import Wakeup
from stepflow.testing.adapter_contract import program
from stepflow.testing.clock import FakeClock
from stepflow.testing.faults import FaultyStorage
from tests.http.direct import Direct, next_event, served
from tests.runtime.living import settle

RUNS = 60


class Deaf(FaultyStorage):
    """Hears of nothing that other processes do."""

    async def wakeups(self) -> AsyncIterator[Wakeup]:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")
        yield  # it is a generator


class Readers:
    """Streams, each read by a task that notes the names of its events."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, direct: Direct, run_id: str) -> None:
        frames = await direct.stream(f"/runs/{run_id}/stream")
        self.told[run_id] = [(await next_event(frames))[0]]

        async def read() -> None:
            async for frame in frames:
                if frame is not None:
                    self.told[run_id].append(frame.event)

        self.tasks.append(asyncio.create_task(read()))

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()


@asynccontextmanager
async def watching(storage: Storage, clock: FakeClock) -> AsyncGenerator[tuple[Direct, Readers]]:
    """A server that executes nothing, and whose hints come from the storage."""
    readers = Readers()
    app = Stepflow(storage, workflows=[program], worker=False, clock=clock)
    async with served(app) as direct:
        try:
            yield direct, readers
        finally:
            readers.close()
            await asyncio.gather(*readers.tasks, return_exceptions=True)


async def a_second_passes(clock: FakeClock) -> None:
    clock.advance("1s")
    await settle()


async def test_all_idle_streams_together_cost_one_read_a_second() -> None:
    clock, storage = FakeClock(), FaultyStorage(MemoryStorage())
    async with watching(storage, clock) as (direct, readers):
        for number in range(RUNS):
            await direct.ask("POST", f"/trigger/wait?runId=r{number}", json="e")
            await readers.add(direct, f"r{number}")
        await a_second_passes(clock)
        before = storage.calls.copy()
        for _ in range(10):
            await a_second_passes(clock)
        cost = storage.calls - before

    assert dict(cost) == {"read_progress": 10}, "each stream read for itself"


async def test_a_change_that_nobody_hinted_at_is_found_by_the_next_look() -> None:
    clock, memory = FakeClock(), MemoryStorage()
    worker = Stepflow(memory, workflows=[program], worker=True, clock=clock)
    async with worker, watching(Deaf(memory), clock) as (direct, readers):
        for number in range(3):
            await direct.ask("POST", f"/trigger/wait?runId=r{number}", json=f"e/{number}")
            await readers.add(direct, f"r{number}")
        await settle()
        await a_second_passes(clock)
        await worker.notify("e/1", 1)
        await settle()
        before = list(readers.told["r1"])
        await a_second_passes(clock)

    assert "execution:complete" not in before
    assert readers.told["r1"][-1] == "execution:complete"
    assert "execution:complete" not in readers.told["r0"] + readers.told["r2"]


async def test_a_stream_that_could_not_look_looks_again_a_second_later() -> None:
    clock, memory = FakeClock(), MemoryStorage()
    storage = Deaf(memory)
    worker = Stepflow(memory, workflows=[program], worker=True, clock=clock)
    async with worker, watching(storage, clock) as (direct, readers):
        await direct.ask("POST", "/trigger/wait?runId=r1", json="e")
        await readers.add(direct, "r1")
        await settle()
        await a_second_passes(clock)
        await worker.notify("e", 1)
        await settle()
        storage.fail_before("get_run", error=lambda: StorageUnavailableError("away"))
        await a_second_passes(clock)
        while_away = list(readers.told["r1"])
        await a_second_passes(clock)

    assert "execution:complete" not in while_away
    assert readers.told["r1"][-1] == "execution:complete"


async def test_when_the_look_itself_fails_the_next_one_finds_what_changed() -> None:
    clock, memory = FakeClock(), MemoryStorage()
    storage = Deaf(memory)
    worker = Stepflow(memory, workflows=[program], worker=True, clock=clock)
    async with worker, watching(storage, clock) as (direct, readers):
        await direct.ask("POST", "/trigger/wait?runId=r1", json="e")
        await readers.add(direct, "r1")
        await settle()
        await worker.notify("e", 1)
        await settle()
        storage.fail_before("read_progress")
        await a_second_passes(clock)
        await a_second_passes(clock)

    assert readers.told["r1"][-1] == "execution:complete"


async def test_many_long_polls_cost_one_read_a_second_too() -> None:
    clock, storage = FakeClock(), FaultyStorage(MemoryStorage())
    async with watching(storage, clock) as (direct, _):
        for number in range(RUNS):
            await direct.ask("POST", f"/trigger/wait?runId=r{number}", json="e")
        polls = [
            asyncio.create_task(direct.ask("GET", f"/runs/r{number}?wait=60s")) for number in range(RUNS)
        ]
        await settle()
        before = storage.calls.copy()
        for _ in range(10):
            await a_second_passes(clock)
        cost = storage.calls - before
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)

    assert dict(cost) == {"read_progress": 10}
