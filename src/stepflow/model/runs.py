"""Runs: what is asked for, what is stored, and how one is listed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.model.states import PauseReason, RunStatus
from stepflow.types import RunId, StepKey, WorkerId


class ParentLink(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The run that started this one, and under which key. ``detached``: its end is not told there.

    ``depth`` counts the runs above this one: a workflow that starts itself for ever must end somewhere.
    """

    run_id: RunId
    key: StepKey
    detached: bool = False
    depth: int = 1


class NewRun(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run on its way in. ``due_at`` is when it may first be claimed."""

    id: RunId
    workflow_id: str
    input: Payload
    created_at: datetime
    due_at: datetime
    queue: str = "default"
    priority: int = 0
    tags: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    idempotency_key: str | None = None
    version: str | None = None
    parent: ParentLink | None = None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run as the store has it.

    ``seq`` is the number of its last journal row (0: none). ``created_pos`` is its place in the store's event
    sequence: events after it concern this run. ``first_seq`` is where its present journal begins (it
    moves with ``continue_as``). ``due_at`` is when it may be claimed next: set while queued, and while suspended
    with a timer; None otherwise.
    """

    id: RunId
    workflow_id: str
    status: RunStatus
    input: Payload
    created_at: datetime
    created_pos: int
    queue: str = "default"
    priority: int = 0
    tags: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    idempotency_key: str | None = None
    version: str | None = None
    parent: ParentLink | None = None
    attempt: int = 1
    seq: int = 0
    first_seq: int = 1
    due_at: datetime | None = None
    worker: WorkerId | None = None
    waits: tuple[Wait, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: Payload | None = None
    failure: Failure | None = None
    pause_reason: PauseReason | None = None
    pause_detail: str = ""
    cancel_requested: bool = False
    pause_requested: bool = False


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far a run is: the number of its last journal row, and its status."""

    seq: int
    status: RunStatus


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list; an empty filter lists all. ``tags`` must all match."""

    statuses: frozenset[RunStatus] = frozenset()
    workflow_id: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    created_after: datetime | None = None
    created_before: datetime | None = None
    queue: str | None = None
    parent_id: RunId | None = None
