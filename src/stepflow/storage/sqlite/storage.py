"""SqliteStorage: the port over one SQLite file, several processes at a time."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from stepflow.errors import NotOpenError
from stepflow.failpoints import failpoint
from stepflow.model.events import Event, Wait
from stepflow.model.journal import JournalRow
from stepflow.model.pages import Page
from stepflow.model.runs import Progress, RunFilter, RunRecord
from stepflow.storage._rules.applying import check_batch
from stepflow.storage._rules.listing import check_limit, read_cursor, write_cursor
from stepflow.storage._rules.records import Work
from stepflow.storage._sql.checking import list_ids
from stepflow.storage._sql.rows import instant_or_none, micros, micros_or_none
from stepflow.storage._untold import UntoldClaims
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.base import LeaseKeeper, StorageInfo, WorkerRecord
from stepflow.storage.checking import Finding
from stepflow.storage.sqlite import checking
from stepflow.storage.sqlite.claiming import FEW, ClaimRequest, claim, look
from stepflow.storage.sqlite.connection import transaction
from stepflow.storage.sqlite.leases import PrivateLeaseKeeper, SqliteLeaseKeeper
from stepflow.storage.sqlite.operations import claims, events, housekeeping, journal, runs, workers
from stepflow.storage.sqlite.options import SqliteOptions, read_url
from stepflow.storage.sqlite.schema import MIGRATIONS
from stepflow.storage.sqlite.session import Session
from stepflow.storage.sqlite.transactions import begin_transaction, write_within
from stepflow.storage.sqlite.working_set import apply_batch, encode_batch, read_record, read_records
from stepflow.storage.transactions import StorageTransaction
from stepflow.storage.writes import Claim, CreateRun, Outcome, Request, SendEvent, Wakeup, Write
from stepflow.types import RunId, WorkerId

_FEW_RUNS = 20
_LOOK_FOR_DEAD_EVERY = timedelta(seconds=1)


def open_url(url: str) -> SqliteStorage:
    """The storage that a ``sqlite:///…`` URL names; nothing is opened yet."""
    return SqliteStorage(read_url(url))


class SqliteStorage:
    """A ``Storage`` in one SQLite file, or in a private database in memory.

    The same object may be entered several times (it closes with the last) and used from several event loops.
    """

    def __init__(self, options: SqliteOptions) -> None:
        self._options = options
        self._entered = 0
        self._entering = threading.Lock()
        self._session: Session | None = None
        self._hub = WakeupHub(self._listeners_changed)
        self._looked_for_dead: datetime | None = None
        self._untold = UntoldClaims(self)

    @property
    def url(self) -> str:
        options = self._options
        given = [
            f"{name}={value}"
            for name, value, usual in (
                ("synchronous", options.synchronous, "full"),
                ("poll", options.poll, 10),
                ("busy_timeout", options.busy_timeout, 5_000),
            )
            if value != usual
        ]
        # Only what would end the path is written with %; spaces and other scripts stay readable.
        path = (
            ":memory:" if options.path is None else str(options.path).replace("%", "%25").replace("?", "%3F")
        )
        return f"sqlite:///{path}{'?' if given else ''}{'&'.join(given)}"

    @property
    def durable(self) -> bool:
        return self._options.path is not None

    # -------------------------------------------------------------- life cycle
    def reopened(self) -> SqliteStorage:
        return SqliteStorage(self._options)

    async def __aenter__(self) -> Self:
        if self._options.path is None:
            self._enter()
        else:
            await asyncio.to_thread(self._enter)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        if self._options.path is None:
            self._leave()
        else:
            await asyncio.to_thread(self._leave)

    def _enter(self) -> None:
        with self._entering:
            if self._session is None:
                self._session = Session(self._options, self._hub)
                self._looked_for_dead = None
                self._listeners_changed(self._hub.listeners)
            self._entered += 1

    def _leave(self) -> None:
        with self._entering:
            self._entered -= 1
            if self._entered == 0 and self._session is not None:
                session, self._session = self._session, None
                session.close()

    def _open(self) -> Session:
        if self._session is None:
            raise NotOpenError(f"{self.url} is not open; use it inside `async with`")
        return self._session

    # -------------------------------------------------------------- writes
    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        session = self._open()
        if not batch:
            return []
        check_batch(batch)
        encoded = encode_batch(batch)

        def work(connection: sqlite3.Connection) -> tuple[list[Outcome], Work]:
            done = transaction(connection, lambda: apply_batch(connection, batch, encoded, now))
            failpoint("checkpoint.after_commit")
            return done

        outcomes, done = await session.write(work, small=len(batch) == 1)
        self._tell(done)
        return outcomes

    async def claim_runs(
        self,
        worker: WorkerId,
        *,
        queues: Mapping[str, int],
        known: Mapping[RunId, int],
        limit: int,
        now: datetime,
        workflows: Collection[str] | None = None,
    ) -> Sequence[Claim]:
        session = self._open()
        dead = self._dead_workers(session, now)
        request = ClaimRequest(
            worker=worker,
            queues=queues,
            known=known,
            limit=limit,
            now=now,
            dead=dead,
            workflows=claims.names_of(workflows),
        )
        return await self._untold.claim(
            worker, known=known, now=now, take=lambda: self._take(session, request)
        )

    async def _take(self, session: Session, request: ClaimRequest) -> Sequence[Claim]:
        expected = session.read(lambda connection: look(connection, request))
        if expected == 0:
            return []

        def work(connection: sqlite3.Connection) -> tuple[list[Claim], Work]:
            return transaction(connection, lambda: claim(connection, request))

        taken, done = await session.write(work, small=min(expected, request.limit) <= FEW)
        if session.liveness is not None:
            session.liveness.bury(request.dead)
        self._tell(done)
        return taken

    # -------------------------------------------------------------- users' transactions
    @property
    def transactions_exclude(self) -> bool:
        return True

    async def begin_transaction(self) -> StorageTransaction:
        return await begin_transaction(self._open(), self._options, self._tell)

    async def write_within(self, connection: Any, write: CreateRun | SendEvent, *, now: datetime) -> Outcome:
        check_batch([write])
        return await write_within(self._options, connection, write, now)

    def _dead_workers(self, session: Session, now: datetime) -> frozenset[WorkerId]:
        """The registered workers whose process is gone; looked for at most once a second."""
        last = self._looked_for_dead
        if session.liveness is None or (last is not None and abs(now - last) < _LOOK_FOR_DEAD_EVERY):
            return frozenset()
        self._looked_for_dead = now
        return session.liveness.dead(session.read(workers.registered))

    # -------------------------------------------------------------- workers
    async def register_worker(self, worker: WorkerRecord) -> None:
        session = self._open()
        if session.liveness is not None:
            session.liveness.hold(worker.id)

        def work(connection: sqlite3.Connection) -> set[str]:
            workers.register(connection, worker)
            return {run.queue for run in claims.orphaned_runs(connection)}

        queues = await session.write(lambda connection: transaction(connection, lambda: work(connection)))
        self._hub.publish(ready=queues)

    async def release_worker(self, worker: WorkerId, *, now: datetime) -> Sequence[RunId]:
        session = self._open()
        self._untold.forget(worker)

        def work(connection: sqlite3.Connection) -> list[tuple[RunId, str]]:
            workers.forget(connection, (worker,))
            return workers.owned_runs(connection, worker)

        released = await session.write(lambda connection: transaction(connection, lambda: work(connection)))
        if session.liveness is not None:
            session.liveness.drop(worker)
        self._hub.publish(ready={queue for _, queue in released})
        return [run_id for run_id, _ in released]

    def lease_keeper(self, worker: WorkerId) -> LeaseKeeper:
        path = self._options.path
        if path is None:
            return PrivateLeaseKeeper(self._open().write_now, worker)
        return SqliteLeaseKeeper(path, worker, patience=self._options.busy_timeout / 1000)

    async def list_workers(self, *, now: datetime) -> Sequence[WorkerRecord]:
        return self._open().read(lambda connection: workers.live_workers(connection, micros(now)))

    async def read_requests(self, worker: WorkerId) -> Sequence[Request]:
        return self._open().read(lambda connection: workers.requests(connection, worker))

    async def owned_runs(self, worker: WorkerId) -> Sequence[RunId]:
        found = self._open().read(lambda connection: workers.owned_runs(connection, worker))
        return [run_id for run_id, _ in found]

    # -------------------------------------------------------------- reads
    async def get_run(self, run_id: RunId) -> RunRecord | None:
        return self._open().read(lambda connection: read_record(connection, run_id))

    async def read_progress(self, run_ids: Sequence[RunId]) -> Mapping[RunId, Progress]:
        session = self._open()
        if len(run_ids) <= _FEW_RUNS:
            return session.read(lambda connection: runs.read_progress(connection, run_ids))
        return await session.read_apart(lambda connection: runs.read_progress(connection, run_ids))

    async def find_run(self, idempotency_key: str) -> RunRecord | None:
        def work(connection: sqlite3.Connection) -> RunRecord | None:
            run_id = runs.id_of_key(connection, idempotency_key)
            return None if run_id is None else read_record(connection, run_id)

        return self._open().read(work)

    async def list_runs(
        self, where: RunFilter, *, cursor: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        check_limit(limit)
        after = None if cursor is None else read_cursor(where, cursor)

        def work(connection: sqlite3.Connection) -> Page[RunRecord]:
            found = runs.list_ids(connection, where, after, limit + 1)
            items = read_records(connection, [run_id for run_id, _ in found[:limit]])
            if len(found) <= limit:
                return Page(items=items)
            run_id, created_at = found[limit - 1]
            return Page(items=items, next_cursor=write_cursor(where, created_at, run_id))

        return await self._open().read_apart(work)

    async def read_journal(
        self, run_id: RunId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        rows = await self._open().read_apart(
            lambda connection: list(journal.read_rows(connection, run_id, after, limit))
        )
        return [row.decoded() for row in rows]

    async def read_events(
        self, waits: Sequence[tuple[RunId, Wait]], *, limit: int = 100
    ) -> Sequence[Sequence[Event]]:
        return self._open().read(
            lambda connection: [
                events.read_eligible(connection, run_id, wait, limit) for run_id, wait in waits
            ]
        )

    async def next_due(
        self, queues: Sequence[str], *, now: datetime, workflows: Collection[str] | None = None
    ) -> datetime | None:
        names = claims.names_of(workflows)
        return instant_or_none(
            self._open().read(lambda connection: claims.next_due(connection, queues, names))
        )

    # -------------------------------------------------------------- housekeeping
    async def setting(self, name: str, default: bytes) -> bytes:
        return await self._open().write(
            lambda connection: transaction(
                connection, lambda: housekeeping.setting(connection, name, default)
            )
        )

    async def prune(
        self, *, ended_before: datetime | None, events_before: datetime | None, limit: int
    ) -> int:
        def work(connection: sqlite3.Connection) -> int:
            return housekeeping.prune(
                connection,
                ended_before=micros_or_none(ended_before),
                events_before=micros_or_none(events_before),
                limit=limit,
            )

        return await self._open().write(
            lambda connection: transaction(connection, lambda: work(connection)), small=False
        )

    async def info(self, *, now: datetime) -> StorageInfo:
        def work(connection: sqlite3.Connection) -> StorageInfo:
            oldest = runs.oldest_unfinished(connection)
            return StorageInfo(
                url=self.url,
                backend="sqlite",
                durability=self._durability(),
                schema_version=len(MIGRATIONS),
                runs=runs.count_by_status(connection),
                journal_rows=journal.count_rows(connection),
                events=events.count_events(connection),
                events_pinned_by=None if oldest is None else oldest[0],
                workers=workers.live_workers(connection, micros(now)),
                size_bytes=housekeeping.size(connection),
            )

        return await self._open().read_apart(work)

    def _durability(self) -> str:
        if self._options.path is None:
            return "none: gone when the storage closes"
        if self._options.synchronous == "normal":
            return "synchronous=normal: a power loss may take the last writes"
        return "synchronous=full: every acknowledged write survives a power loss"

    async def server_time(self) -> datetime | None:
        return None

    # -------------------------------------------------------------- checking
    def check(self, run_id: RunId | None = None) -> AsyncIterator[Finding]:
        return checking.check(self._ask, run_id)

    def run_ids(self) -> AsyncIterator[RunId]:
        return list_ids(self._ask)

    async def unsettled(self, run_ids: Sequence[RunId]) -> frozenset[RunId]:
        return frozenset()

    async def _ask(self, sql: str, parameters: Mapping[str, str | int]) -> Sequence[Sequence[Any]]:
        return await self._open().read_apart(
            lambda connection: connection.execute(sql, parameters).fetchall()
        )

    # -------------------------------------------------------------- hints
    def wakeups(self) -> AsyncIterator[Wakeup]:
        return self._hub.listen()

    async def broadcast(self, texts: Sequence[str]) -> None:
        await self._open().broadcast(texts)

    def _tell(self, work: Work) -> None:
        if self._hub.heard:
            self._hub.publish(ready=work.ready, changed=work.changed)

    def _listeners_changed(self, count: int) -> None:
        session = self._session
        if session is not None and self._options.path is not None:
            session.poller.follow(count)
