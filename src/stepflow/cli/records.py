"""Records: a run, its steps and its journal as the JSON that ``--json`` prints. The names are those of the HTTP API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from stepflow.model.failures import Failure
from stepflow.model.journal import (
    AttemptFailed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildStarted,
    Claimed,
    Continued,
    Ended,
    Entry,
    EventReceived,
    EventSent,
    EventTimedOut,
    Paused,
    Resumed,
    RunAttemptFailed,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepIntended,
    StepInterrupted,
    Suspended,
    TimerFired,
)
from stepflow.model.names import END, name_of
from stepflow.model.payloads import Payload
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run, StepView
from stepflow.storage.base import StorageInfo, WorkerRecord
from stepflow.types import Json

Decode = Callable[[Payload], Json]


def instant(value: datetime | None) -> str | None:
    """RFC 3339, UTC, milliseconds."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def failure_record(failure: Failure | None) -> Json:
    if failure is None:
        return None
    record: dict[str, Json] = {"type": failure.type, "message": failure.message}
    if failure.traceback:
        record["traceback"] = failure.traceback
    return record


def run_summary(run: Run) -> dict[str, Json]:
    """A run as it is listed: without input, output and steps."""
    return {
        "id": run.id,
        "workflowId": run.workflow_id,
        "status": run.status.value,
        "error": failure_record(run.error),
        "attempt": run.attempt,
        "createdAt": instant(run.created_at),
        "startedAt": instant(run.started_at),
        "endedAt": instant(run.ended_at),
        "wakeAt": instant(run.wake_at),
        "waits": [
            {"eventId": wait.event_id, "name": wait.name, "until": instant(wait.until)} for wait in run.waits
        ],
        "tags": dict(run.tags),
        "parentId": None if run.parent is None else run.parent.run_id,
        "queue": run.queue,
        "priority": run.priority,
        "version": run.version,
        "pauseReason": None if run.pause_reason is None else run.pause_reason.value,
        "pauseDetail": run.pause_detail,
    }


def run_record(run: Run, decode: Decode) -> dict[str, Json]:
    """All of a run, with every step."""
    return {
        **run_summary(run),
        "input": run.input,
        "output": run.output,
        "steps": [step_record(step, decode) for step in run.steps],
    }


def step_record(step: StepView, decode: Decode) -> dict[str, Json]:
    return {
        "key": step.key,
        "name": step.name,
        "kind": step.kind.value,
        "status": step.status.value,
        "result": None if step.result is None else decode(step.result),
        "error": failure_record(step.error),
        "attempts": step.attempts,
        "startedAt": instant(step.started_at),
        "endedAt": instant(step.ended_at),
    }


# ------------------------------------------------------------------ the journal as a stream
def event_record(id: str, run: Run, entry: Entry, decode: Decode) -> dict[str, Json] | None:
    """An entry as an event of the run's stream; None for what concerns nobody outside."""
    found = _of_step(entry, decode) or _of_run(entry, run)
    if found is None:
        return None
    kind, data = found
    return {"id": id, "type": kind, "runId": run.id, "at": instant(entry.at), **data}


def _named(key: str, attempt: int = 1) -> dict[str, Json]:
    key = key.partition(END)[0]
    return {"stepName": name_of(key), "key": key, "attempt": attempt}


def _of_step(entry: Entry, decode: Decode) -> tuple[str, dict[str, Json]] | None:
    match entry:
        case StepCompleted(key=key, value=value, attempts=attempts):
            return "step:complete", {**_named(key, attempts), "result": decode(value)}
        case StepFailed(key=key, failure=failure, attempts=attempts):
            return "step:failed", {**_named(key, attempts), "error": failure_record(failure)}
        case StepInterrupted(key=key):
            return "step:failed", {**_named(key), "error": None}
        case AttemptFailed(key=key, attempt=attempt, failure=failure, retry_at=retry_at):
            data = {"error": failure_record(failure), "retryAt": instant(retry_at)}
            return "step:retry", {**_named(key, attempt), **data}
        case TimerFired(key=key, sleep=True) | EventSent(key=key):
            return "step:complete", {**_named(key), "result": None}
        case EventReceived(key=key, payload=payload):
            return "step:complete", {**_named(key), "result": decode(payload)}
        case EventTimedOut(key=key):
            return "step:failed", {**_named(key), "error": None}
        case ChildEnded(key=key, status=RunStatus.COMPLETED, value=value):
            return "step:complete", {**_named(key), "result": None if value is None else decode(value)}
        case ChildEnded(key=key, failure=failure):
            return "step:failed", {**_named(key), "error": failure_record(failure)}
        case ChildStarted(key=key, child_id=child_id):
            return "step:start", {**_named(key), "childId": child_id}
        case StepIntended(key=key):
            return "step:start", _named(key)
        case _:
            return None


def _of_run(entry: Entry, run: Run) -> tuple[str, dict[str, Json]] | None:
    match entry:
        case Suspended(wake_at=wake_at, waits=waits):
            names: list[Json] = [
                {"eventId": wait.event_id, "name": wait.name, "until": instant(wait.until)} for wait in waits
            ]
            return "run:suspended", {"wakeAt": instant(wake_at), "waits": names}
        case Claimed(worker=worker, takeover=takeover):
            return "run:resumed", {"worker": worker, "takeover": takeover}
        case Resumed():
            return "run:resumed", {}
        case Paused(reason=reason, detail=detail):
            return "run:paused", {"reason": reason.value, "detail": detail}
        case RunAttemptFailed(attempt=attempt, failure=failure, retry_at=retry_at):
            data: dict[str, Json] = {"attempt": attempt, "error": failure_record(failure)}
            return "run:retrying", {**data, "retryAt": instant(retry_at)}
        case AttemptStarted(attempt=attempt):
            return "run:retrying", {"attempt": attempt}
        case Ended(status=RunStatus.COMPLETED):
            return "execution:complete", {"data": run.output}
        case Ended(status=RunStatus.FAILED):
            return "execution:failed", {"error": failure_record(run.error)}
        case Ended():
            return "execution:cancelled", {}
        case Continued(generation=generation):
            return "run:continued", {"generation": generation}
        case CancelRequested():
            return "run:cancelling", {}
        case RunTimedOut():
            return "run:timeout", {}
        case _:
            return None


# ------------------------------------------------------------------ the storage
def worker_record(worker: WorkerRecord) -> dict[str, Json]:
    return {
        "id": worker.id,
        "name": worker.name,
        "queues": list(worker.queues),
        "host": worker.host,
        "pid": worker.pid,
        "startedAt": instant(worker.started_at),
        "leaseUntil": instant(worker.lease_until),
    }


def storage_record(info: StorageInfo) -> dict[str, Json]:
    return {
        "url": info.url,
        "backend": info.backend,
        "durability": info.durability,
        "schemaVersion": info.schema_version,
        "runs": {str(status): count for status, count in info.runs.items()},
        "journalRows": info.journal_rows,
        "events": info.events,
        "eventsPinnedBy": info.events_pinned_by,
        "workers": [worker_record(worker) for worker in info.workers],
        "sizeBytes": info.size_bytes,
    }
