"""The storage port: what every backend promises the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

import msgspec

from stepflow.model.events import Event, Wait
from stepflow.model.journal import JournalRow
from stepflow.model.pages import Page
from stepflow.model.runs import Progress, RunFilter, RunRecord
from stepflow.storage.writes import Claim, Outcome, Request, Wakeup, Write
from stepflow.types import RunId, WorkerId


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's registration: ``lease_until`` passed, or a release, makes its runs claimable.

    ``name`` is stable over restarts (or None): registering again under a name makes the predecessor's runs
    claimable at once. ``queues`` are those it serves; ``host`` and ``pid`` are for people.
    """

    id: WorkerId
    name: str | None
    queues: tuple[str, ...]
    host: str
    pid: int
    started_at: datetime
    lease_until: datetime


class StorageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What ``storage info`` shows. ``events_pinned_by`` is the oldest unfinished run: it pins the event log."""

    url: str
    backend: str
    durability: str
    schema_version: int
    runs: Mapping[str, int]
    journal_rows: int
    events: int
    events_pinned_by: RunId | None
    workers: Sequence[WorkerRecord]
    size_bytes: int | None


class LeaseKeeper(Protocol):
    """Renews one worker's lease from a thread of its own, over a connection of its own."""

    def renew(self, now: datetime, lease: timedelta) -> bool:
        """Extend the lease to ``now + lease``; False if the worker is not registered any more. Blocking."""
        ...

    def close(self) -> None:
        """Give the connection back. Blocking; safe to repeat."""
        ...


class Storage(Protocol):
    """Where runs live. Every method is safe to repeat; all are atomic; ``now`` is always an argument.

    Only ``write``, ``claim_runs`` and ``release_worker`` change a run. Transient trouble is raised as
    ``StorageUnavailableError`` (or ``StorageFullError``) and means: nothing is known, the very same call may be made again.
    """

    @property
    def url(self) -> str:
        """The URL that opens this storage, without its password."""
        ...

    @property
    def durable(self) -> bool:
        """False if everything is gone when the process ends (memory)."""
        ...

    async def __aenter__(self) -> Self:
        """Connect, and bring the schema forward under a lock. ``SchemaError`` if it is newer than this release."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Finish what was begun and disconnect."""
        ...

    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        """Apply the writes in order; the outcomes are in the same order.

        When it returns, everything that was not refused is durable. The batch may share a transaction, but
        a refused write (``Fenced``, ``Conflict``, …) changes nothing and spoils none of its neighbours. Sent again after
        an unknown end, a ``CommitRun`` is answered with ``Committed`` and a ``CreateRun`` with ``Existing`` or ``Created``.
        """
        ...

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
        """Take up to ``limit`` runs (and at most ``queues[q]`` of each queue) of these ``workflows`` (None: any) for ``worker``.

        Claimable are: queued and suspended runs with ``due_at <= now``, higher priority first, then by ``due_at``;
        and running runs whose worker is released, expired at ``now``, or known to be dead (``takeover``). Each claim appends a
        ``Claimed`` entry at the next seq, which fences the former owner, and clears ``due_at``. Two workers never
        get one run. The worker must be registered (else nothing is claimed).
        """
        ...

    async def register_worker(self, worker: WorkerRecord) -> None:
        """Make the worker known; its ``name``'s former incarnation, if any, is released."""
        ...

    async def release_worker(self, worker: WorkerId, *, now: datetime) -> Sequence[RunId]:
        """Forget the worker; runs that still are its own become claimable at once, without waiting for a lease."""
        ...

    def lease_keeper(self, worker: WorkerId) -> LeaseKeeper:
        """The object a thread renews the worker's lease with.

        Does nothing yet, and may be called from any thread, one without an event loop too, while the storage is open.
        """
        ...

    async def list_workers(self, *, now: datetime) -> Sequence[WorkerRecord]:
        """The workers whose lease has not passed."""
        ...

    async def read_requests(self, worker: WorkerId) -> Sequence[Request]:
        """The cancels and pauses that were asked of the worker's running runs."""
        ...

    async def owned_runs(self, worker: WorkerId) -> Sequence[RunId]:
        """The running runs of this worker, by id: what it should be driving."""
        ...

    async def get_run(self, run_id: RunId) -> RunRecord | None: ...

    async def read_progress(self, run_ids: Sequence[RunId]) -> Mapping[RunId, Progress]:
        """How far each of these runs is, all in one look; runs that don't exist are left out.

        Meant for many runs that are looked at again and again: it costs no more than finding each by its id.
        """
        ...

    async def find_run(self, idempotency_key: str) -> RunRecord | None: ...

    async def list_runs(
        self, where: RunFilter, *, cursor: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        """Newest first by (created_at, id); ``InputError`` for a cursor that this filter did not give."""
        ...

    async def read_journal(
        self, run_id: RunId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        """Rows with ``seq > after``, in order."""
        ...

    async def read_events(
        self, waits: Sequence[tuple[RunId, Wait]], *, limit: int = 100
    ) -> Sequence[Sequence[Event]]:
        """For each wait, the eligible events after ``wait.after``, by ``pos``, at most ``limit``."""
        ...

    async def next_due(
        self, queues: Sequence[str], *, now: datetime, workflows: Collection[str] | None = None
    ) -> datetime | None:
        """The earliest ``due_at`` (past ones included) among claimable and sleeping runs of these queues and workflows."""
        ...

    async def setting(self, name: str, default: bytes) -> bytes:
        """The stored value; the first writer's default wins."""
        ...

    async def prune(
        self, *, ended_before: datetime | None, events_before: datetime | None, limit: int
    ) -> int:
        """Delete up to ``limit`` ended runs with their journals, waits and addressed events, then up to ``limit`` events that are
        old enough *and* older than the ``created_pos`` of every unfinished run. Returns how many rows of both went.

        A run whose attached parent has not ended is kept.
        """
        ...

    async def info(self, *, now: datetime) -> StorageInfo: ...

    async def server_time(self) -> datetime | None:
        """The storage server's clock; None where there is no server."""
        ...

    def wakeups(self) -> AsyncIterator[Wakeup]:
        """Hints that something changed, from this process and others; may be late, lost, doubled or vague."""
        ...
