"""Claims: what taking a run does to it, and how much of its journal comes along."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from stepflow.model.journal import Claimed, JournalRow
from stepflow.model.states import RunStatus
from stepflow.storage._rules.records import RunState, Work
from stepflow.types import RunId, WorkerId

RUN_ROWS_LIMIT = 256 * 1024
"""Bytes of encoded journal that one claim brings along at most."""

CLAIM_ROWS_LIMIT = 16 * 1024 * 1024
"""The same for all claims of one call."""

CLAIM_EVENTS_LIMIT = 100
_ALWAYS = datetime.min.replace(tzinfo=UTC)
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def take(work: Work, run: RunState, worker: WorkerId) -> JournalRow:
    """The run is the worker's: a ``Claimed`` row at the next seq fences whoever had it before."""
    if run.status is RunStatus.RUNNING:
        work.changed.add(run.id)  # its former owner, if it lives, should know
    seq = work.records.last_seq(run.id) + 1
    row = claimed_row(run.id, seq, worker, work.now, takeover=run.status is RunStatus.RUNNING)
    work.records.append(run.id, seq, worker, row.write_id, row.entries)
    run.status = RunStatus.RUNNING
    run.worker = worker
    run.due_at = None
    run.started_at = run.started_at or work.now
    work.records.save(run)
    return row


def claimed_row(run_id: RunId, seq: int, worker: WorkerId, now: datetime, *, takeover: bool) -> JournalRow:
    """The row by which a run becomes the worker's."""
    entry = Claimed(at=now, worker=worker, takeover=takeover, python=_PYTHON)
    return JournalRow(run_id=run_id, seq=seq, writer=worker, write_id=_write_id(seq), entries=(entry,))


def is_claim(row: JournalRow) -> bool:
    """Whether a claim wrote the row, and not the start of a run that its starter took at once."""
    return row.write_id == _write_id(row.seq)


def _write_id(seq: int) -> str:
    return f"claim-{seq}"


def known_seq(known: Mapping[RunId, int], run: RunState, last: int) -> int:
    """The seq after which the claimant needs rows: what it knows, if that is of the present journal."""
    floor = run.first_seq - 1
    seq = known.get(run.id, floor)
    return seq if floor <= seq <= last else floor


class RowBudget:
    """Counts the encoded bytes of the rows that claims bring along."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = CLAIM_ROWS_LIMIT

    def fit(self, rows: Iterable[tuple[JournalRow, int]]) -> list[JournalRow]:
        """The rows from the front that fit, each given with its size; stops asking at the first that does not."""
        room = min(RUN_ROWS_LIMIT, self._left)
        taken: list[JournalRow] = []
        for row, size in rows:
            if size > room:
                break
            room -= size
            self._left -= size
            taken.append(row)
        return taken


def claim_order(run: RunState) -> tuple[int, datetime, int]:
    """Higher priority first; then runs whose owner was lost, then by due instant; then by age."""
    return -run.priority, run.due_at or _ALWAYS, run.created_pos
