"""Lookout: the one place of a process that watches runs, whatever the number of readers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from stepflow._engine.current import RUN_LOG
from stepflow._runtime.lines import Lines
from stepflow._runtime.signals import Transient
from stepflow.errors import RunNotFoundError
from stepflow.hooks import Fact, StepRetried, StepStarted
from stepflow.model.journal import JournalRow
from stepflow.model.runs import RunRecord
from stepflow.service import Service
from stepflow.types import RunId

T = TypeVar("T")

_TRANSIENTS = 100
"""What a reader that does not keep up may miss of what is best effort anyway: all but so many."""

ROWS_AT_ONCE = 50


class Watch:
    """One reader's interest in some runs: ``changed`` is set when there may be something new about them."""

    __slots__ = ("changed", "transients")

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.transients: deque[Transient] = deque(maxlen=_TRANSIENTS)


class Lookout:
    """Shares one listener, and every read of a run, among all readers in this event loop."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.closing = False
        self._loop = asyncio.get_running_loop()
        self._watches: dict[RunId, set[Watch]] = {}
        self._flights: dict[tuple[str, RunId, int], asyncio.Future[Any]] = {}
        self._lines = Lines(self._tell, wanted=self._watches.__contains__)
        self._end_hearing = service.attention.listen(self._deliver)

    @property
    def readers(self) -> int:
        """How many readers there are, each counted once for each of its runs."""
        return sum(map(len, self._watches.values()))

    def watch(self, run_ids: Sequence[RunId]) -> Watch:
        """Begin to watch; give it back with ``unwatch``."""
        watch = Watch()
        if not self._watches:
            RUN_LOG.addHandler(self._lines)
        for run_id in run_ids:
            self._watches.setdefault(run_id, set()).add(watch)
            self.service.follower.watch(run_id, watch.changed)
            self.service.attention.watch(run_id)
        return watch

    def unwatch(self, run_ids: Sequence[RunId], watch: Watch) -> None:
        for run_id in run_ids:
            self.service.follower.unwatch(run_id, watch.changed)
            self.service.attention.unwatch(run_id)
            watches = self._watches.get(run_id, set())
            watches.discard(watch)
            if not watches:
                self._watches.pop(run_id, None)
        if not self._watches:
            RUN_LOG.removeHandler(self._lines)  # nobody pays for what nobody hears

    async def announced(self) -> None:
        """Wait until other processes know what is watched here: whatever begins later in one of these runs is told."""
        await self.service.attention.announced()

    def close(self) -> None:
        """Wake every reader, so that it sees that this process is closing."""
        self.closing = True
        self._end_hearing()
        for watches in self._watches.values():
            for watch in watches:
                watch.changed.set()

    # ------------------------------------------------------------------ reading
    async def record(self, run_id: RunId) -> RunRecord:
        """The run now; ``RunNotFoundError``."""
        found = await self._shared(("run", run_id, 0), lambda: self.service.storage.get_run(run_id))
        if found is None:
            raise RunNotFoundError(run_id)
        return found

    async def rows(self, run_id: RunId, after: int) -> Sequence[JournalRow]:
        """Some rows of the journal with ``seq > after``, in order; none if there are none."""
        read = self.service.storage.read_journal
        return await self._shared(
            ("rows", run_id, after), lambda: read(run_id, after=after, limit=ROWS_AT_ONCE)
        )

    async def _shared(self, key: tuple[str, RunId, int], read: Callable[[], Awaitable[T]]) -> T:
        """Read once for all who ask at the same time. A read that began before one asked may be too old: the next one is taken."""
        fresh = False
        while True:
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(key, read)
            await asyncio.wait([flight])
            if fresh and not flight.cancelled():
                shared: T = flight.result()
                return shared
            fresh = True

    async def _lead(self, key: tuple[str, RunId, int], read: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = self._loop.create_future()
        try:
            found = await read()
            flight.set_result(found)
            return found
        finally:
            del self._flights[key]
            flight.cancel()  # if it failed, or was given up: those who wait try themselves

    # ------------------------------------------------------------------ what is not in the journal
    def tell(self, fact: Fact) -> None:
        """A hook: called in the thread that executes the run, which may be another one."""
        if isinstance(fact, StepStarted | StepRetried):
            self._tell(fact)

    def _tell(self, fact: Transient) -> None:
        if fact.run_id not in self._watches:
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._deliver(fact)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, fact)

    def _deliver(self, fact: Transient) -> None:
        for watch in self._watches.get(fact.run_id, ()):
            watch.transients.append(fact)
            watch.changed.set()
