"""Readers: connections that only look, so that no read waits for a writer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from stepflow.storage.sqlite.connection import connect, patiently
from stepflow.storage.sqlite.errors import translate

Result = TypeVar("Result")

_PATIENCE = 0.25
"""Seconds. A reader meets a lock only while another process opens or closes the file."""


class Reader:
    """One connection, used by one thread at a time; what one call reads is one snapshot."""

    def __init__(self, path: Path, patience: float) -> None:
        self._path = str(path)
        self._lock = threading.Lock()
        self._connection = connect(path, synchronous="full", patience=patience, query_only=True)

    def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Read, on the calling thread."""
        with self._lock:
            try:
                return patiently(lambda: self._snapshot(work), _PATIENCE)
            except sqlite3.Error as error:
                raise translate(error, self._path) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _snapshot(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        self._connection.execute("BEGIN")
        try:
            return work(self._connection)
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


class ReadingThread:
    """A reader with a thread, for what may take long: listings, whole journals, counts."""

    def __init__(self, path: Path, patience: float) -> None:
        self._reader = Reader(path, patience)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stepflow-sqlite-read")

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Read, while the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._reader.run, work)

    def close(self) -> None:
        """Blocking."""
        self._thread.shutdown()
        self._reader.close()
