"""Shutting down: no new work, a grace for what runs, nothing finished is lost, and everything is given back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from stepflow import Retry, sleep, step, wait_for_event, workflow
from stepflow.hooks import WorkerStopped
from stepflow.storage.memory import MemoryStorage
from tests.runtime.living import close_in_time, living, settle, until, worker_of

effects: list[Any] = []
gate: asyncio.Event


@pytest.fixture(autouse=True)
def clean() -> None:
    global gate
    effects.clear()
    gate = asyncio.Event()


@step(retry=Retry(attempts=1))
async def slow(n: int) -> int:
    effects.append(f"{n} begins")
    try:
        await gate.wait()
    except asyncio.CancelledError:
        effects.append(f"{n} is cut off")
        raise
    effects.append(f"{n} ends")
    return n


@step
async def note(what: Any) -> Any:
    effects.append(what)
    return what


@workflow
async def is_slow(n: int) -> int:
    result = await slow(n)
    await note(f"{n} after")
    return result


@workflow
async def waits() -> Any:
    return await wait_for_event("go")


@workflow
async def naps() -> str:
    await sleep("3s")
    return "rested"


async def test_a_run_that_arrives_after_the_second_signal_is_not_waited_for() -> None:
    async with living(is_slow, grace="30s") as world:
        await world.app.trigger(is_slow, 1)
        worker = worker_of(world)
        drivers, worker.drivers = worker.drivers, {}  # as if its claim were on its way
        worker.hurry()
        worker.drivers = drivers

        # The clock stands still: were the grace waited for, this would never end.
        await asyncio.wait_for(world.app._close(), timeout=60)
    assert "1 ends" not in effects


async def test_a_step_that_ends_within_the_grace_is_recorded_and_nothing_new_starts() -> None:
    storage = MemoryStorage()
    async with living(is_slow, storage=storage, grace="30s") as world:
        run = await world.app.trigger(is_slow, 1)
        await until(lambda: effects == ["1 begins"])
        closing = asyncio.create_task(world.app._close())
        await settle()
        gate.set()
        await closing
        record = await world.record(run)
        assert record.status == "queued"
        assert effects == ["1 begins", "1 ends"]
        clock = world.clock
    async with living(is_slow, storage=storage, clock=clock) as later:
        assert await later.app.handle(run.id).result() == 1
    assert effects == ["1 begins", "1 ends", "1 after"]


async def test_a_step_that_outlasts_the_grace_is_cut_off_and_runs_again_elsewhere() -> None:
    storage = MemoryStorage()
    async with living(is_slow, storage=storage, grace="30s") as world:
        run = await world.app.trigger(is_slow, 1)
        await until(lambda: effects == ["1 begins"])
        before = world.clock.now()
        await close_in_time(world)
        assert (world.clock.now() - before).total_seconds() >= 30
        assert (await world.record(run)).status == "queued"
        clock = world.clock
    gate.set()
    async with living(is_slow, storage=storage, clock=clock) as later:
        assert await later.app.handle(run.id).result() == 1
    assert effects == ["1 begins", "1 is cut off", "1 begins", "1 ends", "1 after"]


async def test_what_is_given_back_is_taken_at_once_by_others() -> None:
    storage = MemoryStorage()
    async with (
        living(is_slow, storage=storage, concurrency=20) as world,
        living(is_slow, storage=storage, clock=world.clock) as other,
    ):
        runs = [await world.app.trigger(is_slow, n) for n in range(20)]
        await until(lambda: len(effects) == 20)
        gate.set()
        await world.app._close()

        handles = [other.app.handle(run.id) for run in runs]
        assert await asyncio.gather(*(handle.result() for handle in handles)) == list(range(20))


async def test_a_thousand_sleeping_waiters_do_not_hold_up_the_end() -> None:
    """dbos-transact-py #722: shutdown deadlock with live timeout waiters."""
    async with living(waits, naps) as world:
        runs = [await world.app.trigger(waits if n % 2 else naps) for n in range(1000)]
        waiting = [asyncio.create_task(run.result(timeout="1h")) for run in runs]
        await settle(100)
        before = time.process_time()  # on a busy machine the wall's clock would say little
        await world.app._close()
        took = time.process_time() - before
        results = await asyncio.gather(*waiting, return_exceptions=True)

    assert took < 2.0
    assert {type(error).__name__ for error in results} == {"NotOpenError"}


async def test_a_hot_sleep_is_given_back_and_goes_on_elsewhere() -> None:
    storage = MemoryStorage()
    async with living(naps, storage=storage) as world:
        run = await world.app.trigger(naps)
        await settle()
        clock = world.clock
    assert (await storage.get_run(run.id)).status == "queued"  # type: ignore[union-attr]
    async with living(naps, storage=storage, clock=clock) as later:
        await later.pass_time("2s")
        assert await later.app.handle(run.id).status() == "running"
        await later.pass_time("1s")
        assert await later.app.handle(run.id).result() == "rested"


async def test_no_run_is_claimed_while_it_shuts_down() -> None:
    storage = MemoryStorage()
    async with living(is_slow, storage=storage, grace="30s") as world:
        await world.app.trigger(is_slow, 1)
        await until(lambda: effects == ["1 begins"])
        worker = worker_of(world)
        closing = asyncio.create_task(world.app._close())
        await settle()
        async with living(is_slow, storage=storage, clock=world.clock, worker=False) as other:
            await other.app.trigger(is_slow, 2)
            await settle()
            assert effects == ["1 begins"]
            assert not worker.can_start("is-slow", "default")
        gate.set()
        await closing


async def test_a_run_whose_journal_is_still_being_read_is_given_back_too() -> None:
    storage = MemoryStorage()

    @workflow
    async def long_journal() -> int:
        for n in range(2000):
            await note(n)
        await wait_for_event("go")
        return 1

    async with living(long_journal, storage=storage) as world:
        run = await world.app.trigger(long_journal)
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(long_journal, storage=storage, clock=clock) as later:
        reading = later.storage.hold("read_journal")
        await later.app.notify("go")
        await settle()
        if later.storage.calls["read_journal"]:
            await reading.reached()
    async with living(long_journal, storage=storage, clock=clock) as last:
        assert await last.app.handle(run.id).result() == 1
    assert len(effects) == 2000


async def test_a_storage_that_is_down_does_not_hold_up_the_end_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stepflow._runtime.worker._LONGEST_DRAIN", 0.05)
    monkeypatch.setattr("stepflow.opened._LONGEST_DRAIN", 0.05)
    storage = MemoryStorage()
    async with living(is_slow, storage=storage) as world:
        run = await world.app.trigger(is_slow, 1)
        await until(lambda: effects == ["1 begins"])
        for method in ("write", "release_worker", "read_requests", "claim_runs"):
            world.storage.fail_before(method, times=10_000)
        notifying = asyncio.create_task(world.app.notify("go"))
        gate.set()
        await settle()
        await close_in_time(world)
        with pytest.raises(ConnectionError, match="may or may not be there"):
            await notifying
        world.storage.heal()
        await storage.release_worker((await world.record(run)).worker or "", now=world.clock.now())
        clock = world.clock
    async with living(is_slow, storage=storage, clock=clock) as later:
        assert await later.app.handle(run.id).result() == 1
    assert "could not sign off" in caplog.text


# ------------------------------------------------------------------ signals
async def test_serving_ends_with_a_signal_and_the_second_one_hurries() -> None:
    storage = MemoryStorage()
    async with living(is_slow, storage=storage, grace="1h") as world:
        run = await world.app.trigger(is_slow, 1)
        await until(lambda: effects == ["1 begins"])
        serving = asyncio.create_task(world.app.serve_forever())
        await settle()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        closing = asyncio.create_task(world.app._close())
        await settle()
        assert effects == ["1 begins"], "the grace is an hour"
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: len(effects) == 2)
        await closing

        assert effects == ["1 begins", "1 is cut off"]
        assert (await world.record(run)).status == "queued"
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the handlers are gone with the app"
        assert isinstance(world.facts[-1], WorkerStopped)


async def test_closing_an_app_twice_is_once() -> None:
    async with living(naps) as world:
        await world.app._close()
        await world.app._close()


async def test_an_app_that_can_t_open_leaves_nothing_behind() -> None:
    async with living(naps) as good:
        good.storage.fail_before("register_worker")
        broken_storage = good.storage
        with pytest.raises(ConnectionError):
            async with living(naps, storage=broken_storage):
                pass
        assert await good.ends(await good.app.trigger(naps)) == "rested"
