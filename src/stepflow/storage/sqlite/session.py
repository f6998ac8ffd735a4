"""A session: everything that is open while a SQLite storage is in use, and the checks that it still may be."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from stepflow.clock import SystemClock
from stepflow.errors import StorageError
from stepflow.storage._sql.rows import micros
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.sqlite.broadcasting import Broadcasts
from stepflow.storage.sqlite.connection import connect, use_wal
from stepflow.storage.sqlite.errors import translate
from stepflow.storage.sqlite.liveness import Liveness
from stepflow.storage.sqlite.operations import workers
from stepflow.storage.sqlite.options import SqliteOptions
from stepflow.storage.sqlite.polling import VersionPoller
from stepflow.storage.sqlite.reader import Reader, ReadingThread
from stepflow.storage.sqlite.schema import migrate
from stepflow.storage.sqlite.writer import Writer
from stepflow.storage.writes import Anything, Broadcast

Result = TypeVar("Result")
_log = logging.getLogger("stepflow.sqlite")
_CLOSEST_POLL = 0.000_25
"""Seconds. To look at the version costs some 10 µs."""


class Session:
    """What is open. A private database in memory has one connection for everything, and no thread."""

    def __init__(self, options: SqliteOptions, hub: WakeupHub) -> None:
        """Open it all, and bring the schema forward. Blocking."""
        path, patience = options.path, options.busy_timeout / 1000
        self._name = ":memory:" if path is None else str(path)
        self._path = path
        self._process = os.getpid()
        self._closers: list[Callable[[], None]] = []
        connection = connect(path, synchronous=options.synchronous, patience=patience)
        try:
            self._prepare(connection, patience)
            self._writer = Writer(connection, self._name, patience=patience, threaded=path is not None)
        except BaseException:
            connection.close()
            raise
        self._closers.append(self._writer.close)
        self.liveness: Liveness | None = None
        self._hub = hub
        self._broadcasts: Broadcasts | None = None
        self._reader: Reader | None = None
        self._apart: ReadingThread | None = None
        self.poller = VersionPoller(
            self._writer.foreign_version,
            self._changed,
            idle=options.poll / 1000,
            closest=_CLOSEST_POLL,
            on_begin=self._begin_to_hear,
        )
        if path is not None:
            try:
                self._open_rest(path, patience)
            except BaseException:
                self.close()
                raise

    def _prepare(self, connection: sqlite3.Connection, patience: float) -> None:
        if self._path is not None:
            use_wal(connection, self._path, patience=patience)
        try:
            migrate(connection, where=self._name, now=micros(SystemClock().now()), patience=patience)
        except sqlite3.Error as error:
            raise translate(error, self._name) from error

    def _open_rest(self, path: Path, patience: float) -> None:
        self._identity = _identity(path)
        self._reader = Reader(path, patience)
        self._closers.append(self._reader.close)
        self._apart = ReadingThread(path, patience)
        self._closers.append(self._apart.close)
        self._broadcasts = Broadcasts(path, self._reader, self._hub, patience=patience)
        self._closers.append(self._broadcasts.close)
        self.liveness = Liveness(path)
        self._closers.append(self.liveness.close)
        self.liveness.sweep(self._reader.run(workers.registered))

    # -------------------------------------------------------------- use
    async def write(self, work: Callable[[sqlite3.Connection], Result], *, small: bool = True) -> Result:
        """Do work that writes; ``small`` says that it is not worth a thread of its own."""
        self.check()
        self.poller.stir()
        return await self._writer.run(work, small=small)

    def write_now(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """The same, blocking; for a private database."""
        self.check()
        return self._writer.run_now(work)

    def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Read a little, here and now."""
        self.check()
        return self._writer.run_now(work) if self._reader is None else self._reader.run(work)

    async def read_apart(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Read much, on a thread of its own."""
        self.check()
        return self._writer.run_now(work) if self._apart is None else await self._apart.run(work)

    async def broadcast(self, texts: Sequence[str]) -> None:
        """Tell listeners here at once, and other processes before this returns."""
        self.check()
        self._hub.tell([Broadcast(text=text) for text in texts])
        if self._broadcasts is not None:
            self.poller.stir()
            await asyncio.to_thread(self._broadcasts.send, texts)

    # -------------------------------------------------------------- what other processes do
    def _begin_to_hear(self) -> None:
        if self._broadcasts is not None:
            self._attempt(self._broadcasts.begin)

    def _changed(self) -> None:
        """Somebody else wrote. What was broadcast comes first: it may be about what else was written."""
        if self._broadcasts is not None:
            self._attempt(self._broadcasts.hear)
        self._hub.tell([Anything()])

    def _attempt(self, read: Callable[[], None]) -> None:
        """In the poller's thread, which goes on whatever happens."""
        try:
            read()
        except StorageError as error:
            _log.debug("what other processes broadcast can't be read now (%s)", error)

    # -------------------------------------------------------------- life
    def check(self) -> None:
        """Refuse to go on after a fork, or when the file under the path is not the one that was opened."""
        if os.getpid() != self._process:
            raise StorageError(
                f"SQLite database {self._name} was opened before a fork; open the storage in the child process instead"
            )
        if self._path is not None and _identity(self._path) != self._identity:
            raise StorageError(
                f"SQLite database {self._name} was deleted or replaced while open; nothing more is written to it, "
                "restart the process to use what is there now"
            )

    def close(self) -> None:
        """Close it all, in the opposite order. Blocking. After a fork nothing is touched: it is the parent's."""
        self.poller.follow(0)
        if os.getpid() == self._process:
            while self._closers:
                self._closers.pop()()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
