"""The journal in PostgreSQL: rows appended in bulk, read in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from stepflow.model.journal import JournalRow, decode_entries
from stepflow.storage._rules.claims import RUN_ROWS_LIMIT
from stepflow.storage.postgres import bulk
from stepflow.storage.postgres.driver import Row
from stepflow.storage.postgres.link import Link
from stepflow.types import RunId, WorkerId

COLUMNS: Final = ("run_id", "seq", "writer", "write_id", "entries")
_READ = """
SELECT run_id, seq, writer, write_id, entries FROM @.journal
WHERE run_id = $1 AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint
"""
_WRITTEN = f"""
SELECT v.run_id, v.seq, j.writer, j.write_id FROM {bulk.unnest(("run_id", "seq"))},
    LATERAL (SELECT x.writer, x.write_id FROM @.journal x WHERE x.run_id = v.run_id AND x.seq = v.seq::bigint LIMIT 1) j
"""  # noqa: S608 - our columns
# The bytes before and with each row; those over the limit stay where they are, however long the journal is.
_TAILS = f"""
SELECT j.run_id, j.seq, j.writer, j.write_id, j.entries FROM {bulk.unnest(("run_id", "seq"))},
    LATERAL (
        SELECT x.*, sum(octet_length(x.entries::text)) OVER (ORDER BY x.seq) AS bytes
        FROM (SELECT y.* FROM @.journal y WHERE y.run_id = v.run_id AND y.seq > v.seq::bigint ORDER BY y.seq LIMIT 4000) x
    ) j
WHERE j.bytes <= {RUN_ROWS_LIMIT} ORDER BY j.run_id, j.seq
"""  # noqa: S608 - our columns
BEFORE_LAST: Final = """LATERAL (SELECT j.seq, j.writer, j.write_id,
    CASE WHEN octet_length(j.entries::text) <= 65536 THEN j.entries::text END AS entries
    FROM @.journal j WHERE j.run_id = r.id ORDER BY j.seq DESC LIMIT 1 OFFSET 1)"""
"""The row before the last one of a run ``r``, if it has one; without its entries if they are many."""
_CUT = "DELETE FROM @.journal WHERE run_id = $1 AND seq < $2::bigint"


def row_of(row: Row) -> JournalRow:
    """A journal row from the columns of the table."""
    return JournalRow(
        run_id=row[0], seq=row[1], writer=row[2], write_id=row[3], entries=decode_entries(row[4])
    )


SizedRow = tuple[JournalRow, int]
"""A journal row, and how many bytes its entries have."""


def sized(row: Row) -> SizedRow:
    """A journal row from the columns of the table, with its size."""
    return row_of(row), len(row[4].encode())


async def cut_before(link: Link, run_id: RunId, seq: int) -> None:
    """Delete the rows with a smaller seq."""
    await link.fetch(_CUT, run_id, seq)


async def read_rows(link: Link, run_id: RunId, after: int, limit: int | None = None) -> list[JournalRow]:
    """Rows with a greater seq, in order."""
    return [row_of(row) for row in await link.fetch(_READ, run_id, after, limit)]


async def read_tails(link: Link, after: Mapping[RunId, int]) -> dict[RunId, list[SizedRow]]:
    """For each run the rows after a seq, as many as a claim may bring along."""
    tails: dict[RunId, list[SizedRow]] = {}
    if after:
        for row in await link.fetch(_TAILS, *bulk.pairs(after)):
            tails.setdefault(row[0], []).append(sized(row))
    return tails


async def written_by(
    link: Link, places: Collection[tuple[RunId, int]]
) -> dict[tuple[RunId, int], tuple[WorkerId, str]]:
    """The ``(writer, write_id)`` of those of the rows that are there."""
    rows = await link.fetch(_WRITTEN, *bulk.arrays(places, ("run_id", "seq")))
    return {(row[0], int(row[1])): (row[2], row[3]) for row in rows}


async def count_rows(link: Link) -> int:
    count: int = (await link.fetch("SELECT count(*) FROM @.journal"))[0][0]
    return count
