"""Pausing: nothing new starts, nothing is lost, and whoever waits is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from stepflow import (
    OperationRefusedError,
    RunNotFoundError,
    RunPausedError,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from stepflow.model.transitions import Action
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import CommitRun, ControlRun, Outcome, Pause, Write
from tests.runtime.living import living, settle, until

effects: list[Any] = []
gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()
    gates.clear()


@step
async def slow(name: str) -> str:
    effects.append(f"{name} begins")
    await gates.setdefault(name, asyncio.Event()).wait()
    effects.append(f"{name} ends")
    return name


@step
async def note(what: str) -> str:
    effects.append(what)
    return what


@workflow
async def two_steps() -> list[str]:
    return [await slow("one"), await note("two")]


@workflow
async def waits() -> Any:
    return await wait_for_event("go", timeout="1h", default="timed out")


@workflow
async def sleeps() -> str:
    await sleep("1h")
    return await note("rested")


async def test_steps_in_flight_finish_and_are_recorded_and_nothing_new_starts() -> None:
    async with living(two_steps) as world:
        run = await world.app.trigger(two_steps)
        await until(lambda: effects == ["one begins"])
        await world.app.pause(run.id)
        await settle()
        assert await run.status() == "running"
        gates["one"].set()

        await world.reaches(run, "paused")
        await settle()
        assert effects == ["one begins", "one ends"]
        assert [s.key for s in (await world.app.get_run(run.id)).steps if s.status == "completed"] == ["slow"]
        await world.app.resume(run.id)
        assert await run.result() == ["one", "two"]
        assert effects == ["one begins", "one ends", "two"]


async def test_a_pause_that_is_taken_back_in_time_is_none() -> None:
    async with living(two_steps) as world:
        run = await world.app.trigger(two_steps)
        await until(lambda: effects == ["one begins"])
        await world.app.pause(run.id)
        await settle()
        await world.app.resume(run.id)
        await settle()
        gates["one"].set()

        assert await run.result(timeout="15s") == ["one", "two"]
        assert "Paused" not in await world.kinds(run)


class ResumesOnTheWay(MemoryStorage):
    """Somebody resumes a run in the instant before its pause is written."""

    resumed = 0

    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        for write in batch:
            if isinstance(write, CommitRun) and isinstance(write.transition, Pause):
                await super().write([ControlRun(run_id=write.run_id, action=Action.RESUME)], now=now)
                self.resumed += 1
        return await super().write(batch, now=now)


async def test_a_resume_that_overtakes_the_write_of_the_pause_is_not_lost() -> None:
    storage = ResumesOnTheWay()
    async with living(two_steps, storage=storage) as world:
        run = await world.app.trigger(two_steps)
        await until(lambda: effects == ["one begins"])
        await world.app.pause(run.id)
        await settle()
        gates["one"].set()

        assert await run.result() == ["one", "two"]
    assert storage.resumed == 1
    assert effects == ["one begins", "one ends", "two"]


async def test_steps_that_a_pause_held_back_start_when_it_is_taken_back() -> None:
    @workflow
    async def fan() -> list[str]:
        async def chain() -> str:
            await slow("a")
            return await note("after a")

        return list(await asyncio.gather(chain(), slow("b")))

    async with living(fan) as world:
        run = await world.app.trigger(fan)
        await until(lambda: len(effects) == 2)
        await world.app.pause(run.id)
        await settle()
        gates["a"].set()
        await settle()
        assert "after a" not in effects
        await world.app.resume(run.id)
        await until(lambda: "after a" in effects)
        gates["b"].set()

        assert await run.result(timeout="15s") == ["after a", "b"]


async def test_events_and_timers_are_kept_and_wake_nobody_who_is_paused() -> None:
    async with living(waits, sleeps) as world:
        waiting, sleeping = await world.app.trigger(waits), await world.app.trigger(sleeps)
        for run in (waiting, sleeping):
            await world.reaches(run, "suspended")
            await world.app.pause(run.id)
        await world.app.notify("go", "sent")
        await world.pass_time("2h")

        assert [await run.status() for run in (waiting, sleeping)] == ["paused", "paused"]
        assert effects == []
        for run in (waiting, sleeping):
            await world.app.resume(run.id)
        assert await waiting.result() == "sent"
        assert await sleeping.result() == "rested"


async def test_time_goes_on_while_a_run_is_paused() -> None:
    async with living(sleeps) as world:
        run = await world.app.trigger(sleeps)
        await world.reaches(run, "suspended")
        await world.app.pause(run.id)
        await world.pass_time("40m")
        await world.app.resume(run.id)

        await world.reaches(run, "suspended")
        assert await world.sleep_over(run) == timedelta(minutes=20)
        assert await run.result() == "rested"


async def test_a_queued_run_stands_still_until_it_is_resumed_and_keeps_its_delay() -> None:
    async with living(sleeps) as world:
        run = await world.app.trigger(sleeps, delay="2h")
        await world.app.pause(run.id)
        await world.app.resume(run.id)
        assert (await world.record(run)).due_at == world.clock.now() + timedelta(hours=2)


async def test_pausing_and_resuming_twice_is_once() -> None:
    async with living(waits) as world:
        run = await world.app.trigger(waits)
        await world.reaches(run, "suspended")
        for _ in range(2):
            await world.app.pause(run.id)
        for _ in range(2):
            await world.app.resume(run.id)

        await world.reaches(run, "suspended")
        kinds = await world.kinds(run)
        assert (kinds.count("Paused"), kinds.count("Resumed")) == (1, 1)


async def test_a_pause_outlives_the_process() -> None:
    storage = MemoryStorage()
    async with living(two_steps, storage=storage) as world:
        run = await world.app.trigger(two_steps)
        await until(lambda: effects == ["one begins"])
        await world.app.pause(run.id)
        gates["one"].set()
        await world.reaches(run, "paused")
        clock = world.clock
    async with living(two_steps, storage=storage, clock=clock) as later:
        handle = later.app.handle(run.id, two_steps)
        with pytest.raises(RunPausedError):
            await handle.result()
        await later.app.resume(run.id)
        assert await handle.result() == ["one", "two"]


async def test_an_ended_run_can_t_be_paused() -> None:
    async with living(sleeps) as world:
        run = await world.app.trigger(sleeps)
        await world.ends(run)
        for act in (world.app.pause, world.app.resume):
            with pytest.raises(OperationRefusedError, match="completed"):
                await act(run.id)


# ------------------------------------------------------------------ deleting
async def test_a_deleted_run_is_gone_and_its_id_is_free() -> None:
    async with living(waits, sleeps) as world:
        run = await world.app.trigger(sleeps, id="mine")
        with pytest.raises(OperationRefusedError, match="cancel or pause it first"):
            await world.app.delete(run.id)
        assert await world.ends(run) == "rested"
        await world.app.delete(run.id)
        with pytest.raises(RunNotFoundError):
            await run.result()

        again = await world.app.trigger(waits, id="mine")
        await world.app.notify("go", "second life")
        assert again.created
        assert await again.result() == "second life"


async def test_a_paused_run_may_be_deleted() -> None:
    async with living(waits) as world:
        run = await world.app.trigger(waits)
        await world.reaches(run, "suspended")
        await world.app.pause(run.id)
        await world.app.delete(run.id)

        with pytest.raises(RunNotFoundError):
            await run.status()
        await world.app.notify("go")
        await settle()
