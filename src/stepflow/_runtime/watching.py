"""Watching: what others want of the runs that are driven here, and whether they still are ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from stepflow._runtime.chores import Chores
from stepflow._runtime.driver import Driver
from stepflow.errors import StorageError
from stepflow.model.events import Wait
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.types import RunId, WorkerId

_log = logging.getLogger("stepflow.worker")
_CHECKED_AT_ONCE = 20


class Watching:
    """Reads events and requests for drivers; trouble with the storage is left to the next poll."""

    def __init__(
        self,
        storage: Storage,
        drivers: Mapping[RunId, Driver],
        chores: Chores,
        *,
        worker: Callable[[], WorkerId],
        lose: Callable[[Driver], None],
        random: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._drivers = drivers
        self._chores = chores
        self._worker = worker
        self._lose = lose
        self._random = random
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._seen: dict[RunId, int] = {}

    def run_changed(self, run_id: RunId) -> None:
        """A hint about one run."""
        driver = self._drivers.get(run_id)
        if driver is not None:
            if driver.waits_for_events:
                driver.look_for_events()
            self._look_for_requests()

    def look_around(self) -> None:
        """Look for requests, and for events of all runs."""
        if self._drivers:
            self._look_for_requests()
            for driver in self._drivers.values():
                if driver.waits_for_events:
                    driver.look_for_events()

    def check_some(self) -> None:
        """Ask about a few runs that wrote nothing since last time: one may have been ended or taken over meanwhile."""
        seen, self._seen = self._seen, {run_id: driver.seq for run_id, driver in self._drivers.items()}
        still = [d for run_id, d in self._drivers.items() if d.seq and seen.get(run_id) == d.seq]
        first = int(self._random() * len(still))
        for driver in (still + still)[first : first + min(len(still), _CHECKED_AT_ONCE)]:
            self._chores.begin(self._check(driver, driver.seq))

    async def fetch_events(self, driver: Driver, waits: Sequence[Wait]) -> None:
        """Hand the driver the events that are there for these waits."""
        try:
            found = await self._storage.read_events([(driver.run_id, wait) for wait in waits])
        except StorageError as error:
            _log.warning(
                "events of run %s could not be read (%s); the next poll tries again", driver.run_id, error
            )
            return
        events = sorted((event for events in found for event in events), key=lambda event: event.pos)
        if events and self._drivers.get(driver.run_id) is driver:
            driver.events_arrived(events)

    def _look_for_requests(self) -> None:
        """Once at a time; a hint that comes while it is under way is not forgotten."""
        self._look_again = True
        if self._looking is None or self._looking.done():
            self._looking = self._chores.begin(self._read_requests())

    async def _read_requests(self) -> None:
        while self._look_again:
            self._look_again = False
            try:
                requests = await self._storage.read_requests(self._worker())
            except StorageError as error:
                _log.warning("requests could not be read (%s); the next poll tries again", error)
                return
            asked = {request.run_id: request for request in requests}
            for run_id, driver in list(self._drivers.items()):
                request = asked.get(run_id)
                if request is not None:
                    driver.requested(cancel=request.cancel, pause=request.pause)
                if driver.pause_asked and (request is None or not request.pause):
                    driver.unpause()

    async def _check(self, driver: Driver, seq: int) -> None:
        try:
            run = await self._storage.get_run(driver.run_id)
        except StorageError:
            return  # the next poll asks again
        if self._drivers.get(driver.run_id) is not driver or driver.seq != seq or driver.is_writing:
            return
        if run is None or run.status is not RunStatus.RUNNING or run.worker != self._worker():
            _log.info("run %s is not ours any more", driver.run_id)
            self._lose(driver)
