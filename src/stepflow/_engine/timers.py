"""Timers: what falls due when, by deadline and then by the order of arming."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from datetime import datetime, timedelta

from stepflow._engine.commands import Command, StartTimer, WaitForEvent
from stepflow.types import StepKey

TAKEOVER_GRACE = timedelta(seconds=5)
"""After a takeover no timer is due before its own delay, or this, has passed: a crash must not expire them all."""

Timed = StartTimer | WaitForEvent


class Timers:
    """A heap of armed timers; one that was answered or withdrawn is skipped when it comes up."""

    __slots__ = ("_pending", "_prune_at", "armed")

    def __init__(self, pending: Mapping[StepKey, Command]) -> None:
        """``pending``: the commands without an answer, by key."""
        self._pending = pending
        self.armed: list[tuple[datetime, int, Timed]] = []
        """A heap; empty only if nothing will fall due."""
        self._prune_at = 64

    def arm(self, command: Timed) -> None:
        """Let ``command`` fall due at its deadline."""
        assert command.deadline is not None
        if len(self.armed) >= self._prune_at:  # a loop full of timeouts that never pass
            self.armed = [armed for armed in self.armed if self._alive(armed[2])]
            heapq.heapify(self.armed)
            self._prune_at = max(64, 2 * len(self.armed))
        heapq.heappush(self.armed, (command.deadline, command.order, command))

    def _alive(self, command: Timed) -> bool:
        return self._pending.get(command.key) is command

    def first(self) -> tuple[datetime, Timed] | None:
        """The timer that falls due next, and when; it stays armed."""
        heap = self.armed
        while heap:
            deadline, _, command = heap[0]
            if self._alive(command):
                return deadline, command
            heapq.heappop(heap)
        return None

    def hold_off(self, since: datetime) -> None:
        """After a takeover at ``since``: nothing is due before ``since + min(its delay, 5 s)``."""
        held: list[tuple[datetime, int, Timed]] = []
        for deadline, order, command in self.armed:
            if self._alive(command):
                floor = since + min(_delay(command), TAKEOVER_GRACE)
                held.append((max(deadline, floor), order, command))
        heapq.heapify(held)
        self.armed = held


def _delay(command: Timed) -> timedelta:
    if isinstance(command, StartTimer):
        return max(timedelta(0), timedelta(microseconds=command.delay))
    assert command.timeout is not None
    return command.timeout
