"""Hints within one process: whoever writes publishes, whoever listens gets each hint once, in its own loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable

from stepflow.storage.writes import Anything, QueueReady, RunChanged, Wakeup
from stepflow.types import RunId

_BACKLOG = 10_000
"""A listener this far behind is told to look at everything instead."""


class _Listener:
    """One ``async for`` over the hints: those not fetched yet, each once."""

    __slots__ = ("_arrived", "_loop", "_pending")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._pending: dict[Wakeup, None] = {}

    def tell(self, hints: Iterable[Wakeup], here: asyncio.AbstractEventLoop | None) -> bool:
        """Hand the hints over, from any thread; False if the listener's loop is closed."""
        if here is self._loop:
            self._take(hints)
            return True
        try:
            self._loop.call_soon_threadsafe(self._take, hints)
        except RuntimeError:
            return False
        return True

    def _take(self, hints: Iterable[Wakeup]) -> None:
        self._pending.update(dict.fromkeys(hints))
        if len(self._pending) > _BACKLOG:
            self._pending = {Anything(): None}
        self._arrived.set()

    async def next(self) -> list[Wakeup]:
        await self._arrived.wait()
        self._arrived.clear()
        hints, self._pending = self._pending, {}
        return list(hints)


class WakeupHub:
    """Connects publishers with listeners; ``on_change`` hears how many listeners there are."""

    def __init__(self, on_change: Callable[[int], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._listeners: tuple[_Listener, ...] = ()
        self._on_change = on_change

    @property
    def heard(self) -> bool:
        """Whether anybody listens; if not, no hint need be made."""
        return bool(self._listeners)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    async def listen(self) -> AsyncIterator[Wakeup]:
        """Hints from now on, until the iterator is closed."""
        listener = _Listener()
        self._change(listener, joins=True)
        try:
            while True:
                for hint in await listener.next():
                    yield hint
        finally:
            self._change(listener, joins=False)

    def publish(self, *, ready: Iterable[str] = (), changed: Iterable[RunId] = ()) -> None:
        """Tell every listener which queues and runs to look at. Callable from any thread."""
        if self._listeners:
            self.tell([*map(_queue_ready, ready), *map(_run_changed, changed)])

    def tell(self, hints: list[Wakeup]) -> None:
        """Tell every listener these hints. Callable from any thread."""
        if not hints:
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        for listener in self._listeners:
            if not listener.tell(hints, here):
                self._change(listener, joins=False)

    def _change(self, listener: _Listener, *, joins: bool) -> None:
        with self._lock:
            others = tuple(known for known in self._listeners if known is not listener)
            self._listeners = (*others, listener) if joins else others
            count = len(self._listeners)
        if self._on_change is not None:
            self._on_change(count)


def _queue_ready(queue: str) -> Wakeup:
    return QueueReady(queue=queue)


def _run_changed(run_id: RunId) -> Wakeup:
    return RunChanged(run_id=run_id)
