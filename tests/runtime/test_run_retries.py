"""Retries of whole runs, automatic and asked for: what is done again, and what is kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    ChildFailedError,
    FatalError,
    OperationRefusedError,
    Retry,
    RunCancelledError,
    RunFailedError,
    StepInterruptedError,
    current_run,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from stepflow.storage.memory import MemoryStorage
from tests.runtime.living import living, settle, until

effects: list[Any] = []
ONCE = Retry(attempts=1)
THREE = Retry(attempts=3, delay="1m", backoff=1, jitter=False)


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()


@step
async def note(what: Any) -> Any:
    effects.append(what)
    return what


@step(retry=ONCE)
async def fails_before(attempt: int) -> int:
    effects.append("tried")
    if effects.count("tried") < attempt:
        raise ConnectionError("not yet")
    return effects.count("tried")


@workflow(retry=THREE)
async def three_times(attempt: int) -> list[Any]:
    first = await note("first")
    run_attempt = current_run().attempt
    second = await fails_before(attempt)
    return [first, run_attempt, second]


async def test_a_failed_run_begins_again_and_keeps_what_succeeded() -> None:
    async with living(three_times) as world:
        run = await world.app.trigger(three_times, 3)
        for _ in range(2):
            assert await world.sleep_over(run) == timedelta(minutes=1)

        assert await run.result() == ["first", 3, 3]
        assert effects == ["first", "tried", "tried", "tried"]
        assert (await world.record(run)).attempt == 3


async def test_the_last_failure_is_the_run_s() -> None:
    async with living(three_times) as world:
        run = await world.app.trigger(three_times, 9)
        with pytest.raises(RunFailedError, match="not yet"):
            await world.ends(run)
        assert effects == ["first", "tried", "tried", "tried"]


async def test_attempts_go_on_in_another_process() -> None:
    storage = MemoryStorage()
    async with living(three_times, storage=storage) as world:
        run = await world.app.trigger(three_times, 3)
        await world.sleep_over(run)
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(three_times, storage=storage, clock=clock) as later:
        assert await later.ends(later.app.handle(run.id, three_times)) == ["first", 3, 3]


async def test_a_fatal_failure_is_not_retried() -> None:
    @workflow(retry=5)
    async def gives_up() -> None:
        effects.append(1)
        raise FatalError("for good")

    async with living(gives_up) as world:
        with pytest.raises(RunFailedError, match="for good"):
            await (await world.app.trigger(gives_up)).result()
    assert effects == [1]


async def test_a_failed_run_may_be_retried_by_hand_as_often_as_one_likes() -> None:
    @workflow
    async def by_hand() -> list[Any]:
        await note("kept")
        return [await fails_before(4), current_run().attempt]

    async with living(by_hand) as world:
        run = await world.app.trigger(by_hand)
        for _ in range(3):
            with pytest.raises(RunFailedError):
                await run.result()
            await world.app.retry(run.id)

        assert await run.result() == [4, 4]
        assert effects == ["kept", "tried", "tried", "tried", "tried"]


async def test_only_failed_and_cancelled_runs_are_retried() -> None:
    @workflow
    async def fine() -> int:
        return 1

    @workflow
    async def waits() -> None:
        await wait_for_event("go")

    async with living(fine, waits) as world:
        done = await world.app.trigger(fine)
        await done.result()
        waiting = await world.app.trigger(waits)
        await world.reaches(waiting, "suspended")
        for run in (done, waiting):
            with pytest.raises(OperationRefusedError):
                await world.app.retry(run.id)


async def test_what_is_kept_and_what_is_not() -> None:
    """Kept: successful steps, events, sleeps, completed children. Not kept: failures, timed-out waits, failed children."""

    @workflow
    async def good_child(n: int) -> int:
        effects.append("good child")
        return n

    @workflow
    async def bad_child() -> None:
        effects.append("bad child")
        raise ValueError("child")

    @workflow
    async def parent() -> list[Any]:
        got: list[Any] = [await note("step")]
        await sleep("a sleep", "1h")
        got.append(await wait_for_event("go", timeout="1h"))
        got.append(await step_invoke(good_child, 7))
        try:
            await step_invoke(bad_child)
        except ChildFailedError:
            got.append("bad")
        got.append(await wait_for_event("never", timeout="1m", default="default"))
        effects.append(("asleep", current_run().attempt))
        await fails_before(2)
        return got

    step_invoke: Any = step.invoke
    async with living(parent, good_child, bad_child) as world:
        run = await world.app.trigger(parent)
        await world.app.notify("go", "sent")
        with pytest.raises(RunFailedError, match="not yet"):
            await world.ends(run)
        began_again = world.clock.now()
        await world.app.retry(run.id)

        assert await world.ends(run) == ["step", "sent", 7, "bad", "default"]
        assert world.clock.now() - began_again < timedelta(minutes=2), (
            "only the timed-out wait is waited again"
        )
        assert effects == [
            "step",
            "good child",
            "bad child",
            ("asleep", 1),
            "tried",
            "bad child",
            ("asleep", 2),
            "tried",
        ]


async def test_the_next_attempt_gets_the_next_event() -> None:
    @workflow
    async def takes_two() -> list[Any]:
        first = await wait_for_event("go", name="first")
        await fails_before(2)
        return [first, await wait_for_event("go", name="second")]

    async with living(takes_two) as world:
        run = await world.app.trigger(takes_two)
        for payload in ("one", "two"):
            await world.app.notify("go", payload)
        with pytest.raises(RunFailedError):
            await run.result()
        await world.app.retry(run.id)

        assert await run.result() == ["one", "two"]


async def test_a_cancelled_run_may_be_retried_and_the_cancel_is_forgotten() -> None:
    @workflow
    async def waits() -> Any:
        await note("before")
        return await wait_for_event("go")

    async with living(waits) as world:
        run = await world.app.trigger(waits)
        await world.reaches(run, "suspended")
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await run.result()
        await world.app.retry(run.id)
        await world.reaches(run, "suspended")
        await world.app.notify("go", "went")

        assert await run.result() == "went"
        assert effects == ["before"]


async def test_a_cancel_between_attempts_ends_the_run() -> None:
    async with living(three_times) as world:
        run = await world.app.trigger(three_times, 3)
        await world.reaches(run, "suspended")
        await run.cancel()

        with pytest.raises(RunCancelledError):
            await run.result()
        assert effects.count("tried") == 1


async def test_a_pause_between_attempts_holds_the_next_one_back() -> None:
    async with living(three_times) as world:
        run = await world.app.trigger(three_times, 2)
        await world.reaches(run, "suspended")
        await world.app.pause(run.id)
        await world.pass_time("1h")
        assert effects.count("tried") == 1
        await world.app.resume(run.id)

        assert await run.result() == ["first", 2, 2]


async def test_an_event_between_attempts_changes_nothing() -> None:
    @workflow(retry=THREE)
    async def waits_after() -> Any:
        await fails_before(2)
        return await wait_for_event("go")

    async with living(waits_after) as world:
        run = await world.app.trigger(waits_after)
        await world.reaches(run, "suspended")
        await world.app.notify("go", "early")
        await settle()
        assert effects == ["tried"]
        await world.pass_time("1m")

        assert await run.result() == "early"


async def test_a_step_that_is_at_most_once_and_was_interrupted_runs_again_in_the_next_attempt() -> None:
    """Interruptions are not kept: by then somebody has looked and asked for another attempt."""
    gate = asyncio.Event()

    @step(at_most_once=True)
    async def once() -> str:
        effects.append("once")
        await gate.wait()
        return "done"

    @workflow
    async def uses_once() -> str:
        return await once()

    storage = MemoryStorage()
    async with living(uses_once, storage=storage) as world:
        run = await world.app.trigger(uses_once)
        await until(lambda: effects == ["once"])
        clock = world.clock
    async with living(uses_once, storage=storage, clock=clock) as later:
        handle = later.app.handle(run.id, uses_once)
        with pytest.raises(RunFailedError) as caught:
            await handle.result()
        assert caught.value.type.endswith(StepInterruptedError.__name__)
        gate.set()
        await later.app.retry(run.id)

        assert await handle.result() == "done"
        assert effects == ["once", "once"]


async def test_the_intent_of_a_new_attempt_is_recorded_after_its_beginning() -> None:
    """Recorded before it, the intent would belong to the attempt before, and a crash would run the step again."""
    gate = asyncio.Event()

    @step(at_most_once=True)
    async def once() -> str:
        effects.append("once")
        if effects.count("once") == 1:
            raise ValueError("the first time")
        await gate.wait()
        return "done"

    @workflow(retry=THREE)
    async def uses_once() -> str:
        return await once()

    storage = MemoryStorage()
    async with living(uses_once, storage=storage) as world:
        run = await world.app.trigger(uses_once)
        await world.sleep_over(run)
        await until(lambda: effects == ["once", "once"])
        kinds = await world.kinds(run)
        assert kinds[kinds.index("AttemptStarted") + 1] == "StepIntended"
        clock = world.clock
    async with living(uses_once, storage=storage, clock=clock) as later:
        await settle()
        assert effects == ["once", "once"]
        assert "StepInterrupted" in await later.kinds(run)
        gate.set()


async def test_no_attempt_follows_that_the_run_s_timeout_leaves_no_time_for() -> None:
    @workflow(retry=Retry(attempts=None, delay="1h", backoff=1, max_delay="1h", jitter=False), timeout="150m")
    async def never_well() -> None:
        effects.append(1)
        raise ValueError("unwell")

    async with living(never_well) as world:
        run = await world.app.trigger(never_well)
        with pytest.raises(RunFailedError, match="unwell"):
            await world.ends(run)
        assert len(effects) == 3


async def test_the_timeout_counts_from_the_first_start_also_in_a_later_attempt() -> None:
    @workflow(retry=THREE, timeout="90s")
    async def hangs_then() -> None:
        effects.append(current_run().attempt)
        if current_run().attempt == 1:
            raise ValueError("at first")
        await wait_for_event("never")

    async with living(hangs_then) as world:
        run = await world.app.trigger(hangs_then)
        await world.sleep_over(run)
        assert await world.sleep_over(run) == timedelta(seconds=30)
        with pytest.raises(RunFailedError) as caught:
            await run.result()
        assert caught.value.type.endswith("RunTimeoutError")
        assert effects == [1, 2]
