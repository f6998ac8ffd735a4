"""PostgresStorage: the port over one schema of a PostgreSQL database, any number of processes at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from stepflow.clock import SystemClock
from stepflow.errors import NotOpenError, StorageError
from stepflow.failpoints import failpoint
from stepflow.model.events import Event, NewEvent, Wait
from stepflow.model.journal import JournalRow
from stepflow.model.pages import Page
from stepflow.model.runs import Progress, RunFilter, RunRecord
from stepflow.storage._rules.applying import check_batch
from stepflow.storage._rules.listing import check_limit, read_cursor, write_cursor
from stepflow.storage._sql.checking import list_ids
from stepflow.storage._sql.rows import instant, micros, micros_or_none
from stepflow.storage._untold import UntoldClaims
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.base import LeaseKeeper, StorageInfo, WorkerRecord
from stepflow.storage.checking import Finding
from stepflow.storage.postgres import checking, transactions
from stepflow.storage.postgres.claiming import ClaimRequest, claim, gather
from stepflow.storage.postgres.foreign import foreign_link
from stepflow.storage.postgres.leases import LeaseThread, PostgresLeaseKeeper
from stepflow.storage.postgres.link import Link
from stepflow.storage.postgres.operations import claims, events, housekeeping, journal, runs, workers
from stepflow.storage.postgres.options import PostgresOptions, place_of, read_url
from stepflow.storage.postgres.pool import Pool, Work
from stepflow.storage.postgres.quick import split, write_quickly
from stepflow.storage.postgres.reading import read_records
from stepflow.storage.postgres.schema import MIGRATIONS, migrate
from stepflow.storage.postgres.sending import send_alone
from stepflow.storage.postgres.wakeups import Messenger
from stepflow.storage.postgres.working_set import encode_batch
from stepflow.storage.postgres.writing import write_in_transaction
from stepflow.storage.transactions import StorageTransaction
from stepflow.storage.writes import Claim, CreateRun, Outcome, Request, SendEvent, Wakeup, Write
from stepflow.types import RunId, WorkerId

Result = TypeVar("Result")


def open_url(url: str) -> PostgresStorage:
    """The storage that a ``postgresql://…`` URL names; nothing is connected yet."""
    return PostgresStorage(read_url(url))


class _Session:
    """What is open, on one event loop of one process."""

    def __init__(self, options: PostgresOptions, hub: WakeupHub) -> None:
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self.pool = Pool(options)
        self.users = Pool(options, plain=True)
        """Connections for users' transactions: the engine's own calls don't wait for them."""
        self.leases = LeaseThread(options)
        self.messenger = Messenger(options, hub)

    async def open(self, options: PostgresOptions) -> None:
        where = f"PostgreSQL at {place_of(options.server)}, schema {options.schema}"
        now = micros(SystemClock().now())
        try:
            await self.pool.run(lambda link: migrate(link, options.schema, where=where, now=now))
        except BaseException:
            await self.pool.close()
            raise
        self.messenger.start()

    async def close(self) -> None:
        await self.messenger.close()
        await asyncio.to_thread(self.leases.close)
        await self.users.close()
        await self.pool.close()


class PostgresStorage:
    """A ``Storage`` in one schema. The same object may be entered several times on one loop, and closes with the last."""

    def __init__(self, options: PostgresOptions) -> None:
        self._options = options
        self._hub = WakeupHub()
        self._entered = 0
        self._entering = asyncio.Lock()
        self._opened: _Session | None = None
        self._untold = UntoldClaims(self)

    @property
    def url(self) -> str:
        return self._options.shown

    @property
    def durable(self) -> bool:
        return True

    # -------------------------------------------------------------- life cycle
    def reopened(self) -> PostgresStorage:
        return PostgresStorage(self._options)

    async def __aenter__(self) -> Self:
        async with self._entering:
            if self._opened is None:
                session = _Session(self._options, self._hub)
                await session.open(self._options)
                self._opened = session
            self._session()
            self._entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        async with self._entering:
            self._entered -= 1
            if self._entered == 0 and self._opened is not None:
                session, self._opened = self._opened, None
                await session.close()

    def _session(self) -> _Session:
        session = self._opened
        if session is None:
            raise NotOpenError(f"{self.url} is not open; use it inside `async with`")
        if session.loop is not asyncio.get_running_loop():
            raise StorageError(
                f"{self.url} was opened on another event loop; open the storage again on this one"
            )
        if session.process != os.getpid():
            raise StorageError(
                f"{self.url} was opened before a fork; open the storage in the child process instead"
            )
        return session

    async def _read(self, work: Work[Result]) -> Result:
        return await self._session().pool.run(work, again=True)

    async def _write(self, work: Work[Result]) -> Result:
        async def in_transaction(link: Link) -> Result:
            async with link.transaction():
                return await work(link)

        return await self._session().pool.run(in_transaction)

    # -------------------------------------------------------------- writes
    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        session = self._session()
        if not batch:
            return []
        check_batch(batch)
        alone = _alone(batch)
        if alone is not None:
            failpoint("checkpoint.before_commit")
            sent = await session.pool.run(lambda link: send_alone(link, alone, now))
            failpoint("checkpoint.after_commit")
            if sent is not None:
                session.messenger.publish(ready=sent.ready, changed=sent.changed)
                return [sent.outcome]
        encoded = encode_batch(batch)
        parts = split(batch)
        outcomes: dict[int, Outcome] = {}
        rest = parts.rest
        if parts.quick:
            failpoint("checkpoint.before_commit")
            done = await session.pool.run(lambda link: write_quickly(link, batch, parts.quick, encoded, now))
            failpoint("checkpoint.after_commit")
            session.messenger.publish(ready=done.ready, changed=done.changed)
            outcomes = done.outcomes
            rest = sorted([*rest, *(place for place in parts.quick if place not in outcomes)])
        if rest:
            chosen = [batch[place] for place in rest]
            found, work = await session.pool.run(
                lambda link: write_in_transaction(link, chosen, encoded, now)
            )
            failpoint("checkpoint.after_commit")
            session.messenger.publish(ready=work.ready, changed=work.changed)
            outcomes.update(zip(rest, found, strict=True))
        return [outcomes[place] for place in range(len(batch))]

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
        session = self._session()
        names = claims.names_of(workflows)
        request = ClaimRequest(
            worker=worker, queues=queues, known=known, limit=limit, now=now, workflows=names
        )

        async def take() -> Sequence[Claim]:
            taken = await session.pool.run(lambda link: claim(link, request))
            session.messenger.publish(ready=taken.ready, changed=taken.changed)
            if not taken.ungathered:
                return list(taken.claims)
            # If this fails they are the worker's without its knowledge, as if the answer before had been lost.
            return await session.pool.run(lambda link: gather(link, request, taken.ungathered), again=True)

        return await self._untold.claim(worker, known=known, now=now, take=take)

    # -------------------------------------------------------------- users' transactions
    @property
    def transactions_exclude(self) -> bool:
        return False

    async def begin_transaction(self) -> StorageTransaction:
        session = self._session()

        def tell(run_id: RunId) -> None:
            session.messenger.publish(ready=(), changed={run_id})

        return await transactions.begin_transaction(session.users, self._options, encode_batch, tell)

    async def write_within(self, connection: Any, write: CreateRun | SendEvent, *, now: datetime) -> Outcome:
        check_batch([write])
        link = await foreign_link(connection, self._options.schema)
        if isinstance(write, SendEvent):
            return await transactions.keep_event(link, write.event)
        return await transactions.create_within(link, write, now)

    async def forward_events(self, *, now: datetime, limit: int) -> int:
        kept = await self._read(lambda link: transactions.kept_events(link, limit))
        if kept:
            # Not in one transaction with the deletion: each has an id of its own, by which a repeated one is known.
            outcomes = await self.write([SendEvent(event=event) for _, event in kept], now=now)
            transactions.report_dropped([event for _, event in kept], outcomes)
            await self._write(lambda link: transactions.forget_events(link, [number for number, _ in kept]))
        return len(kept)

    # -------------------------------------------------------------- workers
    async def register_worker(self, worker: WorkerRecord) -> None:
        async def work(link: Link) -> set[str]:
            await workers.register(link, worker)
            return await claims.lost_queues(link)

        queues = await self._write(work)
        self._session().messenger.publish(ready=queues, changed=())

    async def owned_runs(self, worker: WorkerId) -> Sequence[RunId]:
        found = await self._read(lambda link: workers.owned_runs(link, worker))
        return sorted(run_id for run_id, _ in found)

    async def release_worker(self, worker: WorkerId, *, now: datetime) -> Sequence[RunId]:
        self._untold.forget(worker)

        async def work(link: Link) -> list[tuple[RunId, str]]:
            await workers.forget(link, (worker,))
            return await workers.owned_runs(link, worker)

        released = await self._write(work)
        self._session().messenger.publish(ready={queue for _, queue in released}, changed=())
        return [run_id for run_id, _ in released]

    def lease_keeper(self, worker: WorkerId) -> LeaseKeeper:
        session = self._opened
        if session is None:
            raise NotOpenError(f"{self.url} is not open; use it inside `async with`")
        return PostgresLeaseKeeper(session.leases, worker)  # from any thread: it has a loop of its own

    async def list_workers(self, *, now: datetime) -> Sequence[WorkerRecord]:
        return await self._read(lambda link: workers.live_workers(link, micros(now)))

    async def read_requests(self, worker: WorkerId) -> Sequence[Request]:
        return await self._read(lambda link: workers.requests(link, worker))

    # -------------------------------------------------------------- reads
    async def get_run(self, run_id: RunId) -> RunRecord | None:
        found = await self._read(lambda link: read_records(link, [run_id]))
        return found[0] if found else None

    async def read_progress(self, run_ids: Sequence[RunId]) -> Mapping[RunId, Progress]:
        return await self._read(lambda link: runs.read_progress(link, run_ids))

    async def find_run(self, idempotency_key: str) -> RunRecord | None:
        async def work(link: Link) -> list[RunRecord]:
            run_id = await runs.id_of_key(link, idempotency_key)
            return [] if run_id is None else await read_records(link, [run_id])

        found = await self._read(work)
        return found[0] if found else None

    async def list_runs(
        self, where: RunFilter, *, cursor: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        check_limit(limit)
        after = None if cursor is None else read_cursor(where, cursor)

        async def work(link: Link) -> Page[RunRecord]:
            found = await runs.list_ids(link, where, after, limit + 1)
            items = await read_records(link, [run_id for run_id, _ in found[:limit]])
            if len(found) <= limit:
                return Page(items=items)
            run_id, created_at = found[limit - 1]
            return Page(items=items, next_cursor=write_cursor(where, created_at, run_id))

        return await self._read(work)

    async def read_journal(
        self, run_id: RunId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        return await self._read(lambda link: journal.read_rows(link, run_id, after, limit))

    async def read_events(
        self, waits: Sequence[tuple[RunId, Wait]], *, limit: int = 100
    ) -> Sequence[Sequence[Event]]:
        return await self._read(lambda link: events.read_eligible(link, waits, limit))

    async def next_due(
        self, queues: Sequence[str], *, now: datetime, workflows: Collection[str] | None = None
    ) -> datetime | None:
        names = claims.names_of(workflows)
        lanes = await self._read(lambda link: claims.lanes(link, queues, names))
        return min((instant(lane.due_at) for lane in lanes), default=None)

    # -------------------------------------------------------------- housekeeping
    async def setting(self, name: str, default: bytes) -> bytes:
        return await self._write(lambda link: housekeeping.setting(link, name, default))

    async def prune(
        self, *, ended_before: datetime | None, events_before: datetime | None, limit: int
    ) -> int:
        return await self._write(
            lambda link: housekeeping.prune(
                link,
                ended_before=micros_or_none(ended_before),
                events_before=micros_or_none(events_before),
                limit=limit,
            )
        )

    async def info(self, *, now: datetime) -> StorageInfo:
        async def work(link: Link) -> StorageInfo:
            oldest = await runs.oldest_unfinished(link)
            return StorageInfo(
                url=self.url,
                backend="postgresql",
                durability=await housekeeping.durability(link),
                schema_version=len(MIGRATIONS),
                runs=await runs.count_by_status(link),
                journal_rows=await journal.count_rows(link),
                events=await events.count_events(link),
                events_pinned_by=None if oldest is None else oldest[0],
                workers=await workers.live_workers(link, micros(now)),
                size_bytes=await housekeeping.size(link, self._options.schema),
            )

        return await self._read(work)

    async def server_time(self) -> datetime | None:
        return await self._read(housekeeping.server_time)

    # -------------------------------------------------------------- checking
    def check(self, run_id: RunId | None = None) -> AsyncIterator[Finding]:
        return checking.check(self._ask, run_id)

    def run_ids(self) -> AsyncIterator[RunId]:
        return list_ids(self._ask)

    async def unsettled(self, run_ids: Sequence[RunId]) -> frozenset[RunId]:
        return frozenset()

    async def _ask(self, sql: str, parameters: Mapping[str, str | int]) -> Sequence[Sequence[Any]]:
        return await self._read(lambda link: checking.ask(link, sql, parameters))

    # -------------------------------------------------------------- hints
    def wakeups(self) -> AsyncIterator[Wakeup]:
        return self._hub.listen()

    async def broadcast(self, texts: Sequence[str]) -> None:
        await self._session().messenger.broadcast(texts)


def _alone(batch: Sequence[Write]) -> NewEvent | None:
    """The event, if the batch is nothing but one."""
    if len(batch) == 1 and isinstance(batch[0], SendEvent) and not batch[0].event.once:
        return batch[0].event
    return None
