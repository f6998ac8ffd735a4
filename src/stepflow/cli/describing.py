"""Describing: an entry of the journal as one line for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple, assert_never

from stepflow.cli.output import duration_text, local_time
from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.ids import CHILD_EVENT_PREFIX
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
from stepflow.model.names import END, unescape
from stepflow.model.states import RunStatus
from stepflow.model.steps import StepStatus
from stepflow.types import StepKey

MARKS: dict[str, tuple[str, str]] = {
    # what → mark where the terminal speaks UTF-8, and elsewhere
    StepStatus.COMPLETED: ("✓", "+"),
    StepStatus.FAILED: ("✗", "x"),
    StepStatus.RETRYING: ("↻", "~"),
    StepStatus.CANCELLED: ("⊘", "-"),
    StepStatus.WAITING: ("…", "."),
    StepStatus.RUNNING: ("▸", ">"),
    "note": ("·", "."),
}
STYLES: dict[str, str] = {
    StepStatus.COMPLETED: "green",
    StepStatus.FAILED: "bold red",
    StepStatus.RETRYING: "yellow",
    StepStatus.CANCELLED: "magenta",
    StepStatus.WAITING: "blue",
    StepStatus.RUNNING: "blue",
    "note": "dim",
}


class Line(NamedTuple):
    """``look`` is a key of ``MARKS`` and ``STYLES``."""

    look: str
    what: str
    detail: str = ""


def describe(entry: Entry) -> Line | None:
    """The entry as a line of progress; None for what nobody needs to read."""
    line = _line(entry)
    return line._replace(what=key_text(line.what)) if line is not None else None


def _line(entry: Entry) -> Line | None:
    match entry:
        case StepCompleted() | StepFailed() | StepInterrupted() | StepIntended() | AttemptFailed():
            return _of_step(entry)
        case TimerFired(key=key, delay=delay, sleep=sleep):
            slept = f"slept {duration_text(timedelta(microseconds=delay))}"
            return Line(StepStatus.COMPLETED, key, slept) if sleep else None
        case EventReceived(key=key, event_id=event_id):
            return Line(StepStatus.COMPLETED, key, f"event {event_id}")
        case EventTimedOut(key=key, event_id=event_id):
            return Line(StepStatus.FAILED, key, f"no event {event_id} came in time")
        case EventSent(key=key, event_id=event_id):
            return Line(StepStatus.COMPLETED, key, f"sent {event_id}")
        case ChildStarted(key=key, workflow_id=workflow_id, child_id=child_id):
            return Line(StepStatus.WAITING, key, f"started {workflow_id}, run {child_id}")
        case ChildEnded():
            return _of_child(entry)
        case _:
            return _of_run(entry)


def _of_step(
    entry: StepCompleted | StepFailed | StepInterrupted | StepIntended | AttemptFailed,
) -> Line | None:
    match entry:
        case StepCompleted(key=key, attempts=attempts, started_at=started_at, at=at):
            took = duration_text(at - started_at) if started_at is not None else ""
            again = f", attempt {attempts}" if attempts > 1 else ""
            return Line(StepStatus.COMPLETED, key, took + again)
        case StepFailed(key=key, failure=failure, attempts=attempts):
            again = f" (attempt {attempts})" if attempts > 1 else ""
            return Line(StepStatus.FAILED, key, f"{failure_text(failure)}{again}")
        case StepInterrupted(key=key):
            return Line(StepStatus.FAILED, key, "interrupted: it may or may not have run")
        case StepIntended():
            return None
        case AttemptFailed(key=key, attempt=attempt, failure=failure, retry_at=retry_at, at=at):
            wait = duration_text(retry_at - at)
            detail = f"attempt {attempt} failed: {failure_text(failure)}; next in {wait}"
            return Line(StepStatus.RETRYING, key, detail)
        case _:
            assert_never(entry)


def _of_child(entry: ChildEnded) -> Line:
    looks = {RunStatus.COMPLETED: StepStatus.COMPLETED, RunStatus.FAILED: StepStatus.FAILED}
    why = f": {failure_text(entry.failure)}" if entry.failure is not None else ""
    return Line(
        looks.get(entry.status, StepStatus.CANCELLED),
        entry.key,
        f"run {entry.child_id} {entry.status.value}{why}",
    )


def _of_run(
    entry: Claimed
    | AttemptStarted
    | RunAttemptFailed
    | Continued
    | CancelRequested
    | RunTimedOut
    | Suspended
    | Paused
    | Resumed
    | Ended,
) -> Line | None:
    match entry:
        case Claimed(worker=worker, takeover=takeover):
            return Line("note", "taken over", f"from a lost worker, by {worker}") if takeover else None
        case AttemptStarted(attempt=attempt):
            return Line("note", f"attempt {attempt} begins", "from the top; what succeeded is kept")
        case RunAttemptFailed(attempt=attempt, failure=failure, retry_at=retry_at, at=at):
            again = f"{failure_text(failure)}; again in {duration_text(retry_at - at)}"
            return Line(StepStatus.RETRYING, f"attempt {attempt} failed", again)
        case Continued(generation=generation):
            return Line("note", "continued", f"as generation {generation}")
        case CancelRequested():
            return Line(StepStatus.CANCELLED, "cancel requested")
        case RunTimedOut():
            return Line(StepStatus.FAILED, "the run's timeout passed")
        case Suspended(wake_at=wake_at, waits=waits):
            until = [f"until {local_time(wake_at)}"] if wake_at is not None else []
            return Line(StepStatus.WAITING, "suspended", " or ".join([*until, *waits_text(waits)]))
        case Paused(reason=reason, detail=detail):
            return Line(StepStatus.RETRYING, "paused", f"{reason.value}{': ' if detail else ''}{detail}")
        case Resumed():
            return Line("note", "resumed")
        case Ended():
            return None
        case _:
            assert_never(entry)


def key_text(key: StepKey) -> str:
    """The key as people know it: what the name's own slashes and brackets were escaped with is undone."""
    return unescape(key.partition(END)[0].removesuffix("~waiting"))


def failure_text(failure: Failure) -> str:
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


def waits_text(waits: Iterable[Wait]) -> list[str]:
    """``for event shipped/42``, ``for run 17``: what a run waits for, in words."""
    found: list[str] = []
    for wait in waits:
        if wait.event_id.startswith(CHILD_EVENT_PREFIX):
            found.append(f"for run {wait.event_id.removeprefix(CHILD_EVENT_PREFIX)}")
        else:
            until = f" (until {local_time(wait.until)})" if wait.until is not None else ""
            found.append(f"for event {wait.event_id}{until}")
    return found
