"""Connections: opened alike, told apart by what they may do, and closed for certain."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from stepflow.clock import SystemClock
from stepflow.errors import StorageError
from stepflow.storage._sql.connection import Connection
from stepflow.storage._sql.rows import Column
from stepflow.storage.sqlite.errors import is_locked, translate

Result = TypeVar("Result")
Shape = TypeVar("Shape")

OLDEST: Final = (3, 31, 0)
_IN_MEMORY = ":memory:"
_CLOCK = SystemClock()


def connect(
    path: Path | None, *, synchronous: str, patience: float, query_only: bool = False
) -> sqlite3.Connection:
    """A connection in autocommit mode that never waits for a lock by itself (see ``patiently``)."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise StorageError(
            f"this Python has SQLite {sqlite3.sqlite_version}; Stepflow needs {'.'.join(map(str, OLDEST))} or newer"
        )
    name = _IN_MEMORY if path is None else str(path)
    try:
        connection = sqlite3.connect(
            name, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
        )
    except sqlite3.Error as error:
        raise translate(error, name) from error
    pragmas = [
        f"PRAGMA synchronous = {synchronous}",
        "PRAGMA cache_size = -32768",
        "PRAGMA journal_size_limit = 67108864",
        f"PRAGMA query_only = {int(query_only)}",
    ]
    try:
        # The first look at the file meets a lock while another process sets a new one up.
        patiently(lambda: [connection.execute(pragma) for pragma in pragmas], patience)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, name) from error
    return connection


def use_wal(connection: sqlite3.Connection, path: Path, *, patience: float) -> None:
    """Switch the file to a write-ahead log, which lets readers and one writer work at once."""

    def switch() -> str:
        row: tuple[str] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        return row[0]

    try:
        mode = patiently(switch, patience)
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error
    if mode != "wal":
        raise StorageError(
            f"SQLite database {path}: no write-ahead log here (journal mode {mode}); "
            "put the file on a local file system"
        )


def patiently(attempt: Callable[[], Result], patience: float) -> Result:
    """Repeat an attempt that finds the database locked, for ``patience`` seconds.

    SQLite's own busy handler sleeps up to 100 ms at a time; two processes that write in turns feel that.
    """
    give_up = _CLOCK.monotonic() + patience
    pause = 0.000_2
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not is_locked(error) or _CLOCK.monotonic() >= give_up:
                raise
        time.sleep(pause)
        pause = min(pause * 1.5, 0.005)


def transaction(connection: sqlite3.Connection, work: Callable[[], Result]) -> Result:
    """Do the work in one write transaction: all of it is durable when this returns, or nothing happened.

    The write lock is taken at once: a transaction that reads first could not upgrade while another one writes.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def fetch_json(
    connection: Connection,
    sql: str,
    parameters: tuple[Column, ...],
    shape: msgspec.json.Decoder[Shape],
) -> Shape:
    """The one value of a query that answers with JSON text.

    Every step of a statement gives up Python's interpreter lock, and while another thread computes it takes up to 5 ms
    to get it back. Hundreds of rows fetched one by one would cost a second; one row of JSON costs two such waits.
    """
    row: tuple[str] = connection.execute(sql, parameters).fetchone()
    return shape.decode(row[0])
