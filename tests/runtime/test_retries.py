"""Retries of steps: how often, how soon, what survives, and what stops them."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    FatalError,
    Retry,
    RetryAfter,
    RunFailedError,
    current_run,
    step,
    wait_for_event,
    workflow,
)
from stepflow.hooks import StepRetried
from stepflow.model.journal import EventReceived
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.faults import FaultyStorage
from tests.runtime.living import living, settle, until

attempts: list[int] = []
NO_JITTER = Retry(attempts=5, delay="1s", backoff=2, max_delay="10m", jitter=False)


@pytest.fixture(autouse=True)
def clean() -> None:
    attempts.clear()


@step(retry=NO_JITTER)
async def moody(until_attempt: int) -> int:
    attempts.append(current_run().step.attempt)
    if current_run().step.attempt < until_attempt:
        raise ConnectionError("not yet")
    return current_run().step.attempt


@workflow
async def use_moody(until_attempt: int) -> int:
    return await moody(until_attempt)


async def test_a_step_is_tried_again_until_it_succeeds() -> None:
    async with living(use_moody) as world:
        run = await world.app.trigger(use_moody, 3)

        assert await world.ends(run) == 3
        assert attempts == [1, 2, 3]


async def test_the_last_failure_is_the_step_s() -> None:
    async with living(use_moody) as world:
        run = await world.app.trigger(use_moody, 9)

        with pytest.raises(RunFailedError, match="not yet"):
            await world.ends(run)
        assert attempts == [1, 2, 3, 4, 5]
        [seen] = (await world.app.get_run(run.id)).steps
        assert seen.attempts == 5


async def test_delays_back_off_exactly_and_never_end_early() -> None:
    began: list[Any] = []

    @step(retry=Retry(attempts=6, delay="2s", backoff=3, max_delay="1m", jitter=False))
    async def timed() -> None:
        began.append(world.clock.now())
        raise ValueError

    @workflow
    async def backs_off() -> None:
        await timed()

    async with living(backs_off) as world:
        run = await world.app.trigger(backs_off)
        with pytest.raises(RunFailedError):
            await world.ends(run)

    delays = [(b - a).total_seconds() for a, b in itertools.pairwise(began)]
    assert delays == [2, 6, 18, 54, 60]


async def test_jitter_takes_off_at_most_half() -> None:
    @step(retry=Retry(attempts=40, delay="8s", backoff=1))
    async def jittery() -> None:
        raise ValueError

    @workflow
    async def jitters() -> None:
        await jittery()

    async with living(jitters) as world:
        run = await world.app.trigger(jitters)
        with pytest.raises(RunFailedError):
            await world.ends(run)

        waits = [fact.retry_at - fact.at for fact in world.facts if isinstance(fact, StepRetried)]
        assert len(waits) == 39
        assert all(timedelta(seconds=4) <= wait <= timedelta(seconds=8) for wait in waits)
        assert len(set(waits)) > 30


async def test_a_short_delay_is_waited_out_in_memory_and_a_long_one_out_of_it() -> None:
    async with living(use_moody) as world:
        run = await world.app.trigger(use_moody, 5)
        await until(lambda: attempts == [1])
        assert await run.status() == "running"

        for delay, expected in (("1s", 2), ("2s", 3), ("4s", 4)):
            await world.pass_time(delay)
            await until(lambda expected=expected: len(attempts) == expected)
        record = await world.reaches(run, "suspended")
        assert record.due_at == world.clock.now() + timedelta(seconds=8)
        assert await world.sleep_over(run) == timedelta(seconds=8)

        assert await run.result() == 5


async def test_attempts_survive_a_suspension_and_a_restart() -> None:
    storage = MemoryStorage()
    async with living(use_moody, storage=storage) as world:
        run = await world.app.trigger(use_moody, 5)
        for expected in (1, 2, 3, 4):
            await until(lambda expected=expected: len(attempts) == expected)
            await world.pass_time("4s")
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(use_moody, storage=storage, clock=clock) as later:
        handle = later.app.handle(run.id, use_moody)
        await later.pass_time("8s")

        assert await handle.result() == 5
        assert attempts == [1, 2, 3, 4, 5]


async def test_hot_attempts_are_written_when_the_worker_stops() -> None:
    storage = MemoryStorage()
    async with living(use_moody, storage=storage) as world:
        run = await world.app.trigger(use_moody, 3)
        await until(lambda: attempts == [1])
        clock = world.clock
    async with living(use_moody, storage=storage, clock=clock) as later:
        assert await later.ends(later.app.handle(run.id, use_moody)) == 3
        assert attempts == [1, 2, 3]


async def test_a_retry_that_rests_while_a_sibling_runs_is_not_forgotten() -> None:
    """The sibling ends when the retry is less than the hot limit away: somebody has to wake the run all the same."""
    tried: list[str] = []

    @step(retry=Retry(attempts=2, delay="6s", jitter=False))
    async def fails_once() -> str:
        tried.append("fails once")
        if len(tried) == 1:
            raise ValueError
        return "well"

    gate = asyncio.Event()

    @step
    async def sibling() -> str:
        await gate.wait()
        return "done"

    @workflow
    async def both() -> list[str]:
        return list(await asyncio.gather(fails_once(), sibling()))

    async with living(both) as world:
        run = await world.app.trigger(both)
        await until(lambda: len(tried) == 1)
        await world.pass_time("3s")
        gate.set()
        await settle()
        await world.pass_time("3s")

        assert await run.result(timeout="15s") == ["well", "done"]


async def test_retry_after_sets_the_next_delay_and_uses_an_attempt() -> None:
    @step(retry=Retry(attempts=2, delay="1s"))
    async def limited() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise RetryAfter("3h")
        return "through"

    @workflow
    async def is_limited() -> str:
        return await limited()

    async with living(is_limited) as world:
        run = await world.app.trigger(is_limited)
        assert await world.sleep_over(run) == timedelta(hours=3)
        assert await run.result() == "through"


async def test_retry_after_the_last_attempt_is_a_failure() -> None:
    @step(retry=1)
    async def limited() -> str:
        raise RetryAfter("3h")

    @workflow
    async def is_limited() -> str:
        return await limited()

    async with living(is_limited) as world:
        with pytest.raises(RunFailedError, match="retry after 3h"):
            await (await world.app.trigger(is_limited)).result()


@pytest.mark.parametrize("kind", ["fatal", "never on", "not on"])
async def test_some_failures_are_final(kind: str) -> None:
    raised = {"fatal": FatalError("no"), "never on": KeyError("no"), "not on": OSError("no")}[kind]

    @step(retry=Retry(attempts=9, on=(LookupError, FatalError), never_on=(KeyError,)))
    async def refuses() -> None:
        attempts.append(1)
        raise raised

    @workflow
    async def is_refused() -> None:
        await refuses()

    async with living(is_refused) as world:
        with pytest.raises(RunFailedError, match="no"):
            await (await world.app.trigger(is_refused)).result()
    assert attempts == [1]


async def test_a_delay_of_nothing_retries_at_once() -> None:
    @step(retry=Retry(attempts=50, delay=0))
    async def eager() -> int:
        attempts.append(1)
        if len(attempts) < 50:
            raise ValueError
        return len(attempts)

    @workflow
    async def is_eager() -> int:
        return await eager()

    async with living(is_eager) as world:
        assert await (await world.app.trigger(is_eager)).result() == 50


async def test_unlimited_attempts_go_on() -> None:
    @step(retry=Retry(attempts=None, delay="1h", backoff=1, max_delay="1h", jitter=False))
    async def stubborn() -> int:
        attempts.append(1)
        if len(attempts) < 200:
            raise ValueError
        return len(attempts)

    @workflow
    async def is_stubborn() -> int:
        return await stubborn()

    async with living(is_stubborn) as world:
        run = await world.app.trigger(is_stubborn)
        assert await world.ends(run) == 200
        assert (await world.record(run)).ended_at == world.clock.now()


async def test_a_step_that_fails_right_after_a_wait_ends_the_run() -> None:
    """inngest #1290: the run was stuck."""

    @step(retry=1)
    async def fails() -> None:
        raise ValueError("after the wait")

    @workflow
    async def waits_and_fails() -> None:
        await wait_for_event("go", timeout="1h")
        await fails()

    async with living(waits_and_fails) as world:
        run = await world.app.trigger(waits_and_fails)
        await world.reaches(run, "suspended")
        await world.app.notify("go")

        with pytest.raises(RunFailedError, match="after the wait"):
            await run.result()


async def test_every_waiting_run_has_something_that_wakes_it() -> None:
    """vercel/workflow #1806: a scheduled retry was silently never fired."""
    async with living(use_moody) as world:
        runs = [await world.app.trigger(use_moody, 5) for _ in range(20)]
        for _ in range(40):
            await world.pass_time("700ms")
            for run in runs:
                record = await world.record(run)
                if record.status == "suspended":
                    assert record.due_at is not None
        for run in runs:
            assert await world.ends(run) == 5


@workflow
async def retried_beside_a_wait() -> list[Any]:
    async def both() -> list[Any]:
        failing = step(retry=Retry(attempts=3, delay="10s", jitter=False)).run("moody", mood)
        return [await failing, await wait_for_event("go")]

    return await both()


async def mood() -> int:
    attempts.append(current_run().step.attempt)
    if current_run().step.attempt == 1:
        raise ConnectionError("not yet")
    return current_run().step.attempt


async def test_a_retry_that_another_worker_had_is_not_had_again_by_the_one_that_kept_the_run() -> None:
    shared = MemoryStorage()
    async with living(retried_beside_a_wait, storage=FaultyStorage(shared)) as first:
        run = await first.app.trigger(retried_beside_a_wait)
        await first.reaches(run, "suspended")
        first.storage.freeze()
        async with living(retried_beside_a_wait, storage=FaultyStorage(shared), clock=first.clock) as second:
            await second.pass_time("10s")
            await until(lambda: attempts == [1, 2])
            await second.reaches(run, "suspended")
            second.storage.freeze()
            first.storage.thaw()
            await first.app.notify("go", "gone")

            assert await first.ends(run) == [2, "gone"]
            second.storage.thaw()
        assert attempts == [1, 2]


@workflow
async def gives_a_retry_up() -> str:
    failing = asyncio.create_task(step(retry=NO_JITTER).run("moody", never_well))
    await wait_for_event("go")
    failing.cancel()
    return str(await wait_for_event("end"))


async def never_well() -> None:
    attempts.append(current_run().step.attempt)
    raise ConnectionError("not yet")


def receives(write: Any) -> bool:
    return any(isinstance(entry, EventReceived) for entry in getattr(write, "entries", ()))


async def test_a_step_that_was_given_up_is_not_retried_while_that_is_being_written() -> None:
    async with living(gives_a_retry_up) as world:
        run = await world.app.trigger(gives_a_retry_up)
        await until(lambda: attempts == [1])
        gate = world.storage.hold("write", picks=receives)
        await world.app.notify("go")
        await gate.reached()

        for _ in range(5):
            await world.pass_time("1s")

        assert attempts == [1]
        gate.open()
        await world.app.notify("end", "over")
        assert await world.ends(run) == "over"
