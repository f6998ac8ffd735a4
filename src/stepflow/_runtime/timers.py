"""Timers of a process: one heap, one alarm on the clock."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Final

from stepflow.clock import Clock

_FEW: Final = 64


class Alarm:
    """One armed call; ``cancel`` it when it is not wanted any more."""

    __slots__ = ("_call", "when")

    def __init__(self, when: datetime, call: Callable[[], None]) -> None:
        self.when = when
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self._call = None

    @property
    def cancelled(self) -> bool:
        return self._call is None

    def ring(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class ProcessTimers:
    """Calls back at instants of the clock, in order; thousands of alarms cost one timer of the event loop.

    What was cancelled is let go of long before its time: at most as many such alarms are held as there are others.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[datetime, int, Alarm]] = []
        self._swept_at = _FEW
        self._order = itertools.count()
        self._set_for: datetime | None = None
        self._unset: Callable[[], None] | None = None
        self._closed = False

    def at(self, when: datetime, call: Callable[[], None]) -> Alarm:
        """Call ``call`` once ``when`` has come, never before."""
        alarm = Alarm(when, call)
        if len(self._heap) >= self._swept_at:
            self._sweep()
        heapq.heappush(self._heap, (when, next(self._order), alarm))
        self._set()
        return alarm

    def close(self) -> None:
        """Forget every alarm."""
        self._closed = True
        self._heap.clear()
        if self._unset is not None:
            self._unset()

    def _sweep(self) -> None:
        """Let go of cancelled alarms: with a timeout of an hour a quick step would be remembered for all of it."""
        self._heap = [place for place in self._heap if not place[2].cancelled]
        heapq.heapify(self._heap)
        self._swept_at = max(_FEW, 2 * len(self._heap))

    def _set(self) -> None:
        heap = self._heap
        while heap and heap[0][2].cancelled:
            heapq.heappop(heap)
        if not heap or self._closed:
            return
        when = heap[0][0]
        if self._set_for is not None and self._set_for <= when:
            return
        if self._unset is not None:
            self._unset()
        self._set_for = when
        self._unset = self._clock.call_at(when, self._ring)

    def _ring(self) -> None:
        self._set_for = self._unset = None
        now = self._clock.now()
        # The heap is asked for anew each time: who is called may arm further alarms, and those may have it swept.
        while (heap := self._heap) and (heap[0][2].cancelled or heap[0][0] <= now):
            heapq.heappop(heap)[2].ring()
        self._set()
