"""Aftermath: what was written in users' transactions takes effect when they commit, and nobody tells us when that is. So we look."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from stepflow.clock import Clock
from stepflow.errors import StorageError
from stepflow.storage.base import Storage
from stepflow.storage.transactions import Forwarding

_log = logging.getLogger("stepflow.app")
_SOON = (timedelta(milliseconds=20), timedelta(milliseconds=80), timedelta(milliseconds=320))
"""The pauses before the looks that follow a write in somebody's transaction; after that, the poll finds it."""
_AT_ONCE = 100


class Aftermath:
    """Looks soon after each such write; the looks of many writes are shared."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        look: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._forwarding = storage if isinstance(storage, Forwarding) else None
        self._clock = clock
        self._look = look
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._done = len(_SOON)
        self._cancel: Callable[[], None] | None = None

    def follows(self) -> None:
        """Something was written in a transaction that is not ours. Callable from any thread."""
        self._loop.call_soon_threadsafe(self._begin)

    async def forward(self) -> None:
        """Send the events of transactions that were committed."""
        if self._forwarding is not None:
            while await self._forwarding.forward_events(now=self._clock.now(), limit=_AT_ONCE) == _AT_ONCE:
                pass

    @property
    def forwards(self) -> bool:
        """Whether there is something to look for, also after the writes of other processes."""
        return self._forwarding is not None

    def close(self) -> None:
        """Look no more."""
        self._done = len(_SOON)
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _begin(self) -> None:
        self._done = 0
        if self._cancel is None:
            self._wait()

    def _wait(self) -> None:
        if self._done < len(_SOON):
            self._cancel = self._clock.call_at(self._clock.now() + _SOON[self._done], self._again)

    def _again(self) -> None:
        self._cancel = None
        self._done += 1
        self._look()
        if self._forwarding is not None:
            self._spawn(self._forward_now())
        self._wait()

    async def _forward_now(self) -> None:
        try:
            await self.forward()
        except StorageError as error:
            _log.info("events of users' transactions wait (%s); it is tried again within a second", error)
