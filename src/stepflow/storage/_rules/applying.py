"""Applying: one write to the records, one outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from stepflow.errors import InputError
from stepflow.model.states import RunStatus
from stepflow.storage._rules.events import send
from stepflow.storage._rules.journal import commit, committed_before, follow_up
from stepflow.storage._rules.records import Work
from stepflow.storage._rules.runs import already, begin, control
from stepflow.storage.writes import (
    CommitRun,
    Conflict,
    ControlRun,
    Created,
    CreateRun,
    Existing,
    Outcome,
    SendEvent,
    Write,
)


def check_batch(batch: Sequence[Write]) -> None:
    """Refuse a malformed write with ``InputError`` before any of its neighbours is applied."""
    for write in batch:
        if isinstance(write, CreateRun) and write.commit is not None:
            first = write.commit
            if first.run_id != write.run.id or first.seq != 1 or not first.entries:
                raise InputError(
                    f"the commit that creates run {write.run.id!r} must be row 1 of that run and begin with Claimed"
                )


def apply(work: Work, write: Write) -> Outcome:
    """Do the write, all of it or nothing, and say what became of it."""
    match write:
        case CommitRun():
            return commit(work, write)
        case CreateRun():
            return _create(work, write)
        case SendEvent(event=event):
            return send(work, event)
        case ControlRun(run_id=run_id, action=action):
            return control(work, run_id, action)
        case never:
            assert_never(never)


def _create(work: Work, write: CreateRun) -> Created | Existing | Conflict:
    taken = already(work, write.run)
    if taken is None:
        return _begin(work, write)
    if isinstance(taken, Existing) and write.commit is not None:
        before = committed_before(work, write.commit)
        if before is not None:
            return Created(run_id=taken.run.id, created_pos=taken.run.created_pos, committed=before)
    return taken


def _begin(work: Work, write: CreateRun) -> Created:
    if write.commit is None:
        run = begin(work, write.run)
        return Created(run_id=run.id, created_pos=run.created_pos)
    first = write.commit
    run = begin(work, write.run, claimable=False)
    run.status = RunStatus.RUNNING
    run.due_at = None
    run.worker = first.writer
    run.started_at = first.entries[0].at
    work.records.append(run.id, first.seq, first.writer, first.write_id, first.entries)
    committed = follow_up(work, run, first)
    return Created(run_id=run.id, created_pos=run.created_pos, committed=committed)
