"""Telling: a line every few seconds, of what goes on and how many runs have not ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from stepflow.clock import SystemClock
from stepflow.errors import StorageError
from stepflow.storage.base import Storage
from tests.chaos.crew import Crew
from tests.chaos.misfortunes import Misfortunes
from tests.chaos.people import People
from tests.servers.polling import for_as_long_as

TELL_EVERY: Final = 5.0
NOT_FAULTS: Final = frozenset({"starts that failed"})
"""What is counted, and only follows from faults."""


class Telling:
    """A line every few seconds: what goes on, and how many runs have not ended."""

    def __init__(
        self,
        storage: Storage,
        people: People,
        crew: Crew,
        misfortunes: Misfortunes,
        tell: Callable[[str], None],
    ) -> None:
        self.unended = 0
        self._storage = storage
        self._people = people
        self._crew = crew
        self._misfortunes = misfortunes
        self._tell = tell
        self._begun = time.monotonic()

    async def go_on(self) -> None:
        while True:
            await for_as_long_as(TELL_EVERY)
            await self.now()

    async def now(self) -> None:
        """One line. What the store does not say now is left out."""
        counts = self._misfortunes.counts + self._crew.counts
        try:
            info = await self._storage.info(now=SystemClock().now())
        except StorageError:
            runs = "the store does not answer"
        else:
            started = sum(info.runs.values())
            ended = sum(count for status, count in info.runs.items() if status in _ENDED)
            self.unended = started - ended
            runs = f"{started} runs, {ended} ended"
        others = counts.total() - sum(counts[kind] for kind in (*_SHOWN, *NOT_FAULTS))
        shown = ", ".join(f"{counts[kind]} {kind}" for kind in _SHOWN)
        wrong = len(self._people.wrong) + len(self._crew.wrong)
        self._tell(
            f"{time.monotonic() - self._begun:5.0f} s: {runs}, {shown}, {others} other faults"
            + (f", {wrong} WRONG" if wrong else "")
        )


_ENDED: Final = ("completed", "failed", "cancelled")
_SHOWN: Final = ("kills", "stops", "worker restarts", "server restarts")
