"""Claims in SQLite: which runs may be taken, found by index however long the backlog is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from stepflow.storage._sql.connection import Connection
from stepflow.storage._sql.rows import Micros
from stepflow.storage.sqlite.connection import fetch_json
from stepflow.types import RunId, WorkerId

_FIRST_PRIORITY = "SELECT max(priority) FROM stepflow_runs WHERE queue = ? AND due_at IS NOT NULL"
_NEXT_PRIORITY = (
    "SELECT max(priority) FROM stepflow_runs WHERE queue = ? AND priority < ? AND due_at IS NOT NULL"
)
_DUE = """
SELECT json_group_array(json_array(rank, due_at, created_pos, id, queue)) FROM (
    SELECT -priority AS rank, due_at, created_pos, id, queue FROM stepflow_runs
    WHERE queue = ? AND priority = ? AND due_at <= ?
        AND (? IS NULL OR workflow_id IN (SELECT value FROM json_each(?)))
    ORDER BY due_at, created_pos LIMIT ?)
"""
_EARLIEST = """
SELECT due_at FROM stepflow_runs
WHERE queue = ? AND priority = ? AND due_at IS NOT NULL
    AND (? IS NULL OR workflow_id IN (SELECT value FROM json_each(?)))
ORDER BY due_at LIMIT 1
"""
# Each step seeks the next larger worker id: as many seeks as there are workers, however many runs they own.
OWNERS: Final = """
WITH RECURSIVE owner (id) AS (
    SELECT min(worker) FROM stepflow_runs WHERE worker IS NOT NULL
    UNION ALL
    SELECT (SELECT min(r.worker) FROM stepflow_runs r WHERE r.worker > owner.id)
    FROM owner WHERE owner.id IS NOT NULL)
SELECT id FROM owner WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM stepflow_workers)
"""
_OWNED = """
SELECT json_group_array(json_array(-priority, 0, created_pos, id, queue)) FROM stepflow_runs
WHERE worker = ? AND (? IS NULL OR workflow_id IN (SELECT value FROM json_each(?)))
"""


class Candidate(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """A claimable run; sorts as runs are claimed, ``due_at`` being 0 for one whose owner was lost."""

    rank: int
    due_at: Micros
    created_pos: int
    run_id: RunId
    queue: str


WorkflowNames = str | None
"""The ids of the workflows that are meant, as a JSON array; None is all."""

CANDIDATES = msgspec.json.Decoder(list[Candidate])


def names_of(workflows: Collection[str] | None) -> WorkflowNames:
    """The ids of workflows as the queries here take them."""
    return None if workflows is None else msgspec.json.encode(sorted(workflows)).decode()


def due_runs(
    connection: Connection, queue: str, workflows: WorkflowNames, limit: int, now: Micros
) -> list[Candidate]:
    """The best due runs of a queue: one seek per priority, and then the rows themselves."""
    found: list[Candidate] = []
    for priority in _priorities(connection, queue):
        if len(found) >= limit:
            break
        wanted = (queue, priority, now, workflows, workflows, limit - len(found))
        rows = fetch_json(connection, _DUE, wanted, CANDIDATES)
        found += rows
    return found


def orphaned_runs(connection: Connection, workflows: WorkflowNames = None) -> list[Candidate]:
    """The running runs whose worker is not registered."""
    owners: Sequence[tuple[WorkerId]] = connection.execute(OWNERS).fetchall()
    return [
        run
        for (owner,) in owners
        for run in fetch_json(connection, _OWNED, (owner, workflows, workflows), CANDIDATES)
    ]


def next_due(connection: Connection, queues: Sequence[str], workflows: WorkflowNames) -> Micros | None:
    """The earliest instant at which a run of these queues is due, past or future."""
    rows = [
        connection.execute(_EARLIEST, (queue, priority, workflows, workflows)).fetchone()
        for queue in queues
        for priority in _priorities(connection, queue)
    ]
    return min((row[0] for row in rows if row is not None), default=None)


def _priorities(connection: Connection, queue: str) -> Iterator[int]:
    """The priorities that runs of the queue wait with, highest first."""
    row: tuple[int | None] = connection.execute(_FIRST_PRIORITY, (queue,)).fetchone()
    while row[0] is not None:
        yield row[0]
        row = connection.execute(_NEXT_PRIORITY, (queue, row[0])).fetchone()
