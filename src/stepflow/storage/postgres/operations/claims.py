"""Claims in PostgreSQL: which runs may be taken, found by index however long the backlog is, and never twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from stepflow.storage._sql.rows import Micros
from stepflow.storage.postgres.driver import Row
from stepflow.storage.postgres.link import Link
from stepflow.types import RunId, WorkerId

# Each step seeks the next smaller priority of a queue: as many seeks as there are priorities, however many runs wait.
_LANES = """
lane (queue, priority) AS (
    SELECT q.queue, (SELECT r.priority FROM @.runs r WHERE r.queue = q.queue AND r.due_at IS NOT NULL ORDER BY r.priority DESC LIMIT 1)
    FROM unnest($1::text[]) AS q (queue)
    UNION ALL
    SELECT l.queue, (SELECT r.priority FROM @.runs r
        WHERE r.queue = l.queue AND r.priority < l.priority AND r.due_at IS NOT NULL ORDER BY r.priority DESC LIMIT 1)
    FROM lane l WHERE l.priority IS NOT NULL)
"""
_NEXT = """(SELECT r.due_at FROM @.runs r WHERE r.queue = l.queue AND r.priority = l.priority AND r.due_at IS NOT NULL
    AND ($2::text[] IS NULL OR r.workflow_id = ANY($2::text[])) ORDER BY r.due_at LIMIT 1)"""
_DUE_LANES = (
    f"WITH RECURSIVE {_LANES} SELECT l.queue, l.priority, {_NEXT} FROM lane l WHERE l.priority IS NOT NULL"  # noqa: S608 - fixed text
)
# Each step seeks the next larger worker id: as many seeks as there are owners, however many runs they have.
_OWNER = """
owner (id) AS (
    (SELECT r.worker FROM @.runs r WHERE r.worker IS NOT NULL ORDER BY r.worker LIMIT 1)
    UNION ALL
    SELECT (SELECT r.worker FROM @.runs r WHERE r.worker > owner.id ORDER BY r.worker LIMIT 1)
    FROM owner WHERE owner.id IS NOT NULL)
"""
_LOST = "o.id IS NOT NULL AND (SELECT w.id FROM @.workers w WHERE w.id = o.id) IS NULL"
_OWNERS = f"WITH RECURSIVE {_OWNER} SELECT o.id FROM owner o WHERE {_LOST}"  # noqa: S608 - fixed text
# Only among what is due: runs of other workflows may sleep here in any number, and are not to be passed one by one.
_FIRST_DUE = _NEXT.replace("ORDER BY", "AND r.due_at <= $3::bigint ORDER BY")
_LOOK = f"""
WITH RECURSIVE {_LANES}, {_OWNER}
SELECT 'lane', l.queue, l.priority, {_FIRST_DUE} FROM lane l WHERE l.priority IS NOT NULL
UNION ALL SELECT 'lost', o.id, 0, 0 FROM owner o WHERE {_LOST}
UNION ALL SELECT 'worker', w.id, 0, w.lease_until FROM @.workers w
"""  # noqa: S608 - fixed text
# Runs that others are claiming right now are passed over.
_TAKE_DUE = """
SELECT r.priority, r.due_at, r.created_pos, r.id, r.queue FROM @.runs r
WHERE r.queue = $1 AND r.priority = $2::bigint AND r.due_at <= $3::bigint
    AND ($5::text[] IS NULL OR r.workflow_id = ANY($5::text[]))
ORDER BY r.due_at, r.created_pos LIMIT $4::bigint FOR UPDATE SKIP LOCKED
"""
_TAKE_LOST = """
SELECT r.priority, 0, r.created_pos, r.id, r.queue FROM @.runs r
WHERE r.worker = ANY($1::text[]) AND r.queue = $2 AND ($3::text[] IS NULL OR r.workflow_id = ANY($3::text[]))
ORDER BY r.priority DESC, r.created_pos LIMIT $4::bigint FOR UPDATE SKIP LOCKED
"""
# Takes them as well, in one transaction of its own. A run whose journal went on since this statement began is not taken, though it
# was locked: its place is taken. Rows are inserted in the order of the ids, as everywhere.
_TAKE_AT_ONCE = f"""
WITH due AS MATERIALIZED ({_TAKE_DUE}),
appended AS (
    INSERT INTO @.journal (run_id, seq, writer, write_id, entries)
    SELECT n.id, n.seq, $6, 'claim-' || n.seq, $7::json FROM (
        SELECT d.id, 1 + coalesce((SELECT j.seq FROM @.journal j WHERE j.run_id = d.id ORDER BY j.seq DESC LIMIT 1), 0) AS seq
        FROM due d ORDER BY d.id) n
    ON CONFLICT DO NOTHING RETURNING run_id, seq),
taken AS (
    UPDATE @.runs AS t SET status = 'running', worker = $6, due_at = NULL, started_at = coalesce(t.started_at, $3::bigint)
    FROM due d WHERE t.id = d.id AND (d.id IN (SELECT run_id FROM appended)) IS TRUE)
SELECT d.id, (SELECT a.seq FROM appended a WHERE a.run_id = d.id) FROM due d ORDER BY d.due_at, d.created_pos
"""  # noqa: S608 - fixed text
_LOST_QUEUES = "SELECT DISTINCT r.queue FROM @.runs r WHERE r.worker = ANY($1::text[])"

Workflows = list[str] | None


class Candidate(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """A claimable run, locked; sorts as runs are claimed, ``due_at`` being 0 for one whose owner was lost."""

    rank: int
    due_at: Micros
    created_pos: int
    run_id: RunId
    queue: str


class Lane(msgspec.Struct, frozen=True, gc=False):
    """Runs of one queue and priority; ``due_at`` is when the first of those that are meant is due."""

    queue: str
    priority: int
    due_at: Micros


class Look(msgspec.Struct, frozen=True):
    """What there is to claim: where runs are due, owners that are not registered, and every worker with the end of its lease."""

    lanes: list[Lane]
    lost: list[WorkerId]
    workers: dict[WorkerId, Micros]


async def look(link: Link, queues: Collection[str], workflows: Workflows, now: Micros) -> Look:
    """One look at what is due, that locks nothing."""
    rows = await link.fetch(_LOOK, list(queues), workflows, now)
    return Look(
        lanes=_lanes([tuple(row)[1:] for row in rows if row[0] == "lane"]),
        lost=[row[1] for row in rows if row[0] == "lost"],
        workers={row[1]: row[3] for row in rows if row[0] == "worker"},
    )


async def lanes(link: Link, queues: Collection[str], workflows: Workflows) -> list[Lane]:
    """Where runs wait to be claimed, now or later; higher priorities first."""
    return _lanes(await link.fetch(_DUE_LANES, list(queues), workflows))


def _lanes(rows: Sequence[Row]) -> list[Lane]:
    found = [Lane(queue=row[0], priority=row[1], due_at=row[2]) for row in rows if row[2] is not None]
    found.sort(key=_by_priority)
    return found


async def lost_owners(link: Link) -> list[WorkerId]:
    """Those who own running runs and are not registered."""
    return [row[0] for row in await link.fetch(_OWNERS)]


async def lost_queues(link: Link) -> set[str]:
    """The queues of running runs whose worker is not registered."""
    owners = await lost_owners(link)
    return {row[0] for row in await link.fetch(_LOST_QUEUES, owners)} if owners else set()


async def take(
    link: Link,
    due: Sequence[Lane],
    lost: Sequence[WorkerId],
    *,
    room: Mapping[str, int],
    limit: int,
    workflows: Workflows,
    now: Micros,
) -> tuple[list[Candidate], set[str]]:
    """Lock the runs to claim, best first, no more of a queue than it has room for; and the queues that more was locked of."""
    found: list[Candidate] = []
    left = dict(room)
    for lane in due:
        if len(found) >= limit and lane.priority < -found[-1].rank:
            break
        most = min(left[lane.queue], limit)
        if most > 0:
            rows = await link.fetch(_TAKE_DUE, lane.queue, lane.priority, now, most, workflows)
            found += map(_candidate, rows)
            left[lane.queue] -= len(rows)
    for queue, free in room.items() if lost else ():
        if free > 0:
            rows = await link.fetch(_TAKE_LOST, list(lost), queue, workflows, min(free, limit))
            found += map(_candidate, rows)
    left = dict(room)
    chosen: list[Candidate] = []
    passed: set[str] = set()
    for run in sorted(found):
        if len(chosen) < limit and left[run.queue] > 0:
            left[run.queue] -= 1
            chosen.append(run)
        else:
            passed.add(run.queue)
    return chosen, passed


async def take_at_once(
    link: Link, lane: Lane, limit: int, workflows: Workflows, now: Micros, worker: WorkerId, entries: str
) -> dict[RunId, int | None]:
    """Take runs of one lane, the longest due first: where the row with ``entries`` lies, or None if somebody was faster."""
    rows = await link.fetch(_TAKE_AT_ONCE, lane.queue, lane.priority, now, limit, workflows, worker, entries)
    return {row[0]: row[1] for row in rows}


def _candidate(row: Row) -> Candidate:
    priority, due_at, created_pos, run_id, queue = row
    return Candidate(-priority, due_at, created_pos, run_id, queue)


def _by_priority(lane: Lane) -> int:
    return -lane.priority


def names_of(workflows: Collection[str] | None) -> Workflows:
    """The ids of workflows as the queries here take them."""
    return None if workflows is None else sorted(workflows)
