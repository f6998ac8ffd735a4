"""FakeClock: time that passes only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from stepflow.durations import parse_duration
from stepflow.types import Duration


class FakeClock:
    """A ``Clock`` that stands still until it is moved: ``Stepflow("memory://", clock=FakeClock())``.

    It may be read from any thread. Move it on the event loop that the app runs on: what falls due is called right there.
    """

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        if start.utcoffset() is None:
            raise ValueError(
                f"FakeClock({start!r}): give it a time zone, e.g. datetime(2030, 1, 1, tzinfo=UTC)"
            )
        self._now = start.astimezone(UTC)
        self._elapsed = 0.0
        self._order = itertools.count()
        self._alarms: list[tuple[datetime, int, Callable[[], None]]] = []
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The instant that the clock was moved to last."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made; setting it back does not change them."""
        return self._elapsed

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` when the clock is moved to ``when`` or beyond; returns what cancels it.

        If that instant has come already, it is called soon, in a turn of its own of the running event loop.
        """
        if when <= self._now:
            return asyncio.get_running_loop().call_soon(callback).cancel
        with self._lock:
            number = next(self._order)
            heapq.heappush(self._alarms, (when, number, callback))

        def cancel() -> None:
            self._cancelled.add(number)

        return cancel

    def advance(self, duration: Duration) -> None:
        """Let time pass, all at once, as for a machine that was asleep.

        The clock shows the new instant before the first callback is called. Each one that is due is called once, by instant and then
        in the order of ``call_at``.
        """
        delta = parse_duration(duration)
        self._elapsed += delta.total_seconds()
        self.set(self._now + delta)

    def set(self, instant: datetime) -> None:
        """Show ``instant`` from now on, which may lie in the past: machines' clocks do that. Calls what is due."""
        self._now = instant.astimezone(UTC)
        while (callback := self._take_due()) is not None:
            callback()

    @property
    def next_alarm(self) -> datetime | None:
        """When the next callback is due; None if nobody asked for one."""
        with self._lock:
            self._drop_cancelled()
            return self._alarms[0][0] if self._alarms else None

    def until(self, instant: datetime) -> timedelta:
        """How far away ``instant`` is; for ``advance``."""
        return max(timedelta(0), instant - self._now)

    def _take_due(self) -> Callable[[], None] | None:
        with self._lock:
            self._drop_cancelled()
            if not self._alarms or self._alarms[0][0] > self._now:
                return None
            return heapq.heappop(self._alarms)[2]

    def _drop_cancelled(self) -> None:
        while self._alarms and self._alarms[0][1] in self._cancelled:
            self._cancelled.discard(heapq.heappop(self._alarms)[1])
