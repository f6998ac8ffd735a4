"""The memory backend: the reference for all others. Everything is gone when the process ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from stepflow.errors import UnknownStorageError
from stepflow.model.events import Event, Wait
from stepflow.model.journal import JournalRow, encode_entries
from stepflow.model.pages import Page
from stepflow.model.runs import Progress, RunFilter, RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage._dictionaries import Dictionaries
from stepflow.storage._rules.applying import apply, check_batch
from stepflow.storage._rules.claims import (
    CLAIM_EVENTS_LIMIT,
    RowBudget,
    claim_order,
    known_seq,
    take,
)
from stepflow.storage._rules.listing import check_limit, matches, read_cursor, write_cursor
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage._wakeups import WakeupHub
from stepflow.storage.base import StorageInfo, WorkerRecord
from stepflow.storage.writes import Broadcast, Claim, Outcome, Request, Wakeup, Write
from stepflow.types import RunId, WorkerId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMED: dict[str, MemoryStorage] = {}


def open_url(url: str) -> MemoryStorage:
    """``memory://`` is a new store; ``memory://name`` is one store for all who ask in this process."""
    name = url.removeprefix("memory://")
    if name == url or any(character in name for character in "/?#@"):
        raise UnknownStorageError(f"{url!r} is not memory:// or memory://name")
    return _NAMED.setdefault(name, MemoryStorage(name)) if name else MemoryStorage()


class MemoryStorage:
    """A ``Storage`` in dictionaries. One object may serve several apps, on several threads."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._lock = threading.RLock()
        self._records = Dictionaries()
        self._workers: dict[WorkerId, WorkerRecord] = {}
        self._settings: dict[str, bytes] = {}
        self._hub = WakeupHub()

    @property
    def url(self) -> str:
        return f"memory://{self._name}"

    @property
    def durable(self) -> bool:
        return False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        return None

    # -------------------------------------------------------------- writes
    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        check_batch(batch)
        with self._lock:
            work = Work(self._records, now)
            outcomes = [apply(work, write) for write in batch]
        self._tell(work)
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
        with self._lock:
            if worker not in self._workers:
                return []
            self._forget_expired(worker, now)
            work = Work(self._records, now)
            budget = RowBudget()
            claims = [
                self._claim(work, run, worker, known, budget)
                for run in self._choose(queues, workflows, limit, now)
            ]
        self._tell(work)
        return claims

    def _choose(
        self, queues: Mapping[str, int], workflows: Collection[str] | None, limit: int, now: datetime
    ) -> list[RunState]:
        """The runs to claim, best first: no more of a queue than it has room for."""
        records = self._records
        found = [
            records.runs[run_id]
            for queue, room in queues.items()
            for run_id in records.due.first(queue, workflows, min(room, limit), now)
        ]
        found += [
            run
            for run in self._orphans()
            if run.queue in queues and (workflows is None or run.workflow_id in workflows)
        ]
        found.sort(key=claim_order)
        room = dict(queues)
        chosen: list[RunState] = []
        for run in found:
            if len(chosen) < limit and room[run.queue] > 0:
                room[run.queue] -= 1
                chosen.append(run)
            else:
                records.due.put(run)
        return chosen

    def _orphans(self) -> list[RunState]:
        """The running runs whose worker is not registered any more."""
        records = self._records
        return [
            records.runs[run_id]
            for worker, run_ids in records.owned.items()
            if worker not in self._workers
            for run_id in run_ids
        ]

    def _claim(
        self,
        work: Work,
        run: RunState,
        worker: WorkerId,
        known: Mapping[RunId, int],
        budget: RowBudget,
    ) -> Claim:
        records = self._records
        last = records.last_seq(run.id)
        missing = records.rows(run.id, after=known_seq(known, run, last))
        rows = budget.fit((row, len(encode_entries(row.entries))) for row in missing)
        takeover = run.status is RunStatus.RUNNING
        claimed = take(work, run, worker)
        events = [
            event
            for wait in records.waits(run.id).values()
            for event in records.eligible(wait.event_id, run.id, wait.after)
        ]
        events.sort(key=_pos)
        return Claim(
            run=records.record(run),
            rows=(*rows, claimed),
            complete=len(rows) == len(missing),
            takeover=takeover,
            events=tuple(events[:CLAIM_EVENTS_LIMIT]),
        )

    # -------------------------------------------------------------- workers
    async def register_worker(self, worker: WorkerRecord) -> None:
        with self._lock:
            for other in list(self._workers.values()):
                if worker.name is not None and other.name == worker.name:
                    del self._workers[other.id]
            self._workers[worker.id] = worker
            queues = {run.queue for run in self._orphans()}
        self._hub.publish(ready=queues)

    async def release_worker(self, worker: WorkerId, *, now: datetime) -> Sequence[RunId]:
        with self._lock:
            self._workers.pop(worker, None)
            released = sorted(self._records.owned.get(worker, ()))
            queues = {self._records.runs[run_id].queue for run_id in released}
        self._hub.publish(ready=queues)
        return released

    def lease_keeper(self, worker: WorkerId) -> MemoryLeaseKeeper:
        return MemoryLeaseKeeper(self, worker)

    def renew(self, worker: WorkerId, until: datetime) -> bool:
        """What a lease keeper does."""
        with self._lock:
            record = self._workers.get(worker)
            if record is not None:
                self._workers[worker] = replace(record, lease_until=until)
            return record is not None

    async def list_workers(self, *, now: datetime) -> Sequence[WorkerRecord]:
        with self._lock:
            live = [worker for worker in self._workers.values() if worker.lease_until > now]
        return sorted(live, key=lambda worker: (worker.started_at, worker.id))

    async def read_requests(self, worker: WorkerId) -> Sequence[Request]:
        with self._lock:
            owned = sorted(self._records.owned.get(worker, ()))
            runs = [self._records.runs[run_id] for run_id in owned]
            return [
                Request(run_id=run.id, cancel=run.cancel_requested, pause=run.pause_requested)
                for run in runs
                if run.cancel_requested or run.pause_requested
            ]

    async def owned_runs(self, worker: WorkerId) -> Sequence[RunId]:
        with self._lock:
            return sorted(self._records.owned.get(worker, ()))

    def _forget_expired(self, claimant: WorkerId, now: datetime) -> None:
        """A lease that passed is over: its worker is told so by its next renewal."""
        for worker in list(self._workers.values()):
            if worker.id != claimant and worker.lease_until <= now:
                del self._workers[worker.id]

    # -------------------------------------------------------------- reads
    async def get_run(self, run_id: RunId) -> RunRecord | None:
        with self._lock:
            run = self._records.find(run_id)
            return None if run is None else self._records.record(run)

    async def read_progress(self, run_ids: Sequence[RunId]) -> Mapping[RunId, Progress]:
        with self._lock:
            records = self._records
            found = [run for run_id in run_ids if (run := records.find(run_id)) is not None]
            return {run.id: Progress(records.last_seq(run.id), run.status) for run in found}

    async def find_run(self, idempotency_key: str) -> RunRecord | None:
        with self._lock:
            run = self._records.find_by_key(idempotency_key)
            return None if run is None else self._records.record(run)

    async def list_runs(
        self, where: RunFilter, *, cursor: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        check_limit(limit)
        after = None if cursor is None else read_cursor(where, cursor)
        with self._lock:
            runs = [run for run in self._records.runs.values() if matches(where, run)]
            if after is not None:
                place = (after.created_at, after.run_id)
                runs = [run for run in runs if _listed_at(run) < place]
            runs.sort(key=_listed_at, reverse=True)
            items = [self._records.record(run) for run in runs[:limit]]
        following = write_cursor(where, *_listed_at(runs[limit - 1])) if len(runs) > limit else None
        return Page(items=items, next_cursor=following)

    async def read_journal(
        self, run_id: RunId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        with self._lock:
            return self._records.rows(run_id, after=after)[:limit]

    async def read_events(
        self, waits: Sequence[tuple[RunId, Wait]], *, limit: int = 100
    ) -> Sequence[Sequence[Event]]:
        with self._lock:
            return [
                list(islice(self._records.eligible(wait.event_id, run_id, wait.after), limit))
                for run_id, wait in waits
            ]

    async def next_due(
        self, queues: Sequence[str], *, now: datetime, workflows: Collection[str] | None = None
    ) -> datetime | None:
        with self._lock:
            found = [self._records.due.earliest(queue, workflows) for queue in queues]
        return min((due for due in found if due is not None), default=None)

    # -------------------------------------------------------------- housekeeping
    async def setting(self, name: str, default: bytes) -> bytes:
        with self._lock:
            return self._settings.setdefault(name, default)

    async def prune(
        self, *, ended_before: datetime | None, events_before: datetime | None, limit: int
    ) -> int:
        with self._lock:
            gone = 0
            if ended_before is not None:
                for run in list(islice(self._prunable(ended_before), limit)):
                    self._records.remove(run)
                    gone += 1
            if events_before is not None:
                gone += self._records.prune_events(events_before, limit)
            return gone

    def _prunable(self, ended_before: datetime) -> Iterator[RunState]:
        """Ended runs, the longest ended first, without those that a living parent may still ask for."""
        ended = [
            (run.ended_at, run.id, run)
            for run in self._records.runs.values()
            if run.ended_at is not None and run.ended_at < ended_before
        ]
        for _, _, run in sorted(ended, key=lambda item: item[:2]):
            parent = run.parent
            attached = None if parent is None or parent.detached else self._records.find(parent.run_id)
            if attached is None or attached.status.ended:
                yield run

    async def info(self, *, now: datetime) -> StorageInfo:
        workers = await self.list_workers(now=now)
        with self._lock:
            records = self._records
            unfinished = [run for run in records.runs.values() if not run.status.ended]
            oldest = min(unfinished, key=lambda run: run.created_pos, default=None)
            return StorageInfo(
                url=self.url,
                backend="memory",
                durability="none: gone when the process ends",
                schema_version=0,
                runs=dict(Counter(str(run.status) for run in records.runs.values())),
                journal_rows=sum(map(len, records.journal.values())),
                events=len(records.all_events()),
                events_pinned_by=None if oldest is None else oldest.id,
                workers=workers,
                size_bytes=None,
            )

    async def server_time(self) -> datetime | None:
        return None

    def wakeups(self) -> AsyncIterator[Wakeup]:
        return self._hub.listen()

    async def broadcast(self, texts: Sequence[str]) -> None:
        self._hub.tell([Broadcast(text=text) for text in texts])

    def _tell(self, work: Work) -> None:
        if self._hub.heard:
            self._hub.publish(ready=work.ready, changed=work.changed)


class MemoryLeaseKeeper:
    """Renews a worker's lease in the dictionary it stands in."""

    def __init__(self, storage: MemoryStorage, worker: WorkerId) -> None:
        self._storage = storage
        self._worker = worker

    def renew(self, now: datetime, lease: timedelta) -> bool:
        return self._storage.renew(self._worker, now + lease)

    def close(self) -> None:
        return None


def _listed_at(run: RunState) -> tuple[int, RunId]:
    return (run.created_at - _EPOCH) // timedelta(microseconds=1), run.id


def _pos(event: Event) -> int:
    return event.pos
