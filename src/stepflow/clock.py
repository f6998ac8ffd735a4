"""The only place that asks what time it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Two readings of time: one for people and deadlines, one for measuring."""

    def now(self) -> datetime:
        """The present instant, in UTC, to the microsecond."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never steps back; only differences mean anything."""
        ...

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` on the running event loop once ``now() >= when``; returns what cancels it."""
        ...


class SystemClock:
    """The machine's clock, shifted so that every worker of one storage agrees.

    ``shift`` is set by the runtime after it has compared this clock with the storage server's.
    """

    __slots__ = ("shift",)

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        now = datetime.now(UTC)
        return now + self.shift if self.shift else now

    def monotonic(self) -> float:
        return time.monotonic()

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Callable[[], None]:
        delay = max(0.0, (when - self.now()).total_seconds())
        return asyncio.get_running_loop().call_later(delay, callback).cancel
