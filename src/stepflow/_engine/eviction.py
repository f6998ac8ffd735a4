"""Eviction: ending the tasks of an execution that is dropped, without any effect and without leaving one behind.

A coroutine left to the garbage collector would run its ``finally`` at any time, even inside another run; so every
task is ended here, for certain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from stepflow._engine.loop import ReplayLoop
from stepflow._engine.tasks import WorkflowTask
from stepflow.errors import NotDurableError

_log = logging.getLogger("stepflow.engine")
_ROUNDS = 8
_unclosable: list[Any] = []
"""What swallows even GeneratorExit for ever: held here, so that the collector does not fight it."""


class Evicted(BaseException):
    """Raised where a task of a dropped execution waits. Not an ``Exception``: user code can't catch it by accident."""


_ENDED = (Exception, Evicted, BaseExceptionGroup, asyncio.CancelledError, GeneratorExit, SystemExit)
"""What a coroutine that is told to end may raise; all of it means that it has."""


def close_tasks(loop: ReplayLoop, tasks: Callable[[], Sequence[WorkflowTask]]) -> None:
    """End all ``tasks`` and open async generators of ``loop``, which must be active and marked as evicting.

    ``tasks`` is asked again and again: what a task does on its way out may start more of them.
    """
    for _ in range(_ROUNDS):
        waiting = [task for task in tasks() if not task.done()]
        for task in waiting:
            _wake(task)
        _run_out(loop)
        if not waiting:
            generators = loop.take_generators()
            if not generators:
                break
            for generator in generators:
                _end(generator.aclose(), generator)
    else:
        _end_by_force(loop, tasks())
    for task in tasks():
        if task.done() and not task.cancelled():
            task.exception()  # seen: no complaint when it is collected
    loop.drop_ready()


def _end_by_force(loop: ReplayLoop, tasks: Sequence[WorkflowTask]) -> None:
    """End what swallowed ``Evicted`` again and again, by throwing it into the coroutines themselves."""
    loop.closing = True
    for task in tasks:
        if not task.done():
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            _end(task.get_coro(), task.get_coro())
    for generator in loop.take_generators():
        _end(generator.aclose(), generator)


def _wake(task: WorkflowTask) -> None:
    """Set ``Evicted`` on what the task waits for (another task will end by itself)."""
    future: Any = getattr(task, "_fut_waiter")  # noqa: B009 - asyncio has no public name for it
    if future is not None and not isinstance(future, asyncio.Task) and not future.done():
        future.set_exception(Evicted())
        future.exception()


def _run_out(loop: ReplayLoop) -> None:
    while True:
        try:
            loop.run_dry(limit=10_000)
        except SystemExit:
            continue
        except NotDurableError:
            loop.drop_ready()  # a task that spins: it is ended below
        return


def _end(awaitable: Any, whose: Any) -> None:
    """End a coroutine, or an async generator by the awaitable that closes it; leak it if it can't be ended.

    ``Evicted`` is thrown rather than GeneratorExit: only an ordinary exception reaches the code inside an async
    generator that a coroutine awaits.
    """
    for _ in range(_ROUNDS):
        try:
            awaitable.throw(Evicted())
        except _ENDED:
            return  # in its own way
    try:
        awaitable.close()
    except _ENDED:
        pass  # whether it ended is seen below
    if getattr(whose, "cr_frame", None) is not None or getattr(whose, "ag_frame", None) is not None:
        _log.warning("%r can't be ended: it catches BaseException in a loop; it is leaked", whose)
        _unclosable.append(whose)
