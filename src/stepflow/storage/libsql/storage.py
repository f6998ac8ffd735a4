"""LibsqlStorage: the port over a libSQL server, as Turso hosts it, with any number of processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from msgspec.structs import replace

from stepflow.clock import SystemClock
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
from stepflow.storage._sql.rows import instant, instant_or_none, micros, micros_or_none
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.base import LeaseKeeper, StorageInfo, WorkerRecord
from stepflow.storage.checking import Finding
from stepflow.storage.libsql import claiming
from stepflow.storage.libsql.appending import append, plain_commits
from stepflow.storage.libsql.claiming import ClaimRequest, LostWorkers
from stepflow.storage.libsql.errors import AnswerTooLarge
from stepflow.storage.libsql.hrana import Statement
from stepflow.storage.libsql.leases import LibsqlLeaseKeeper
from stepflow.storage.libsql.options import LibsqlOptions, read_url
from stepflow.storage.libsql.parts import decisions_of, events_of, parts_of, records_of
from stepflow.storage.libsql.reading import orphaned_queues, read_info, read_records, read_rows
from stepflow.storage.libsql.schema import migrate
from stepflow.storage.libsql.session import Session
from stepflow.storage.libsql.transcript import Transcript
from stepflow.storage.sqlite import checking
from stepflow.storage.sqlite.operations import claims, housekeeping, runs, workers
from stepflow.storage.sqlite.working_set import encode_batch
from stepflow.storage.writes import (
    Anything,
    Claim,
    Committed,
    Outcome,
    Request,
    Wakeup,
    Write,
)
from stepflow.types import RunId, WorkerId

_SETTLE = "INSERT OR IGNORE INTO stepflow_settings (name, value) VALUES (?, ?)"
_SETTING = "SELECT value FROM stepflow_settings WHERE name = ?"
_NOW = "SELECT CAST(strftime('%s', 'now') AS INTEGER) * 1000000 + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER) * 1000"


def open_url(url: str) -> LibsqlStorage:
    """The storage that a ``libsql://…`` URL names; nothing is opened yet."""
    return LibsqlStorage(read_url(url))


class _Opened:
    """What one event loop has open, and how often it was entered there."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.entered = 0
        self.session: Session | None = None


class LibsqlStorage:
    """A ``Storage`` on a libSQL server.

    The same object may be entered several times (it closes with the last) and from several event loops.
    """

    def __init__(self, options: LibsqlOptions) -> None:
        self._options = options
        self._guard = threading.Lock()
        self._opened: dict[asyncio.AbstractEventLoop, _Opened] = {}
        self._hub = WakeupHub()
        self._tried: dict[WorkerId, dict[RunId, int]] = {}
        """Claims of which no outcome is known, with the seq of each."""

    @property
    def url(self) -> str:
        return self._options.url

    @property
    def durable(self) -> bool:
        return True

    # -------------------------------------------------------------- life cycle
    def reopened(self) -> LibsqlStorage:
        return LibsqlStorage(self._options)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        with self._guard:
            opened = self._opened.setdefault(loop, _Opened())
        async with opened.lock:
            if opened.session is None:
                opened.session = await self._connect()
            opened.entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        loop = asyncio.get_running_loop()
        opened = self._opened[loop]
        async with opened.lock:
            opened.entered -= 1
            if opened.entered > 0 or opened.session is None:
                return
            session, opened.session = opened.session, None
            await session.close()

    async def _connect(self) -> Session:
        session = Session(self._options, partial(self._hub.tell, [Anything()]))
        try:
            await migrate(
                session.connection, where=f"libsql://{self._options.place}", now=micros(SystemClock().now())
            )
            await session.poller.look()
        except BaseException:
            await session.close()
            raise
        session.connection.opened()
        return session

    def _open(self) -> Session:
        opened = self._opened.get(asyncio.get_running_loop())
        if opened is None or opened.session is None:
            raise NotOpenError(f"{self.url} is not open in this event loop; use it inside `async with`")
        return opened.session

    # -------------------------------------------------------------- writes
    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        session = self._open()
        check_batch(batch)
        encoded = encode_batch(batch)
        commits = plain_commits(batch)
        if not commits:
            return await self._decide(session, batch, encoded, now)
        failpoint("checkpoint.before_commit")
        appended = await append(session, commits, encoded)
        failpoint("checkpoint.after_commit")
        rest = [write for write in commits if write.run_id not in appended]
        outcomes = iter(await self._decide(session, rest, encoded, now))
        return [Committed() if write.run_id in appended else next(outcomes) for write in commits]

    async def _decide(
        self, session: Session, batch: Sequence[Write], encoded: Mapping[int, str], now: datetime
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for part in parts_of(batch):
            async for decided, done in decisions_of(session, part, encoded, now):
                failpoint("checkpoint.after_commit")
                self._tell(done)
                outcomes += decided
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
        request = ClaimRequest(
            worker=worker,
            queues=queues,
            known=known,
            limit=limit,
            now=now,
            workflows=claims.names_of(workflows),
        )
        tried = self._tried.pop(worker, {})
        try:
            if tried:
                return await self._claimed_before(session, request, tried)
            return await self._claim(session, request, tried)
        finally:
            if tried:
                self._tried[worker] = tried

    async def _claim(self, session: Session, request: ClaimRequest, tried: dict[RunId, int]) -> list[Claim]:
        """Claim runs; what was ``tried`` and has an outcome is taken out of it again."""
        while True:
            try:
                found = await session.write(partial(claiming.claim, request=request, tried=tried))
            except AnswerTooLarge:
                if request.limit == 1:
                    raise
                request = replace(request, limit=request.limit // 2)
                continue
            if isinstance(found, LostWorkers):
                await self._forget(session, found.ids, request.now)
                continue
            taken, done = found
            for claim in taken:
                del tried[claim.run.id]
            self._tell(done)
            if taken or not tried:
                return taken  # what was tried in an earlier attempt is looked for by the next claim
            return await self._claimed_before(session, request, tried)

    async def _claimed_before(
        self, session: Session, request: ClaimRequest, tried: dict[RunId, int]
    ) -> list[Claim]:
        """What was claimed although the answer got lost: nobody else can take it from a worker that lives."""
        await session.settle()
        found = await session.read(partial(claiming.claimed_before, request=request, tried=dict(tried)))
        tried.clear()
        return found

    async def _forget(self, session: Session, lost: Sequence[WorkerId], now: datetime) -> None:
        """Forget workers whose lease has passed, unless it was renewed meanwhile."""

        def work(transcript: Transcript) -> None:
            known = workers.registered(transcript)
            workers.forget_expired(transcript, [worker for worker in lost if worker in known], micros(now))

        await session.write(work)

    # -------------------------------------------------------------- workers
    async def register_worker(self, worker: WorkerRecord) -> None:
        session = self._open()
        await session.write(lambda transcript: workers.register(transcript, worker))
        self._hub.publish(ready=await session.read(orphaned_queues))

    async def release_worker(self, worker: WorkerId, *, now: datetime) -> Sequence[RunId]:
        def work(transcript: Transcript) -> list[tuple[RunId, str]]:
            workers.forget(transcript, (worker,))
            return workers.owned_runs(transcript, worker)

        released = await self._open().write(work)
        self._tried.pop(worker, None)
        self._hub.publish(ready={queue for _, queue in released})
        return [run_id for run_id, _ in released]

    def lease_keeper(self, worker: WorkerId) -> LeaseKeeper:
        return LibsqlLeaseKeeper(self._options, worker)

    async def list_workers(self, *, now: datetime) -> Sequence[WorkerRecord]:
        return await self._open().read(lambda transcript: workers.live_workers(transcript, micros(now)))

    async def read_requests(self, worker: WorkerId) -> Sequence[Request]:
        return await self._open().read(lambda transcript: workers.requests(transcript, worker))

    async def owned_runs(self, worker: WorkerId) -> Sequence[RunId]:
        found = await self._open().read(lambda transcript: workers.owned_runs(transcript, worker))
        return sorted(run_id for run_id, _ in found)

    # -------------------------------------------------------------- reads
    async def get_run(self, run_id: RunId) -> RunRecord | None:
        found = await self._open().read(lambda transcript: read_records(transcript, [run_id]))
        return found[0] if found else None

    async def read_progress(self, run_ids: Sequence[RunId]) -> Mapping[RunId, Progress]:
        return await self._open().read(lambda transcript: runs.read_progress(transcript, run_ids))

    async def find_run(self, idempotency_key: str) -> RunRecord | None:
        def work(transcript: Transcript) -> list[RunRecord]:
            run_id = runs.id_of_key(transcript, idempotency_key)
            return [] if run_id is None else read_records(transcript, [run_id])

        found = await self._open().read(work)
        return found[0] if found else None

    async def list_runs(
        self, where: RunFilter, *, cursor: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        check_limit(limit)
        after = None if cursor is None else read_cursor(where, cursor)
        session = self._open()
        found = await session.read(lambda transcript: runs.list_ids(transcript, where, after, limit + 1))
        items = await records_of(session, [run_id for run_id, _ in found[:limit]])
        if len(found) <= limit:
            return Page(items=items)
        run_id, created_at = found[limit - 1]
        return Page(items=items, next_cursor=write_cursor(where, created_at, run_id))

    async def read_journal(
        self, run_id: RunId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        rows = await self._open().read(lambda transcript: read_rows(transcript, run_id, after, limit))
        return [row.decoded() for row in rows]

    async def read_events(
        self, waits: Sequence[tuple[RunId, Wait]], *, limit: int = 100
    ) -> Sequence[Sequence[Event]]:
        return await events_of(self._open(), waits, limit)

    async def next_due(
        self, queues: Sequence[str], *, now: datetime, workflows: Collection[str] | None = None
    ) -> datetime | None:
        names = claims.names_of(workflows)
        return instant_or_none(
            await self._open().read(lambda transcript: claiming.next_due(transcript, queues, names))
        )

    # -------------------------------------------------------------- housekeeping
    async def setting(self, name: str, default: bytes) -> bytes:
        _, found = await self._open().send(
            [Statement(_SETTLE, (name, default), wants_rows=False), Statement(_SETTING, (name,))]
        )
        value = found.rows[0][0]
        assert isinstance(value, bytes), "settings are stored as blobs"
        return value

    async def prune(
        self, *, ended_before: datetime | None, events_before: datetime | None, limit: int
    ) -> int:
        session = self._open()
        ended, old = micros_or_none(ended_before), micros_or_none(events_before)
        gone = 0
        # Apart, because events that go with their run are not to be counted again.
        for runs_before, others_before in ((ended, None), (None, old)):
            gone += await session.write(
                partial(
                    housekeeping.prune, ended_before=runs_before, events_before=others_before, limit=limit
                )
            )
        return gone

    async def info(self, *, now: datetime) -> StorageInfo:
        return await self._open().read(lambda transcript: read_info(transcript, self.url, now))

    async def server_time(self) -> datetime | None:
        (answer,) = await self._open().connection.ask([Statement(_NOW)])
        now = answer.rows[0][0]
        assert isinstance(now, int), "the statement computes an integer"
        return instant(now)

    # -------------------------------------------------------------- checking
    def check(self, run_id: RunId | None = None) -> AsyncIterator[Finding]:
        return checking.check(self._ask, run_id)

    def run_ids(self) -> AsyncIterator[RunId]:
        return list_ids(self._ask)

    async def unsettled(self, run_ids: Sequence[RunId]) -> frozenset[RunId]:
        return frozenset()

    async def _ask(self, sql: str, parameters: Mapping[str, str | int]) -> Sequence[Sequence[Any]]:
        return await self._open().read(lambda transcript: transcript.execute(sql, parameters).fetchall())

    # -------------------------------------------------------------- hints
    async def wakeups(self) -> AsyncIterator[Wakeup]:
        poller = self._open().poller
        poller.join()
        try:
            async with aclosing(cast("AsyncGenerator[Wakeup]", self._hub.listen())) as hints:
                async for hint in hints:
                    yield hint
        finally:
            poller.leave()

    def _tell(self, work: Work) -> None:
        if self._hub.heard:
            self._hub.publish(ready=work.ready, changed=work.changed)
