"""Committer: group commit. All writes of a process share their transactions, without any artificial delay."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from stepflow.clock import Clock
from stepflow.errors import StorageFullError, StorageUnavailableError
from stepflow.storage.base import Storage
from stepflow.storage.writes import Outcome, Write

_log = logging.getLogger("stepflow.committer")
_IN_FLIGHT = 2
_MOST_WRITES = 2_000
_MOST_BYTES = 8 * 1024 * 1024
_SLICE = 128
"""Writers that are told their outcome in one turn of the loop: a large batch is not to hold up the process."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 2.0


class Writer(Protocol):
    """Somebody who has something to write."""

    def take_write(self) -> Write | None:
        """What to write, asked at the last moment so that it holds all there is; None if nothing any more."""
        ...

    def written(self, outcome: Outcome) -> None:
        """The write is durable, or was refused."""
        ...

    def write_failed(self, error: Exception) -> None:
        """The storage can't take this write, now or later."""
        ...

    @property
    def write_size(self) -> int:
        """About how many bytes the next write will have."""
        ...


class SingleWrite:
    """One write that somebody awaits."""

    write_size = 512

    def __init__(self, write: Write) -> None:
        self._write = write
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def take_write(self) -> Write | None:
        return None if self.outcome.cancelled() else self._write

    def written(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def write_failed(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


_Answered = tuple[Writer, Outcome]


class Committer:
    """Takes everything that waits as one ``Storage.write``; the storage has at most two to do, one per writer.

    A batch that met transient trouble is sent again, unchanged, until it is answered: every write is safe to repeat.
    """

    def __init__(self, storage: Storage, clock: Clock, *, random: Callable[[], float]) -> None:
        self._storage = storage
        self._clock = clock
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._write_ids = itertools.count(1)
        self._waiting: deque[Writer] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._sending = 0
        self._scheduled = self._closed = False
        self._troubled = False
        self._idle: asyncio.Future[None] | None = None

    def enlist(self, writer: Writer) -> None:
        """Write what ``writer`` has, with everyone else's, as soon as possible. Once until it is answered."""
        self._waiting.append(writer)
        if not self._scheduled:
            self._schedule()

    def new_write_id(self) -> str:
        """An id that no other write of this process has: by it a commit that is sent again knows itself."""
        return f"{next(self._write_ids):x}"

    async def write(self, write: Write) -> Outcome:
        """Write one thing and wait for its outcome."""
        single = SingleWrite(write)
        self.enlist(single)
        return await single.outcome

    async def drain(self, limit: float) -> bool:
        """Wait until everything that was enlisted is answered; False if that took more than ``limit`` seconds."""
        try:
            async with asyncio.timeout(limit):
                while self._waiting or self._flights:
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Give up what is still on its way; whoever waits for it is told."""
        self._closed = True
        flights = list(self._flights)
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        while self._waiting:
            _fail(self._waiting.popleft(), _was_closed())

    @property
    def troubled(self) -> bool:
        """True while the storage does not take writes."""
        return self._troubled

    def _schedule(self) -> None:
        """Take what waits in the next turn, if the storage may be given more: by then all who have something to write have said so."""
        if self._waiting and self._sending < _IN_FLIGHT and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        waiting = self._waiting
        writers: list[Writer] = []
        batch: list[Write] = []
        size = 0
        while waiting and len(batch) < _MOST_WRITES and size < _MOST_BYTES:
            writer = waiting.popleft()
            weight = writer.write_size
            try:
                write = writer.take_write()
            except Exception as error:  # a bug in one writer is not to hold up its neighbours
                _log.exception("a writer could not say what to write")
                _fail(writer, error)
                continue
            if write is not None:
                writers.append(writer)
                batch.append(write)
                size += weight
        if batch:
            self._sending += 1
            flight = self._loop.create_task(self._fly(writers, batch))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)
        elif not self._flights:
            self._tell_idle()

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if not flight.cancelled() and flight.exception() is not None:
            _log.error("a writer failed to take its outcome", exc_info=flight.exception())
        if not self._waiting and not self._flights:
            self._tell_idle()

    def _tell_idle(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _fly(self, writers: Sequence[Writer], batch: Sequence[Write]) -> None:
        """Send a batch, and tell its writers: meanwhile the storage has the next one to do."""
        try:
            answered = await self._send(writers, batch)
        finally:
            self._sending -= 1
            if not self._scheduled:
                self._schedule()
        told = 0
        try:
            while told < len(answered):
                if told:
                    # Others get their turn: the bodies that began just now, and whoever does not work here.
                    await asyncio.sleep(0)
                self._tell(answered[told : told + _SLICE])
                told += _SLICE
        except asyncio.CancelledError:
            self._tell(answered[told:])
            raise

    async def _send(self, writers: Sequence[Writer], batch: Sequence[Write]) -> Sequence[_Answered]:
        """Who is to be told what; nobody any more if the storage can't take the batch as it is."""
        try:
            outcomes = await self._write(batch)
        except asyncio.CancelledError:
            for writer in writers:
                _fail(writer, _was_closed())
            raise
        except Exception as error:
            if len(batch) == 1:
                _fail(writers[0], error)
                return ()
            _log.warning("a batch of %d writes was refused (%s); writing them one by one", len(batch), error)
            await self._send_one_by_one(deque(zip(writers, batch, strict=True)))
            return ()
        return list(zip(writers, outcomes, strict=True))

    async def _send_one_by_one(self, left: deque[tuple[Writer, Write]]) -> None:
        try:
            while left:
                writer, write = left.popleft()
                self._tell(await self._send([writer], [write]))
        except asyncio.CancelledError:
            for writer, _ in left:
                _fail(writer, _was_closed())
            raise

    def _tell(self, answered: Sequence[_Answered]) -> None:
        for writer, outcome in answered:
            try:
                writer.written(outcome)
            except Exception as error:  # a bug in one writer is not to hold up its neighbours
                _log.exception("a writer could not take its outcome")
                _fail(writer, error)

    async def _write(self, batch: Sequence[Write]) -> Sequence[Outcome]:
        pause = _FIRST_PAUSE
        while True:
            try:
                outcomes = await self._storage.write(batch, now=self._clock.now())
            except (StorageUnavailableError, StorageFullError) as error:
                if not self._troubled:
                    self._troubled = True
                    _log.warning("the storage does not take writes (%s); trying again until it does", error)
                await asyncio.sleep(pause * (0.5 + self._random()))
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                if self._troubled:
                    self._troubled = False
                    _log.warning("the storage takes writes again")
                return outcomes


def _fail(writer: Writer, error: Exception) -> None:
    try:
        writer.write_failed(error)
    except Exception:
        _log.exception("a writer could not take its failure")


def _was_closed() -> StorageUnavailableError:
    return StorageUnavailableError(
        "the app was closed before the storage took the write; it may or may not be there"
    )
