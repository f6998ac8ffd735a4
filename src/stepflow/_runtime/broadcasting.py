"""Broadcasting: signals to other processes, sent together with those that wait, and lost rather than waited for."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from stepflow._runtime.signals import Origin, Signal, read_signal, write_signal
from stepflow.codecs.json import Values
from stepflow.errors import StorageError
from stepflow.storage.base import Storage
from stepflow.storage.broadcasting import BroadcastingStorage

_log = logging.getLogger("stepflow.app")
_MOST_WAITING = 1_000
"""Of more signals than that, the oldest are dropped: nobody waits for them."""

_AT_ONCE = 100


class Broadcaster:
    """Sends and reads signals, on one event loop. On a storage that does not broadcast it does nothing."""

    def __init__(
        self,
        storage: Storage,
        values: Values,
        origin: Origin,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.origin = origin
        self._storage = storage if isinstance(storage, BroadcastingStorage) else None
        self._values = values
        self._spawn = spawn
        self._waiting: deque[Signal] = deque(maxlen=_MOST_WAITING)
        self._sending: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_heard(self) -> bool:
        """Whether the storage carries signals at all."""
        return self._storage is not None

    def send(self, signal: Signal) -> None:
        """Send it soon. Comes back at once."""
        if self._storage is not None and not self._closed:
            self._waiting.append(signal)
            if self._sending is None or self._sending.done():
                self._sending = self._spawn(self._send_all(self._storage))

    async def sent(self, *, within: float) -> None:
        """Wait until what was to be sent is on its way or lost, but no longer than these seconds."""
        if self._sending is not None and not self._sending.done():
            await asyncio.wait([self._sending], timeout=within)

    def read(self, text: str) -> Signal | None:
        """What somebody else says; None for what this process has sent itself, or can't read."""
        signal = read_signal(text, self._values)
        return None if signal is None or signal.origin == self.origin else signal

    def close(self) -> None:
        """Send nothing more: the storage is about to close."""
        self._closed = True
        self._waiting.clear()

    async def _send_all(self, storage: BroadcastingStorage) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            texts = [text for signal in some if (text := write_signal(signal, self._values)) is not None]
            try:
                await storage.broadcast(texts)
            except StorageError as error:
                _log.debug("%s signals for other processes were lost (%s)", len(some), error)
