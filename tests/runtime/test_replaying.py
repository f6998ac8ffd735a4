"""Replaying: what comes in while a long journal is being read waits until it has been."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import RunPausedError, sleep, step, wait_for_event, workflow
from stepflow.hooks import RunPaused
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.clock import FakeClock
from tests.runtime.living import World, living, settle, until, worker_of

STEPS = 1000
effects: list[Any] = []


class Slow(FakeClock):
    """For measuring, a second passes with every look: so the event loop gets its turn after every slice."""

    def monotonic(self) -> float:
        self._elapsed += 1
        return self._elapsed


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()


@step
async def note(n: int) -> int:
    effects.append(n)
    return n


@workflow
async def long_one() -> Any:
    total = where = 0
    try:
        for n in range(STEPS):
            where = n
            total += await note(n)
        where = STEPS
        return [total, await wait_for_event("go"), await wait_for_event("go")]
    except asyncio.CancelledError:
        return f"cancelled at {where}"


async def asleep(storage: MemoryStorage) -> tuple[str, FakeClock]:
    """A run with a long journal that sleeps, and whose worker has gone."""
    async with living(long_one, storage=storage, clock=Slow()) as world:
        run = await world.app.trigger(long_one)
        await world.reaches(run, "suspended")
        return run.id, world.clock


async def is_replaying(world: World, run_id: str) -> None:
    await until(lambda: run_id in worker_of(world).drivers)
    driver = worker_of(world).drivers[run_id]
    assert driver.execution.replaying, "it gave others their turn in the middle"


async def test_events_that_come_meanwhile_are_received_afterwards_in_order() -> None:
    storage = MemoryStorage()
    run_id, clock = await asleep(storage)
    async with living(long_one, storage=storage, clock=clock) as world:
        await world.app.notify("go", 1)
        await is_replaying(world, run_id)
        await world.app.notify("go", 2)
        worker_of(world).anything_changed()
        world.clock.advance("2s")

        assert await world.app.handle(run_id).result() == [STEPS * (STEPS - 1) // 2, 1, 2]
    assert effects == list(range(STEPS))


async def test_a_cancel_that_comes_meanwhile_is_done_afterwards() -> None:
    storage = MemoryStorage()
    run_id, clock = await asleep(storage)
    async with living(long_one, storage=storage, clock=clock) as world:
        await world.app.notify("go", 1)
        await is_replaying(world, run_id)
        await world.app.cancel(run_id)
        await world.pass_time("1s")

        assert await world.app.handle(run_id).result(timeout="15s") == f"cancelled at {STEPS}"
    assert effects == list(range(STEPS))


async def test_a_pause_that_comes_meanwhile_is_done_afterwards() -> None:
    storage = MemoryStorage()
    run_id, clock = await asleep(storage)
    async with living(long_one, storage=storage, clock=clock) as world:
        await world.app.notify("go", 1)
        await is_replaying(world, run_id)
        await world.app.pause(run_id)
        await world.pass_time("1s")
        await settle(100)
        with pytest.raises(RunPausedError):
            await world.app.handle(run_id).result(timeout="15s")
        await world.app.resume(run_id)
        await world.app.notify("go", 2)
        assert (await world.app.handle(run_id).result())[1:] == [1, 2]


async def test_a_worker_that_stops_meanwhile_gives_the_run_back() -> None:
    storage = MemoryStorage()
    run_id, clock = await asleep(storage)
    async with living(long_one, storage=storage, clock=clock) as world:
        await world.app.notify("go", 1)
        await is_replaying(world, run_id)
    async with living(long_one, storage=storage, clock=clock) as later:
        await later.app.notify("go", 2)
        assert (await later.app.handle(run_id).result())[1:] == [1, 2]
    assert effects == list(range(STEPS))


async def test_a_run_that_is_lost_meanwhile_is_left_to_its_new_owner() -> None:
    storage = MemoryStorage()
    run_id, clock = await asleep(storage)
    async with living(long_one, storage=storage, clock=clock) as world:
        await world.app.notify("go", 1)
        await is_replaying(world, run_id)
        worker_of(world)._membership._is_lost()
        await world.app.notify("go", 2)

        assert (await world.app.handle(run_id).result(timeout="15s"))[1:] == [1, 2]
        assert worker_of(world).slots.free == 1000
    assert effects == list(range(STEPS))


@step
async def large(n: int) -> str:
    effects.append(n)
    return "x" * 200_000


@workflow
async def heavy() -> int:
    for n in range(4):
        await large(n)
    found: int = await wait_for_event("go")
    return found


async def test_a_run_that_is_lost_while_its_journal_is_being_read_is_read_by_its_new_owner() -> None:
    """A journal over 256 KiB does not come with the claim."""
    storage = MemoryStorage()
    async with living(heavy, storage=storage) as world:
        run = await world.app.trigger(heavy)
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(heavy, storage=storage, clock=clock) as later:
        reading = later.storage.hold("read_journal")
        await later.app.notify("go", 7)
        await reading.reached()
        assert worker_of(later).slots.free == 999
        worker_of(later)._membership._is_lost()
        assert worker_of(later).slots.free == 1000
        assert await later.app.handle(run.id).result(timeout="15s") == 7
        reading.open()
        await settle()
        assert worker_of(later).slots.free == 1000
        assert worker_of(later).drivers == {}
    assert effects == [0, 1, 2, 3]


async def test_trouble_with_reading_a_journal_is_waited_out() -> None:
    storage = MemoryStorage()
    async with living(heavy, storage=storage) as world:
        run = await world.app.trigger(heavy)
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(heavy, storage=storage, clock=clock) as later:
        later.storage.fail_before("read_journal", times=3)
        await later.app.notify("go", 7)
        assert await later.app.handle(run.id).result(timeout="15s") == 7
    assert effects == [0, 1, 2, 3]


async def test_a_journal_that_can_t_be_read_at_all_pauses_its_run() -> None:
    storage = MemoryStorage()
    async with living(heavy, storage=storage) as world:
        run = await world.app.trigger(heavy)
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(heavy, storage=storage, clock=clock) as later:
        later.storage.fail_before("read_journal", error=lambda: ValueError("garbage on the disk"))
        await later.app.notify("go", 7)
        with pytest.raises(RunPausedError, match="garbage on the disk"):
            await later.app.handle(run.id).result(timeout="15s")
        assert [fact.detail for fact in later.facts if isinstance(fact, RunPaused)] != []
        await later.app.resume(run.id)
        assert await later.app.handle(run.id).result(timeout="15s") == 7


async def test_others_get_their_turn_while_a_long_journal_is_read() -> None:
    @workflow
    async def quick() -> str:
        await sleep("1s")
        return "quick"

    storage = MemoryStorage()
    run_id, clock = await asleep(storage)
    async with living(long_one, quick, storage=storage, clock=clock) as world:
        await world.app.notify("go", 1)
        await is_replaying(world, run_id)
        driver = worker_of(world).drivers[run_id]
        run = await world.app.trigger(quick)
        assert driver.execution.replaying
        assert await world.ends(run) == "quick"
        await asyncio.sleep(0)
