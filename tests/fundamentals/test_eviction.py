"""Eviction: whatever workflow code does on its way out, nothing comes of it, nothing is left, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from stepflow._engine.eviction import Evicted
from stepflow._engine.execution import Execution, RunFacts
from stepflow.primitives import current_run, sleep, step, wait_for_event
from tests.fundamentals import barely
from tests.fundamentals.conftest import can_run
from tests.fundamentals.driving import Driver, History, World, drive, resume

Main = Callable[[], Awaitable[Any]]
pytestmark = pytest.mark.usefixtures("nothing_left")

SEEN: list[str] = []
"""What workflow code did outside of any step; cleared before each test."""


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


async def body(what: str) -> str:
    return what


def run(name: str) -> Any:
    return step.run(name, body, name)


def caught(error: BaseException) -> str:
    SEEN.append(type(error).__name__)
    return type(error).__name__


# ------------------------------------------------------------------ workflows that cling to life, and yet return "x y"
async def except_exception() -> str:
    results = []
    for name in ("x", "y"):
        try:
            results.append(await run(name))
        except Exception as error:
            results.append(caught(error))
    return " ".join(results)


async def bare_except() -> str:
    results = []
    for name in ("x", "y"):
        try:
            results.append(await run(name))
        except:  # noqa: E722  # this is how people write it
            results.append("swallowed")
    return " ".join(results)


async def bare_except_around_a_loop() -> str:
    while True:
        try:
            return f"{await run('x')} {await run('y')}"
        except BaseException:
            await run("again")


async def a_finally_with_awaits() -> str:
    try:
        first = await run("x")
    finally:
        await run("cleanup")
        await sleep("breath", 1)
    return f"{first} {await run('y')}"


async def a_finally_that_gathers() -> str:
    try:
        first = await run("x")
    finally:
        await asyncio.gather(run("cleanup"), run("cleanup"), asyncio.sleep(3))
        async with asyncio.TaskGroup() as group:
            group.create_task(a_finally_with_awaits())
    return f"{first} {await run('y')}"


async def a_finally_that_raises() -> str:
    try:
        first = await run("x")
        second = await run("y")
    finally:
        if sys.exc_info()[1] is not None:
            raise ValueError("on the way out")
    return f"{first} {second}"


async def a_finally_that_exits() -> str:
    try:
        first = await run("x")
        second = await run("y")
    finally:
        if sys.exc_info()[1] is not None:
            sys.exit(3)
    return f"{first} {second}"


class Resource:
    async def __aenter__(self) -> str:
        return await run("x")

    async def __aexit__(self, *exc: object) -> None:
        await run("leave")


async def async_with() -> str:
    async with Resource() as first, Resource():
        second = await run("y")
    return f"{first} {second}"


@contextlib.asynccontextmanager
async def managed() -> AsyncIterator[str]:
    try:
        yield await run("x")
    finally:
        await run("leave")


async def async_context_manager() -> str:
    async with managed() as first:
        return f"{first} {await run('y')}"


async def items(*names: str) -> AsyncIterator[str]:
    try:
        for name in names:
            yield await run(name)
    finally:
        await run("close")


async def async_generator() -> str:
    return " ".join([item async for item in items("x", "y")])


async def abandoned_generator() -> str:
    async for first in items("x", "never"):
        break
    return f"{first} {await run('y')}"


async def generators_in_generators() -> str:
    async def outer() -> AsyncIterator[str]:
        try:
            async for item in items("x", "y"):
                yield item
        finally:
            await asyncio.gather(run("outer"), asyncio.sleep(1))

    return " ".join([item async for item in outer()])


async def a_generator_that_swallows() -> str:
    async def stubborn() -> AsyncIterator[str]:
        for name in ("x", "y"):
            while True:
                try:
                    yield await run(name)
                    break
                except BaseException:
                    SEEN.append("once more")
                    if len(SEEN) > 100:
                        raise

    return " ".join([item async for item in stubborn()])


async def tasks_of_all_kinds() -> str:
    async def waits_for(what: Awaitable[Any]) -> Any:
        try:
            return await what
        except BaseException:
            await run("cleanup")
            raise

    background = asyncio.create_task(waits_for(wait_for_event("never")))
    first = await asyncio.wait_for(asyncio.shield(waits_for(run("x"))), 60)
    queue: asyncio.Queue[str] = asyncio.Queue()
    consumer = asyncio.create_task(queue.get())
    lock = asyncio.Lock()
    async with lock, asyncio.timeout(60), asyncio.TaskGroup() as group:
        second = group.create_task(waits_for(run("y")))
        group.create_task(waits_for(asyncio.sleep(1)))
    consumer.cancel()
    background.cancel()
    return f"{first} {second.result()}"


async def a_task_that_did_not_begin() -> str:
    task = asyncio.create_task(body("y"))
    first = await run("x")
    return f"{first} {await task}"


async def a_task_that_spins_on_the_way_out() -> str:
    try:
        return f"{await run('x')} {await run('y')}"
    except Evicted:
        while len(SEEN) < 100_000:
            SEEN.append("spin")
            await asyncio.sleep(0)
        raise


CLINGING: tuple[Main, ...] = (
    except_exception,
    bare_except,
    bare_except_around_a_loop,
    a_finally_with_awaits,
    a_finally_that_gathers,
    a_finally_that_raises,
    a_finally_that_exits,
    async_with,
    async_context_manager,
    async_generator,
    abandoned_generator,
    generators_in_generators,
    a_generator_that_swallows,
    tasks_of_all_kinds,
    a_task_that_did_not_begin,
    a_task_that_spins_on_the_way_out,
)


@pytest.mark.parametrize("main", CLINGING, ids=lambda main: main.__name__)
def test_evicted_anywhere_the_run_ends_as_if_it_had_not_been(main: Main) -> None:
    history = drive(main)
    assert history.value == "x y"

    for prefix in range(1, len(history.entries) + 1):
        left, effects = evicted_after(history, prefix)
        resumed = resume(history, prefix)

        assert (left, effects) == ([], [])
        assert resumed.entries == history.entries
        assert resumed.value == "x y"


def evicted_after(history: History, prefix: int) -> tuple[list[Any], list[Any]]:
    """Tasks left, and what came out, when the execution is evicted there."""
    driver = Driver(history.main, history.facts, history.world).restore(history.entries[:prefix])
    execution = driver.execution
    before = (execution.outcome, execution.due_at(), [command.key for command in execution.pending()])
    logs, withdrawn = list(driver.logs), list(driver.withdrawn)
    tasks = list(execution._stage.tasks)
    SEEN.clear()
    execution.evict()
    gc.collect()
    assert not execution._report
    assert execution._asked == []
    assert (execution.outcome, execution.due_at(), [command.key for command in execution.pending()]) == before
    left = [task for task in tasks if not task.done() and task.get_coro().cr_frame is not None]
    return left, [*driver.logs[len(logs) :], *driver.withdrawn[len(withdrawn) :]]


def test_except_exception_never_sees_an_eviction() -> None:
    history = drive(except_exception)

    for prefix in range(1, len(history.entries)):
        evicted_after(history, prefix)
        assert SEEN == []


def test_nothing_that_happens_during_an_eviction_has_an_effect() -> None:
    async def main() -> None:
        child = await step.start("bill", None)
        try:
            await run("x")
        finally:
            current_run().log.warning("on the way out")
            await child.cancel()
            asyncio.get_running_loop().call_later(5, print)
            asyncio.create_task(run("z"))
            await asyncio.gather(run("y"), sleep(1), wait_for_event("e"), step.send_event("e", 1))

    driver = Driver(main, RunFacts(run_id="r", workflow_id="w"), World(takes=lambda command: 9))
    driver.begin()
    while "bill" not in [getattr(entry, "key", None) for entry in driver.entries]:
        happening = driver._next()
        assert happening is not None
        entry = happening.make(driver.now)
        assert entry is not None
        driver._deliver(entry)

    execution = driver.execution
    execution.evict()

    assert not execution._report
    assert [command.key for command in execution.pending()] == ["x"]
    assert execution.outcome is None


def clings_to_life(seen: list[str]) -> Main:
    async def main() -> None:
        while True:
            try:
                await run("x")
            except BaseException as error:
                seen.append(type(error).__name__)

    return main


def test_a_coroutine_that_can_not_be_ended_is_leaked_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    execution = begun(clings_to_life(SEEN))

    with caplog.at_level(logging.WARNING, logger="stepflow.engine"):
        execution.evict()

    assert "can't be ended" in caplog.text
    assert SEEN[0] == "Evicted"
    assert SEEN[-1] == "GeneratorExit"
    assert len(SEEN) < 100


def test_a_generator_that_can_not_be_ended_is_leaked_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def endless() -> AsyncIterator[int]:
        while True:
            try:
                yield 1
                await run("x")
            except BaseException:
                while len(SEEN) < 200:
                    try:
                        SEEN.append("once more")
                        await asyncio.get_running_loop().create_future()
                    except BaseException:
                        SEEN.append("still here")
                return

    async def main() -> None:
        async for _ in endless():
            break
        await run("y")

    execution = begun(main)

    with caplog.at_level(logging.WARNING, logger="stepflow.engine"):
        execution.evict()

    assert "can't be ended" in caplog.text


def test_a_task_that_swallows_its_eviction_comes_to_a_stop_and_is_ended() -> None:
    swallowed: list[str] = []

    async def main() -> None:
        while len(swallowed) < 1_000:
            try:
                await run("x")
            except GeneratorExit:
                raise
            except BaseException:
                swallowed.append("once more")

    execution = begun(main)
    (task,) = execution._stage.tasks

    execution.evict()

    assert can_run(task) is False
    assert len(swallowed) < 100


def test_no_step_runs_while_an_execution_is_evicted() -> None:
    ran: list[str] = []

    async def cleanup() -> None:
        ran.append("cleanup")

    async def main() -> None:
        try:
            await run("x")
        finally:
            await step.run("cleanup", cleanup)

    execution = begun(main)

    execution.evict()

    assert ran == []


def test_what_multiplies_when_it_is_ended_comes_to_an_end() -> None:
    async def hydra() -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except (Evicted, asyncio.CancelledError):
                SEEN.append("head")
                asyncio.create_task(hydra())
                asyncio.create_task(body("ends at once"))

    execution = begun(hydra)

    execution.evict()

    assert execution._stage.tasks == []
    assert 100 < len(SEEN) < 10_000


def test_a_run_that_diverged_is_evicted_with_what_still_waited() -> None:
    history = drive(except_exception)

    async def new() -> None:
        async with managed():
            await sleep("y", 5)

    diverged = resume(history, len(history.entries), main=new)

    assert type(diverged.outcome).__name__ == "Diverged"


def test_an_execution_may_be_evicted_twice_and_before_it_began() -> None:
    fresh = execution_of(except_exception)
    fresh.evict()
    fresh.evict()

    begun_one = begun(except_exception)
    begun_one.evict()
    begun_one.evict()

    assert begun_one.outcome is None


def test_the_loop_of_an_evicted_execution_has_no_effect_any_more() -> None:
    execution = begun(except_exception)
    loop = execution._loop

    execution.evict()
    with loop:
        timer = loop.call_later(5, SEEN.append, "fired")
        timer.cancel()
        loop.call_exception_handler({"message": "nobody hears it"})
        loop.run_dry()

    assert (SEEN, execution.due_at(), loop.time()) == ([], None, 0)


def test_an_execution_that_ended_is_freed_without_the_collector() -> None:
    execution = barely.execution_of(barely.charge)
    execution.advance([barely.CLAIMED])
    execution.advance([barely.completed(execution, "x")])
    known = weakref.ref(execution)
    gc.disable()
    try:
        execution.evict()
        del execution

        assert known() is None
    finally:
        gc.enable()


def test_a_run_is_evicted_from_a_callback_of_the_hosts_loop() -> None:
    async def host() -> object:
        execution = begun(a_finally_that_gathers)
        loop = asyncio.get_running_loop()
        loop.call_soon(execution.evict)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return asyncio.get_running_loop() is loop and execution._stage.tasks

    assert asyncio.run(host()) == []


def execution_of(main: Main) -> Execution:
    return Driver(main, RunFacts(run_id="r", workflow_id="w"), World()).execution


def begun(main: Main) -> Execution:
    return Driver(main, RunFacts(run_id="r", workflow_id="w"), World()).begin().execution
