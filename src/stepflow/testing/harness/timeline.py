"""Timeline: what happened to a run, a line each, as a failed assertion shows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

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
from stepflow.model.payloads import Payload
from stepflow.model.runs import RunRecord

_LONGEST_VALUE = 120


def timeline(run: RunRecord, entries: Sequence[Entry]) -> str:
    """The run's status and its journal, each entry with the time since the run was created."""
    head = f"run {run.id!r} of {run.workflow_id!r}: {run.status.value}"
    if run.pause_detail:
        head += f" ({run.pause_reason}: {run.pause_detail})"
    if run.failure is not None:
        head += f" ({_failure(run.failure)})"
    lines = [head]
    for entry in entries:
        told = describe(entry)
        if told is not None:
            lines.append(f"  {_since(run.created_at, entry.at):>16}  {told}")
    return "\n".join(lines)


def describe(entry: Entry) -> str | None:
    """The entry in words; None for what is of no interest in a test."""
    match entry:
        case StepCompleted():
            tries = f" (attempt {entry.attempts})" if entry.attempts > 1 else ""
            return f"step {entry.key} → {_value(entry.value)}{tries}"
        case StepFailed():
            return f"step {entry.key} failed: {_failure(entry.failure)} (attempt {entry.attempts})"
        case AttemptFailed():
            return f"step {entry.key}, attempt {entry.attempt}: {_failure(entry.failure)}; again at {entry.retry_at}"
        case StepIntended():
            return f"step {entry.key} begins, at most once"
        case StepInterrupted():
            return f"step {entry.key} was interrupted"
        case TimerFired(sleep=True):
            return f"sleep {entry.key} is over"
        case EventReceived():
            return f"event {entry.event_id} received: {_value(entry.payload)}"
        case EventTimedOut():
            return f"event {entry.event_id} did not come in time"
        case EventSent():
            return f"event {entry.event_id} sent"
        case ChildStarted():
            return f"child {entry.child_id} of {entry.workflow_id!r} started"
        case ChildEnded():
            return f"child {entry.child_id}: {entry.status.value}"
        case _:
            return _of_the_run(entry)


def _of_the_run(entry: Entry) -> str | None:
    match entry:
        case Claimed():
            return "taken over after a crash" if entry.takeover else None
        case AttemptStarted():
            return f"attempt {entry.attempt} of the workflow begins"
        case RunAttemptFailed():
            return f"attempt {entry.attempt} of the workflow failed: {_failure(entry.failure)}"
        case Continued():
            return f"continue_as: goes on with {_value(entry.input)}"
        case CancelRequested():
            return "cancel requested"
        case RunTimedOut():
            return "the run's own timeout passed"
        case Suspended():
            return f"suspended {_until(entry)}"
        case Paused():
            return f"paused: {entry.reason.value} {entry.detail}".rstrip()
        case Resumed():
            return "resumed"
        case Ended():
            return entry.status.value
        case _:
            return None


def _until(entry: Suspended) -> str:
    events = ", ".join(f"event {wait.event_id}" for wait in entry.waits)
    if entry.wake_at is None:
        return f"until {events}"
    return f"until {entry.wake_at}" + (f", or {events}" if events else "")


def _value(payload: Payload) -> str:
    text = bytes(payload.data).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _failure(failure: Failure) -> str:
    return f"{failure.type}: {failure.message:.200}"


def _since(start: datetime, at: datetime) -> str:
    passed = max(at - start, timedelta(0))
    rest = passed - timedelta(days=passed.days)
    days = f"{passed.days}d " if passed.days else ""
    text = str(rest)
    return f"+{days}{text[:-3] if rest.microseconds else text}"
