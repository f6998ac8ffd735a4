"""Leases: a thread of its own renews the worker's, so that user code that blocks the loop does not lose it.

The same thread notices when the event loop stands still, and names what holds it up.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from stepflow.clock import Clock
from stepflow.errors import StorageError
from stepflow.storage.base import Storage
from stepflow.types import WorkerId

_log = logging.getLogger("stepflow.worker")
_RENEWALS_PER_LEASE = 6
_LOOK_EVERY = 0.5


class LeaseThread:
    """Renews the lease of ``worker`` six times per lease; ``lost`` is called on the loop if it is not ours any more."""

    def __init__(
        self,
        storage: Storage,
        worker: WorkerId,
        clock: Clock,
        lease: timedelta,
        *,
        lost: Callable[[], None],
        holding_up: Callable[[asyncio.Task[Any] | None], str | None],
    ) -> None:
        self._storage = storage
        self._worker = worker
        self._clock = clock
        self._lease = lease
        self._lost = lost
        self._holding_up = holding_up
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stop = threading.Event()
        self._beat_seen = self._beat_sent = 0
        self._suspect: str | None = None
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="stepflow-lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; the lease is not renewed any more."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        keeper = self._storage.lease_keeper(self._worker)
        every = self._lease.total_seconds() / _RENEWALS_PER_LEASE
        next_renewal = self._clock.monotonic() + every
        try:
            while not self._stop.wait(min(every, _LOOK_EVERY)):
                self._watch_loop()
                if self._clock.monotonic() >= next_renewal:
                    next_renewal = self._clock.monotonic() + every
                    self._renew(keeper.renew)
        finally:
            keeper.close()

    def _renew(self, renew: Callable[..., bool]) -> None:
        try:
            if not renew(self._clock.now(), self._lease):
                self._call_soon(self._lost)
        except StorageError as error:
            _log.warning("the lease could not be renewed: %s", error)

    def _watch_loop(self) -> None:
        """Warn, once for each time, if one and the same thing has held the loop up since the look before last.

        A loop that merely has much to do comes round late too, but it is never found twice at the same thing.
        """
        if self._beat_seen == self._beat_sent:
            self._suspect, self._warned = None, False
            self._beat_sent += 1
            beat = self._beat_sent
            self._call_soon(lambda: setattr(self, "_beat_seen", beat))
            return
        what = self._holding_up(asyncio.current_task(self._loop))
        if what is None or what != self._suspect:
            self._suspect = what
        elif not self._warned:
            self._warned = True
            frame = sys._current_frames().get(self._loop_thread)
            where = "".join(traceback.format_stack(frame)[-6:]) if frame is not None else ""
            _log.warning(
                "%s blocks the event loop: everything else in this process waits for it. Make blocking work a plain "
                "def step, which runs on a thread. It is at:\n%s",
                what,
                where,
            )

    def _call_soon(self, call: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop was closed under us: nothing is left to protect
            self._stop.set()
