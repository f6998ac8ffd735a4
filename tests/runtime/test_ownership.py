"""Ownership: a run has one owner, whoever froze, lost its lease or came back from the dead."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from stepflow import Retry, continue_as, sleep, step, wait_for_event, workflow
from stepflow.model.journal import Claimed, StepCompleted
from stepflow.model.transitions import Action
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import ControlRun, CreateRun
from stepflow.testing.faults import FaultyStorage
from tests.runtime.living import World, living, settle, until, worker_of

effects: list[str] = []
gates: dict[str, asyncio.Event] = {}
who: list[str] = []


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()
    gates.clear()


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


@step(retry=Retry(attempts=1))
async def held(name: str) -> str:
    effects.append(name)
    await gate(name).wait()
    return f"{name} by {effects.count(name)}"


@step
async def note(name: str) -> str:
    effects.append(name)
    return name


@workflow
async def child() -> str:
    await wait_for_event("never")
    return ""


@workflow
async def completes() -> str:
    return await held("one")


@workflow
async def goes_on() -> list[str]:
    return [await held("one"), await note("two")]


@workflow
async def suspends() -> list[Any]:
    first = await held("one")
    await sleep("1h")
    return [first]


@workflow
async def waits() -> list[Any]:
    first = await held("one")
    return [first, await wait_for_event("go")]


@workflow
async def creates() -> list[Any]:
    first = await held("one")
    await step.start(child)
    return [first]


@workflow
async def sends() -> list[Any]:
    first = await held("one")
    await step.send_event("told", first)
    return [first]


@workflow
async def continues(n: int = 0) -> list[Any]:
    if n:
        return [n]
    await held("one")
    continue_as(n + 1)


@workflow
async def fails() -> None:
    await held("one")
    raise ValueError("one")


ALL = [completes, goes_on, suspends, waits, creates, sends, continues, fails]


def freeze(world: World) -> None:
    """The process stands still: nothing gets through, no lease is renewed, and its claims and polls don't happen."""
    world.storage.freeze()


async def taken_over(frozen: World, other: World, run: Any) -> None:
    """Let the frozen worker's lease pass, and the other take the run."""
    worker = worker_of(frozen).worker_id
    inner = frozen.storage.inner
    assert isinstance(inner, MemoryStorage)
    inner._workers.pop(worker, None)  # what an expired lease comes to; leases have tests of their own
    worker_of(other).hint()
    await until(lambda: run.id in worker_of(other).drivers)


@pytest.mark.parametrize("flow", ALL, ids=lambda flow: flow.id)
async def test_a_frozen_owner_writes_nothing_of_any_kind_when_it_wakes(flow: Any) -> None:
    """B1 to B4: a step's result, an end, a suspension, a wait, a child, an event, a fresh journal."""
    storage = MemoryStorage()
    async with (
        living(*ALL, child, storage=FaultyStorage(storage), worker_name=None) as frozen,
        living(*ALL, child, storage=FaultyStorage(storage), clock=frozen.clock) as other,
    ):
        run = await frozen.app.trigger(flow)
        await until(lambda: effects == ["one"])
        freeze(frozen)
        gate("one").set()  # the body ends, and the write stands still on its way
        await settle()
        gates.clear()
        gate("one")
        await taken_over(frozen, other, run)
        await until(lambda: effects == ["one", "one"])
        before = await other.entries(run)
        frozen.storage.thaw()
        await settle(100)

        assert await other.entries(run) == before, "the zombie wrote nothing"
        assert run.id not in worker_of(frozen).drivers
        assert (await other.app.list_runs(workflow=child)).items == []
        gate("one").set()
        await other.app.notify("go", "x")
        await settle(50)
        record = await other.record(run)
        entries = await other.entries(run)
        [recorded] = [entry for entry in entries if isinstance(entry, StepCompleted) and entry.key == "held"]
        assert bytes(recorded.value.data) == b'"one by 2"', "the second execution's value is the recorded one"
        assert [type(entry).__name__ for entry in entries].count("Ended") == int(record.status.ended)


async def test_a_zombie_s_next_step_does_not_begin() -> None:
    storage = MemoryStorage()
    async with (
        living(*ALL, child, storage=FaultyStorage(storage)) as frozen,
        living(*ALL, child, storage=FaultyStorage(storage), clock=frozen.clock) as other,
    ):
        run = await frozen.app.trigger(goes_on)
        await until(lambda: effects == ["one"])
        freeze(frozen)
        await taken_over(frozen, other, run)
        gate("one").set()
        await other.app.handle(run.id).result()
        frozen.storage.thaw()
        await settle(100)

    assert effects.count("two") == 1


async def test_a_lost_lease_is_noticed_its_runs_are_dropped_and_the_worker_goes_on_as_another() -> None:
    storage = MemoryStorage()
    async with living(*ALL, child, storage=storage, lease="30s") as world:
        worker = worker_of(world)
        run = await world.app.trigger(completes)
        await until(lambda: effects == ["one"])
        before = worker.worker_id
        storage._workers.pop(before)
        worker._membership._is_lost()
        await until(lambda: worker._membership.joined)
        await until(lambda: effects == ["one", "one"])
        gate("one").set()

        assert worker.worker_id != before
        assert await run.result() == "one by 2"
        claims = [entry for entry in await world.entries(run) if isinstance(entry, Claimed)]
        assert [claim.takeover for claim in claims] == [False, True]
        assert worker.slots.free == 1000


async def test_runs_of_a_lost_incarnation_that_nobody_took_are_taken_by_the_next_one() -> None:
    """Registering anew under the same id would leave them to an owner that does not drive them."""
    storage = MemoryStorage()
    async with living(*ALL, child, storage=storage) as world:
        worker = worker_of(world)
        runs = [await world.app.trigger(suspends) for _ in range(3)]
        await until(lambda: len(effects) == 3)
        worker._membership._is_lost()
        await until(lambda: len(effects) == 6)
        gate("one").set()

        assert [len(r) for r in await asyncio.gather(*(world.ends(run) for run in runs))] == [1, 1, 1]


async def test_registering_anew_waits_for_a_storage_that_is_down() -> None:
    storage = MemoryStorage()
    async with living(*ALL, child, storage=storage) as world:
        worker = worker_of(world)
        world.storage.fail_before("register_worker", times=2)
        worker._membership._is_lost()
        await until(lambda: worker._membership.joined, turns=3_000_000)
        gate("one").set()
        assert await (await world.app.trigger(completes)).result() == "one by 1"


async def test_whoever_triggers_a_run_hears_of_its_creation_and_not_of_how_it_was_lost() -> None:
    storage = MemoryStorage()
    async with living(*ALL, child, storage=storage) as world:
        on_its_way = world.storage.hold(
            picks=lambda write: isinstance(write, CreateRun) and write.commit is not None
        )
        first = asyncio.create_task(world.app.trigger(completes, id="r"))
        await on_its_way.reached()
        assert (await world.app.trigger(completes, id="r")).created, (
            "a double click, whose write overtook the first"
        )
        await until(lambda: effects == ["one"])
        await storage.write([ControlRun(run_id="r", action=Action.FORCE_CANCEL)], now=world.clock.now())
        gate("one").set()
        await until(lambda: "r" not in worker_of(world).drivers)
        on_its_way.open()

        assert not (await first).created


async def test_an_execution_in_memory_is_not_taken_for_that_of_another_run_which_has_its_id_now() -> None:
    storage = MemoryStorage()
    async with living(greets, storage=storage) as keeping:
        await keeping.app.trigger(greets, "old", id="r")
        await keeping.reaches("r", "suspended")
        claims = keeping.storage.hold("claim_runs", times=1_000)
        async with living(greets, storage=storage, clock=keeping.clock) as other:
            await other.app.pause("r")
            await other.app.delete("r")
            await other.app.trigger(greets, "new", id="r")
            await other.reaches("r", "suspended")
        claims.open()
        await keeping.app.notify("go", run_id="r")
        await keeping.pass_time("1s")

        assert await keeping.app.handle("r").result() == "hello new"


@workflow
async def greets(name: str) -> str:
    await wait_for_event("go")
    return f"hello {name}"


async def test_workers_come_and_go_by_the_dozen_and_no_run_is_done_twice_or_left() -> None:
    storage = MemoryStorage()
    async with living(notes, storage=storage, concurrency=2) as first:
        runs = [await first.app.trigger(notes, f"n{number}") for number in range(100)]
        async with contextlib.AsyncExitStack() as others:
            for _ in range(12):
                await others.enter_async_context(
                    living(notes, storage=storage, clock=first.clock, concurrency=2)
                )
            await until(lambda: len(effects) > 50)
        await first.pass_time("1s")  # what the others gave back is found by the poll at the latest

        assert await asyncio.gather(*(run.result() for run in runs)) == [f"n{n}" for n in range(100)]
    assert sorted(effects) == sorted(f"n{number}" for number in range(100))


@workflow
async def notes(name: str) -> str:
    return await note(name)


async def test_a_worker_of_the_same_name_takes_over_at_once() -> None:
    storage = MemoryStorage()
    async with living(*ALL, child, storage=FaultyStorage(storage), worker_name="pod-1") as former:
        run = await former.app.trigger(completes)
        await until(lambda: effects == ["one"])
        freeze(former)
        async with living(*ALL, child, storage=storage, clock=former.clock, worker_name="pod-1") as successor:
            await until(lambda: effects == ["one", "one"])
            gate("one").set()
            assert await successor.app.handle(run.id).result() == "one by 2"
        former.storage.thaw()
        await settle(100)


async def test_two_workers_race_for_a_hundred_runs_and_each_runs_once() -> None:
    @workflow
    async def once(n: int) -> int:
        await note(f"run {n}")
        return n

    storage = MemoryStorage()
    async with living(once, storage=storage, worker=False) as source:
        runs = [await source.app.trigger(once, n) for n in range(100)]
        async with (
            living(once, storage=storage, clock=source.clock),
            living(once, storage=storage, clock=source.clock),
            living(once, storage=storage, clock=source.clock),
        ):
            assert await asyncio.gather(*(run.result() for run in runs)) == list(range(100))
            entries = [await source.kinds(run) for run in runs]
    assert len(effects) == 100
    assert all(kinds.count("Claimed") == 1 for kinds in entries)


async def test_short_timeouts_do_not_all_pass_at_a_takeover() -> None:
    """A timer is not due before its own delay, or five seconds, after a crash."""

    @workflow
    async def patient() -> str:
        try:
            async with asyncio.timeout(3600):
                await wait_for_event("go")
        except TimeoutError:
            return "timed out"
        return "went"

    storage = MemoryStorage()
    async with living(patient, completes, storage=FaultyStorage(storage)) as lost:
        run = await lost.app.trigger(hot := patient)
        await lost.reaches(run, "suspended")
        claims = await storage.claim_runs(
            worker_of(lost).worker_id, queues={"default": 1}, known={}, limit=1, now=lost.clock.now()
        )
        assert claims == []
        clock = lost.clock
        await lost.app.notify("other")
    clock.advance(timedelta(hours=2))
    async with living(hot, storage=storage, clock=clock) as later:
        assert await later.app.handle(run.id).result() == "timed out", (
            "it was not running: nothing to hold off"
        )


async def test_a_write_that_was_done_before_the_owner_froze_counts() -> None:
    """B3's other half: the answer comes too late, but the write was in time."""
    storage = MemoryStorage()
    async with (
        living(*ALL, child, storage=FaultyStorage(storage)) as frozen,
        living(*ALL, child, storage=FaultyStorage(storage), clock=frozen.clock) as other,
    ):
        run = await frozen.app.trigger(suspends)
        await until(lambda: effects == ["one"])
        answer = frozen.storage.hold("write", done=True)
        gate("one").set()
        await answer.reached()
        record = await other.record(run)
        assert record.status == "suspended"
        other.clock.advance("1h")
        assert await other.app.handle(run.id).result() == ["one by 1"]
        answer.open()
        await settle(100)

        assert effects == ["one"]
        assert worker_of(frozen).drivers == {}


async def test_a_run_that_is_retried_and_back_before_its_force_cancel_is_answered_goes_on() -> None:
    async with living(completes) as world:
        run = await world.app.trigger(completes)
        await until(lambda: effects == ["one"])
        answer = world.storage.hold("write", done=True)
        cancel = asyncio.create_task(run.cancel(force=True))
        await answer.reached()
        await world.app.retry(run.id)
        await until(lambda: effects == ["one", "one"])

        answer.open()
        await cancel
        gate("one").set()

        assert await run.result() == "one by 2"
