"""Translating: what a server tells of runs, as the records that this command line shows runs of a storage with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from stepflow.model import journal
from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Entry
from stepflow.model.payloads import Payload
from stepflow.model.runs import ParentLink
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.steps import Run, StepKind, StepStatus, StepView
from stepflow.wire import records, streams
from stepflow.wire.streams import StreamEvent

_SOMEBODY = "a worker"
"""Servers don't tell which one."""


def run_of(found: records.RunItem) -> Run:
    """A run as it is listed or, if more of it is known, with that."""
    whole = found if isinstance(found, records.Run) else None
    return Run(
        id=found.id,
        workflow_id=found.workflow_id,
        status=RunStatus(found.status),
        input=None if whole is None else whole.input,
        output=None if whole is None else whole.output,
        error=_failure(found.error),
        attempt=found.attempt,
        created_at=found.created_at,
        started_at=found.started_at,
        ended_at=found.ended_at,
        wake_at=found.wake_at,
        waits=_waits(found.waits),
        queue=found.queue,
        priority=found.priority,
        version=found.version,
        parent=None if found.parent_id is None else ParentLink(run_id=found.parent_id, key=""),
        pause_reason=None if found.pause_reason is None else _reason(found.pause_reason),
        pause_detail=found.pause_detail,
        seq=0,
        tags=found.tags,
        steps=() if whole is None else [step_of(step) for step in whole.steps],
    )


def step_of(step: records.Step) -> StepView:
    return StepView(
        key=step.key,
        name=step.name,
        kind=StepKind(step.kind),
        status=StepStatus(step.status),
        attempts=step.attempts,
        started_at=step.started_at,
        ended_at=step.ended_at,
        result=None if step.result is None else _payload(step.result),
        error=_failure(step.error),
    )


def entries_of(run: Run) -> list[Entry]:
    """As much of the run's journal as its record tells: when it began and ended, and when its steps did."""
    found: list[Entry] = []
    if run.started_at is not None:
        found.append(journal.Claimed(at=run.started_at, worker=_SOMEBODY))
    found.extend(entry for step in run.steps if (entry := _of_step(step)) is not None)
    if run.ended_at is not None:
        found.append(journal.Ended(at=run.ended_at, status=run.status))
    return found


def _of_step(step: StepView) -> Entry | None:
    if step.ended_at is None:
        return None
    return journal.StepCompleted(
        at=step.ended_at,
        key=step.key,
        function="",
        value=step.result or _payload(None),
        attempts=step.attempts,
        started_at=step.started_at,
    )


def entry_of(event: StreamEvent) -> Entry | None:
    """What happened, as an entry of a journal; None for what no journal tells."""
    match event:
        case streams.StepStart(at=at, key=key):
            return journal.StepIntended(at=at, key=key, function="")
        case streams.StepRetry(at=at, key=key, attempt=attempt):
            return journal.AttemptFailed(
                at=at,
                key=key,
                function="",
                attempt=attempt,
                failure=_some_failure(event.error),
                retry_at=event.wake_at or at,
            )
        case streams.StepComplete(at=at, key=key, attempt=attempt, result=result):
            value = _payload(result)
            return journal.StepCompleted(at=at, key=key, function="", value=value, attempts=attempt)
        case streams.StepFailed(at=at, key=key, attempt=attempt):
            failure = _some_failure(event.error)
            return journal.StepFailed(at=at, key=key, function="", failure=failure, attempts=attempt)
        case _:
            return _of_run(event)


def _of_run(event: StreamEvent) -> Entry | None:
    match event:
        case streams.RunSuspended(at=at, wake_at=wake_at, waits=waits):
            return journal.Suspended(at=at, wake_at=wake_at, waits=_waits(waits))
        case streams.RunResumed(at=at, takeover=takeover):
            return journal.Claimed(at=at, worker=_SOMEBODY, takeover=takeover)
        case streams.RunRetrying(at=at, attempt=attempt, error=None):
            return journal.AttemptStarted(at=at, attempt=attempt)
        case streams.RunRetrying(at=at, attempt=attempt, error=error, wake_at=wake_at):
            failure = _some_failure(error)
            return journal.RunAttemptFailed(at=at, attempt=attempt, failure=failure, retry_at=wake_at or at)
        case streams.RunPaused(at=at, reason=reason, detail=detail):
            return journal.Paused(at=at, reason=_reason(reason), detail=detail)
        case streams.RunContinued(at=at, generation=generation):
            return journal.Continued(at=at, input=_payload(None), generation=generation)
        case streams.RunCancelling(at=at):
            return journal.CancelRequested(at=at)
        case streams.ExecutionComplete(at=at):
            return journal.Ended(at=at, status=RunStatus.COMPLETED)
        case streams.ExecutionFailed(at=at):
            return journal.Ended(at=at, status=RunStatus.FAILED)
        case streams.ExecutionCancelled(at=at):
            return journal.Ended(at=at, status=RunStatus.CANCELLED)
        case _:
            return None


def _payload(value: Any) -> Payload:
    return Payload(msgspec.Raw(msgspec.json.encode(value)))


def _failure(error: records.RunFailure | None) -> Failure | None:
    if error is None:
        return None
    return Failure(type=error.type, message=error.message, traceback=error.traceback)


def _some_failure(error: records.RunFailure | None) -> Failure:
    return _failure(error) or Failure(type="interrupted, or nothing came in time", message="")


def _reason(name: str) -> PauseReason:
    """One that only a newer server knows is shown as the plainest."""
    try:
        return PauseReason(name)
    except ValueError:
        return PauseReason.REQUESTED


def _waits(waits: Iterable[records.Wait]) -> tuple[Wait, ...]:
    return tuple(Wait(event_id=wait.event_id, after=0, name=wait.name, until=wait.until) for wait in waits)
