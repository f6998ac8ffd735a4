"""Cancelling: in every state, in the middle of anything, and what may still be done on the way out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import (
    ChildCancelledError,
    OperationRefusedError,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    sleep,
    step,
    wait_for_event,
    workflow,
)
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


@step
async def works() -> None:
    effects.append("begins")
    try:
        await asyncio.Event().wait()
    finally:
        effects.append("is cut off")


@workflow
async def working() -> None:
    await works()
    await note("after")


@workflow
async def waiting() -> None:
    await wait_for_event("go")
    await note("after")


@workflow
async def sleeping() -> None:
    await sleep("1h")
    await note("after")


@workflow
async def done() -> int:
    return 1


@workflow
async def failing() -> None:
    raise ValueError


async def is_cancelled(run: Any) -> None:
    with pytest.raises(RunCancelledError):
        await run.result(timeout="15s")


async def test_a_step_is_cut_off_in_the_middle_and_nothing_starts_after_it() -> None:
    async with living(working) as world:
        run = await world.app.trigger(working)
        await until(lambda: effects == ["begins"])
        await run.cancel()

        await is_cancelled(run)
        await settle()
        assert effects == ["begins", "is cut off"]
        assert (await world.kinds(run))[-2:] == ["CancelRequested", "Ended"]


@pytest.mark.parametrize("flow", [waiting, sleeping])
async def test_a_suspended_run_is_cancelled_at_once(flow: Any) -> None:
    async with living(flow) as world:
        run = await world.app.trigger(flow)
        await world.reaches(run, "suspended")
        await run.cancel()

        await is_cancelled(run)
        assert effects == []


async def test_a_queued_run_is_cancelled_without_having_run() -> None:
    async with living(working, worker=False) as world:
        run = await world.app.trigger(working)
        await run.cancel()

        await is_cancelled(run)
        assert effects == []


async def test_a_delayed_run_is_cancelled_without_having_run() -> None:
    async with living(working) as world:
        run = await world.app.trigger(working, delay="1d")
        await run.cancel()

        await is_cancelled(run)


async def test_a_paused_run_is_cancelled_and_may_clean_up() -> None:
    @workflow
    async def cleans_up() -> None:
        try:
            await wait_for_event("go")
        finally:
            await note("cleaned up")

    async with living(cleans_up) as world:
        run = await world.app.trigger(cleans_up)
        await world.reaches(run, "suspended")
        await world.app.pause(run.id)
        await run.cancel()

        await is_cancelled(run)
        assert effects == ["cleaned up"]


async def test_cancelling_twice_is_once() -> None:
    async with living(waiting) as world:
        run = await world.app.trigger(waiting)
        await world.reaches(run, "suspended")
        await asyncio.gather(run.cancel(), run.cancel())
        await is_cancelled(run)
        await run.cancel()

        assert (await world.kinds(run)).count("CancelRequested") == 1


@pytest.mark.parametrize("flow", [done, failing])
async def test_an_ended_run_refuses_to_be_cancelled(flow: Any) -> None:
    async with living(flow) as world:
        run = await world.app.trigger(flow)
        await asyncio.gather(run.result(), return_exceptions=True)

        with pytest.raises(OperationRefusedError):
            await run.cancel()
        with pytest.raises(OperationRefusedError):
            await run.cancel(force=True)


async def test_a_run_that_is_not_there_can_t_be_cancelled() -> None:
    async with living(done) as world:
        with pytest.raises(RunNotFoundError):
            await world.app.cancel("nobody")


# ------------------------------------------------------------------ on the way out
async def test_cleaning_up_may_take_steps_and_sleeps() -> None:
    @workflow
    async def cleans_up() -> None:
        try:
            await works()
        finally:
            await note("first")
            await sleep("cool down", "1d")
            await note("second")

    async with living(cleans_up) as world:
        run = await world.app.trigger(cleans_up)
        await until(lambda: effects == ["begins"])
        await run.cancel()
        await world.sleep_over(run)

        await is_cancelled(run)
        assert effects[0] == "begins"
        assert sorted(effects[1:3]) == ["first", "is cut off"], (
            "the workflow does not wait for what it cancelled"
        )
        assert effects[3:] == ["second"]


async def test_cleaning_up_goes_on_after_a_restart_and_repeats_nothing() -> None:
    gate = asyncio.Event()

    @step
    async def second() -> None:
        effects.append("second")
        await gate.wait()

    @workflow
    async def compensates() -> None:
        try:
            await wait_for_event("go")
        finally:
            await note("first")
            await second()
            await note("third")

    storage = MemoryStorage()
    async with living(compensates, storage=storage) as world:
        run = await world.app.trigger(compensates)
        await world.reaches(run, "suspended")
        await run.cancel()
        await until(lambda: effects == ["first", "second"])
        clock = world.clock
    gate.set()
    async with living(compensates, storage=storage, clock=clock) as later:
        await is_cancelled(later.app.handle(run.id))
    assert effects == ["first", "second", "second", "third"]


async def test_a_cancel_that_is_swallowed_lets_the_run_complete() -> None:
    @workflow
    async def stubborn() -> str:
        try:
            await wait_for_event("go")
        except asyncio.CancelledError:
            return await note("carried on")
        return "?"

    async with living(stubborn) as world:
        run = await world.app.trigger(stubborn)
        await world.reaches(run, "suspended")
        await run.cancel()

        assert await run.result() == "carried on"


async def test_a_failure_on_the_way_out_fails_the_run() -> None:
    @workflow
    async def clumsy() -> None:
        try:
            await wait_for_event("go")
        finally:
            raise ValueError("dropped it")

    async with living(clumsy) as world:
        run = await world.app.trigger(clumsy)
        await world.reaches(run, "suspended")
        await run.cancel()

        with pytest.raises(RunFailedError, match="dropped it"):
            await run.result()


async def test_a_workflow_that_cancels_itself_fails() -> None:
    @workflow
    async def quits() -> None:
        raise asyncio.CancelledError

    async with living(quits) as world:
        with pytest.raises(RunFailedError, match="cancelled from inside"):
            await (await world.app.trigger(quits)).result()


# ------------------------------------------------------------------ races
@pytest.mark.parametrize("turns", range(12))
async def test_a_cancel_that_races_the_end_has_one_outcome(turns: int) -> None:
    gate = asyncio.Event()

    @step
    async def opens() -> str:
        await gate.wait()
        return "through"

    @workflow
    async def races() -> str:
        return await opens()

    async with living(races) as world:
        run = await world.app.trigger(races)
        await settle()
        gate.set()
        await settle(turns)
        try:
            await run.cancel()
            cancelled = True
        except OperationRefusedError:
            cancelled = False
        await settle()
        record = await world.record(run)

        assert record.status.ended
        assert (await world.kinds(run)).count("Ended") == 1
        if not cancelled:
            assert await run.result() == "through"
        elif record.status == "cancelled":
            await is_cancelled(run)
        else:
            assert await run.result() == "through"


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancel_at_the_moment_of_a_suspension_is_not_lost(turns: int) -> None:
    async with living(waiting) as world:
        triggering = asyncio.create_task(world.app.trigger(waiting, id="it"))
        await settle(turns)
        await triggering
        await world.app.cancel("it")

        await is_cancelled(world.app.handle("it"))


async def test_a_cancel_from_another_process_is_heard_at_once() -> None:
    storage = MemoryStorage()
    async with (
        living(working, storage=storage) as world,
        living(working, storage=storage, clock=world.clock, worker=False) as other,
    ):
        run = await world.app.trigger(working)
        await until(lambda: effects == ["begins"])
        await other.app.cancel(run.id)

        await is_cancelled(run)


# ------------------------------------------------------------------ by force
async def test_force_ends_a_run_in_the_storage_and_its_body_here() -> None:
    @workflow
    async def never_gives_in() -> None:
        while True:
            try:
                await works()
            except asyncio.CancelledError:
                effects.append("no")

    async with living(never_gives_in) as world:
        run = await world.app.trigger(never_gives_in)
        await until(lambda: effects == ["begins"])
        await run.cancel(force=True)

        assert await run.status() == "cancelled"
        await is_cancelled(run)
        await settle()
        assert effects == ["begins", "is cut off"]
        assert worker_of(world).drivers == {}


async def test_force_from_another_process_is_noticed_by_the_next_poll_but_one() -> None:
    storage = MemoryStorage()
    async with (
        living(working, storage=storage) as world,
        living(working, storage=storage, clock=world.clock, worker=False) as other,
    ):
        run = await world.app.trigger(working)
        await until(lambda: effects == ["begins"])
        await other.app.cancel(run.id, force=True)
        await is_cancelled(other.app.handle(run.id))
        for _ in range(3):
            await world.pass_time("1s")

        assert effects == ["begins", "is cut off"]
        await is_cancelled(run)
        assert worker_of(world).slots.free == 1000


async def test_a_result_that_comes_after_force_is_refused() -> None:
    gate = asyncio.Event()

    @step
    async def slow() -> str:
        await gate.wait()
        effects.append("body ended")
        return "late"

    @workflow
    async def is_slow() -> str:
        return await slow()

    storage = MemoryStorage()
    async with (
        living(is_slow, storage=storage) as world,
        living(is_slow, storage=storage, clock=world.clock, worker=False) as other,
    ):
        run = await world.app.trigger(is_slow)
        await settle()
        await other.app.cancel(run.id, force=True)
        gate.set()
        await until(lambda: effects == ["body ended"])
        await settle()

        record = await world.record(run)
        assert record.status == "cancelled"
        assert record.output is None
        assert (await world.kinds(run))[-1] == "Ended"


# ------------------------------------------------------------------ run timeouts
async def test_a_run_s_timeout_cancels_it_and_fails_it() -> None:
    @workflow(timeout="1h")
    async def too_long() -> None:
        try:
            await works()
        finally:
            await note("cleaned up")

    async with living(too_long) as world:
        run = await world.app.trigger(too_long)
        await until(lambda: effects == ["begins"])
        await world.pass_time("59m")
        assert effects == ["begins"]
        await world.pass_time("1m")

        with pytest.raises(RunFailedError) as caught:
            await run.result()
        assert caught.value.type.endswith("RunTimeoutError")
        assert sorted(effects) == ["begins", "cleaned up", "is cut off"]


async def test_a_suspended_run_is_woken_by_its_timeout() -> None:
    @workflow(timeout="1h")
    async def waits_too_long() -> None:
        await wait_for_event("go")

    async with living(waits_too_long) as world:
        run = await world.app.trigger(waits_too_long)
        record = await world.reaches(run, "suspended")
        assert record.due_at is not None
        await world.sleep_over(run)

        with pytest.raises(RunFailedError, match="did not end within"):
            await run.result()


async def test_the_timeout_goes_on_in_another_process() -> None:
    @workflow(timeout="1h")
    async def waits_too_long() -> None:
        await wait_for_event("go")

    storage = MemoryStorage()
    async with living(waits_too_long, storage=storage) as world:
        run = await world.app.trigger(waits_too_long)
        await world.reaches(run, "suspended")
        await world.pass_time("30m")
        clock = world.clock
    async with living(waits_too_long, storage=storage, clock=clock) as later:
        await later.pass_time("29m")
        assert await later.app.handle(run.id).status() == "suspended"
        await later.pass_time("1m")
        with pytest.raises(RunFailedError):
            await later.app.handle(run.id).result()


# ------------------------------------------------------------------ children
@workflow
async def child() -> None:
    try:
        await wait_for_event("never")
    finally:
        await note("child ends")


@workflow
async def parent() -> None:
    await step.invoke(child)


@workflow
async def parent_of_two() -> None:
    await step.start(child)
    await step.start(child, detached=True, name="detached")
    await wait_for_event("go")


async def children_of(world: Any, run: Any) -> list[Any]:
    page = await world.app.list_runs(workflow="child")
    return [item for item in page.items if item.parent is not None and item.parent.run_id == run.id]


async def test_cancelling_a_parent_cancels_its_child() -> None:
    async with living(parent, child) as world:
        run = await world.app.trigger(parent)
        await world.reaches(run, "suspended")
        await run.cancel()

        await is_cancelled(run)
        [found] = await children_of(world, run)
        await is_cancelled(world.app.handle(found.id))
        assert effects == ["child ends"]


@pytest.mark.parametrize("how", ["cancel", "force", "end"])
async def test_attached_children_end_with_their_parent_and_detached_ones_do_not(how: str) -> None:
    async with living(parent_of_two, child) as world:
        run = await world.app.trigger(parent_of_two)
        await world.reaches(run, "suspended")
        if how == "end":
            await world.app.notify("go")
        else:
            await run.cancel(force=how == "force")
        await asyncio.gather(run.result(), return_exceptions=True)
        await settle()

        statuses = {
            found.parent.detached: found.status for found in await children_of(world, run) if found.parent
        }
        assert statuses == {False: "cancelled", True: "suspended"}


@pytest.mark.parametrize("turns", range(10))
async def test_no_child_is_orphaned_by_a_cancel_at_any_moment(turns: int) -> None:
    async with living(parent, child) as world:
        run = await world.app.trigger(parent)
        await settle(turns)
        await run.cancel()
        await asyncio.gather(run.result(), return_exceptions=True)
        await settle()

        for found in await children_of(world, run):
            assert found.status == "cancelled"


async def test_a_child_that_somebody_else_cancels_is_told_to_its_parent() -> None:
    @workflow
    async def asks() -> str:
        try:
            await step.invoke(child)
        except ChildCancelledError as error:
            return error.child_id
        return "?"

    async with living(asks, child) as world:
        run = await world.app.trigger(asks)
        await world.reaches(run, "suspended")
        [found] = await children_of(world, run)
        await world.app.cancel(found.id)

        assert await run.result() == found.id
