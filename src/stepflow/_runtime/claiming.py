"""Claiming: taking runs from the storage as soon as they are due and there is room for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from stepflow._runtime.slots import Slots
from stepflow._runtime.timers import Alarm, ProcessTimers
from stepflow.clock import Clock
from stepflow.errors import StorageError
from stepflow.failpoints import failpoint
from stepflow.storage.base import Storage
from stepflow.storage.writes import Claim
from stepflow.types import RunId, WorkerId

_log = logging.getLogger("stepflow.worker")
_AT_ONCE = 200
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 2.0


class Claiming:
    """Claims whenever ``wake`` was called, and when the next sleeping run falls due.

    ``take`` gets each claim at once and accounts for it in ``slots`` before it returns; it must not raise.
    """

    def __init__(
        self,
        storage: Storage,
        slots: Slots,
        *,
        clock: Clock,
        timers: ProcessTimers,
        workflows: Collection[str],
        worker: Callable[[], WorkerId],
        known: Callable[[], Mapping[RunId, int]],
        take: Callable[[Claim], None],
        random: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._slots = slots
        self._clock = clock
        self._timers = timers
        self._workflows = workflows
        self._worker = worker
        self._known = known
        self._take = take
        self._random = random
        self._wanted = asyncio.Event()
        self._backlog: frozenset[str] = frozenset()
        self._next_due: datetime | None = None
        self._alarm: Alarm | None = None

    def wake(self, queue: str | None = None) -> None:
        """Runs (of this queue) may be claimable."""
        if queue is None or self._slots.serves(queue):
            self._wanted.set()

    def slot_is_free(self, queue: str) -> None:
        """A run left: somebody may have waited for that."""
        if queue in self._backlog:
            self._wanted.set()

    def is_waited_in(self, queue: str) -> bool:
        """Whether runs may wait in this queue, which are older than a new one."""
        return queue in self._backlog

    def sleeps_until(self, wake_at: datetime) -> None:
        """A run was suspended until then."""
        if self._next_due is None or wake_at < self._next_due:
            # Else each that sleeps a little would leave an alarm behind for the one that sleeps long.
            if self._alarm is not None:
                self._alarm.cancel()
            self._next_due = wake_at
            self._alarm = self._timers.at(wake_at, self._due)

    async def run(self) -> None:
        """Claim until cancelled. Trouble with the storage is waited out."""
        pause = _FIRST_PAUSE
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                asked_at = self._clock.now()
                while await self._claim():
                    asked_at = self._clock.now()
                await self._look_ahead(asked_at)
                pause = _FIRST_PAUSE
            except StorageError as error:
                _log.warning("claiming failed (%s); trying again", error)
                await asyncio.sleep(pause * (0.5 + self._random()))
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._wanted.set()

    async def _claim(self) -> bool:
        """Claim once. True if there may be more to claim at once."""
        room = self._slots.room()
        limit = min(self._slots.free, _AT_ONCE)
        if not room:
            self._backlog = self._slots.queues
            return False
        self._slots.reserve(room, limit)
        try:
            claims = await self._storage.claim_runs(
                self._worker(),
                queues=room,
                known=self._known(),
                workflows=self._workflows,
                limit=limit,
                now=self._clock.now(),
            )
        finally:
            self._slots.unreserve()
        failpoint("claim.committed")
        for claim in claims:
            if claim.takeover:
                failpoint("recovery.takeover")
            self._take(claim)
        more = len(claims) >= limit
        # Where a queue's last slot went, or had gone before, runs may wait although this claim brought none of them.
        full = self._slots.queues.difference(self._slots.room())
        self._backlog = self._slots.queues if more else full
        return more

    async def _look_ahead(self, asked_at: datetime) -> None:
        """Be there when the next sleeping run falls due. What is due already and was not claimed waits for a slot."""
        room = tuple(self._slots.room())
        if not room:
            return
        now = self._clock.now()
        due = await self._storage.next_due(room, now=now, workflows=self._workflows)
        if due is not None and due > asked_at:
            self.sleeps_until(max(due, now))

    def _due(self) -> None:
        self._next_due = None
        self._wanted.set()
