"""Folding: the steps of a run as people look at them, made out of its journal and its waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from stepflow.model.events import Wait
from stepflow.model.ids import CHILD_EVENT_PREFIX
from stepflow.model.journal import (
    AttemptFailed,
    AttemptStarted,
    ChildEnded,
    ChildStarted,
    Continued,
    Entry,
    EventReceived,
    EventSent,
    EventTimedOut,
    StepCompleted,
    StepFailed,
    StepIntended,
    StepInterrupted,
    TimerFired,
)
from stepflow.model.names import END, name_of
from stepflow.model.states import RunStatus
from stepflow.model.steps import StepKind, StepStatus, StepView
from stepflow.types import StepKey


def fold_steps(entries: Iterable[Entry], waits: Iterable[Wait] = ()) -> list[StepView]:
    """The steps, sleeps, events and children of a run, in the order in which each was first recorded.

    ``waits`` are the run's present registrations. What is only running has no entry yet and is not among them; a plain
    asyncio timer is nobody's business.
    """
    steps: dict[StepKey, StepView] = {}
    fold_into(steps, entries)
    return [*steps.values(), *waiting_steps(waits)]


def fold_into(steps: dict[StepKey, StepView], entries: Iterable[Entry]) -> None:
    """Go on folding: ``steps`` are what the entries before these gave."""
    for entry in entries:
        match entry:
            case Continued():
                steps.clear()
            case AttemptStarted():
                for key in [key for key, step in steps.items() if step.status is not StepStatus.COMPLETED]:
                    del steps[key]
            case _:
                step = _step(entry, steps)
                if step is not None:
                    steps[step.key] = step


def waiting_steps(waits: Iterable[Wait]) -> Iterator[StepView]:
    """The events that a run waits for now."""
    for wait in waits:
        if not wait.event_id.startswith(CHILD_EVENT_PREFIX):
            key = f"{wait.event_id}~waiting"
            yield _view(key, StepKind.EVENT, StepStatus.WAITING, name=wait.name or wait.event_id)


def _view(
    key: StepKey, kind: StepKind, status: StepStatus, *, attempts: int = 1, name: str | None = None
) -> StepView:
    return StepView(
        key=key,
        name=name_of(key) if name is None else name,
        kind=kind,
        status=status,
        attempts=attempts,
        started_at=None,
        ended_at=None,
    )


def _step(entry: Entry, known: dict[StepKey, StepView]) -> StepView | None:
    match entry:
        case StepCompleted():
            view = _view(entry.key, StepKind.STEP, StepStatus.COMPLETED, attempts=entry.attempts)
            return replace(view, started_at=entry.started_at, ended_at=entry.at, result=entry.value)
        case StepFailed():
            view = _view(entry.key, StepKind.STEP, StepStatus.FAILED, attempts=entry.attempts)
            return replace(view, started_at=entry.started_at, ended_at=entry.at, error=entry.failure)
        case StepInterrupted():
            return replace(_view(entry.key, StepKind.STEP, StepStatus.FAILED), ended_at=entry.at)
        case AttemptFailed():
            view = _view(entry.key, StepKind.STEP, StepStatus.RETRYING, attempts=entry.attempt)
            return replace(view, error=entry.failure)
        case StepIntended():
            return replace(_view(entry.key, StepKind.STEP, StepStatus.RUNNING), started_at=entry.at)
        case TimerFired(sleep=True):
            view = _view(entry.key, StepKind.SLEEP, StepStatus.COMPLETED)
            return replace(view, ended_at=entry.at)
        case EventReceived():
            view = _view(entry.key, StepKind.EVENT, StepStatus.COMPLETED)
            return replace(view, ended_at=entry.at, result=entry.payload)
        case EventTimedOut():
            return replace(_view(entry.key, StepKind.EVENT, StepStatus.FAILED), ended_at=entry.at)
        case EventSent():
            return replace(_view(entry.key, StepKind.EVENT, StepStatus.COMPLETED), ended_at=entry.at)
        case ChildStarted():
            status = StepStatus.COMPLETED if entry.detached else StepStatus.WAITING
            return replace(_view(entry.key, StepKind.CHILD, status), started_at=entry.at)
        case ChildEnded():
            return _ended_child(entry, known)
        case _:
            return None


def _ended_child(entry: ChildEnded, known: dict[StepKey, StepView]) -> StepView:
    """The end of a child belongs to the step that started it: the key without its end mark."""
    key = entry.key.partition(END)[0]
    status = {
        RunStatus.COMPLETED: StepStatus.COMPLETED,
        RunStatus.FAILED: StepStatus.FAILED,
    }.get(entry.status, StepStatus.CANCELLED)
    view = known.get(key) or _view(key, StepKind.CHILD, status)
    return replace(view, status=status, ended_at=entry.at, result=entry.value, error=entry.failure)
