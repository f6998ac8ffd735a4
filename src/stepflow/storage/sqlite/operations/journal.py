"""The journal in SQLite: rows appended in bulk, read in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from stepflow.model.journal import JournalRow, decode_entries
from stepflow.storage._sql.connection import Connection
from stepflow.storage.sqlite.bulk import insert
from stepflow.storage.sqlite.connection import fetch_json
from stepflow.types import RunId, WorkerId

APPEND_ROWS: Final = insert("stepflow_journal", ("run_id", "seq", "writer", "write_id", "entries"))

SHORT_TAIL = 64
"""A claim that misses at most this many rows gets them together with its neighbours'."""


_TAILS_AT_ONCE = 100
"""Runs whose short tails are fetched as one text: 100 MB, if every row is as large as may be."""


class StoredRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A journal row's columns, in the order of the table."""

    run_id: RunId
    seq: int
    writer: WorkerId
    write_id: str
    entries: str

    def decoded(self) -> JournalRow:
        return JournalRow(
            run_id=self.run_id,
            seq=self.seq,
            writer=self.writer,
            write_id=self.write_id,
            entries=decode_entries(self.entries),
        )

    @property
    def size(self) -> int:
        """Encoded length of the entries in bytes."""
        return len(self.entries.encode())


class LazyRows:
    """The rows of one run after a seq, fetched only as far as somebody iterates."""

    __slots__ = ("_after", "_connection", "_run_id")

    def __init__(self, connection: Connection, run_id: RunId, after: int) -> None:
        self._connection, self._run_id, self._after = connection, run_id, after

    def __iter__(self) -> Iterator[StoredRow]:
        return read_rows(self._connection, self._run_id, self._after)


_TAILS = """
SELECT json_group_array(json_array(run_id, seq, writer, write_id, entries)) FROM (
    SELECT j.run_id, j.seq, j.writer, j.write_id, j.entries
    FROM json_each(?) w
    JOIN stepflow_journal j ON j.run_id = w.key AND j.seq > w.value
    WHERE length(j.entries) <= 16384
    ORDER BY j.run_id, j.seq)
"""
_STORED = msgspec.json.Decoder(list[StoredRow])


def read_rows(
    connection: Connection, run_id: RunId, after: int, limit: int | None = None
) -> Iterator[StoredRow]:
    """Rows with a greater seq, in order, fetched as they are asked for."""
    cursor = connection.execute(
        "SELECT run_id, seq, writer, write_id, entries FROM stepflow_journal "
        "WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        (run_id, after, -1 if limit is None else limit),
    )
    return (StoredRow(*row) for row in cursor)


def read_tails(connection: Connection, after: dict[RunId, int]) -> dict[RunId, list[StoredRow]]:
    """For each run the rows after a seq, without those that are large. Meant for short tails of many runs."""
    tails: dict[RunId, list[StoredRow]] = {run_id: [] for run_id in after}
    places = list(after.items())
    for start in range(0, len(places), _TAILS_AT_ONCE):
        wanted = msgspec.json.encode(dict(places[start : start + _TAILS_AT_ONCE])).decode()
        for row in fetch_json(connection, _TAILS, (wanted,), _STORED):
            tails[row.run_id].append(row)
    for rows in tails.values():
        rows.sort(key=_seq)
    return tails


def _seq(row: StoredRow) -> int:
    return row.seq


def written_by(connection: Connection, run_id: RunId, seq: int) -> tuple[WorkerId, str] | None:
    """The ``(writer, write_id)`` of one row."""
    row: tuple[WorkerId, str] | None = connection.execute(
        "SELECT writer, write_id FROM stepflow_journal WHERE run_id = ? AND seq = ?", (run_id, seq)
    ).fetchone()
    return row


def cut_before(connection: Connection, run_id: RunId, seq: int) -> None:
    """Delete the rows with a smaller seq."""
    connection.execute("DELETE FROM stepflow_journal WHERE run_id = ? AND seq < ?", (run_id, seq))


def count_rows(connection: Connection) -> int:
    row: tuple[int] = connection.execute("SELECT count(*) FROM stepflow_journal").fetchone()
    return row[0]
