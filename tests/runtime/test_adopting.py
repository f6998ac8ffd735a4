"""Adopting: a run that is ours in the storage and driven by nobody goes on, whatever answer was lost or forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from stepflow import step, wait_for_event, workflow
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import CommitRun, Fenced, Outcome, Write
from tests.runtime.living import living, settle, until, worker_of

effects: list[str] = []
gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()
    gates.clear()


@step
async def act(name: str) -> str:
    effects.append(name)
    if name in gates:
        await gates[name].wait()
    return name


def has_begun(name: str, times: int) -> bool:
    return effects.count(name) == times


@workflow
async def acts() -> list[str]:
    return [await act(name) for name in ("one", "two", "three", "four")]


@workflow
async def waits() -> Any:
    await act("before")
    return await wait_for_event("go")


@workflow
async def counts() -> Any:
    return [await step.run("count", count), await wait_for_event("go")]


async def count() -> int:
    effects.append("count")
    return effects.count("count")


@workflow
async def holds() -> None:
    await act("held")


async def test_a_claim_whose_answer_was_lost_is_found_among_our_own_runs() -> None:
    storage = MemoryStorage()
    async with living(acts, storage=storage, worker=False) as client:
        run = await client.app.trigger(acts)
        async with living(acts, storage=storage, clock=client.clock) as world:
            world.storage.fail_after("claim_runs")
            worker_of(world).hint("default")
            await world.reaches(run, "running")
            await settle()
            assert effects == [], "nobody drives it"
            await world.pass_time("31s")
            await world.pass_time("31s")

            assert await run.result() == ["one", "two", "three", "four"]


async def test_a_run_that_is_found_without_a_free_slot_is_queued_and_the_limit_is_kept() -> None:
    storage = MemoryStorage()
    gates["one"] = asyncio.Event()
    async with living(acts, storage=storage, worker=False) as client:
        lost = await client.app.trigger(acts)
        async with living(acts, storage=storage, clock=client.clock, concurrency=1) as world:
            world.storage.fail_after("claim_runs")
            worker_of(world).hint("default")
            await world.reaches(lost, "running")
            other = await client.app.trigger(acts)
            await world.reaches(other, "running")
            await world.pass_time("31s")
            await world.pass_time("31s")

            assert (await world.record(lost)).status == "queued"
            assert list(worker_of(world).drivers) == [other.id]
            gates["one"].set()
            assert await other.result() == await lost.result() == ["one", "two", "three", "four"]


async def test_a_worker_that_its_own_forgotten_rows_fence_goes_on_from_what_is_left() -> None:
    storage = MemoryStorage()
    gates["two"], gates["four"] = asyncio.Event(), asyncio.Event()
    async with living(acts, storage=storage) as world:
        run = await world.app.trigger(acts)
        await until(lambda: effects == ["one", "two"])
        older = deepcopy(storage._records)
        gates["two"].set()
        await until(lambda: effects == ["one", "two", "three", "four"])
        storage._records = older  # a failover to a replica that lagged behind
        gates["four"].set()

        assert await run.result() == ["one", "two", "three", "four"]
    assert effects == ["one", "two", "three", "four", "two", "three", "four"], (
        "what was forgotten is done again"
    )


async def test_a_forgotten_suspension_is_found_by_a_look_now_and_then() -> None:
    storage = MemoryStorage()
    gates["before"] = asyncio.Event()
    async with living(waits, storage=storage) as world:
        run = await world.app.trigger(waits)
        await until(lambda: effects == ["before"])
        older = deepcopy(storage._records)
        gates["before"].set()
        await world.reaches(run, "suspended")
        storage._records = older
        await world.pass_time("31s")
        assert await run.status() == "running", "it was seen once: an answer may be on its way"
        await world.pass_time("31s")
        await world.reaches(run, "suspended")
        await world.app.notify("go", "on")

        assert await run.result() == "on"
    assert effects == ["before", "before"]


async def test_a_worker_that_is_fenced_twice_by_the_same_forgotten_row_goes_on_twice() -> None:
    storage = MemoryStorage()
    gates["two"], gates["four"] = asyncio.Event(), asyncio.Event()
    async with living(acts, storage=storage) as world:
        run = await world.app.trigger(acts)
        await until(lambda: effects == ["one", "two"])
        older = deepcopy(storage._records)
        gates["two"].set()
        for failovers in range(3):
            await until(partial(has_begun, "four", failovers + 1))
            if failovers < 2:
                storage._records = deepcopy(older)
            gate, gates["four"] = gates["four"], asyncio.Event()
            gate.set()

        assert await run.result() == ["one", "two", "three", "four"]
    assert effects.count("one") == 1
    assert effects.count("two") == 3, "what was forgotten twice is done again twice"


async def test_a_run_that_is_forgotten_twice_while_nobody_drives_it_is_found_twice() -> None:
    storage = MemoryStorage()
    gates["before"] = asyncio.Event()
    async with living(waits, storage=storage) as world:
        run = await world.app.trigger(waits)
        await until(lambda: effects == ["before"])
        older = deepcopy(storage._records)
        gates["before"].set()
        for _ in range(2):
            await world.reaches(run, "suspended")
            storage._records = deepcopy(older)
            await world.pass_time("31s")
            await world.pass_time("31s")
        await world.reaches(run, "suspended")
        await world.app.notify("go", "on")

        assert await run.result() == "on"
    assert effects == ["before"] * 3


async def test_an_execution_in_memory_is_not_gone_on_with_where_the_store_forgot_what_led_to_it() -> None:
    storage = MemoryStorage()
    gates["held"] = asyncio.Event()
    async with living(counts, holds, storage=storage, worker=False) as client:
        run = await client.app.trigger(counts)
        older = deepcopy(storage._records)
        async with living(counts, holds, storage=storage, clock=client.clock, concurrency=1) as first:
            await first.reaches(run, "suspended")
            await first.app.trigger(holds)  # for as long as it runs, this worker takes nothing else
            await until(lambda: "held" in effects)
            storage._records = older  # a failover to a replica that had heard of none of it
            async with living(counts, holds, storage=storage, clock=client.clock) as second:
                await second.reaches(run, "suspended")
            gates["held"].set()
            await client.app.notify("go", "on")

            assert await run.result() == [2, "on"]


async def test_a_run_whose_next_row_is_refused_again_and_again_is_tried_once_a_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = Refusing()
    async with living(waits, storage=storage) as world:
        run = await world.app.trigger(waits)
        await settle(500)

        assert effects == ["before", "before"], "once more when it was fenced, and then no more at once"
        [said] = [record.message for record in caplog.records if record.levelname == "ERROR"]
        assert said.startswith(
            f"run {run.id} is ours, and the storage refused what follows row 1 twice: `stepflow"
        )
        storage.refuses = False
        await world.pass_time("31s")
        await world.pass_time("31s")
        await world.app.notify("go", "on")

        assert await run.result() == "on"


class Refusing(MemoryStorage):
    """A store that takes no commit after a run's first row, without any reason that its records would show."""

    refuses = True

    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        if self.refuses and any(isinstance(write, CommitRun) for write in batch):
            return [Fenced() for _ in batch]
        return await super().write(batch, now=now)
