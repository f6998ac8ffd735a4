"""Meetings: tasks that wait for each other at a lock, a semaphore, an event, a condition or a barrier."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from tests.fundamentals.programs import Node

Play: TypeAlias = Coroutine[Any, Any, Any]
Start: TypeAlias = Callable[[Node], Play]


def lock(start: Start, parts: tuple[Node, ...]) -> list[Play]:
    guard = asyncio.Lock()

    async def enter(part: Node) -> Any:
        async with guard:
            return await start(part)

    return [enter(part) for part in parts]


def semaphore(start: Start, parts: tuple[Node, ...]) -> list[Play]:
    guard = asyncio.BoundedSemaphore(2)

    async def enter(part: Node) -> Any:
        async with guard:
            return await start(part)

    return [enter(part) for part in parts]


def event(start: Start, parts: tuple[Node, ...]) -> list[Play]:
    happened = asyncio.Event()

    async def first(part: Node) -> Any:
        try:
            return await start(part)
        finally:
            happened.set()

    async def after(part: Node) -> Any:
        await happened.wait()
        return await start(part)

    return [first(parts[0]), *(after(part) for part in parts[1:])]


def condition(start: Start, parts: tuple[Node, ...]) -> list[Play]:
    changed = asyncio.Condition()
    done: list[Any] = []

    async def change(index: int, part: Node) -> Any:
        async with changed:
            await changed.wait_for(lambda: len(done) >= index)
        try:
            return await start(part)
        finally:
            done.append(index)
            async with changed:
                changed.notify_all()

    return [change(index, part) for index, part in enumerate(parts)]


def barrier(start: Start, parts: tuple[Node, ...]) -> list[Play]:
    meeting = asyncio.Barrier(len(parts))

    async def meet(part: Node) -> Any:
        try:
            result = await start(part)
        except BaseException:
            await meeting.abort()
            raise
        try:
            return [await meeting.wait(), result]
        except asyncio.BrokenBarrierError:
            return "the barrier broke"

    return [meet(part) for part in parts]


MEETINGS: dict[str, Callable[[Start, tuple[Node, ...]], list[Play]]] = {
    "lock": lock,
    "semaphore": semaphore,
    "event": event,
    "condition": condition,
    "barrier": barrier,
}
