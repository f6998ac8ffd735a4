"""Tasks: what runs on a replay loop. CPython's own, with a scope, and with a hash that is the same on every replay."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from stepflow._engine.keys import Scope

_SEGMENTS = {"ensure_future.<locals>._wrap_awaitable": "_wrap_awaitable"}
"""What asyncio's own coroutines are called on newer Pythons, and on 3.11: keys must outlive an upgrade."""


class WorkflowTask(asyncio.Task[Any]):
    """A task with its scope, and a hash that is the same on every replay.

    ``asyncio.wait`` and ``TaskGroup`` iterate over sets: with the address as hash, their order would differ.
    """

    def __init__(
        self, coroutine: Any, *, number: int, parent: Scope, transparent: bool, **options: Any
    ) -> None:
        self._number = number
        self._parent = parent
        name = options.get("name")
        self.take_back: Callable[[], None] | None = None
        if transparent:
            self.scope = parent
        else:
            segment = str(name or getattr(coroutine, "__qualname__", type(coroutine).__qualname__))
            self.scope, self.take_back = parent.child(_SEGMENTS.get(segment, segment))
        super().__init__(coroutine, **options)

    def set_name(self, value: object, /) -> None:
        """Name the task. ``create_task`` of Python before 3.13 does so right after it made the task."""
        if self.take_back is not None:
            self.take_back()
            self.scope, self.take_back = self._parent.child(str(value))
        super().set_name(value)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class WorkflowFuture(asyncio.Future[Any]):
    """A future whose hash is the same on every replay."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class LoopHandle(asyncio.Handle):
    """A handle without what asyncio's own does for debugging: one is made for each step of each task."""

    __slots__ = ()

    def __init__(self, callback: Any, args: Any, loop: Any, context: contextvars.Context | None) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class LoopTimer(asyncio.TimerHandle):
    """A timer's handle that knows the command it became; ``when`` is logical time."""

    __slots__ = ("command",)
    command: Any
