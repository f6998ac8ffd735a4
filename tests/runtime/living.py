"""A small world for runtime tests: an app on a store in memory, a clock that a test moves, and ways to wait for facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from stepflow import RunHandle, Stepflow
from stepflow.hooks import Fact
from stepflow.model.journal import Entry
from stepflow.model.runs import RunRecord
from stepflow.storage.base import Storage
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.clock import FakeClock
from stepflow.testing.faults import FaultyStorage
from stepflow.types import Duration

Condition = Callable[[], bool] | Callable[[], Awaitable[bool]]


class World:
    """An open app with all that a test wants to reach: ``facts`` are those that its hooks were told."""

    def __init__(self, app: Stepflow, clock: FakeClock, storage: FaultyStorage, facts: list[Fact]) -> None:
        self.app = app
        self.clock = clock
        self.storage = storage
        self.facts = facts

    async def record(self, run: RunHandle[Any] | str) -> RunRecord:
        found = await self.storage.inner.get_run(run if isinstance(run, str) else run.id)
        assert found is not None
        return found

    async def entries(self, run: RunHandle[Any] | str) -> list[Entry]:
        rows = await self.storage.inner.read_journal(run if isinstance(run, str) else run.id)
        return [entry for row in rows for entry in row.entries]

    async def kinds(self, run: RunHandle[Any] | str) -> list[str]:
        return [type(entry).__name__ for entry in await self.entries(run)]

    async def reaches(self, run: RunHandle[Any] | str, status: str) -> RunRecord:
        """Wait until the run is in this status."""
        await until(lambda: self._is(run, status))
        return await self.record(run)

    async def _is(self, run: RunHandle[Any] | str, status: str) -> bool:
        return (await self.record(run)).status == status

    async def pass_time(self, duration: Duration) -> None:
        """Let time pass after what is going on, and everything happen that it brings about."""
        await settle()
        self.clock.advance(duration)
        await settle()

    async def sleep_over(self, run: RunHandle[Any]) -> timedelta:
        """Wait until the run is suspended, go to when it is due, and say how long that was."""
        record = await self.reaches(run, "suspended")
        assert record.due_at is not None, "it waits for an event alone"
        waited = self.clock.until(record.due_at)
        await self.pass_time(waited)
        return waited

    async def ends(self, run: RunHandle[Any]) -> Any:
        """The result, however long the run sleeps on its way to it."""
        while not (record := await self.record(run)).status.ended:
            if (
                record.status == "suspended"
                and record.due_at is not None
                and record.due_at > self.clock.now()
            ):
                self.clock.set(record.due_at)
            elif record.status == "running" and (alarm := self._next_alarm()) is not None:
                self.clock.set(alarm)
            await settle(5)
        return await run.result()

    def _next_alarm(self) -> Any:
        """The next thing that a hot run waits for; polls come every second, so nothing is skipped."""
        alarm = self.clock.next_alarm
        return alarm if alarm is not None and alarm <= self.clock.now() + timedelta(seconds=5) else None


@asynccontextmanager
async def living(
    *workflows: Any,
    storage: Storage | None = None,
    clock: FakeClock | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """An open app; by default on a store of its own. ``storage`` may be shared by several."""
    clock = clock or FakeClock()
    if not isinstance(storage, FaultyStorage):
        storage = FaultyStorage(storage or MemoryStorage())
    facts: list[Fact] = []
    hooks = [*options.pop("hooks", ()), facts.append]
    options.setdefault("grace", 0)  # no time passes while it closes
    app = Stepflow(storage, workflows=workflows, clock=clock, hooks=hooks, **options)
    async with app:
        yield World(app, clock, storage, facts)


async def close_in_time(world: World) -> None:
    """Close the app while time goes on, second by second, as a grace needs it."""
    closing = asyncio.create_task(world.app._close())
    while not closing.done():
        world.clock.advance("1s")
        await settle(5)
    await closing


async def until(condition: Condition, turns: int = 200_000) -> None:
    """Give everything else its turn until ``condition`` holds. Threads get theirs too: it spins."""
    for _ in range(turns):
        answer = condition()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        await asyncio.sleep(0)
    raise AssertionError("what was waited for did not come")


async def settle(turns: int = 40) -> None:
    """Give everything that can happen by itself the time to do so."""
    for _ in range(turns):
        await asyncio.sleep(0)


def worker_of(world: World) -> Any:
    """The worker inside the open app, for what can't be seen from outside."""
    opened = world.app._opened
    assert opened is not None
    return opened.worker
