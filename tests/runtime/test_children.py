"""Children: started once, awaited or not, and told apart by how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import (
    ChildFailedError,
    NotDurableError,
    RunFailedError,
    UnknownWorkflowError,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from stepflow.hooks import RunCreated
from stepflow.storage.memory import MemoryStorage
from tests.runtime.living import living, settle, until

effects: list[Any] = []


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()


@step
async def note(what: Any) -> Any:
    effects.append(what)
    return what


@workflow
async def double(n: int) -> int:
    await note(n)
    return n * 2


@workflow
async def fails(word: str) -> None:
    raise LookupError(word)


@workflow
async def naps(n: int) -> int:
    await sleep("1h")
    return n


@workflow
async def calls_double(n: int) -> int:
    return await step.invoke(double, n) + 1


async def test_a_child_is_awaited_like_a_function() -> None:
    async with living(calls_double, double) as world:
        run = await world.app.trigger(calls_double, 4)

        assert await run.result() == 9
        [child] = list((await world.app.list_runs(workflow=double)).items)
        assert child.parent is not None
        assert child.parent.run_id == run.id
        created = [fact.workflow_id for fact in world.facts if isinstance(fact, RunCreated)]
        assert created == ["calls-double", "double"]


async def test_a_failed_child_raises_in_its_parent() -> None:
    @workflow
    async def catches() -> list[str]:
        try:
            await step.invoke(fails, "gone")
        except ChildFailedError as error:
            return [error.type, error.message]
        return []

    @workflow
    async def does_not() -> None:
        await step.invoke(fails, "gone")

    async with living(catches, does_not, fails) as world:
        assert await (await world.app.trigger(catches)).result() == ["LookupError", "gone"]
        with pytest.raises(RunFailedError, match=r"child run .* failed: LookupError: gone"):
            await (await world.app.trigger(does_not)).result()


async def test_a_parent_gives_its_slot_up_while_its_child_sleeps() -> None:
    @workflow
    async def waits_for_child() -> int:
        return await step.invoke(naps, 5)

    async with living(waits_for_child, naps, concurrency=1) as world:
        run = await world.app.trigger(waits_for_child)
        await world.reaches(run, "suspended")
        await until(lambda: world.storage.calls["claim_runs"] > 0)
        [child] = (await world.app.list_runs(workflow=naps)).items
        await world.reaches(child.id, "suspended")
        await world.pass_time("1h")

        assert await run.result() == 5


async def test_children_run_side_by_side() -> None:
    @workflow
    async def many() -> list[int]:
        return list(await asyncio.gather(*(step.invoke(naps, n) for n in range(50))))

    async with living(many, naps) as world:
        began = world.clock.now()
        run = await world.app.trigger(many)
        await world.reaches(run, "suspended")
        await settle(100)
        await world.pass_time("1h")

        assert await run.result(timeout="15s") == list(range(50))
        assert (world.clock.now() - began).total_seconds() == 3600


async def test_a_started_child_gives_a_handle_and_its_result_may_be_asked_twice() -> None:
    @workflow
    async def starts() -> list[Any]:
        handle = await step.start(double, 21)
        first, second = await asyncio.gather(handle.result(), handle.result())
        return [handle.id, first, second, await handle.result()]

    async with living(starts, double) as world:
        child_id, *results = await (await world.app.trigger(starts)).result()
        assert results == [42, 42, 42]
        assert await world.app.handle(child_id, double).result() == 42


async def test_a_handle_can_cancel_its_child() -> None:
    @workflow
    async def forgets() -> str:
        handle = await step.start(naps, 1)
        await handle.cancel()
        try:
            await handle.result()
        except Exception as error:  # noqa: BLE001 - its name is told
            return type(error).__name__
        return "?"

    async with living(forgets, naps) as world:
        assert await (await world.app.trigger(forgets)).result(timeout="15s") == "ChildCancelledError"


async def test_a_detached_child_outlives_its_parent_and_tells_it_nothing() -> None:
    @workflow
    async def lets_go() -> str:
        handle = await step.start(naps, 3, detached=True)
        try:
            await handle.result()
        except NotDurableError:
            return handle.id
        return "?"

    async with living(lets_go, naps) as world:
        child = world.app.handle(await (await world.app.trigger(lets_go)).result(), naps)
        await world.reaches(child.id, "suspended")
        await world.pass_time("1h")

        assert await child.result() == 3


async def test_an_invoke_may_time_out_and_cancels_the_child() -> None:
    @workflow
    async def impatient() -> str:
        try:
            await step.invoke(naps, 1, timeout="10m")
        except TimeoutError:
            return "too slow"
        return "?"

    async with living(impatient, naps) as world:
        run = await world.app.trigger(impatient)
        await world.sleep_over(run)

        assert await run.result() == "too slow"
        [child] = (await world.app.list_runs(workflow=naps)).items
        await world.reaches(child.id, "cancelled")


async def test_children_of_children_of_children() -> None:
    @workflow
    async def nested(depth: int) -> int:
        if depth == 0:
            return 0
        return 1 + await step.invoke(nested, depth - 1)

    async with living(nested) as world:
        assert await (await world.app.trigger(nested, 60)).result(timeout="15s") == 60


async def test_nesting_too_deep_is_an_error_and_no_end_of_the_process() -> None:
    @workflow
    async def bottomless(depth: int) -> int:
        return await step.invoke(bottomless, depth + 1)

    async with living(bottomless) as world:
        run = await world.app.trigger(bottomless, 1)
        with pytest.raises(RunFailedError, match="nest"):
            await run.result(timeout="15s")


async def test_a_child_that_nobody_here_knows_is_a_clear_error() -> None:
    @workflow
    async def calls_a_stranger() -> None:
        await step.invoke("dubble", 1)

    async with living(calls_a_stranger, double) as world:
        run = await world.app.trigger(calls_a_stranger)
        with pytest.raises(RunFailedError, match="dubble") as caught:
            await run.result(timeout="15s")
        assert caught.value.type.endswith(UnknownWorkflowError.__name__)


async def test_a_child_with_a_wrong_input_fails_its_parent_before_it_is_started() -> None:
    @workflow
    async def calls_wrong() -> None:
        await step.invoke(double, "one")  # type: ignore[call-overload]

    async with living(calls_wrong, double) as world:
        with pytest.raises(RunFailedError, match="input of workflow 'double'"):
            await (await world.app.trigger(calls_wrong)).result()
        assert (await world.app.list_runs(workflow=double)).items == []


async def test_a_child_runs_in_its_workflow_s_queue() -> None:
    @workflow(queue="elsewhere")
    async def queued() -> str:
        return "done"

    @workflow
    async def calls_queued() -> str:
        return await step.invoke(queued)

    storage = MemoryStorage()
    async with living(calls_queued, queued, storage=storage, queues=["default"]) as world:
        run = await world.app.trigger(calls_queued)
        await world.reaches(run, "suspended")
        await settle()
        [child] = (await world.app.list_runs(workflow=queued)).items
        assert (child.queue, child.status) == ("elsewhere", "queued")
        async with living(queued, storage=storage, clock=world.clock, queues=["elsewhere"]):
            assert await run.result() == "done"


async def test_a_parent_and_its_child_go_on_after_a_restart() -> None:
    @workflow
    async def waits() -> Any:
        return await wait_for_event("go")

    @workflow
    async def parent() -> Any:
        await note("parent")
        return await step.invoke(waits)

    storage = MemoryStorage()
    async with living(parent, waits, storage=storage) as world:
        run = await world.app.trigger(parent)
        await world.reaches(run, "suspended")
        await settle()
        clock = world.clock
    async with living(parent, waits, storage=storage, clock=clock) as later:
        await later.app.notify("go", "on")
        assert await later.app.handle(run.id).result() == "on"
        assert len((await later.app.list_runs(workflow=waits)).items) == 1
    assert effects == ["parent"]


async def test_a_child_that_ends_while_its_parent_is_away_wakes_it() -> None:
    @workflow
    async def parent() -> int:
        return await step.invoke(naps, 8)

    storage = MemoryStorage()
    async with living(parent, naps, storage=storage) as world:
        run = await world.app.trigger(parent)
        await world.reaches(run, "suspended")
        await settle()
        clock = world.clock
    async with living(naps, storage=storage, clock=clock) as child_s_worker:
        await child_s_worker.pass_time("1h")
        await settle()
    async with living(parent, naps, storage=storage, clock=clock) as later:
        assert await later.app.handle(run.id).result() == 8


@workflow
async def starts_and_tells() -> int:
    result = await step.invoke(double, 4)
    await step.send_event("told", result)
    return result


@workflow
async def hears() -> list[int]:
    return [await wait_for_event("told") for _ in range(2)]


async def test_a_run_that_was_deleted_and_triggered_again_has_children_and_events_of_its_own() -> None:
    async with living(starts_and_tells, hears, double) as world:
        hearing = await world.app.trigger(hears)
        first = await world.app.trigger(starts_and_tells, id="again")
        assert await first.result() == 8
        await world.app.delete("again")
        world.clock.advance("1s")

        again = await world.app.trigger(starts_and_tells, id="again")

        assert again.created
        assert await again.result(timeout="5s") == 8
        assert effects == [4, 4]
        assert await hearing.result(timeout="5s") == [8, 8]
