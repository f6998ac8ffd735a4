"""Housekeeping: what is pruned and when, and clocks that agree."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from stepflow import RunNotFoundError, Stepflow, now, sleep, step, wait_for_event, workflow
from stepflow.clock import SystemClock
from stepflow.durations import parse_duration
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.clock import FakeClock
from tests.runtime.living import living, settle, until


@workflow
async def quick(n: int) -> int:
    return n


@workflow
async def waits() -> Any:
    return await wait_for_event("go")


@workflow
async def parent() -> Any:
    child = await step.start(quick, 1)
    await child.result()
    return await wait_for_event("go")


async def test_ended_runs_are_pruned_when_their_time_has_come_and_unfinished_ones_never() -> None:
    async with living(quick, waits, retention="30d") as world:
        old = await world.app.trigger(quick, 1)
        await old.result()
        waiting = await world.app.trigger(waits)
        await world.pass_time("29d")
        young = await world.app.trigger(quick, 2)
        await young.result()
        await world.pass_time("1h")
        assert await old.status() == "completed"
        await world.pass_time("1d")

        with pytest.raises(RunNotFoundError):
            await old.status()
        assert await young.status() == "completed"
        await world.pass_time("400d")
        assert await waiting.status() == "suspended"
        await world.app.notify("go", "late")
        assert await waiting.result() == "late"


async def test_without_a_retention_everything_is_kept() -> None:
    async with living(quick, retention=None, event_retention=None) as world:
        run = await world.app.trigger(quick, 1)
        await run.result()
        await world.pass_time("3650d")
        assert await run.status() == "completed"
        assert world.storage.calls["prune"] == 0


async def test_more_than_a_batch_is_pruned_in_batches() -> None:
    async with living(quick, retention="1d") as world:
        runs = [await world.app.trigger(quick, n) for n in range(1200)]
        for run in runs:
            await run.result()
        await world.pass_time("2d")
        await until(lambda: world.storage.calls["prune"] >= 4)
        await settle()

        assert (await world.app.list_runs()).items == []


async def test_a_child_s_result_is_kept_while_its_parent_lives() -> None:
    async with living(quick, parent, retention="1d") as world:
        run = await world.app.trigger(parent)
        await world.reaches(run, "suspended")
        await world.pass_time("10d")
        [child] = (await world.app.list_runs(workflow=quick)).items
        assert child.output == 1


async def test_events_are_kept_for_those_who_may_still_ask() -> None:
    async with living(waits, quick, event_retention="1d") as world:
        run = await world.app.trigger(waits, delay="30d")
        await world.app.notify("go", "kept")
        await world.pass_time("30d")
        await world.pass_time("1h")

        assert await run.result() == "kept"


async def test_trouble_while_pruning_is_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    async with living(quick, retention="1d") as world:
        run = await world.app.trigger(quick, 1)
        await run.result()
        world.storage.fail_before("prune", times=2)
        for _ in range(40):
            await world.pass_time("1h")

        with pytest.raises(RunNotFoundError):
            await run.status()
    assert "housekeeping failed" in caplog.text


async def test_pruning_during_load_takes_only_what_is_over() -> None:
    async with living(quick, waits, retention=0) as world:
        waiting = [await world.app.trigger(waits) for _ in range(20)]
        for n in range(50):
            await (await world.app.trigger(quick, n)).result()
            await world.pass_time("1h")
        await world.app.notify("go", 1)
        assert [await run.result() for run in waiting] == [1] * 20


# ------------------------------------------------------------------ clocks
class WithServer(MemoryStorage):
    """A storage whose server's clock is 90 s ahead."""

    asked = 0

    async def server_time(self) -> datetime | None:
        type(self).asked += 1
        return SystemClock().now() + timedelta(seconds=90)


async def test_the_clock_follows_the_storage_s_and_is_asked_once_a_minute() -> None:
    clock = SystemClock()
    async with Stepflow(WithServer(), workflows=[quick], clock=clock) as app:
        await (await app.trigger(quick, 1)).result()
        await settle(200)

    assert timedelta(seconds=89) < clock.shift < timedelta(seconds=91)
    assert WithServer.asked <= 2


async def test_after_a_failover_to_a_server_whose_clock_is_behind_timers_are_late_by_that_and_never_early() -> (
    None
):
    clock = Following()
    storage = MemoryStorage()
    async with living(sleeps, storage=storage, clock=clock) as world:
        run = await world.app.trigger(sleeps)
        await world.reaches(run, "suspended")
        clock.falls_back("30s")
        await world.pass_time("59s")
        assert await run.status() == "suspended", "by the new server's clock it is not due yet"
        await world.pass_time("31s")

        slept = await run.result()
    assert slept == 60.0


class Following(FakeClock):
    """A clock that follows a server's, as the calibration makes the system's do."""

    def falls_back(self, duration: str) -> None:
        """Another server is asked now, and its clock is this much behind."""
        self._now -= parse_duration(duration)


@workflow
async def sleeps() -> float:
    before = now()
    await sleep("60s")
    return (now() - before).total_seconds()
