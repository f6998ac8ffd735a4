"""Leases: renewed over a connection of their own, so that nothing else that happens in the process delays them."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from stepflow.errors import StorageError
from stepflow.storage._sql.rows import micros
from stepflow.storage.sqlite.connection import connect, patiently, transaction
from stepflow.storage.sqlite.errors import translate
from stepflow.storage.sqlite.operations import workers
from stepflow.types import WorkerId


class SqliteLeaseKeeper:
    """Renews one worker's lease, from whatever thread calls.

    It does not wait for the disk (``synchronous`` is normal here): a lease need not outlive the machine.
    """

    def __init__(self, path: Path, worker: WorkerId, *, patience: float) -> None:
        self._path = path
        self._worker = worker
        self._patience = patience
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def renew(self, now: datetime, lease: timedelta) -> bool:
        until = micros(now + lease)
        if os.getpid() != self._process:
            raise StorageError("a lease keeper does not work across a fork; make another one")
        with self._lock:
            connection = self._connection or connect(
                self._path, synchronous="normal", patience=self._patience
            )
            self._connection = connection
            try:
                return patiently(
                    lambda: transaction(connection, lambda: workers.renew(connection, self._worker, until)),
                    self._patience,
                )
            except sqlite3.Error as error:
                raise translate(error, str(self._path)) from error

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class PrivateLeaseKeeper:
    """Renews a lease in a private database, through the one connection that there is."""

    def __init__(
        self, write: Callable[[Callable[[sqlite3.Connection], bool]], bool], worker: WorkerId
    ) -> None:
        self._write = write
        self._worker = worker

    def renew(self, now: datetime, lease: timedelta) -> bool:
        until = micros(now + lease)
        return self._write(lambda connection: workers.renew(connection, self._worker, until))

    def close(self) -> None:
        return None
