"""How much is in memory at once: slots, queues, suspended executions, bodies, and wide fan-outs."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from stepflow import RunCancelledError, step, wait_for_event, workflow
from stepflow._runtime.keeping import Keeping
from stepflow.storage.memory import MemoryStorage
from tests.runtime.living import living, settle, until, worker_of

effects: list[Any] = []


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()


@step
async def note(what: Any) -> Any:
    effects.append(what)
    return what


@workflow
async def collects(count: int) -> list[Any]:
    first = await note("first")
    return [first, *[await wait_for_event("go") for _ in range(count)]]


# ------------------------------------------------------------------ suspended executions
async def test_a_run_that_wakes_soon_is_not_replayed() -> None:
    async with living(collects) as world:
        run = await world.app.trigger(collects, 50)
        for n in range(50):
            await world.reaches(run, "suspended")
            await world.app.notify("go", n)
        assert await run.result() == ["first", *range(50)]
        assert world.storage.calls["read_journal"] == 0


@pytest.mark.parametrize("keeping", [Keeping(runs=0), Keeping(bytes=0), Keeping(runs=2), Keeping()])
async def test_runs_go_on_alike_whether_their_execution_was_kept_or_not(keeping: Keeping) -> None:
    async with living(collects) as world:
        worker = worker_of(world)
        worker.keeping = keeping
        runs = [await world.app.trigger(collects, 5) for _ in range(6)]
        for n in range(5):
            for run in runs:
                await world.reaches(run, "suspended")
            await world.app.notify("go", n)

        assert await asyncio.gather(*(run.result() for run in runs)) == [["first", 0, 1, 2, 3, 4]] * 6
        assert effects == ["first"] * 6
        assert len(keeping) == 0


async def test_the_longest_asleep_leave_memory_first() -> None:
    async with living(collects) as world:
        worker = worker_of(world)
        worker.keeping = keeping = Keeping(runs=2)
        runs = []
        for _ in range(3):
            runs.append(await world.app.trigger(collects, 1))
            await world.reaches(runs[-1], "suspended")
            await settle()

        assert set(keeping.known()) == {runs[1].id, runs[2].id}


async def test_large_journals_leave_memory_before_small_ones() -> None:
    @step
    async def large() -> str:
        return "x" * 1_000_000

    @workflow
    async def heavy() -> None:
        await large()
        await wait_for_event("go")

    async with living(heavy) as world:
        worker = worker_of(world)
        worker.keeping = keeping = Keeping(bytes=3_500_000)
        for _ in range(10):
            run = await world.app.trigger(heavy)
            await world.reaches(run, "suspended")
            await settle()

        assert len(keeping) == 3


async def test_what_was_replayed_weighs_as_much_as_what_was_executed_here() -> None:
    @step
    async def large() -> str:
        return "x" * 1_000_000

    @workflow
    async def heavy() -> None:
        await large()
        for _ in range(3):
            await wait_for_event("go")

    storage = MemoryStorage()
    async with living(heavy, storage=storage) as world:
        runs = [await world.app.trigger(heavy) for _ in range(6)]
        for run in runs:
            await world.reaches(run, "suspended")
        clock = world.clock
    async with living(heavy, storage=storage, clock=clock) as later:
        worker_of(later).keeping = keeping = Keeping(bytes=3_500_000)
        await later.app.notify("go")
        await settle(100)

        assert len(keeping) == 3


# ------------------------------------------------------------------ slots
async def test_concurrency_bounds_the_runs_in_memory() -> None:
    gates = asyncio.Event()
    at_once: list[int] = []

    @step
    async def holds(n: int) -> int:
        effects.append(n)
        at_once.append(len(worker_of(world).drivers))
        await gates.wait()
        return n

    @workflow
    async def held(n: int) -> int:
        return await holds(n)

    storage = MemoryStorage()
    async with living(held, storage=storage, worker=False) as before:
        runs = [await before.app.trigger(held, n) for n in range(30)]
        clock = before.clock
    async with living(held, storage=storage, clock=clock, concurrency=7) as world:
        await until(lambda: len(effects) == 7)
        await world.pass_time("5s")
        assert len(effects) == 7
        claims = world.storage.calls["claim_runs"] + world.storage.calls["next_due"]
        await settle(300)
        assert world.storage.calls["claim_runs"] + world.storage.calls["next_due"] == claims, (
            "it is quiet when it is full"
        )
        gates.set()
        handles = [world.app.handle(run.id) for run in runs]
        assert await asyncio.gather(*(handle.result() for handle in handles)) == list(range(30))

    assert max(at_once) <= 7


async def test_each_queue_has_slots_of_its_own() -> None:
    gates = asyncio.Event()

    @step
    async def holds(name: str) -> str:
        effects.append(name)
        await gates.wait()
        return name

    @workflow
    async def held(name: str) -> str:
        return await holds(name)

    async with living(held, queues={"default": 2, "bulk": 1}) as world:
        runs = [await world.app.trigger(held, "bulk", queue="bulk") for _ in range(4)]
        runs += [await world.app.trigger(held, "default") for _ in range(4)]
        await settle(100)
        assert sorted(effects) == ["bulk", "default", "default"]
        gates.set()
        await asyncio.gather(*(run.result() for run in runs))

    assert sorted(effects) == ["bulk"] * 4 + ["default"] * 4


async def test_a_slot_comes_back_whatever_becomes_of_the_run() -> None:
    @workflow
    async def ends(how: str) -> Any:
        if how == "fail":
            raise ValueError
        if how == "wait":
            return await wait_for_event("go")
        return how

    async with living(ends, concurrency=3) as world:
        for _ in range(5):
            for how in ("fail", "wait", "complete"):
                await world.app.trigger(ends, how)
        await settle(200)
        assert worker_of(world).slots.free == 3
        assert worker_of(world).drivers == {}


async def test_a_hundred_thousand_claims_at_once_would_not_be_taken() -> None:
    """Claims are counted when they come in, not when they are loaded."""
    storage = MemoryStorage()
    async with living(collects, storage=storage, worker=False) as before:
        for _ in range(500):
            await before.app.trigger(collects, 1)
        clock = before.clock
    most = 0
    async with living(collects, storage=storage, clock=clock, concurrency=10) as world:
        worker = worker_of(world)
        while (await world.storage.inner.info(now=clock.now())).runs.get("queued", 0):
            most = max(most, len(worker.drivers) + len(worker._arrivals._loading))
            await asyncio.sleep(0)
    assert 0 < most <= 10


# ------------------------------------------------------------------ fan-outs
async def test_ten_thousand_steps_at_once_run_a_hundred_at_a_time() -> None:
    running, most = [0], [0]

    @step
    async def member(n: int) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0)
        running[0] -= 1
        return n

    @workflow
    async def wide(count: int) -> int:
        return sum(await asyncio.gather(*(member(n) for n in range(count))))

    async with living(wide) as world:
        run = await world.app.trigger(wide, 10_000)
        assert await run.result(timeout="19s") == sum(range(10_000))

    assert most[0] == 100


async def test_a_wide_fan_out_is_cancelled_in_no_time() -> None:
    @step
    async def member(n: int) -> None:
        effects.append(n)
        await asyncio.Event().wait()

    @workflow
    async def wide(count: int) -> None:
        await asyncio.gather(*(member(n) for n in range(count)))

    async with living(wide) as world:
        run = await world.app.trigger(wide, 10_000)
        await until(lambda: len(effects) == 100)
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await run.result(timeout="15s")
        await settle()
        assert worker_of(world).bodies.count == 0
    assert len(effects) == 100


async def test_a_map_over_ten_thousand_items_holds_its_window_only() -> None:
    taken = [0]

    def items() -> Any:
        for n in range(10_000):
            taken[0] += 1
            yield n

    ahead = [0]

    @step
    async def member(n: int) -> int:
        ahead[0] = max(ahead[0], taken[0] - n)
        return 1

    @workflow
    async def maps() -> int:
        return sum(await step.map("members", member, items(), concurrency=20))

    async with living(maps) as world:
        assert await (await world.app.trigger(maps)).result(timeout="19s") == 10_000
    assert ahead[0] <= 41


async def test_bodies_of_all_runs_share_one_limit() -> None:
    running, most = [0], [0]

    @step
    async def member(n: int) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        for _ in range(3):
            await asyncio.sleep(0)
        running[0] -= 1
        return n

    @workflow
    async def wide(count: int) -> int:
        return sum(await asyncio.gather(*(member(n) for n in range(count))))

    async with living(wide, concurrency=5) as world:
        runs = [await world.app.trigger(wide, 30) for _ in range(5)]
        await asyncio.gather(*(run.result() for run in runs))

    assert most[0] == 5


# ------------------------------------------------------------------ the collector
@pytest.mark.deadline(60)
async def test_runs_finish_in_a_storm_of_collections_and_leave_nothing() -> None:
    """A task that only its own loop knows must not be collected; one that is dropped must not run code later."""
    async with living(collects) as world:
        worker_of(world).keeping = Keeping(runs=1)
        runs = [await world.app.trigger(collects, 3) for _ in range(4)]
        for n in range(3):
            for run in runs:
                gc.collect()
                await world.reaches(run, "suspended")
            await world.app.notify("go", n)
            gc.collect()
        assert await asyncio.gather(*(run.result() for run in runs)) == [["first", 0, 1, 2]] * 4
    gc.collect()
    assert effects == ["first"] * 4


async def test_the_hundred_thousandth_run_finds_the_process_as_the_first_did() -> None:
    """Nothing is kept for runs that have ended but the last results (here: 2,000 runs, and what is left of them)."""

    @workflow
    async def quick(n: int) -> int:
        return await note(n)

    async with living(quick) as world:
        worker = worker_of(world)
        for _ in range(20):
            await asyncio.gather(*[(await world.app.trigger(quick, n)).result() for n in range(100)])
        await settle()

        assert worker.drivers == {}
        assert worker._creators == {}
        assert worker._arrivals._loading == {}
        assert len(worker.keeping) == 0
        assert worker.bodies.count == 0
        assert len(worker._chores._tasks) <= 2
