"""Results: whoever asks, in whatever process, hears how the run ended, and never waits in vain."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from stepflow import (
    DeserializationError,
    NotOpenError,
    ResultTimeoutError,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    RunPausedError,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from stepflow.storage.memory import MemoryStorage
from tests.runtime.living import living, settle, until


@dataclass
class Receipt:
    total: int
    lines: list[str]


@workflow
async def buy(total: int) -> Receipt:
    return Receipt(total, ["one"])


@workflow
async def nap(seconds: int) -> str:
    await sleep(seconds)
    return "rested"


@workflow
async def wait_for_ever() -> str:
    found: str = await wait_for_event("never")
    return found


@step(retry=1)
async def explode(word: str) -> None:
    raise LookupError(word)


@workflow
async def fails(word: str) -> None:
    await explode(word)


async def test_a_result_has_the_type_that_the_workflow_promises() -> None:
    async with living(buy) as world:
        run = await world.app.trigger(buy, 3)

        assert await run.result() == Receipt(3, ["one"])
        assert await world.app.handle(run.id, buy).result() == Receipt(3, ["one"])
        assert await world.app.handle(run.id).result() == {"total": 3, "lines": ["one"]}


async def test_a_result_can_be_asked_for_again_and_is_a_new_object() -> None:
    async with living(buy) as world:
        run = await world.app.trigger(buy, 3)
        (await run.result()).lines.append("mine")

        assert (await run.result()).lines == ["one"]


async def test_a_failed_run_tells_type_message_and_traceback() -> None:
    async with living(fails) as world:
        run = await world.app.trigger(fails, "lost it")

        with pytest.raises(RunFailedError) as caught:
            await run.result()

    error = caught.value
    assert (error.type, error.message) == ("LookupError", "lost it")
    assert "raise LookupError(word)" in error.traceback
    assert error.run_id == run.id


async def test_a_cancelled_run_is_no_cancelled_error() -> None:
    async with living(wait_for_ever) as world:
        run = await world.app.trigger(wait_for_ever)
        await run.cancel()

        with pytest.raises(RunCancelledError):
            await run.result()


async def test_a_run_that_is_not_there_is_not_found() -> None:
    async with living(buy) as world:
        handle = world.app.handle("nobody", buy)

        for ask in (handle.result(), handle.result(timeout=0), handle.status(), world.app.get_run("nobody")):
            with pytest.raises(RunNotFoundError):
                await ask


async def test_a_result_that_does_not_fit_the_asked_type_says_so() -> None:
    async with living(buy, nap) as world:
        run = await world.app.trigger(buy, 3)
        await run.result()

        with pytest.raises(DeserializationError):
            await world.app.handle(run.id, nap).result()


# ------------------------------------------------------------------ limits of patience
async def test_a_timeout_of_zero_asks_whether_it_is_there() -> None:
    async with living(nap) as world:
        run = await world.app.trigger(nap, 60)

        with pytest.raises(ResultTimeoutError):
            await run.result(timeout=0)
        await world.sleep_over(run)
        assert await run.result(timeout=0) == "rested"


async def test_a_timeout_leaves_the_run_alone() -> None:
    async with living(nap) as world:
        run = await world.app.trigger(nap, 60)

        with pytest.raises(ResultTimeoutError, match="it goes on") as caught:
            await run.result(timeout="10ms")
        assert caught.value.timeout == 0.01
        await world.sleep_over(run)

        assert await run.result(timeout="15s") == "rested"


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    async with living(wait_for_ever) as world:
        run = await world.app.trigger(wait_for_ever)
        before = len(asyncio.all_tasks())
        waits = [asyncio.create_task(run.result(timeout=limit)) for limit in (None, "1h")]
        await settle()
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await settle()

        assert len(asyncio.all_tasks()) == before


# ------------------------------------------------------------------ paused runs
async def test_a_paused_run_does_not_make_anyone_wait() -> None:
    async with living(wait_for_ever) as world:
        run = await world.app.trigger(wait_for_ever)
        waiting = asyncio.create_task(run.result())
        await world.reaches(run, "suspended")
        await world.app.pause(run.id)

        with pytest.raises(RunPausedError, match="requested"):
            await waiting
        with pytest.raises(RunPausedError):
            await run.result()
        with pytest.raises(RunPausedError):
            await run.result(timeout=0)


# ------------------------------------------------------------------ elsewhere
async def test_another_app_on_the_same_storage_hears_of_the_end_without_a_poll() -> None:
    storage = MemoryStorage()
    async with (
        living(nap, storage=storage) as world,
        living(nap, storage=storage, clock=world.clock, worker=False) as other,
    ):
        run = await world.app.trigger(nap, 60)
        waiting = asyncio.create_task(other.app.handle(run.id, nap).result())
        await world.sleep_over(run)
        await until(waiting.done)

        assert await waiting == "rested"


async def test_another_app_hears_of_every_kind_of_end() -> None:
    storage = MemoryStorage()
    async with (
        living(fails, wait_for_ever, storage=storage) as world,
        living(fails, wait_for_ever, storage=storage, clock=world.clock, worker=False) as other,
    ):
        failed = await other.app.trigger(fails, "x")
        with pytest.raises(RunFailedError):
            await failed.result()
        for act, error in (
            (other.app.cancel, RunCancelledError),
            (other.app.pause, RunPausedError),
            (lambda run_id: other.app.cancel(run_id, force=True), RunCancelledError),
        ):
            run = await other.app.trigger(wait_for_ever)
            await world.reaches(run, "suspended")
            waiting = asyncio.create_task(run.result())
            await settle()
            await act(run.id)
            with pytest.raises(error):
                await waiting


async def test_a_lost_hint_costs_a_second() -> None:
    """The waiter's app hears nothing at all: its storage gives no hints."""

    class Deaf(MemoryStorage):
        def wakeups(self) -> Any:
            return silence()

    async def silence() -> Any:
        await asyncio.Event().wait()
        yield

    storage = Deaf()
    async with (
        living(nap, storage=storage) as world,
        living(nap, storage=storage, clock=world.clock, worker=False) as other,
    ):
        run = await other.app.trigger(nap, 60)
        waiting = asyncio.create_task(run.result())
        await settle()
        await world.pass_time("1s")  # the worker's poll claims it
        await world.reaches(run, "suspended")
        await world.pass_time("60s")
        await world.reaches(run, "completed")
        assert not waiting.done()
        await world.pass_time("1s")

        assert await waiting == "rested"


async def test_closing_an_app_ends_every_wait_in_it() -> None:
    async with living(wait_for_ever) as world:
        run = await world.app.trigger(wait_for_ever)
        await world.reaches(run, "suspended")
        waiting = asyncio.create_task(run.result())
        watching = asyncio.create_task(all_events(run))
        await settle()

    with pytest.raises(NotOpenError):
        await waiting
    with pytest.raises(NotOpenError):
        await watching


# ------------------------------------------------------------------ the journal as it grows
async def all_events(run: Any, **options: Any) -> list[Any]:
    return [event async for event in run.events(**options)]


async def test_the_events_of_a_run_are_its_journal_and_end_with_it() -> None:
    async with living(nap) as world:
        run = await world.app.trigger(nap, 60)
        watching = asyncio.create_task(all_events(run))
        await world.sleep_over(run)
        await run.result()

        events = await watching

        assert [type(event.entry).__name__ for event in events] == await world.kinds(run)
        assert [type(event.entry).__name__ for event in events] == [
            "Claimed",
            "Suspended",
            "Claimed",
            "TimerFired",
            "Ended",
        ]


async def test_events_go_on_after_any_cursor_without_gap_or_double() -> None:
    async with living(nap) as world:
        run = await world.app.trigger(nap, 60)
        await world.sleep_over(run)
        await run.result()
        events = await all_events(run)

        for place, event in enumerate(events):
            assert [e.id for e in await all_events(run, after=event.id)] == [
                e.id for e in events[place + 1 :]
            ]


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.x", "-1.0", "1.0\n", "¹.0"])
async def test_a_malformed_cursor_is_refused(cursor: str) -> None:
    async with living(nap) as world:
        run = await world.app.trigger(nap, 60)

        with pytest.raises(ValueError, match="cursor"):
            await all_events(run, after=cursor)


async def test_events_of_a_run_driven_elsewhere_come_without_a_poll() -> None:
    storage = MemoryStorage()
    async with (
        living(nap, storage=storage) as world,
        living(nap, storage=storage, clock=world.clock, worker=False) as other,
    ):
        run = await other.app.trigger(nap, 60)
        watching = asyncio.create_task(all_events(run))
        await world.sleep_over(run)
        await until(watching.done)

        assert len(watching.result()) == 5


async def test_whoever_asks_for_the_status_again_and_again_does_not_hold_up_the_run() -> None:
    async with living(buy) as world:
        run = await world.app.trigger(buy, 3)
        while await run.status() != "completed":
            pass
        assert await run.result() == Receipt(3, ["one"])
