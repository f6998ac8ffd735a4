"""Records: runs, steps and answers as they travel, in both directions. Field names are camelCase on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from stepflow.model.events import Wait as ModelWait
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.model.runs import RunRecord
from stepflow.model.steps import StepView
from stepflow.types import Json, RunId, StepKey

VALUE_LIMIT = 64 * 1024
"""A value whose JSON text is longer is replaced by ``{"omitted": bytes}``."""

STEPS_LIMIT = 200
"""A run travels with so many steps, its last ones."""

T = TypeVar("T")


class _Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


# ------------------------------------------------------------------ runs
class Wait(_Record, frozen=True, kw_only=True):
    """An event that a run waits for."""

    event_id: str
    name: str
    until: datetime | None = None


class RunFailure(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """A recorded failure. ``traceback`` is for those who may see it."""

    type: str
    message: str
    traceback: str = ""


class Step(_Record, frozen=True, kw_only=True):
    """One checkpointed thing that a run did: ``kind`` is step, sleep, event or child; ``status`` running, retrying, completed,
    failed, waiting or cancelled.
    """

    key: StepKey
    name: str
    kind: str
    status: str
    result: Any = None
    error: RunFailure | None = None
    attempts: int = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None


class RunItem(_Record, frozen=True, kw_only=True):
    """A run as it is listed: without input, output and steps."""

    id: RunId
    workflow_id: str
    status: str
    error: RunFailure | None = None
    attempt: int = 1
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    wake_at: datetime | None = None
    waits: Sequence[Wait] = ()
    tags: Mapping[str, str] = {}
    parent_id: RunId | None = None
    queue: str = "default"
    priority: int = 0
    version: str | None = None
    pause_reason: str | None = None
    pause_detail: str = ""


class Run(RunItem, frozen=True, kw_only=True):
    """A run with its last steps; ``steps_omitted`` counts those before them."""

    input: Any = None
    output: Any = None
    steps: Sequence[Step] = ()
    steps_omitted: int = 0


# ------------------------------------------------------------------ answers
class Triggered(_Record, frozen=True, kw_only=True):
    """``created`` is False if the same id or key had been used before; then a token is given only to whom the key belongs."""

    run_id: RunId
    public_access_token: str | None = None
    expires_at: datetime | None = None
    created: bool = True


class Notified(_Record, frozen=True, kw_only=True):
    """``id`` makes sending it again harmless; ``woken`` is how many runs wait for the event now."""

    id: str
    woken: int


class NotifyBody(_Record, frozen=True, kw_only=True):
    """What ``POST /notify`` takes."""

    event_id: str
    payload: Any = None


class RunState(_Record, frozen=True, kw_only=True):
    """The answer to an operation: where the run is in its life now."""

    run_id: RunId
    status: str


class RunToken(_Record, frozen=True, kw_only=True):
    public_access_token: str
    expires_at: datetime


class RunPage(_Record, frozen=True, kw_only=True):
    """``next_cursor`` is None on the last page; it is bound to the filter that it came from."""

    items: Sequence[RunItem]
    next_cursor: str | None = None


class StepPage(_Record, frozen=True, kw_only=True):
    items: Sequence[Step]
    next_cursor: str | None = None


class Health(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """``version`` and ``storage`` are told only to those who may know."""

    status: str
    version: str | None = None
    storage: str | None = None


class WorkflowInfo(_Record, frozen=True, kw_only=True):
    """A registered workflow; the schemas are JSON Schema (2020-12)."""

    id: str
    queue: str
    version: str | None = None
    description: str = ""
    input_schema: Mapping[str, Any] | None = None
    output_schema: Mapping[str, Any] | None = None


class WorkflowList(_Record, frozen=True, kw_only=True):
    items: Sequence[WorkflowInfo]


# ------------------------------------------------------------------ JSON
class _Instant(datetime):
    """A time that is written with milliseconds. (msgspec gives subclasses of ``datetime`` to its hook.)"""


def instant(value: datetime) -> datetime:
    """The time in UTC, cut to the milliseconds that travel."""
    utc = value.astimezone(UTC)
    return _Instant(
        utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond // 1000 * 1000, UTC
    )


def instant_or_none(value: datetime | None) -> datetime | None:
    return None if value is None else instant(value)


def _written(value: Any) -> str:
    if isinstance(value, _Instant):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise NotImplementedError(f"{type(value).__name__} does not travel")


_ENCODER = msgspec.json.Encoder(enc_hook=_written)
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(record: object) -> bytes:
    """A record, or builtins, as JSON text."""
    return _ENCODER.encode(record)


def decode(data: bytes | str, type_: type[T]) -> T:
    """The inverse of ``encode``; unknown fields are ignored. ``msgspec.DecodeError`` for what does not fit."""
    decoder = _DECODERS.get(type_)
    if decoder is None:
        decoder = _DECODERS[type_] = msgspec.json.Decoder(type_)
    found: T = decoder.decode(data)
    return found


# ------------------------------------------------------------------ model → wire
class View(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody may see. ``text`` gives a stored value's JSON; ``values``: whether inputs, results and messages are shown;
    ``whole``: whether a run's input and output are, however large.
    """

    text: Callable[[Payload], bytes]
    values: bool = True
    tracebacks: bool = False
    whole: bool = False

    def value(self, payload: Payload | None, *, whole: bool = False) -> Any:
        """The value, to be encoded as it is; None if there is none or it is not for these eyes."""
        if payload is None or not self.values:
            return None
        text = self.text(payload)
        if len(text) > VALUE_LIMIT and not whole:
            return {"omitted": len(text)}
        return msgspec.Raw(text)

    def error(self, failure: Failure | None) -> RunFailure | None:
        if failure is None:
            return None
        return RunFailure(
            type=failure.type,
            message=failure.message if self.values else "",
            traceback=failure.traceback if self.values and self.tracebacks else "",
        )


def wait_record(wait: ModelWait) -> Wait:
    return Wait(event_id=wait.event_id, name=wait.name, until=instant_or_none(wait.until))


def step_record(step: StepView, view: View) -> Step:
    return Step(
        key=step.key,
        name=step.name,
        kind=step.kind.value,
        status=step.status.value,
        result=view.value(step.result),
        error=view.error(step.error),
        attempts=step.attempts,
        started_at=instant_or_none(step.started_at),
        ended_at=instant_or_none(step.ended_at),
    )


def _head(run: RunRecord, view: View) -> dict[str, Any]:
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "status": run.status.value,
        "error": view.error(run.failure),
        "attempt": run.attempt,
        "created_at": instant(run.created_at),
        "started_at": instant_or_none(run.started_at),
        "ended_at": instant_or_none(run.ended_at),
        "wake_at": instant_or_none(run.due_at),
        "waits": [wait_record(wait) for wait in run.waits],
        "tags": dict(run.tags),
        "parent_id": None if run.parent is None else run.parent.run_id,
        "queue": run.queue,
        "priority": run.priority,
        "version": run.version,
        "pause_reason": None if run.pause_reason is None else run.pause_reason.value,
        "pause_detail": run.pause_detail if view.values else "",
    }


def run_item(run: RunRecord, view: View) -> RunItem:
    """The run as it is listed."""
    return RunItem(**_head(run, view))


def run_record(run: RunRecord, steps: Sequence[StepView], view: View) -> Run:
    """The run with its last steps, each value within its limit."""
    last = steps[-STEPS_LIMIT:]
    return Run(
        **_head(run, view),
        input=view.value(run.input, whole=view.whole),
        output=view.value(run.output, whole=view.whole),
        steps=[step_record(step, view) for step in last],
        steps_omitted=len(steps) - len(last),
    )


def step_records(steps: Iterable[StepView], view: View) -> list[Step]:
    return [step_record(step, view) for step in steps]


RECORDS: Final[Mapping[str, type[msgspec.Struct]]] = {
    record.__name__: record
    for record in (
        Run,
        RunItem,
        RunPage,
        Step,
        StepPage,
        Wait,
        RunFailure,
        Triggered,
        Notified,
        NotifyBody,
        RunState,
        RunToken,
        Health,
        WorkflowInfo,
        WorkflowList,
    )
}
"""By the names that they have in the OpenAPI document."""


def omitted_size(value: Json) -> int | None:
    """How many bytes a value has that was left out, or None if it is there."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(size := value.get("omitted"), int):
        return size
    return None
