"""Virtual loop: an event loop without a world. What is ready runs when the world says so, and time is the world's."""

from __future__ import annotations

import asyncio
import asyncio.events
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

MICROSECONDS = 1_000_000
_SPIN = 200_000
"""Handles run in one turn before the process counts as spinning: time would stand still for ever."""


class Timekeeper(Protocol):
    """The world, as a loop sees it."""

    now: int
    """Microseconds since the world began."""

    def later(self, when: int, process: Any, handle: asyncio.Handle) -> None:
        """Make the handle ready at that instant."""
        ...


VirtualTimer = asyncio.TimerHandle


class VirtualLoop(asyncio.AbstractEventLoop):
    """The loop of one simulated process. Nothing in it waits by itself: no selector, no thread, no clock of the machine."""

    def __init__(self, world: Timekeeper, process: Any) -> None:
        self._world = world
        self.process = process
        self._ready: deque[asyncio.Handle] = deque()
        self._closed = False
        self.halted = False
        """Set while the process is frozen, and for ever once it is dead: not even what is ready runs."""
        self.noise: list[dict[str, Any]] = []
        """What a real loop would have logged: exceptions that nobody took."""

    # -------------------------------------------------------------- for the world
    def run_ready(self) -> None:
        """Run everything that is ready, and what becomes ready by that."""
        ready = self._ready
        turns = 0
        before = asyncio.events._get_running_loop()
        asyncio.events._set_running_loop(self)
        try:
            while ready and not self.halted:
                handle = ready.popleft()
                turns += 1
                if turns > _SPIN:
                    raise AssertionError(f"the process spins: {handle!r} and its like never end")
                if not handle._cancelled:  # type: ignore[attr-defined]
                    handle._run()
        finally:
            asyncio.events._set_running_loop(before)

    def make_ready(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)

    # -------------------------------------------------------------- what asyncio asks
    def time(self) -> float:
        return self._world.now / MICROSECONDS

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        micros = max(0, -int(-delay * MICROSECONDS // 1))
        return self._timer(self._world.now + micros, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._timer(-int(-when * MICROSECONDS // 1), callback, args, context)

    def _timer(
        self,
        when: int,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> VirtualTimer:
        timer = VirtualTimer(when / MICROSECONDS, callback, args, self, context)
        self._world.later(max(when, self._world.now), self.process, timer)
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name="simulated", context=context)  # type: ignore[arg-type]

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Here and now: there are no threads."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.noise.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio.events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
