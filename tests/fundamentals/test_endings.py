"""Endings: main's, those of what it leaves behind, and those that come from outside."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from stepflow._engine.commands import TimedOut, Undecodable, WasCancelled
from stepflow._engine.execution import RunFacts
from stepflow.errors import NotDurableError
from stepflow.model.journal import (
    CancelRequested,
    Claimed,
    RunTimedOut,
    StepCompleted,
)
from stepflow.primitives import step
from tests.fundamentals.barely import CLAIMED, charge, completed, execution_of, run
from tests.fundamentals.driving import (
    RUN_ID,
    T0,
    Driver,
    World,
    assert_replays,
    drive,
)


# ------------------------------------------------------------------ the end of main
def test_what_main_leaves_behind_is_cancelled_and_waited_for() -> None:
    async def side() -> None:
        try:
            await run("slow")
        finally:
            await run("cleanup")

    async def main() -> str:
        task = asyncio.create_task(side())
        await run("quick")
        return f"left {task.done()}"

    history = drive(main, world=World(takes=lambda command: 9 if command.name == "slow" else 1))

    assert history.value == "left False"
    assert history.keys == ["quick", f"{side.__qualname__}/cleanup"]
    assert_replays(history)


def test_tasks_that_clean_up_after_main_ended_are_not_cancelled() -> None:
    async def side() -> None:
        try:
            await run("slow")
        finally:
            await asyncio.gather(charge(), charge())

    async def main() -> str:
        asyncio.create_task(side(), name="side")
        return await run("quick")

    history = drive(main, world=World(takes=lambda command: 9 if command.name == "slow" else 1))

    assert history.value == "done"
    assert history.keys == ["quick", "side/charge/x", "side/charge:2/x"]
    assert_replays(history)


def test_a_task_that_begins_when_main_has_ended_is_cancelled_with_those_before_it() -> None:
    async def late() -> None:
        try:
            await run("never")
        finally:
            await run("late cleanup")

    async def side() -> None:
        try:
            await run("slow")
        finally:
            asyncio.create_task(late())
            await run("cleanup")

    async def main() -> str:
        asyncio.create_task(side())
        return await run("quick")

    history = drive(main, world=World(takes=lambda command: 9 if command.name in ("slow", "never") else 1))

    assert history.value == "done"
    assert [key.rpartition("/")[2] for key in history.keys] == ["quick", "cleanup", "late cleanup"]
    assert_replays(history)


def test_a_task_that_goes_on_after_its_cancel_is_waited_for_and_not_cancelled_again() -> None:
    async def stubborn() -> None:
        task = asyncio.current_task()
        assert task is not None
        for name in ("a", "b", "c"):
            try:
                await run(name)
            except asyncio.CancelledError:
                task.uncancel()

    async def main() -> str:
        asyncio.create_task(stubborn(), name="side")
        return await run("quick")

    history = drive(main, world=World(takes=lambda command: 9 if command.name == "a" else 1))

    assert history.value == "done"
    assert history.keys == ["quick", "side/b", "side/c"]
    assert_replays(history)


def test_an_abandoned_generator_is_closed_with_its_awaits_before_the_run_ends() -> None:
    async def items(name: str) -> AsyncIterator[str]:
        try:
            yield await run(name)
            yield await run("never")
        finally:
            await run(f"close {name}")

    async def main() -> None:
        for name in ("first", "second"):
            async for _ in items(name):
                break

    history = drive(main)

    assert history.keys == ["first", "second", "close first", "close second"]
    assert_replays(history)


def test_many_generators_that_ended_are_not_held() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    async def main() -> int:
        count = 0
        for _ in range(300):
            async for item in items():
                count += item
        await run("x")
        return count

    driver = Driver(main, RunFacts(run_id=RUN_ID, workflow_id="w"), World()).begin()

    assert len(driver.execution._loop._generators) <= 64
    assert driver.run().value == 300


def test_many_tasks_that_ended_are_not_held() -> None:
    async def main() -> None:
        for _ in range(300):
            await asyncio.create_task(asyncio.sleep(0))
        await run("x")

    driver = Driver(main, RunFacts(run_id=RUN_ID, workflow_id="w"), World()).begin()

    assert len(driver.execution._stage.tasks) <= 64
    driver.end()


def test_a_system_exit_fails_the_run_and_not_the_host() -> None:
    async def leaves() -> None:
        await run("x")
        sys.exit(3)

    async def main() -> Any:
        return await asyncio.gather(leaves(), run("y"), return_exceptions=False)

    history = drive(main)

    assert isinstance(history.error, SystemExit)
    assert_replays(history)


def test_a_workflow_that_spins_fails_instead_of_blocking_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepflow._engine.loop.ReplayLoop.run_dry.__defaults__", (5_000,))

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    history = drive(main)

    assert isinstance(history.error, NotDurableError)
    assert "spins" in str(history.error)


def test_the_first_end_counts_whatever_is_delivered_later() -> None:
    execution = execution_of(charge)
    execution.advance([CLAIMED])
    step_ended = completed(execution, "x")

    ended = execution.advance([step_ended])
    again = execution.advance([CancelRequested(at=T0)])

    assert ended.outcome is not None
    assert again.outcome is ended.outcome
    assert again.accepted == []
    assert execution.due_entry(T0 + timedelta(days=1)) is None
    execution.evict()


def test_what_is_outstanding_when_a_run_can_not_go_on_is_given_up() -> None:
    async def counts() -> int:
        return 1

    async def main() -> None:
        await asyncio.gather(step.run("x", counts), run("y"))

    execution = execution_of(main)
    execution.advance([CLAIMED])

    report = execution.advance([completed(execution, "x")])  # its value is no number
    execution.evict()

    assert isinstance(report.outcome, Undecodable)
    assert [command.key for command in report.withdrawn] == ["x", "y"]


# ------------------------------------------------------------------ cancels and the run's own timeout
def test_a_cancel_may_be_swallowed() -> None:
    async def main() -> str:
        try:
            await run("slow")
        except asyncio.CancelledError:
            return await run("instead")
        return "never"

    history = drive(main, world=World(takes=lambda command: 9, cancel_after=1))

    assert history.value == "done"
    assert_replays(history)


def test_a_cancel_that_escapes_cancels_the_run() -> None:
    history = drive(charge, world=World(takes=lambda command: 9, cancel_after=1))

    assert history.outcome == WasCancelled()
    assert_replays(history)


def test_a_workflow_that_cancels_itself_has_failed() -> None:
    async def main() -> None:
        await run("x")
        raise asyncio.CancelledError

    history = drive(main)

    assert isinstance(history.error, asyncio.CancelledError)
    assert "from inside" in str(history.error)


@pytest.mark.parametrize("swallow", [False, True])
def test_when_the_runs_timeout_passes_it_has_failed_whatever_main_makes_of_it(swallow: bool) -> None:
    async def main() -> str:
        try:
            return await run("slow")
        except asyncio.CancelledError:
            await run("undo")
            if swallow:
                return "swallowed"
            raise

    takes = {"slow": 99.0, "undo": 2.0}
    history = drive(
        main, world=World(takes=lambda command: takes[command.name]), timeout=timedelta(seconds=10)
    )

    assert history.outcome == TimedOut()
    assert [type(entry) for entry in history.entries] == [Claimed, RunTimedOut, StepCompleted]
    assert history.entries[-1].at == T0 + timedelta(seconds=12)
    assert_replays(history)


def test_a_timeout_that_main_answers_with_an_error_is_still_a_timeout() -> None:
    async def main() -> None:
        try:
            await run("slow")
        except asyncio.CancelledError:
            raise ValueError("worse") from None

    history = drive(main, world=World(takes=lambda command: 99), timeout=timedelta(seconds=10))

    assert history.outcome == TimedOut()
