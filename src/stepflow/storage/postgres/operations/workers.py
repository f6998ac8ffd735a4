"""Workers in PostgreSQL: registered, renewed, forgotten."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from stepflow.storage._sql.rows import CANCEL_REQUESTED, Micros, instant, micros
from stepflow.storage.base import WorkerRecord
from stepflow.storage.postgres.link import Link
from stepflow.storage.writes import Request
from stepflow.types import RunId, WorkerId

_COLUMNS = "id, name, queues, host, pid, started_at, lease_until"
_QUEUES = msgspec.json.Decoder(tuple[str, ...])
# In the order of their ids, so that two who forget the same workers take turns.
_FORGET = """
DELETE FROM @.workers WHERE id IN (
    SELECT id FROM @.workers WHERE id = ANY($1::text[]) AND ($2::bigint IS NULL OR lease_until <= $2::bigint) ORDER BY id FOR UPDATE)
"""
_REGISTER = f"""
INSERT INTO @.workers ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, queues = excluded.queues, host = excluded.host, pid = excluded.pid,
    started_at = excluded.started_at, lease_until = excluded.lease_until
"""  # noqa: S608 - our columns
_OTHERS = "SELECT id FROM @.workers WHERE name = $1 AND id <> $2"
RENEW = "UPDATE @.workers SET lease_until = $2 WHERE id = $1 RETURNING 1"


async def register(link: Link, worker: WorkerRecord) -> None:
    """Make the worker known and forget other incarnations of its name."""
    if worker.name is not None:
        others = [row[0] for row in await link.fetch(_OTHERS, worker.name, worker.id)]
        await forget(link, others)
    await link.fetch(
        _REGISTER,
        worker.id,
        worker.name,
        msgspec.json.encode(worker.queues).decode(),
        worker.host,
        worker.pid,
        micros(worker.started_at),
        micros(worker.lease_until),
    )


async def forget(link: Link, workers: Collection[WorkerId], *, expired_at: Micros | None = None) -> None:
    """Delete registrations; with an instant, only those whose lease has passed then."""
    if workers:
        await link.fetch(_FORGET, list(workers), expired_at)


async def renew(link: Link, worker: WorkerId, until: Micros) -> bool:
    """False if the worker is not registered."""
    return bool(await link.fetch(RENEW, worker, until))


async def registered(link: Link) -> dict[WorkerId, Micros]:
    """Every worker and when its lease ends."""
    return {row[0]: row[1] for row in await link.fetch("SELECT id, lease_until FROM @.workers")}


async def live_workers(link: Link, now: Micros) -> list[WorkerRecord]:
    """The workers whose lease has not passed, oldest first."""
    rows = await link.fetch(
        f"SELECT {_COLUMNS} FROM @.workers WHERE lease_until > $1 ORDER BY started_at, id",  # noqa: S608 - our columns
        now,
    )
    return [
        WorkerRecord(
            id=row[0],
            name=row[1],
            queues=_QUEUES.decode(row[2]),
            host=row[3],
            pid=row[4],
            started_at=instant(row[5]),
            lease_until=instant(row[6]),
        )
        for row in rows
    ]


async def owned_runs(link: Link, worker: WorkerId) -> list[tuple[RunId, str]]:
    """The running runs of a worker, with their queues."""
    rows = await link.fetch("SELECT id, queue FROM @.runs WHERE worker = $1 ORDER BY id", worker)
    return [(row[0], row[1]) for row in rows]


async def requests(link: Link, worker: WorkerId) -> list[Request]:
    """What was asked of the worker's running runs."""
    rows = await link.fetch(
        "SELECT id, cancel, pause FROM @.runs WHERE worker = $1 AND (cancel = $2 OR pause = 1) ORDER BY id",
        worker,
        CANCEL_REQUESTED,
    )
    return [Request(run_id=row[0], cancel=row[1] == CANCEL_REQUESTED, pause=bool(row[2])) for row in rows]
