"""RedisStorage: the port over one Redis server or a Redis Cluster, many processes at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import msgspec

from stepflow.errors import NotOpenError
from stepflow.failpoints import failpoint
from stepflow.model.events import Event, Wait
from stepflow.model.journal import JournalRow
from stepflow.model.pages import Page
from stepflow.model.runs import Progress, RunFilter, RunRecord
from stepflow.storage._rules.applying import check_batch
from stepflow.storage._rules.claims import CLAIM_EVENTS_LIMIT
from stepflow.storage._rules.listing import check_limit, read_cursor, write_cursor
from stepflow.storage._untold import UntoldClaims
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.base import LeaseKeeper, StorageInfo, WorkerRecord
from stepflow.storage.checking import Finding
from stepflow.storage.redis.applying import apply_batch
from stepflow.storage.redis.calls import command, on_store, unpacked
from stepflow.storage.redis.checking import RedisCheck
from stepflow.storage.redis.fields import instant, micros, read_row
from stepflow.storage.redis.keys import STORE, Keys
from stepflow.storage.redis.leases import RedisLeaseKeeper
from stepflow.storage.redis.opening import SCHEMA, memory
from stepflow.storage.redis.operations import claims, listing
from stepflow.storage.redis.operations.checking import unsettled
from stepflow.storage.redis.operations.creating import find_by_key
from stepflow.storage.redis.operations.events import eligible
from stepflow.storage.redis.operations.finishing import sweep
from stepflow.storage.redis.operations.records import load, read_progress
from stepflow.storage.redis.options import RedisOptions, read_url
from stepflow.storage.redis.sagas import Act, Saga, perform, perform_all
from stepflow.storage.redis.session import Session
from stepflow.storage.writes import Claim, Outcome, Request, Wakeup, Write
from stepflow.types import RunId, WorkerId

_WORKER = msgspec.json.Decoder(WorkerRecord)
_ALL = 2**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def open_url(url: str) -> RedisStorage:
    """The storage that a Redis URL names; nothing is connected yet."""
    return RedisStorage(read_url(url))


class RedisStorage:
    """A ``Storage`` on Redis or Valkey.

    The same object may be entered several times (it closes with the last) and used from several event loops.
    """

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._sessions: dict[asyncio.AbstractEventLoop, Session] = {}
        self._hub = WakeupHub(self._listeners_changed)
        self._untold = UntoldClaims(self)

    @property
    def url(self) -> str:
        return self._options.shown

    @property
    def durable(self) -> bool:
        return True

    # -------------------------------------------------------------- life cycle
    def reopened(self) -> RedisStorage:
        return RedisStorage(self._options)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            session = Session(self._options, self._hub)
            await session.open()
            session = self._sessions.setdefault(loop, session)
        session.entered += 1
        session.follow(self._hub.listeners)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        session = self._open()
        session.entered -= 1
        if session.entered == 0:
            del self._sessions[asyncio.get_running_loop()]
            await session.close()

    def _open(self) -> Session:
        session = self._sessions.get(asyncio.get_running_loop())
        if session is None:
            raise NotOpenError(f"{self.url} is not open; use it inside `async with`")
        return session

    def _act(self, session: Session, now: datetime = _EPOCH) -> Act:
        return Act(session.keys, now, session.owned)

    # -------------------------------------------------------------- writes
    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        session = self._open()
        if not batch:
            return []
        check_batch(batch)
        act = self._act(session, now)
        outcomes = await apply_batch(session.network, act, batch)
        failpoint("checkpoint.after_commit")
        session.publish(act.ready, act.changed)
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
        async def take() -> Sequence[Claim]:
            return await self._claim(worker, queues, known, limit, now, workflows)

        return await self._untold.claim(worker, known=known, now=now, take=take)

    async def _claim(
        self,
        worker: WorkerId,
        queues: Mapping[str, int],
        known: Mapping[RunId, int],
        limit: int,
        now: datetime,
        workflows: Collection[str] | None,
    ) -> Sequence[Claim]:
        session = self._open()
        network, act = session.network, self._act(session, now)
        alive, surveys = await perform(network, claims.glance(act, worker))
        if not alive:
            return []
        if any(one.pending for one in surveys):
            await self._sweep(session, act, surveys)
            surveys = await perform(network, claims.survey(session.keys))
        chosen = await perform(
            network, claims.candidates(act, surveys, alive, worker, queues, workflows, limit)
        )
        taken = await perform_all(network, [claims.take_run(act, one, worker) for one in chosen])
        mine = [one for one in taken if one is not None]
        coming: list[Saga[Any]] = [
            claims.rows_of(act, mine, known),
            eligible(session.keys, claims.waits_of(mine), CLAIM_EVENTS_LIMIT),
        ]
        rows, logs = await perform_all(network, coming)
        session.publish(act.ready, act.changed)
        return claims.claims_of(mine, rows, logs)

    async def sweep(self, *, now: datetime, age: int = claims.SWEEP_AFTER) -> int:
        """Do what was left undone for that many seconds, by processes that are gone; claims do so as well."""
        session = self._open()
        act = self._act(session, now)
        surveys = await perform(session.network, claims.survey(session.keys, age=age))
        done = await self._sweep(session, act, surveys)
        session.publish(act.ready, act.changed)
        return done

    async def _sweep(self, session: Session, act: Act, surveys: Sequence[claims.Survey]) -> int:
        done = 0
        for one in surveys:
            for name in one.pending:
                await perform(session.network, sweep(act, one.here, name))
                done += 1
        return done

    # -------------------------------------------------------------- workers
    async def register_worker(self, worker: WorkerRecord) -> None:
        session = self._open()
        act = self._act(session, worker.started_at)
        call = claims.workers_call(
            session.keys,
            {
                "verb": "register",
                "id": worker.id,
                "name": worker.name or "",
                "record": msgspec.json.encode(worker).decode(),
                "lease": str(micros(worker.lease_until)),
            },
        )
        await session.network.perform([call])
        registered, surveys = await asyncio.gather(
            self._registered(session), perform(session.network, claims.survey(session.keys))
        )
        queues: set[str] = set()
        for owner in {owner for one in surveys for owner in one.owners} - registered.keys():
            queues.update((await perform(session.network, claims.owned_runs(act, owner))).values())
        session.publish(queues, ())

    async def owned_runs(self, worker: WorkerId) -> Sequence[RunId]:
        session = self._open()
        return sorted(await perform(session.network, claims.owned_runs(self._act(session), worker)))

    async def release_worker(self, worker: WorkerId, *, now: datetime) -> Sequence[RunId]:
        session = self._open()
        self._untold.forget(worker)
        await session.network.perform([claims.workers_call(session.keys, {"verb": "release", "id": worker})])
        owned = await perform(session.network, claims.owned_runs(self._act(session, now), worker))
        session.publish(set(owned.values()), ())
        return sorted(owned)

    def lease_keeper(self, worker: WorkerId) -> LeaseKeeper:
        address = self._options.nodes[0]
        for session in self._sessions.values():
            address = session.network.node_of(STORE).address
        return RedisLeaseKeeper(self._options, Keys(self._options.prefix, 1), address, worker)

    async def list_workers(self, *, now: datetime) -> Sequence[WorkerRecord]:
        live = [
            worker for worker in (await self._registered(self._open())).values() if worker.lease_until > now
        ]
        return sorted(live, key=lambda worker: (worker.started_at, worker.id))

    async def _registered(self, session: Session) -> Mapping[WorkerId, WorkerRecord]:
        keys = session.keys
        records, leases = await session.network.perform(
            [on_store("HVALS", keys.workers), on_store("ZRANGE", keys.leases, 0, -1, "WITHSCORES")],
            kept=False,
        )
        until = {id.decode(): int(float(at)) for id, at in zip(leases[::2], leases[1::2], strict=True)}
        workers = map(_WORKER.decode, records)
        return {
            worker.id: msgspec.structs.replace(worker, lease_until=instant(until[worker.id]))
            for worker in workers
            if worker.id in until
        }

    async def read_requests(self, worker: WorkerId) -> Sequence[Request]:
        session = self._open()
        runs = await perform(session.network, claims.requested(self._act(session), worker))
        return [
            Request(run_id=run.id, cancel=run.cancel_requested, pause=run.pause_requested) for run in runs
        ]

    # -------------------------------------------------------------- reads
    async def get_run(self, run_id: RunId) -> RunRecord | None:
        session = self._open()
        held = await perform(session.network, load(self._act(session), run_id))
        return None if held is None else held.record()

    async def read_progress(self, run_ids: Sequence[RunId]) -> Mapping[RunId, Progress]:
        session = self._open()
        return await perform(session.network, read_progress(session.keys, run_ids))

    async def find_run(self, idempotency_key: str) -> RunRecord | None:
        session = self._open()
        held = await perform(session.network, find_by_key(self._act(session), idempotency_key))
        return None if held is None else held.record()

    async def list_runs(
        self, where: RunFilter, *, cursor: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        check_limit(limit)
        after = None if cursor is None else read_cursor(where, cursor)
        session = self._open()
        found = await perform(session.network, listing.newest(self._act(session), where, after, limit + 1))
        items = [held.record() for held in found[:limit]]
        if len(found) <= limit:
            return Page(items=items)
        last = items[-1]
        return Page(items=items, next_cursor=write_cursor(where, micros(last.created_at), last.id))

    async def read_journal(
        self, run_id: RunId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        session = self._open()
        held = await perform(session.network, load(self._act(session), run_id))
        if held is None:
            return []
        call = claims.rows_call(session.keys, held.run, after, count=limit, room=_ALL)
        [reply] = await session.network.perform([call], kept=False)
        encoded, _ = unpacked(reply)
        first = max(after + 1, held.run.first_seq)
        return [read_row(run_id, first + at, text) for at, text in enumerate(encoded)]

    async def read_events(
        self, waits: Sequence[tuple[RunId, Wait]], *, limit: int = 100
    ) -> Sequence[Sequence[Event]]:
        session = self._open()
        return await perform(session.network, eligible(session.keys, waits, limit))

    async def next_due(
        self, queues: Sequence[str], *, now: datetime, workflows: Collection[str] | None = None
    ) -> datetime | None:
        session = self._open()
        due = await perform(session.network, claims.next_due(session.keys, queues, workflows))
        return None if due is None else instant(due)

    # -------------------------------------------------------------- housekeeping
    async def setting(self, name: str, default: bytes) -> bytes:
        session = self._open()
        settings = session.keys.settings
        _, value = await session.network.perform(
            [on_store("HSETNX", settings, name, default), on_store("HGET", settings, name)]
        )
        found: bytes = value
        return found

    async def prune(
        self, *, ended_before: datetime | None, events_before: datetime | None, limit: int
    ) -> int:
        session = self._open()
        act = self._act(session)
        gone = 0
        if ended_before is not None:
            gone += await perform(session.network, listing.prune_runs(act, micros(ended_before), limit))
        if events_before is not None:
            gone += await perform(session.network, listing.prune_events(act, micros(events_before), limit))
        return gone

    async def info(self, *, now: datetime) -> StorageInfo:
        session = self._open()
        counts = await perform(session.network, listing.count(session.keys))
        oldest = await perform(session.network, listing.oldest_unfinished(session.keys))
        return StorageInfo(
            url=self.url,
            backend="redis",
            durability=session.durability,
            schema_version=SCHEMA,
            runs=counts.runs,
            journal_rows=counts.journal,
            events=counts.events,
            events_pinned_by=None if oldest is None else oldest[1],
            workers=await self.list_workers(now=now),
            size_bytes=await memory(session.network),
        )

    async def server_time(self) -> datetime | None:
        seconds, microseconds = (await self._open().network.perform([command(STORE, "TIME")], kept=False))[0]
        return _EPOCH + timedelta(seconds=int(seconds), microseconds=int(microseconds))

    # -------------------------------------------------------------- checking
    def check(self, run_id: RunId | None = None) -> AsyncIterator[Finding]:
        session = self._open()
        check = RedisCheck(session.network, session.keys)
        return check.all() if run_id is None else check.one(run_id)

    def run_ids(self) -> AsyncIterator[RunId]:
        session = self._open()
        return RedisCheck(session.network, session.keys).run_ids()

    async def unsettled(self, run_ids: Sequence[RunId]) -> frozenset[RunId]:
        session = self._open()
        return await unsettled(session.network, session.keys, run_ids)

    # -------------------------------------------------------------- hints
    def wakeups(self) -> AsyncIterator[Wakeup]:
        return self._hub.listen()

    async def broadcast(self, texts: Sequence[str]) -> None:
        await self._open().broadcast(texts)

    def _listeners_changed(self, count: int) -> None:
        for session in tuple(self._sessions.values()):
            session.follow(count)
