"""The journal: what happened to a run, entry by entry, in the order it was decided.

One commit of a run's owner is one ``JournalRow`` with one or more entries. Replaying the entries in order
rebuilds the run; nothing else is needed. Every entry has an instant ``at``; which of them move a run's logical
time is the engine's business.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.model.states import PauseReason, RunStatus
from stepflow.types import EventId, RunId, StepKey, WorkerId


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", gc=False):
    at: datetime


# ------------------------------------------------------------------ the run as a whole
class Claimed(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="claimed", gc=False):
    """A worker took the run. ``takeover``: it was running elsewhere, so its owner was lost."""

    worker: WorkerId
    takeover: bool = False
    python: str = ""


class AttemptStarted(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="attempt-started", gc=False):
    """The workflow function begins again from the top (workflow-level retry)."""

    attempt: int


class RunAttemptFailed(
    _Entry, frozen=True, kw_only=True, omit_defaults=True, tag="run-attempt-failed", gc=False
):
    """The workflow function failed and will begin again at ``retry_at``."""

    attempt: int
    failure: Failure
    retry_at: datetime


class Continued(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="continued", gc=False):
    """``continue_as``: the first entry of a fresh journal under the same run id.

    ``generation`` counts from 1; ``cursors`` are the positions of the events received so far.
    """

    input: Payload
    generation: int
    cursors: dict[EventId, int] = {}


class CancelRequested(
    _Entry, frozen=True, kw_only=True, omit_defaults=True, tag="cancel-requested", gc=False
):
    """``CancelledError`` is raised in the workflow's main task."""


class RunTimedOut(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="run-timed-out", gc=False):
    """The workflow's ``timeout`` passed: a cancel whose outcome is a failure."""


class Suspended(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="suspended", gc=False):
    """The run left memory until ``wake_at``, or until an event it waits for."""

    wake_at: datetime | None = None
    waits: tuple[Wait, ...] = ()


class Paused(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="paused", gc=False):
    """The run stands still until it is resumed or cancelled."""

    reason: PauseReason
    detail: str = ""


class Resumed(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="resumed", gc=False):
    """A paused run may be claimed again."""


class Ended(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="ended", gc=False):
    """The run ended; its result or failure is in the run's own row."""

    status: RunStatus
    left_over: tuple[str, ...] = ()


# ------------------------------------------------------------------ steps
class StepCompleted(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="step-completed", gc=False):
    key: StepKey
    function: str
    value: Payload
    attempts: int = 1
    started_at: datetime | None = None


class StepFailed(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="step-failed", gc=False):
    """The last attempt failed, or the failure was final."""

    key: StepKey
    function: str
    failure: Failure
    attempts: int = 1
    started_at: datetime | None = None


class AttemptFailed(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="attempt-failed", gc=False):
    """One attempt of a step failed and another follows at ``retry_at``. Moves no time."""

    key: StepKey
    function: str
    attempt: int
    failure: Failure
    retry_at: datetime


class StepIntended(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="step-intended", gc=False):
    """An ``at_most_once`` step is about to run. Durable before its body starts. Moves no time."""

    key: StepKey
    function: str


class StepInterrupted(
    _Entry, frozen=True, kw_only=True, omit_defaults=True, tag="step-interrupted", gc=False
):
    """An intent without a result was found after a crash: the body may or may not have run."""

    key: StepKey
    function: str


# ------------------------------------------------------------------ time
class TimerFired(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="timer-fired", gc=False):
    """A sleep or a plain asyncio timer ended. ``delay`` is in microseconds, as it was asked for."""

    key: StepKey
    delay: int
    sleep: bool = False


# ------------------------------------------------------------------ events and children
class EventReceived(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="event-received", gc=False):
    key: StepKey
    event_id: EventId
    pos: int
    payload: Payload


class EventTimedOut(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="event-timed-out", gc=False):
    key: StepKey
    event_id: EventId


class EventSent(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="event-sent", gc=False):
    key: StepKey
    event_id: EventId


class ChildStarted(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="child-started", gc=False):
    key: StepKey
    child_id: RunId
    workflow_id: str
    detached: bool = False


class ChildEnded(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="child-ended", gc=False):
    """An attached child ended; ``pos`` is the position of the event that said so."""

    key: StepKey
    child_id: RunId
    workflow_id: str
    pos: int
    status: RunStatus
    value: Payload | None = None
    failure: Failure | None = None


Entry: TypeAlias = (
    Claimed
    | AttemptStarted
    | RunAttemptFailed
    | Continued
    | CancelRequested
    | RunTimedOut
    | Suspended
    | Paused
    | Resumed
    | Ended
    | StepCompleted
    | StepFailed
    | AttemptFailed
    | StepIntended
    | StepInterrupted
    | TimerFired
    | EventReceived
    | EventTimedOut
    | EventSent
    | ChildStarted
    | ChildEnded
)


class JournalRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One commit. ``(run_id, seq)`` is unique in the store: the first writer wins, and that is the fence."""

    run_id: RunId
    seq: int
    writer: WorkerId
    write_id: str
    entries: tuple[Entry, ...]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(tuple[Entry, ...])


def encode_entries(entries: tuple[Entry, ...]) -> bytes:
    """The entries as JSON text, the same form in every store."""
    return _ENCODER.encode(entries)


def decode_entries(data: bytes | str) -> tuple[Entry, ...]:
    """The inverse of ``encode_entries``; raises ``msgspec.ValidationError`` on anything else."""
    return _DECODER.decode(data)
