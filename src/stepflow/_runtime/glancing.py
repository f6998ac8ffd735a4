"""Glancing: one look at all runs that are watched here, which tells those apart that have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from stepflow.clock import Clock
from stepflow.errors import StorageError
from stepflow.model.runs import Progress
from stepflow.storage.base import Storage
from stepflow.types import RunId

_log = logging.getLogger("stepflow.app")
AT_ONCE = 1_000
"""Runs that are asked about in one read."""

_SHARE = 9
"""A look that took a while is followed by as many times that without one: where others write all the time, hints come all the time."""

_NOTICEABLE = 0.005
_LONGEST_REST = 1.0


class Glances:
    """Looks once however many hints say that something may have changed, and however many runs are watched."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        watched: Callable[[], Collection[RunId]],
        changed: Callable[[RunId], None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._watched = watched
        self._changed = changed
        self._seen: dict[RunId, Progress | None] = {}
        self._asked = False
        self._looking: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Something may have changed: look soon, and once more if a look is under way."""
        self._asked = True
        if self._watched() and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._look_while_asked())

    def forget(self, run_id: RunId) -> None:
        """What is known of it is of no use: at the next look it counts as changed."""
        self._seen.pop(run_id, None)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_while_asked(self) -> None:
        while self._asked:
            self._asked = False
            began = self._clock.monotonic()
            try:
                await self._look()
            except StorageError as error:
                _log.warning("runs that are watched could not be read (%s); the next poll tries again", error)
                return
            rest = (self._clock.monotonic() - began) * _SHARE
            if rest > _NOTICEABLE:
                await asyncio.sleep(min(rest, _LONGEST_REST))

    async def _look(self) -> None:
        run_ids = list(self._watched())
        for first in range(0, len(run_ids), AT_ONCE):
            some = run_ids[first : first + AT_ONCE]
            found = await self._storage.read_progress(some)
            watched = self._watched()
            for run_id in some:
                now = found.get(run_id)
                if run_id in watched and (run_id not in self._seen or self._seen[run_id] != now):
                    self._seen[run_id] = now
                    self._changed(run_id)
