"""Records: what the rules read and change, as a backend offers it within one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Protocol

import msgspec

from stepflow.model.events import Event, Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Entry
from stepflow.model.payloads import Payload
from stepflow.model.runs import NewRun, ParentLink, RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.types import EventId, RunId, WorkerId


class RunState(msgspec.Struct, kw_only=True, gc=False):
    """A run while rules change it.

    Beyond ``RunRecord``: ``fingerprint`` is that of the input it was created with, so that a repeated create is
    recognised after ``continue_as`` too; ``cancel_delivered`` says that its owner has journaled the cancel, so that
    a second request adds nothing; ``not_before`` keeps the delay of a run paused before its first start.
    ``input`` is None where a backend has not loaded it.
    """

    id: RunId
    workflow_id: str
    status: RunStatus
    input: Payload | None
    fingerprint: str
    created_at: datetime
    created_pos: int
    queue: str
    priority: int
    tags: Mapping[str, str]
    idempotency_key: str | None
    version: str | None
    parent: ParentLink | None
    attempt: int = 1
    first_seq: int = 1
    due_at: datetime | None = None
    not_before: datetime | None = None
    worker: WorkerId | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: Payload | None = None
    failure: Failure | None = None
    pause_reason: PauseReason | None = None
    pause_detail: str = ""
    cancel_requested: bool = False
    cancel_delivered: bool = False
    pause_requested: bool = False


class Records(Protocol):
    """One consistent view of a store. What is put in is seen by every later lookup of the same transaction."""

    # runs
    def find(self, run_id: RunId) -> RunState | None: ...
    def find_by_key(self, idempotency_key: str) -> RunState | None: ...
    def add(self, run: RunState) -> None: ...

    def save(self, run: RunState) -> None:
        """Keep what was changed in a run that ``find`` gave."""
        ...

    def remove(self, run: RunState) -> None:
        """Delete the run, its journal, its waits and the events addressed to it."""
        ...

    def record(self, run: RunState) -> RunRecord: ...

    def unfinished_children(self, run_id: RunId) -> Iterable[RunId]:
        """The attached children that have not ended."""
        ...

    # journal
    def owner(self, run_id: RunId) -> WorkerId | None:
        """The worker of a running run; None if it is not running, or does not exist."""
        ...

    def last_seq(self, run_id: RunId) -> int:
        """The seq of the last journal row, 0 if there is none."""
        ...

    def written_by(self, run_id: RunId, seq: int) -> tuple[WorkerId, str] | None:
        """The ``(writer, write_id)`` of one journal row."""
        ...

    def append(
        self, run_id: RunId, seq: int, writer: WorkerId, write_id: str, entries: tuple[Entry, ...]
    ) -> None: ...

    def cut(self, run_id: RunId, before: int) -> None:
        """Delete the journal rows with a smaller seq."""
        ...

    # events
    def next_pos(self) -> int:
        """The next number of the one sequence that events and new runs share."""
        ...

    def append_event(self, event: Event) -> None: ...
    def event_of(self, event_id: EventId, dedup_id: str) -> Event | None: ...
    def first_event(self, event_id: EventId, run_id: RunId | None) -> Event | None: ...

    def has_event(self, event_id: EventId, run_id: RunId, after: int) -> bool:
        """Whether an event after that position is for all or for this run."""
        ...

    # waits
    def waits(self, run_id: RunId) -> Mapping[EventId, Wait]: ...
    def waiting(self, event_id: EventId) -> Mapping[RunId, int]:
        """The runs with a registered wait for the id, and after which position."""
        ...

    def set_wait(self, run_id: RunId, wait: Wait) -> None: ...
    def drop_waits(self, run_id: RunId, event_ids: Iterable[EventId]) -> None: ...


class Work:
    """One transaction's worth of writes: the records, the instant, and whom to tell afterwards."""

    __slots__ = ("changed", "now", "ready", "records")

    def __init__(self, records: Records, now: datetime) -> None:
        self.records = records
        self.now = now
        self.ready: set[str] = set()
        """Queues in which a run became claimable."""
        self.changed: set[RunId] = set()
        """Runs with something new for their owner or their followers."""


def fingerprint(value: Payload) -> str:
    """A digest of an encoded value; equal exactly for equal bytes under the same codec."""
    digest = blake2b(value.codec.encode(), digest_size=16)
    digest.update(b"\0")
    digest.update(value.data)
    return digest.hexdigest()


def state_of(new: NewRun, *, created_pos: int) -> RunState:
    """A new run, queued and due when it asked to be."""
    return RunState(
        id=new.id,
        workflow_id=new.workflow_id,
        status=RunStatus.QUEUED,
        input=new.input,
        fingerprint=fingerprint(new.input),
        created_at=new.created_at,
        created_pos=created_pos,
        queue=new.queue,
        priority=new.priority,
        tags=new.tags,
        idempotency_key=new.idempotency_key,
        version=new.version,
        parent=new.parent,
        due_at=new.due_at,
    )


def record_of(run: RunState, *, input: Payload, seq: int, waits: Sequence[Wait]) -> RunRecord:
    """The run as callers of the port see it; waits in the order of their event ids."""
    return RunRecord(
        id=run.id,
        workflow_id=run.workflow_id,
        status=run.status,
        input=input,
        created_at=run.created_at,
        created_pos=run.created_pos,
        queue=run.queue,
        priority=run.priority,
        tags=run.tags,
        idempotency_key=run.idempotency_key,
        version=run.version,
        parent=run.parent,
        attempt=run.attempt,
        seq=seq,
        first_seq=run.first_seq,
        due_at=run.due_at,
        worker=run.worker,
        waits=tuple(sorted(waits, key=_event_id)),
        started_at=run.started_at,
        ended_at=run.ended_at,
        output=run.output,
        failure=run.failure,
        pause_reason=run.pause_reason,
        pause_detail=run.pause_detail,
        cancel_requested=run.cancel_requested,
        pause_requested=run.pause_requested,
    )


def _event_id(wait: Wait) -> EventId:
    return wait.event_id
