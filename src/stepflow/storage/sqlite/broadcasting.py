"""Broadcasting over a file: the last texts of all processes in a table, which each reads when it sees that the file changed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.sqlite.connection import connect, patiently, transaction
from stepflow.storage.sqlite.errors import translate
from stepflow.storage.sqlite.reader import Reader
from stepflow.storage.writes import Broadcast

_KEPT: Final = 1_000
"""A process that did not look for longer than it takes to send so many has missed some."""

_NAME = "SELECT lower(hex(randomblob(8)))"
_SEND = "INSERT INTO stepflow_broadcasts (sender, text) SELECT ?, value FROM json_each(?) ORDER BY key"
_FORGET = (
    f"DELETE FROM stepflow_broadcasts WHERE number <= (SELECT max(number) - {_KEPT} FROM stepflow_broadcasts)"  # noqa: S608 - a number of ours
)
_LAST = "SELECT coalesce(max(number), 0) FROM stepflow_broadcasts"
_NEWER = "SELECT number, sender, text FROM stepflow_broadcasts WHERE number > ? ORDER BY number"


class Broadcasts:
    """Sends and reads texts, from whatever thread calls.

    They are written over a connection that does not wait for the disk (``synchronous`` is normal here): nobody needs them after a crash,
    so nobody pays an fsync for them. The connection is made when there is something to send.
    """

    def __init__(self, path: Path, reader: Reader, hub: WakeupHub, *, patience: float) -> None:
        self._path = path
        self._reader = reader
        self._hub = hub
        self._patience = patience
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._sender: str = reader.run(lambda connection: connection.execute(_NAME).fetchone()[0])
        self._seen = 0

    def send(self, texts: Sequence[str]) -> None:
        """Leave the texts for all other processes. Blocking."""
        encoded = msgspec.json.encode(texts).decode()
        with self._lock:
            connection = self._connection or connect(
                self._path, synchronous="normal", patience=self._patience
            )
            self._connection = connection

            def work() -> None:
                connection.execute(_SEND, (self._sender, encoded))
                connection.execute(_FORGET)

            try:
                patiently(lambda: transaction(connection, work), self._patience)
            except sqlite3.Error as error:
                raise translate(error, str(self._path)) from error

    def begin(self) -> None:
        """Whatever was sent until now is not for those who begin to listen."""
        self._seen = self._reader.run(lambda connection: connection.execute(_LAST).fetchone()[0])

    def hear(self) -> None:
        """Hand on what others have sent since the last time."""
        rows: list[tuple[int, str, str]] = self._reader.run(
            lambda connection: connection.execute(_NEWER, (self._seen,)).fetchall()
        )
        if rows:
            self._seen = rows[-1][0]
            self._hub.tell([Broadcast(text=text) for _, sender, text in rows if sender != self._sender])

    def close(self) -> None:
        """Give the connection back. Blocking; safe to repeat."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
