"""Housekeeping in SQLite: settings, pruning, and figures about the file."""

from __future__ import annotations

from stepflow.storage._sql.connection import Connection
from stepflow.storage._sql.rows import Micros
from stepflow.storage.sqlite.operations import events, runs


def setting(connection: Connection, name: str, default: bytes) -> bytes:
    """The stored value; the default is stored if there is none."""
    connection.execute("INSERT OR IGNORE INTO stepflow_settings (name, value) VALUES (?, ?)", (name, default))
    row: tuple[bytes] = connection.execute(
        "SELECT value FROM stepflow_settings WHERE name = ?", (name,)
    ).fetchone()
    return row[0]


def prune(
    connection: Connection,
    *,
    ended_before: Micros | None,
    events_before: Micros | None,
    limit: int,
) -> int:
    """Delete ended runs, then events that no unfinished run may still ask for; how many of both."""
    gone = 0
    if ended_before is not None:
        doomed = runs.prunable_ids(connection, ended_before, limit)
        runs.delete_runs(connection, doomed)
        gone += len(doomed)
    if events_before is not None:
        oldest = runs.oldest_unfinished(connection)
        gone += events.prune_events(connection, events_before, None if oldest is None else oldest[1], limit)
    return gone


def size(connection: Connection) -> int:
    """Bytes of the database, without its log."""
    pages: tuple[int] = connection.execute("PRAGMA page_count").fetchone()
    page_size: tuple[int] = connection.execute("PRAGMA page_size").fetchone()
    return pages[0] * page_size[0]
