"""Reading over a distance: what operations ask one by one is asked together, and long answers come in parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from msgspec import convert

from stepflow.model.events import Event, Wait
from stepflow.model.runs import RunRecord
from stepflow.storage._sql.rows import micros
from stepflow.storage.base import StorageInfo
from stepflow.storage.libsql.transcript import Transcript
from stepflow.storage.libsql.working_set import DistantSet, together
from stepflow.storage.sqlite.operations import events, housekeeping, journal, runs, workers
from stepflow.storage.sqlite.operations.claims import OWNERS
from stepflow.storage.sqlite.operations.journal import StoredRow
from stepflow.storage.sqlite.schema import MIGRATIONS
from stepflow.types import RunId

_PAGE_ROWS: Final = 1_000
_PAGE_BYTES: Final = 2_097_152

# Rows from the front until they are large enough; the first one always, however large it is.
_PAGE = """
SELECT run_id, seq, writer, write_id, entries FROM (
    SELECT run_id, seq, writer, write_id, entries,
        sum(length(CAST(entries AS BLOB))) OVER (ORDER BY seq) - length(CAST(entries AS BLOB)) AS before
    FROM (SELECT * FROM stepflow_journal WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?))
WHERE before < ? ORDER BY seq
"""
_ORPHANED_QUEUES = f"SELECT DISTINCT queue FROM stepflow_runs WHERE worker IN ({OWNERS})"  # noqa: S608 - it is ours

DURABILITY: Final = (
    "the server's: a sqld of your own runs SQLite with synchronous=normal, so a power loss of its machine may take the last writes; "
    "a host may promise more"
)


def read_records(transcript: Transcript, run_ids: Sequence[RunId]) -> list[RunRecord]:
    """Those of the runs that exist, in the order of the ids."""
    records = DistantSet(transcript)
    together(partial(records.load_runs, run_ids), partial(records.load_inputs, run_ids))
    return [records.record(run) for run_id in run_ids if (run := records.find(run_id)) is not None]


def read_rows(transcript: Transcript, run_id: RunId, after: int, limit: int | None) -> list[StoredRow]:
    """Journal rows with a greater seq, in order."""
    found: list[StoredRow] = []
    while limit is None or len(found) < limit:
        wanted = _PAGE_ROWS if limit is None else min(_PAGE_ROWS, limit - len(found))
        page = [
            convert(row, StoredRow)
            for row in transcript.execute(_PAGE, (run_id, after, wanted, _PAGE_BYTES)).fetchall()
        ]
        found += page
        if len(page) < wanted and sum(row.size for row in page) < _PAGE_BYTES:
            break
        after = found[-1].seq
    return found


def read_events(transcript: Transcript, waits: Sequence[tuple[RunId, Wait]], limit: int) -> list[list[Event]]:
    """For each wait the events that it may have, by position."""
    found: list[list[Event]] = [[] for _ in waits]
    together(
        *(
            partial(_add_eligible, transcript, run_id, wait, limit, log)
            for (run_id, wait), log in zip(waits, found, strict=True)
        )
    )
    return found


def _add_eligible(transcript: Transcript, run_id: RunId, wait: Wait, limit: int, log: list[Event]) -> None:
    log += events.read_eligible(transcript, run_id, wait, limit)


def orphaned_queues(transcript: Transcript) -> set[str]:
    """The queues of running runs whose worker is not registered."""
    return {str(queue) for (queue,) in transcript.execute(_ORPHANED_QUEUES)}


def read_info(transcript: Transcript, url: str, now: datetime) -> StorageInfo:
    """Figures about everything that is stored."""
    together(
        partial(runs.oldest_unfinished, transcript),
        partial(runs.count_by_status, transcript),
        partial(journal.count_rows, transcript),
        partial(events.count_events, transcript),
        partial(workers.live_workers, transcript, micros(now)),
        partial(transcript.execute, "PRAGMA page_count"),
        partial(transcript.execute, "PRAGMA page_size"),
    )
    oldest = runs.oldest_unfinished(transcript)
    return StorageInfo(
        url=url,
        backend="libsql",
        durability=DURABILITY,
        schema_version=len(MIGRATIONS),
        runs=runs.count_by_status(transcript),
        journal_rows=journal.count_rows(transcript),
        events=events.count_events(transcript),
        events_pinned_by=None if oldest is None else oldest[0],
        workers=workers.live_workers(transcript, micros(now)),
        size_bytes=housekeeping.size(transcript),
    )
