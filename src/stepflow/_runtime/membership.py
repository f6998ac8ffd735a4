"""Membership: this process among the workers of its storage, under an incarnation of its own and with a lease."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

from stepflow._runtime.leases import LeaseThread
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
        *,
        name: str | None,
        queues: Collection[str],
        lease: timedelta,
        lost: Callable[[], None],
        holding_up: Callable[[asyncio.Task[Any] | None], str | None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._name = name
        self._queues = tuple(queues)
        self._lease = lease
        self._lost = lost
        self._holding_up = holding_up
        self._thread: LeaseThread | None = None
        self.id: WorkerId = _incarnation()
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
        self._thread = LeaseThread(
            self._storage, self.id, self._clock, self._lease, lost=self._is_lost, holding_up=self._holding_up
        )
        self._thread.start()
        self.joined = True

    async def join_anew(self) -> None:
        """After a loss: as somebody else, because what the former incarnation still owns is for anyone to take.

        Goes on until the storage lets it.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                await self.leave()
                self.id = _incarnation()
                await self.join()
                return
            except StorageError as error:
                _log.warning("the worker can't register anew (%s); trying again", error)
                await asyncio.sleep(pause * (0.5 + random.random()))
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def leave(self) -> None:
        """End the lease, and give back at once what is still owned."""
        self.joined = False
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.stop()
        await self._storage.release_worker(self.id, now=self._clock.now())

    def _is_lost(self) -> None:
        if self.joined:  # else the news is of an incarnation that has ended
            self.joined = False
            self._lost()


def _incarnation() -> WorkerId:
    return f"w-{os.getpid()}-{secrets.token_hex(6)}"
