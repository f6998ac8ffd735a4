"""Following: a run watched from its stored journal until it stands still, whoever executes it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Protocol, Self

from stepflow.cli.opening import Session
from stepflow.errors import DeserializationError, RunCancelledError, RunFailedError, RunPausedError
from stepflow.model.journal import Continued, Ended, Entry
from stepflow.model.steps import Run, RunEvent

_READ_EVERY = 0.1
"""Seconds between two looks at a run that changes all the time: nobody reads faster."""


class Display(Protocol):
    """Shows how a run goes on, between ``with`` and its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def happened(self, event: RunEvent) -> None:
        """One entry of the journal, each once and in order."""
        ...

    def changed(self, run: Run) -> None:
        """The run as it is now, with its steps; also before the ``Ended`` entry is told of."""
        ...


async def follow(session: Session, run_id: str, display: Display) -> Run:
    """Show the run's progress until it ended or is paused; returns it as it is then."""
    watcher = _Watcher(session, run_id, display)
    standing = asyncio.create_task(_stand_still(session, run_id))
    reading = asyncio.create_task(watcher.read())
    refreshing = asyncio.create_task(watcher.refresh())
    tasks = (standing, reading, refreshing)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, refreshing):
            if task.done():
                task.result()  # the journal can't be read any more: say so
        await standing
        # The journal of an ended run comes to its end; that of a paused one is merely quiet.
        if (await session.service.record(run_id)).status.ended:
            await reading
        else:
            reading.cancel()
            await asyncio.wait({reading})
            await watcher.catch_up()
        return await watcher.look()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stand_still(session: Session, run_id: str) -> None:
    """Wait for the run's end or pause; its result may be of an unknown codec, and is not what is asked for."""
    try:
        await session.service.result(run_id, Any, timeout=None)
    except (RunFailedError, RunCancelledError, RunPausedError, DeserializationError):
        return


class _Watcher:
    """Reads the journal as it grows, and tells the display: of each entry once, of the run as a whole now and then."""

    def __init__(self, session: Session, run_id: str, display: Display) -> None:
        self._session = session
        self._run_id = run_id
        self._display = display
        self._entries: list[Entry] = []
        self._told = (0, -1)
        self._dirty = asyncio.Event()

    async def read(self) -> None:
        """Tell of every entry until the run has ended."""
        self._dirty.set()
        async for event in self._session.handle(self._run_id).events():
            await self._tell(event)

    async def catch_up(self) -> None:
        """Tell what came in since ``read`` was broken off."""
        for row in await self._session.storage.read_journal(self._run_id, after=max(self._told[0] - 1, 0)):
            for place, entry in enumerate(row.entries):
                if (row.seq, place) > self._told:
                    await self._tell(RunEvent(id=f"{row.seq}.{place}", run_id=self._run_id, entry=entry))

    async def refresh(self) -> None:
        """Look at the run soon after something happened, and not all the time while much does."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self.look()
            await asyncio.sleep(_READ_EVERY)

    async def _tell(self, event: RunEvent) -> None:
        seq, _, place = event.id.partition(".")
        self._told = (int(seq), int(place))
        if isinstance(event.entry, Continued):
            self._entries.clear()
        self._entries.append(event.entry)
        self._dirty.set()
        if isinstance(event.entry, Ended):
            await self.look()  # its line tells the result, which is in the run's row
        self._display.happened(event)

    async def look(self) -> Run:
        """Read the run's row, and fold what is known of its journal."""
        record = await self._session.service.record(self._run_id)
        run = self._session.service.view(record, self._entries)
        self._display.changed(run)
        return run
