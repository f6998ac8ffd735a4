"""Fields: how a run lies in a Redis hash. Times are microseconds since 1970, values are JSON text, what is unset is absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from stepflow.model.events import Event, Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Entry, JournalRow
from stepflow.model.payloads import Payload
from stepflow.model.runs import ParentLink
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage._rules.records import RunState
from stepflow.types import EventId, RunId

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
WAIT: Final = "w:"
"""Fields that begin so are the run's waits, by event id."""

encode: Final = msgspec.json.Encoder().encode
_payload = msgspec.json.Decoder(Payload).decode
_tags = msgspec.json.Decoder(dict[str, str]).decode
_parent = msgspec.json.Decoder(ParentLink).decode
_failure = msgspec.json.Decoder(Failure).decode
_wait = msgspec.json.Decoder(Wait).decode
_row = msgspec.json.Decoder(tuple[str, str, tuple[Entry, ...]]).decode
_STATUS: Final[Mapping[str, RunStatus]] = {str(status): status for status in RunStatus}


def micros(at: datetime) -> int:
    """The instant as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def instant(at: int) -> datetime:
    """The inverse of ``micros``."""
    return _EPOCH + timedelta(microseconds=at)


# ------------------------------------------------------------------ runs
def write_run(run: RunState, seq: int, waits: Mapping[EventId, Wait]) -> dict[str, str]:
    """The run's fields, without those that say which version of it they are."""
    fields = {
        "seq": str(seq),
        "status": run.status.value,
        "id": run.id,
        "workflow": run.workflow_id,
        "queue": run.queue,
        "fingerprint": run.fingerprint,
        "created_at": str(micros(run.created_at)),
        "created_pos": str(run.created_pos),
    }
    if run.priority:
        fields["priority"] = str(run.priority)
    if run.attempt != 1:
        fields["attempt"] = str(run.attempt)
    if run.first_seq != 1:
        fields["first_seq"] = str(run.first_seq)
    if run.tags:
        fields["tags"] = encode(run.tags).decode()
    texts = (
        ("key", run.idempotency_key),
        ("version", run.version),
        ("worker", run.worker),
        ("pause_reason", run.pause_reason and run.pause_reason.value),
        ("pause_detail", run.pause_detail or None),
        ("cancel_requested", "1" if run.cancel_requested else None),
        ("cancel_delivered", "1" if run.cancel_delivered else None),
        ("pause_requested", "1" if run.pause_requested else None),
    )
    fields.update({name: text for name, text in texts if text is not None})
    _write_instants(fields, run)
    _write_values(fields, run)
    for event_id, wait in waits.items():
        fields[WAIT + event_id] = encode(wait).decode()
    return fields


def _write_instants(fields: dict[str, str], run: RunState) -> None:
    if run.due_at is not None:
        fields["due_at"] = str(micros(run.due_at))
    if run.not_before is not None:
        fields["not_before"] = str(micros(run.not_before))
    if run.started_at is not None:
        fields["started_at"] = str(micros(run.started_at))
    if run.ended_at is not None:
        fields["ended_at"] = str(micros(run.ended_at))


def _write_values(fields: dict[str, str], run: RunState) -> None:
    if run.input is not None:
        fields["input"] = encode(run.input).decode()
    if run.parent is not None:
        fields["parent"] = encode(run.parent).decode()
    if run.output is not None:
        fields["output"] = encode(run.output).decode()
    if run.failure is not None:
        fields["failure"] = encode(run.failure).decode()


def read_run(fields: Mapping[str, str]) -> RunState:
    """The inverse of ``write_run``."""
    get = fields.get
    reason = get("pause_reason")
    return RunState(
        id=fields["id"],
        workflow_id=fields["workflow"],
        status=_STATUS[fields["status"]],
        input=_maybe(_payload, get("input")),
        fingerprint=fields["fingerprint"],
        created_at=instant(int(fields["created_at"])),
        created_pos=int(fields["created_pos"]),
        queue=fields["queue"],
        priority=int(get("priority", 0)),
        tags=_maybe(_tags, get("tags")) or {},
        idempotency_key=get("key"),
        version=get("version"),
        parent=_maybe(_parent, get("parent")),
        attempt=int(get("attempt", 1)),
        first_seq=int(get("first_seq", 1)),
        due_at=_instant(get("due_at")),
        not_before=_instant(get("not_before")),
        worker=get("worker"),
        started_at=_instant(get("started_at")),
        ended_at=_instant(get("ended_at")),
        output=_maybe(_payload, get("output")),
        failure=_maybe(_failure, get("failure")),
        pause_reason=None if reason is None else PauseReason(reason),
        pause_detail=get("pause_detail", ""),
        cancel_requested="cancel_requested" in fields,
        cancel_delivered="cancel_delivered" in fields,
        pause_requested="pause_requested" in fields,
    )


def read_waits(fields: Mapping[str, str]) -> dict[EventId, Wait]:
    return {name[len(WAIT) :]: _wait(text) for name, text in fields.items() if name.startswith(WAIT)}


def lane_of(run: RunState) -> str:
    """The name of the line in which a run stands until it is claimed: its queue, workflow and priority."""
    return encode((run.queue, run.workflow_id, run.priority)).decode()


def place_of(run: RunState) -> str:
    """The run in its lane; runs that are due at one instant sort by age."""
    return f"{run.created_pos:016d}|{run.id}"


def _maybe(read: Callable[[str], Any], text: str | None) -> Any:
    return None if text is None else read(text)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else instant(int(text))


# ------------------------------------------------------------------ journal
def write_row(writer: str, write_id: str, entries: tuple[Entry, ...]) -> bytes:
    return encode((writer, write_id, entries))


def read_row(run_id: RunId, seq: int, row: bytes | str) -> JournalRow:
    writer, write_id, entries = _row(row)
    return JournalRow(run_id=run_id, seq=seq, writer=writer, write_id=write_id, entries=entries)


def size_of_entries(row: JournalRow, encoded: str) -> int:
    """How many bytes of an encoded row are its entries."""
    return len(encoded.encode()) - len(encode((row.writer, row.write_id))) - 1


# ------------------------------------------------------------------ events
class StoredEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event in its log. ``fields`` point to it among what is known of its id."""

    pos: int
    at: int
    event_id: EventId
    run_id: RunId | None
    dedup_id: str | None
    origin: str | None
    payload: Payload

    @property
    def place(self) -> str:
        """The event among all of its partition."""
        return f"{self.pos:016d}|{self.run_id or ''}|{self.event_id}"

    @property
    def fields(self) -> list[str]:
        found = [] if self.dedup_id is None else [f"d{self.dedup_id}"]
        return found if self.origin is None else [*found, f"o{self.origin}"]

    def event(self) -> Event:
        return Event(
            event_id=self.event_id,
            pos=self.pos,
            payload=self.payload,
            at=instant(self.at),
            run_id=self.run_id,
            dedup_id=self.dedup_id,
        )


read_event: Final = msgspec.json.Decoder(StoredEvent).decode


def read_place(place: str) -> tuple[int, RunId | None, EventId]:
    """The inverse of ``StoredEvent.place``."""
    pos, run_id, event_id = place.split("|", 2)
    return int(pos), run_id or None, event_id
