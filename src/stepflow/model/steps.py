"""Run and StepView: a run as people look at it, its steps folded out of the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Entry
from stepflow.model.payloads import Payload
from stepflow.model.runs import ParentLink
from stepflow.model.states import PauseReason, RunStatus
from stepflow.types import Json, RunId, StepKey


class StepKind(StrEnum):
    STEP = "step"
    SLEEP = "sleep"
    EVENT = "event"
    CHILD = "child"


class StepStatus(StrEnum):
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    WAITING = "waiting"
    CANCELLED = "cancelled"


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpointed thing a run did. ``result`` is encoded; ``name`` is the key without scope and ordinal."""

    key: StepKey
    name: str
    kind: StepKind
    status: StepStatus
    attempts: int
    started_at: datetime | None
    ended_at: datetime | None
    result: Payload | None = None
    error: Failure | None = None


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a run's journal as it happened: ``id`` is ``<seq>.<index>``, a cursor to go on from."""

    id: str
    run_id: RunId
    entry: Entry


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run with its steps. ``input`` and ``output`` are decoded JSON (None if there is none yet)."""

    id: RunId
    workflow_id: str
    status: RunStatus
    input: Json
    output: Json
    error: Failure | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    wake_at: datetime | None
    waits: Sequence[Wait]
    queue: str
    priority: int
    version: str | None
    parent: ParentLink | None
    pause_reason: PauseReason | None
    pause_detail: str
    seq: int
    tags: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    steps: Sequence[StepView] = ()
