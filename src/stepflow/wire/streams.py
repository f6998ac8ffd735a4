"""Streams: the events of a run as they travel, made out of its journal, and the cursors that resume them."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from stepflow.errors import InputError
from stepflow.model import journal
from stepflow.model.ids import stable_digest
from stepflow.model.journal import Entry
from stepflow.model.names import END, name_of
from stepflow.model.runs import RunRecord
from stepflow.model.states import RunStatus
from stepflow.types import RunId, StepKey
from stepflow.wire.records import Run, RunFailure, View, Wait, instant, instant_or_none, wait_record


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    run_id: RunId
    at: datetime


class _OfStep(_Event, frozen=True, kw_only=True):
    step_name: str
    key: StepKey
    attempt: int = 1


# ------------------------------------------------------------------ the snapshot
class RunSnapshot(_Event, frozen=True, kw_only=True, tag="run"):
    """The whole run as it is now. ``reset``: what the reader knew is void; go on from here."""

    run: Run
    reset: bool = False


# ------------------------------------------------------------------ from the journal
class StepComplete(_OfStep, frozen=True, kw_only=True, tag="step:complete"):
    result: Any = None


class StepFailed(_OfStep, frozen=True, kw_only=True, tag="step:failed"):
    error: RunFailure | None = None


class RunSuspended(_Event, frozen=True, kw_only=True, tag="run:suspended"):
    wake_at: datetime | None = None
    waits: Sequence[Wait] = ()


class RunResumed(_Event, frozen=True, kw_only=True, tag="run:resumed"):
    """The run goes on, or begins. ``takeover``: its former worker was lost."""

    takeover: bool = False


class RunRetrying(_Event, frozen=True, kw_only=True, tag="run:retrying"):
    """``attempt`` failed and the run begins again at ``wake_at``; or, without an error, it is the one that begins."""

    attempt: int
    error: RunFailure | None = None
    wake_at: datetime | None = None


class RunPaused(_Event, frozen=True, kw_only=True, tag="run:paused"):
    reason: str
    detail: str = ""


class RunContinued(_Event, frozen=True, kw_only=True, tag="run:continued"):
    """The run began anew with another input (``continue_as``): its steps so far are gone."""

    generation: int


class RunCancelling(_Event, frozen=True, kw_only=True, tag="run:cancelling"):
    """The run was told to end, and cleans up."""


class ExecutionComplete(_Event, frozen=True, kw_only=True, tag="execution:complete"):
    data: Any = None


class ExecutionFailed(_Event, frozen=True, kw_only=True, tag="execution:failed"):
    error: RunFailure | None = None


class ExecutionCancelled(_Event, frozen=True, kw_only=True, tag="execution:cancelled"):
    pass


# ------------------------------------------------------------------ transient
class StepStart(_OfStep, frozen=True, kw_only=True, tag="step:start"):
    pass


class StepRetry(_OfStep, frozen=True, kw_only=True, tag="step:retry"):
    """``attempt`` failed; the next one begins at ``wake_at``."""

    error: RunFailure | None = None
    wake_at: datetime | None = None


class Log(_Event, frozen=True, kw_only=True, tag="log"):
    level: str
    message: str
    fields: dict[str, Any] = {}


class TokenExpired(_Event, frozen=True, kw_only=True, tag="token:expired"):
    """The credential is not valid any more; the stream closes."""


StreamEvent: TypeAlias = (
    RunSnapshot
    | StepComplete
    | StepFailed
    | RunSuspended
    | RunResumed
    | RunRetrying
    | RunPaused
    | RunContinued
    | RunCancelling
    | ExecutionComplete
    | ExecutionFailed
    | ExecutionCancelled
    | StepStart
    | StepRetry
    | Log
    | TokenExpired
)

ENDINGS: Final = (ExecutionComplete, ExecutionFailed, ExecutionCancelled)
EVENT_TYPES: Final[tuple[type[msgspec.Struct], ...]] = (
    RunSnapshot,
    StepComplete,
    StepFailed,
    RunSuspended,
    RunResumed,
    RunRetrying,
    RunPaused,
    RunContinued,
    RunCancelling,
    ExecutionComplete,
    ExecutionFailed,
    ExecutionCancelled,
    StepStart,
    StepRetry,
    Log,
    TokenExpired,
)
_BY_NAME: Final = {str(each.__struct_config__.tag): each for each in EVENT_TYPES}


def event_name(event: StreamEvent) -> str:
    """What the event is called in the stream: its ``type``."""
    return str(event.__struct_config__.tag)


def read_event(name: str, data: bytes | str) -> StreamEvent | None:
    """The event of a message; None for a type that a newer server may send. ``msgspec.DecodeError`` for damaged data."""
    kind = _BY_NAME.get(name)
    if kind is None:
        return None
    found: Any = msgspec.json.decode(data, type=kind)
    event: StreamEvent = found
    return event


# ------------------------------------------------------------------ journal → events
def journal_event(entry: Entry, run: RunRecord, view: View) -> StreamEvent | None:
    """What an entry means to those who watch; None for what concerns nobody outside.

    ``run`` is the record after the entry if it is ``Ended``: the result is in the run's own row.
    """
    return _of_step(entry, run.id, view) or _of_run(entry, run, view)


def transient_event(entry: Entry, run_id: RunId, view: View) -> StepStart | StepRetry | None:
    """What an entry tells late of something transient: for those who watch a run that another process executes."""
    match entry:
        case journal.StepIntended(at=at, key=key):
            return StepStart(run_id=run_id, at=instant(at), step_name=name_of(key), key=key)
        case journal.AttemptFailed(at=at, key=key, attempt=attempt, failure=failure, retry_at=retry_at):
            return StepRetry(
                run_id=run_id,
                at=instant(at),
                step_name=name_of(key),
                key=key,
                attempt=attempt,
                error=view.error(failure),
                wake_at=instant(retry_at),
            )
        case _:
            return None


def _of_step(entry: Entry, run_id: RunId, view: View) -> StreamEvent | None:
    at = instant(entry.at)

    def complete(key: StepKey, result: Any = None, attempt: int = 1) -> StepComplete:
        return StepComplete(
            run_id=run_id, at=at, step_name=name_of(key), key=key, attempt=attempt, result=result
        )

    def failed(key: StepKey, error: RunFailure | None = None, attempt: int = 1) -> StepFailed:
        return StepFailed(run_id=run_id, at=at, step_name=name_of(key), key=key, attempt=attempt, error=error)

    match entry:
        case journal.StepCompleted(key=key, value=value, attempts=attempts):
            return complete(key, view.value(value), attempts)
        case journal.StepFailed(key=key, failure=failure, attempts=attempts):
            return failed(key, view.error(failure), attempts)
        case journal.TimerFired(key=key, sleep=True) | journal.EventSent(key=key):
            return complete(key)
        case journal.EventReceived(key=key, payload=payload):
            return complete(key, view.value(payload))
        case journal.StepInterrupted(key=key) | journal.EventTimedOut(key=key):
            return failed(key)
        case journal.ChildStarted(key=key, detached=True):
            return complete(key)
        case journal.ChildEnded(status=RunStatus.COMPLETED, value=value):
            return complete(entry.key.partition(END)[0], view.value(value))
        case journal.ChildEnded(failure=failure):
            return failed(entry.key.partition(END)[0], view.error(failure))
        case _:
            return None


def _of_run(entry: Entry, run: RunRecord, view: View) -> StreamEvent | None:
    run_id, at = run.id, instant(entry.at)
    match entry:
        case journal.Suspended(wake_at=wake_at, waits=waits):
            listed = [wait_record(wait) for wait in waits]
            return RunSuspended(run_id=run_id, at=at, wake_at=instant_or_none(wake_at), waits=listed)
        case journal.Claimed(takeover=takeover):
            return RunResumed(run_id=run_id, at=at, takeover=takeover)
        case journal.Resumed():
            return RunResumed(run_id=run_id, at=at)
        case journal.Paused(reason=reason, detail=detail):
            return RunPaused(run_id=run_id, at=at, reason=reason.value, detail=detail if view.values else "")
        case journal.RunAttemptFailed(attempt=attempt, failure=failure, retry_at=retry_at):
            return RunRetrying(
                run_id=run_id,
                at=at,
                attempt=attempt,
                error=view.error(failure),
                wake_at=instant(retry_at),
            )
        case journal.AttemptStarted(attempt=attempt):
            return RunRetrying(run_id=run_id, at=at, attempt=attempt)
        case journal.Continued(generation=generation):
            return RunContinued(run_id=run_id, at=at, generation=generation)
        case journal.CancelRequested():
            return RunCancelling(run_id=run_id, at=at)
        case journal.Ended():
            return _ending(entry, run, view)
        case _:
            return None


def _ending(entry: journal.Ended, run: RunRecord, view: View) -> StreamEvent:
    # A run ends when its end is durable, and is kept from then on. Its worker decided that a little before; after an outage, long before.
    at = instant(run.ended_at or entry.at)
    match entry.status:
        case RunStatus.COMPLETED:
            return ExecutionComplete(run_id=run.id, at=at, data=view.value(run.output))
        case RunStatus.FAILED:
            return ExecutionFailed(run_id=run.id, at=at, error=view.error(run.failure))
        case _:
            return ExecutionCancelled(run_id=run.id, at=at)


# ------------------------------------------------------------------ cursors
class Position(NamedTuple):
    """A place in a run's journal: an entry, by its row and its index in it. Everything is after ``START``."""

    seq: int
    place: int

    def __str__(self) -> str:
        return f"{self.seq}.{self.place}" if self.seq else "0"


START: Final = Position(0, -1)
_CURSOR = re.compile(r"(0)|([0-9]{1,19})\.([0-9]{1,9})")
_MANY = re.compile(r"[A-Za-z0-9_-]{1,8000}")


def parse_cursor(text: str) -> Position:
    """The position that an event's id names; ``0`` is before the first. ``InputError`` for anything else."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise InputError(f"{text!a:.60} is no id of this stream; give one that it sent, like '3.0', or '0'")
    return START if found[1] else Position(int(found[2]), int(found[3]))


class _Positions(msgspec.Struct, frozen=True, array_like=True):
    of: str
    places: list[Position]


def encode_positions(positions: dict[RunId, Position]) -> str:
    """One opaque cursor for several runs."""
    ordered = sorted(positions)
    record = _Positions(of=stable_digest(*ordered, size=8), places=[positions[run_id] for run_id in ordered])
    return urlsafe_b64encode(msgspec.msgpack.encode(record)).decode().rstrip("=")


def parse_positions(text: str, run_ids: Sequence[RunId]) -> dict[RunId, Position] | None:
    """The position of each run; None for a cursor that belongs to other runs, ``InputError`` for a malformed one."""
    ordered = sorted(run_ids)
    if text == "0":
        return dict.fromkeys(ordered, START)
    if not _MANY.fullmatch(text):
        raise InputError("the cursor of this stream is malformed")
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        record = msgspec.msgpack.decode(packed, type=_Positions)
    except ValueError as error:
        raise InputError("the cursor of this stream is malformed") from error
    if record.of != stable_digest(*ordered, size=8) or len(record.places) != len(ordered):
        return None
    return dict(zip(ordered, record.places, strict=True))
