"""Membership: this process among the workers of its storage, under an incarnation of its own and with a lease."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from stepflow._runtime.options import WorkerOptions
from stepflow._runtime.surroundings import LeaseHolder, Surroundings
from stepflow.clock import Clock
from stepflow.errors import StorageError
from stepflow.storage.base import Storage, WorkerRecord
from stepflow.types import WorkerId

_log = logging.getLogger("stepflow.worker")
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class Membership:
    """Joins, stays, and leaves. ``lost`` is called on the loop when others have taken this worker for dead."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        surroundings: Surroundings,
        options: WorkerOptions,
        *,
        lost: Callable[[], None],
        holding_up: Callable[[asyncio.Task[Any] | None], str | None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._surroundings = surroundings
        self._name = options.name
        self._queues = tuple(options.queues)
        self._lease = options.lease
        self._lost = lost
        self._holding_up = holding_up
        self._holder: LeaseHolder | None = None
        self.id: WorkerId = surroundings.incarnation()
        self.joined = False

    async def join(self) -> None:
        """Register, and have the lease renewed from now on."""
        now = self._clock.now()
        await self._storage.register_worker(
            WorkerRecord(
                id=self.id,
                name=self._name,
                queues=self._queues,
                host=socket.gethostname(),
                pid=os.getpid(),
                started_at=now,
                lease_until=now + self._lease,
            )
        )
        self._holder = self._surroundings.keep_lease(
            self._storage, self.id, self._clock, self._lease, lost=self._is_lost, holding_up=self._holding_up
        )
        self._holder.start()
        self.joined = True

    async def join_anew(self) -> None:
        """After a loss: as somebody else, because what the former incarnation still owns is for anyone to take.

        Goes on until the storage lets it.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.leave()
                self.id = self._surroundings.incarnation()
                await self.join()
                return
            except StorageError as error:
                _log.warning("the worker can't register anew (%s); trying again", error)
                await asyncio.sleep(pause * (0.5 + self._surroundings.random.random()))
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def leave(self) -> None:
        """End the lease, and give back at once what is still owned."""
        self.joined = False
        holder, self._holder = self._holder, None
        if holder is not None:
            await holder.stop()
        await self._storage.release_worker(self.id, now=self._clock.now())

    def _is_lost(self) -> None:
        if self.joined:  # else the news is of an incarnation that has ended
            self.joined = False
            self._lost()
