"""Rows: how runs, events and waits lie in columns. Times are microseconds since 1970, values are JSON text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import msgspec

from stepflow.model.events import Event, Wait
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.model.runs import ParentLink
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage._rules.records import RunState
from stepflow.types import EventId, RunId, StepKey, WorkerId

Column: TypeAlias = str | int | bytes | None
Micros: TypeAlias = int

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

NO_CANCEL, CANCEL_REQUESTED, CANCEL_DELIVERED = 0, 1, 2


def micros(at: datetime) -> Micros:
    """The instant as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def micros_or_none(at: datetime | None) -> Micros | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def instant(at: Micros) -> datetime:
    """The inverse of ``micros``."""
    return _EPOCH + timedelta(microseconds=at)


def instant_or_none(at: Micros | None) -> datetime | None:
    return None if at is None else _EPOCH + timedelta(microseconds=at)


class RunRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A run's columns, in the order of the table. Those after ``created_pos`` change; the input lies apart."""

    id: RunId
    workflow_id: str
    queue: str
    priority: int
    idempotency_key: str | None
    fingerprint: str
    version: str | None
    tags: str
    parent_id: RunId | None
    parent_key: StepKey | None
    parent_detached: int
    parent_depth: int
    created_at: Micros
    created_pos: int
    status: str
    worker: WorkerId | None
    due_at: Micros | None
    not_before: Micros | None
    attempt: int
    first_seq: int
    cancel: int
    pause: int
    pause_reason: str | None
    pause_detail: str
    started_at: Micros | None
    ended_at: Micros | None
    output_codec: str | None
    output: str | None
    failure: str | None


RUN_COLUMNS: Final = RunRow.__struct_fields__
MUTABLE_COLUMNS: Final = RUN_COLUMNS[RUN_COLUMNS.index("created_pos") + 1 :]

_TAGS = msgspec.json.Decoder(dict[str, str])
_FAILURE = msgspec.json.Decoder(Failure)
_ENCODER = msgspec.json.Encoder()


def run_columns(run: RunState) -> tuple[Column, ...]:
    """The run as values for ``RUN_COLUMNS``."""
    parent, output = run.parent, run.output
    cancel = CANCEL_REQUESTED if run.cancel_requested else NO_CANCEL
    return (
        run.id,
        run.workflow_id,
        run.queue,
        run.priority,
        run.idempotency_key,
        run.fingerprint,
        run.version,
        _ENCODER.encode(dict(run.tags)).decode() if run.tags else "{}",
        None if parent is None else parent.run_id,
        None if parent is None else parent.key,
        1 if parent is not None and parent.detached else 0,
        0 if parent is None else parent.depth,
        micros(run.created_at),
        run.created_pos,
        run.status.value,
        run.worker,
        micros_or_none(run.due_at),
        micros_or_none(run.not_before),
        run.attempt,
        run.first_seq,
        CANCEL_DELIVERED if run.cancel_delivered else cancel,
        1 if run.pause_requested else 0,
        None if run.pause_reason is None else run.pause_reason.value,
        run.pause_detail,
        micros_or_none(run.started_at),
        micros_or_none(run.ended_at),
        None if output is None else output.codec,
        None if output is None else json_text(output),
        None if run.failure is None else _ENCODER.encode(run.failure).decode(),
    )


def run_state(row: RunRow) -> RunState:
    """The inverse of ``run_columns``, without the input."""
    parent = None
    if row.parent_id is not None:
        parent = ParentLink(
            run_id=row.parent_id,
            key=row.parent_key or "",
            detached=bool(row.parent_detached),
            depth=row.parent_depth,
        )
    return RunState(
        id=row.id,
        workflow_id=row.workflow_id,
        status=RunStatus(row.status),
        input=None,
        fingerprint=row.fingerprint,
        created_at=instant(row.created_at),
        created_pos=row.created_pos,
        queue=row.queue,
        priority=row.priority,
        tags={} if row.tags == "{}" else _TAGS.decode(row.tags),
        idempotency_key=row.idempotency_key,
        version=row.version,
        parent=parent,
        attempt=row.attempt,
        first_seq=row.first_seq,
        due_at=instant_or_none(row.due_at),
        not_before=instant_or_none(row.not_before),
        worker=row.worker,
        started_at=instant_or_none(row.started_at),
        ended_at=instant_or_none(row.ended_at),
        output=None if row.output is None else payload(row.output, row.output_codec),
        failure=None if row.failure is None else _FAILURE.decode(row.failure),
        pause_reason=None if row.pause_reason is None else PauseReason(row.pause_reason),
        pause_detail=row.pause_detail,
        cancel_requested=row.cancel == CANCEL_REQUESTED,
        cancel_delivered=row.cancel == CANCEL_DELIVERED,
        pause_requested=bool(row.pause),
    )


def json_text(value: Payload) -> str:
    """A payload's JSON as text, to the byte as it was encoded."""
    return bytes(value.data).decode()


def payload(text: str, codec: str | None) -> Payload:
    """The inverse of ``json_text``."""
    return Payload(msgspec.Raw(text.encode()), codec or "json")


class EventRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An event's columns, in the order of the table."""

    pos: int
    event_id: EventId
    run_id: RunId | None
    dedup_id: str | None
    at: Micros
    codec: str
    payload: str


EVENT_COLUMNS: Final = EventRow.__struct_fields__


def event_columns(event: Event) -> tuple[Column, ...]:
    """The event as values for ``EVENT_COLUMNS``."""
    return (
        event.pos,
        event.event_id,
        event.run_id,
        event.dedup_id,
        micros(event.at),
        event.payload.codec,
        json_text(event.payload),
    )


def event_of(row: EventRow) -> Event:
    """The inverse of ``event_columns``."""
    return Event(
        event_id=row.event_id,
        pos=row.pos,
        payload=payload(row.payload, row.codec),
        at=instant(row.at),
        run_id=row.run_id,
        dedup_id=row.dedup_id,
    )


class WaitRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A registered wait's columns, in the order of the table."""

    event_id: EventId
    run_id: RunId
    after: int
    name: str
    until: Micros | None


WAIT_COLUMNS: Final = ("event_id", "run_id", "after_pos", "name", "until_at")


def wait_columns(run_id: RunId, wait: Wait) -> tuple[Column, ...]:
    """The wait as values for ``WAIT_COLUMNS``."""
    return wait.event_id, run_id, wait.after, wait.name, micros_or_none(wait.until)


def wait_of(row: WaitRow) -> Wait:
    """The inverse of ``wait_columns``."""
    return Wait(event_id=row.event_id, after=row.after, name=row.name, until=instant_or_none(row.until))
