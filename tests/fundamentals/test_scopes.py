"""Scopes: where keys come from, in every way in which tasks are made."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from stepflow._engine.execution import RunFacts
from stepflow.errors import NotDurableError
from stepflow.primitives import wait_for_event
from tests.fundamentals.barely import CLAIMED, Main, body, charge, execution_of, run
from tests.fundamentals.driving import (
    Driver,
    World,
    assert_replays,
    drive,
)


async def in_named_tasks() -> None:
    async with asyncio.TaskGroup() as group:
        for name in ("audit", "audit", "mail/all", None, None):
            group.create_task(charge(), name=name)


async def in_gather() -> None:
    await asyncio.gather(charge(), run("x"), run("x"), charge())


async def in_wait_for() -> None:
    await asyncio.wait_for(charge(), 60)
    await asyncio.wait_for(run("x"), 60)
    await asyncio.wait_for(asyncio.create_task(charge()), 60)


async def in_nested_tasks() -> None:
    async def outer() -> None:
        await asyncio.gather(charge(), charge())

    await asyncio.gather(outer(), outer())


async def in_callbacks() -> None:
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[Any]] = []
    loop.call_soon(lambda: tasks.append(loop.create_task(charge())))
    await loop.create_task(charge(), name="@cb")
    await tasks[0]


async def in_renamed_tasks() -> None:
    task = asyncio.create_task(charge())
    task.set_name("first")
    later = asyncio.create_task(charge())
    other = asyncio.create_task(charge())
    later.set_name("second")
    await asyncio.gather(task, later, other)

    async def renames_itself_late() -> None:
        await run("x")
        current = asyncio.current_task()
        assert current is not None
        current.set_name("late")
        await run("y")

    await asyncio.create_task(renames_itself_late(), name="early")


async def in_things_without_a_qualname() -> None:
    class Awaits:
        def __await__(self) -> Any:
            return charge().__await__()

    await asyncio.gather(Awaits(), functools.partial(charge)())


def local(name: str, function: str) -> str:
    return f"{function}.<locals>.{name}"


KEYS: dict[Main, list[str]] = {
    in_named_tasks: ["audit/x", "audit:2/x", "mail~1all/x", "charge/x", "charge:2/x"],
    in_gather: ["x", "x:2", "charge/x", "charge:2/x"],
    in_wait_for: ["x", "x:2", "charge/x"],
    in_nested_tasks: [
        local("outer", "in_nested_tasks") + rest
        for rest in ("/charge/x", "/charge:2/x", ":2/charge/x", ":2/charge:2/x")
    ],
    in_callbacks: ["@cb:2/x", "@cb/charge/x"],
    in_renamed_tasks: ["first/x", "second/x", "charge:2/x", "early/x", "early/y"],
    in_things_without_a_qualname: ["_wrap_awaitable/x", "charge/x"],
}


@pytest.mark.parametrize("main", KEYS, ids=lambda main: main.__name__)
def test_a_key_is_the_path_of_tasks_the_name_and_its_ordinal(main: Main) -> None:
    history = drive(main)

    assert sorted(history.keys) == sorted(KEYS[main])
    assert_replays(history)


def test_a_key_belongs_to_the_task_that_called_not_to_the_one_that_awaits() -> None:
    async def main() -> list[Any]:
        called = [run("x") for _ in range(3)]
        third, second, first = (asyncio.create_task(each) for each in reversed(called))
        return [await first, await second, await third]

    history = drive(main)

    assert sorted(history.keys) == ["x", "x:2", "x:3"]


def test_a_coroutine_that_was_called_in_one_run_can_not_be_awaited_in_another() -> None:
    calls: list[Any] = []

    async def lends() -> None:
        calls.append(run("x"))
        await wait_for_event("never")

    async def borrows() -> None:
        await calls[0]

    lender = Driver(lends, RunFacts(run_id="lender", workflow_id="w"), World()).begin()

    history = drive(borrows)
    lender.end()

    assert isinstance(history.error, NotDurableError)
    assert "'x'" in str(history.error)


def test_a_task_made_without_the_loop_has_no_scope_and_is_refused() -> None:
    async def main() -> Any:
        return await asyncio.Task(charge())

    history = drive(main)

    assert isinstance(history.error, NotDurableError)
    assert "asyncio.create_task()" in str(history.error)


def test_a_task_can_not_be_made_from_outside() -> None:
    execution = execution_of(charge)
    execution.advance([CLAIMED])
    coroutine = body()

    with pytest.raises(NotDurableError, match="from outside"):
        execution._loop.create_task(coroutine)

    coroutine.close()
    execution.evict()
