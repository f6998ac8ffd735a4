"""Workers in SQLite: registered, renewed, forgotten."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from stepflow.storage._sql.connection import Connection
from stepflow.storage._sql.rows import CANCEL_REQUESTED, Micros, instant, micros
from stepflow.storage.base import WorkerRecord
from stepflow.storage.writes import Request
from stepflow.types import RunId, WorkerId

_COLUMNS = "id, name, queues, host, pid, started_at, lease_until"
_QUEUES = msgspec.json.Decoder(tuple[str, ...])


def register(connection: Connection, worker: WorkerRecord) -> None:
    """Make the worker known and forget other incarnations of its name."""
    if worker.name is not None:
        connection.execute(
            "DELETE FROM stepflow_workers WHERE name = ? AND id <> ?", (worker.name, worker.id)
        )
    connection.execute(
        f"INSERT OR REPLACE INTO stepflow_workers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our columns
        (
            worker.id,
            worker.name,
            msgspec.json.encode(worker.queues).decode(),
            worker.host,
            worker.pid,
            micros(worker.started_at),
            micros(worker.lease_until),
        ),
    )


def forget(connection: Connection, workers: Iterable[WorkerId]) -> None:
    for worker in workers:
        connection.execute("DELETE FROM stepflow_workers WHERE id = ?", (worker,))


def forget_expired(connection: Connection, workers: Iterable[WorkerId], now: Micros) -> None:
    """Forget those of the workers whose lease has passed."""
    for worker in workers:
        connection.execute("DELETE FROM stepflow_workers WHERE id = ? AND lease_until <= ?", (worker, now))


def renew(connection: Connection, worker: WorkerId, until: Micros) -> bool:
    """False if the worker is not registered."""
    cursor = connection.execute("UPDATE stepflow_workers SET lease_until = ? WHERE id = ?", (until, worker))
    return cursor.rowcount == 1


def registered(connection: Connection) -> dict[WorkerId, Micros]:
    """Every worker and when its lease ends."""
    return dict(connection.execute("SELECT id, lease_until FROM stepflow_workers"))


def live_workers(connection: Connection, now: Micros) -> list[WorkerRecord]:
    """The workers whose lease has not passed, oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM stepflow_workers WHERE lease_until > ? ORDER BY started_at, id",  # noqa: S608 - our columns
        (now,),
    ).fetchall()
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


def owned_runs(connection: Connection, worker: WorkerId) -> list[tuple[RunId, str]]:
    """The running runs of a worker, with their queues."""
    return connection.execute(
        "SELECT id, queue FROM stepflow_runs WHERE worker = ? ORDER BY id", (worker,)
    ).fetchall()


def requests(connection: Connection, worker: WorkerId) -> list[Request]:
    """What was asked of the worker's running runs."""
    rows = connection.execute(
        "SELECT id, cancel, pause FROM stepflow_runs WHERE worker = ? AND (cancel = ? OR pause = 1) ORDER BY id",
        (worker, CANCEL_REQUESTED),
    ).fetchall()
    return [Request(run_id=row[0], cancel=row[1] == CANCEL_REQUESTED, pause=bool(row[2])) for row in rows]
