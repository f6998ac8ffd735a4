"""``continue_as``: the same run with a fresh journal, as often as one likes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import (
    RunCancelledError,
    RunPausedError,
    continue_as,
    current_run,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import Action, CommitRun, ControlRun
from tests.runtime.living import living, settle, until

effects: list[Any] = []
keys: set[str] = set()


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()
    keys.clear()


@step
async def count(n: int) -> int:
    effects.append(n)
    keys.add(current_run().step.idempotency_key)
    return n


@workflow
async def counts_to(state: dict[str, int]) -> int:
    n = await count(state["n"])
    if n == state["to"]:
        return n
    continue_as({"n": n + 1, "to": state["to"]})


async def test_a_thousand_generations_leave_a_journal_of_one() -> None:
    longest = 0
    async with living(counts_to) as world:
        run = await world.app.trigger(counts_to, {"n": 1, "to": 1000})
        waiting = run.result()
        result = await waiting
        rows = await world.storage.inner.read_journal(run.id)
        longest = max(longest, len(rows))

        assert result == 1000
        assert effects == list(range(1, 1001))
        assert len(keys) == 1000, "the step of each generation has an idempotency key of its own"
        assert len(rows) <= 3
        assert (await world.app.get_run(run.id)).input == {"n": 1000, "to": 1000}
        assert worker_is_free(world)


def worker_is_free(world: Any) -> bool:
    worker = world.app._opened.worker
    return worker.slots.free == 1000 and worker.drivers == {}


@workflow
async def takes_all(state: dict[str, Any]) -> list[str]:
    seen: list[str] = state["seen"]
    if len(seen) == state["to"]:
        return seen
    seen.append(await wait_for_event("word"))
    continue_as({"seen": seen, "to": state["to"]})


async def test_every_event_reaches_one_generation_in_order() -> None:
    async with living(takes_all) as world:
        await world.app.notify("word", "before the run")
        run = await world.app.trigger(takes_all, {"seen": [], "to": 40})
        for n in range(40):
            await world.app.notify("word", str(n))
            if n % 3 == 0:
                await settle(n % 7)

        assert await run.result() == [str(n) for n in range(40)]


async def test_events_from_before_the_run_stay_unseen_also_by_later_generations() -> None:
    """The run is created and claimed in one write: its place among the events is known only after that."""
    async with living(takes_all) as world:
        await world.app.notify("word", "before the run")
        run = await world.app.trigger(takes_all, {"seen": [], "to": 2})
        await world.app.notify("word", "one")
        await until(lambda: not world.app._opened.worker.drivers)  # type: ignore[union-attr]
        await world.app.notify("word", "two")

        assert await run.result() == ["one", "two"]


async def test_events_from_before_the_run_stay_unseen_by_a_generation_that_waits_first() -> None:
    @workflow
    async def waits_second(n: int) -> str:
        if n == 0:
            await count(n)
            continue_as(1)
        found: str = await wait_for_event("word")
        return found

    async with living(waits_second) as world:
        await world.app.notify("word", "before the run")
        run = await world.app.trigger(waits_second, 0)
        await world.reaches(run, "suspended")
        await world.app.notify("word", "after")

        assert await run.result() == "after"


@pytest.mark.parametrize("asked", ["pause", "cancel"])
async def test_what_is_asked_while_a_new_journal_is_being_written_is_done_by_the_next_generation(
    asked: str,
) -> None:
    """No time passes in this test: there is no poll that would find the request later."""
    gate = asyncio.Event()

    @step
    async def hold(n: int) -> None:
        effects.append(n)
        if n == 1:
            await gate.wait()

    @workflow
    async def three_times(n: int) -> int:
        await hold(n)
        if n == 3:
            return n
        continue_as(n + 1)

    async with living(three_times) as world:
        run = await world.app.trigger(three_times, 1)
        await until(lambda: effects == [1])
        writing = world.storage.hold("write", picks=lambda write: isinstance(write, CommitRun))
        gate.set()
        await writing.reached()
        await world.storage.inner.write(
            [ControlRun(run_id=run.id, action=Action(asked))], now=world.clock.now()
        )
        await settle(100)
        writing.open()
        await settle(100)

        assert (await world.record(run)).status == ("paused" if asked == "pause" else "cancelled")
        assert effects == [1]


async def test_generations_go_on_after_restarts() -> None:
    storage = MemoryStorage()
    clock = None
    for life in range(5):
        async with living(takes_all, storage=storage, clock=clock) as world:
            run = await world.app.trigger(takes_all, {"seen": [], "to": 10}, id="one")
            assert run.created is (life == 0)
            for n in range(2):
                await world.app.notify("word", f"{life}.{n}")
                await settle()
            await world.reaches(run, "completed" if life == 4 else "suspended")
            clock = world.clock
    async with living(takes_all, storage=storage, clock=clock) as world:
        seen = await world.app.handle("one").result()
    assert seen == [f"{life}.{n}" for life in range(5) for n in range(2)]


async def test_an_endless_loop_leaves_when_its_worker_stops() -> None:
    @workflow
    async def for_ever(n: int) -> None:
        await count(n)
        continue_as(n + 1)

    storage = MemoryStorage()
    async with living(for_ever, storage=storage, grace="30s") as world:
        run = await world.app.trigger(for_ever, 1)
        await until(lambda: len(effects) > 10)
        await asyncio.wait_for(world.app._close(), 10)  # no time passes: the grace can't be what ended it

        assert (await world.record(run)).status == "queued"


async def test_an_endless_loop_can_be_cancelled_and_paused() -> None:
    @workflow
    async def for_ever(n: int) -> None:
        await count(n)
        continue_as(n + 1)

    async with living(for_ever) as world:
        run = await world.app.trigger(for_ever, 1)
        await until(lambda: len(effects) > 10)
        await world.app.pause(run.id)
        with pytest.raises(RunPausedError):
            await run.result()
        await world.app.resume(run.id)
        here = len(effects)
        await until(lambda: len(effects) > here + 10)
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await run.result()


async def test_a_daily_loop_runs_for_years() -> None:
    @workflow
    async def daily(n: int) -> int:
        await sleep("1d")
        if n == 1000:
            return n
        continue_as(n + 1)

    async with living(daily) as world:
        began = world.clock.now()
        run = await world.app.trigger(daily, 1)
        assert await world.ends(run) == 1000
        assert (world.clock.now() - began).days == 1000
        assert len(await world.storage.inner.read_journal(run.id)) <= 5


async def test_an_input_that_does_not_fit_fails_where_it_is_given() -> None:
    @workflow
    async def careless(n: int) -> None:
        continue_as("one")

    async with living(careless) as world:
        run = await world.app.trigger(careless, 1)
        with pytest.raises(Exception, match="input"):
            await run.result(timeout="15s")
        assert await run.status() == "failed"


async def test_a_run_that_was_continued_is_still_the_same_start() -> None:
    async with living(counts_to) as world:
        run = await world.app.trigger(counts_to, {"n": 1, "to": 3}, id="one")
        await run.result()
        again = await world.app.trigger(counts_to, {"n": 1, "to": 3}, id="one")

        assert not again.created
        assert await again.result() == 3
