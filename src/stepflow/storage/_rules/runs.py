"""Runs: how one begins, how one ends, and what may be asked of one from outside."""

from __future__ import annotations

from typing import assert_never

from stepflow.model.failures import Failure
from stepflow.model.journal import AttemptStarted, Ended, Entry, Paused, Resumed
from stepflow.model.payloads import Payload
from stepflow.model.runs import NewRun
from stepflow.model.states import PauseReason, RunStatus
from stepflow.model.transitions import (
    Action,
    Already,
    AskCancel,
    AskPause,
    EndCancelled,
    Erase,
    GoOn,
    QueueForCancel,
    Refuse,
    StandStill,
    TakeBackPause,
    TryAgain,
    decide,
)
from stepflow.storage._rules.events import queue, tell_parent
from stepflow.storage._rules.records import RunState, Work, fingerprint, state_of
from stepflow.storage.writes import Conflict, Controlled, Existing, Gone, Refused
from stepflow.types import RunId

CONTROL = "control"
"""The writer of the journal rows that the store appends for somebody who does not own the run."""


# ------------------------------------------------------------------ beginning
def begin(work: Work, new: NewRun, *, claimable: bool = True) -> RunState:
    """A new run in the records, queued. The caller has seen that its id and key are free; not ``claimable``: it claims it itself."""
    run = state_of(new, created_pos=work.records.next_pos())
    work.records.add(run)
    if claimable:
        work.ready.add(run.queue)
    return run


def already(work: Work, new: NewRun) -> Existing | Conflict | None:
    """The answer to a create whose id or idempotency key is taken; None if both are free."""
    records = work.records
    run = records.find(new.id)
    if run is None and new.idempotency_key is not None:
        run = records.find_by_key(new.idempotency_key)
    if run is None:
        return None
    if run.workflow_id != new.workflow_id:
        return Conflict(run=records.record(run), reason=f"the workflow {run.workflow_id!r}")
    if run.fingerprint != fingerprint(new.input):
        return Conflict(run=records.record(run), reason="another input")
    return Existing(run=records.record(run))


# ------------------------------------------------------------------ ending
def end(
    work: Work,
    run: RunState,
    status: RunStatus,
    *,
    output: Payload | None = None,
    failure: Failure | None = None,
) -> tuple[RunId, ...]:
    """The run ends: nothing waits any more, an attached parent is told, attached children are cancelled.

    Returns the runs that this concerns.
    """
    records = work.records
    run.status = status
    run.ended_at = work.now
    run.output = output
    run.failure = failure
    run.due_at = run.not_before = run.worker = None
    run.pause_reason, run.pause_detail = None, ""
    run.cancel_requested = run.cancel_delivered = run.pause_requested = False
    records.drop_waits(run.id, tuple(records.waits(run.id)))
    records.save(run)
    work.changed.add(run.id)
    woken: list[RunId] = []
    if run.parent is not None:
        woken += tell_parent(work, run, run.parent)
    for child_id in sorted(records.unfinished_children(run.id)):
        woken += cancel(work, child_id)
    return tuple(woken)


def cancel(work: Work, run_id: RunId) -> tuple[RunId, ...]:
    """Ask for a cancel where it may be too late; returns the runs that this concerns."""
    outcome = control(work, run_id, Action.CANCEL)
    return outcome.woken if isinstance(outcome, Controlled) else ()


# ------------------------------------------------------------------ control
def control(work: Work, run_id: RunId, action: Action) -> Controlled | Refused | Gone:
    """Do what the table of states says, or ask the run's owner to."""
    run = work.records.find(run_id)
    if run is None:
        return Gone()
    decision = decide(run.status, action, started=run.started_at is not None, pause_reason=run.pause_reason)
    woken: tuple[RunId, ...] = ()
    match decision:
        case Refuse(reason):
            return Refused(run_id=run_id, status=run.status, reason=reason)
        case Already():
            pass
        case AskCancel() | AskPause() | TakeBackPause():
            woken = _ask(work, run, decision)
        case QueueForCancel(resumed):
            if resumed:
                _leave_pause(work, run)
            run.cancel_requested = not run.cancel_delivered
            queue(work, run)
        case EndCancelled():
            _note(work, run, action, Ended(at=work.now, status=RunStatus.CANCELLED))
            woken = end(work, run, RunStatus.CANCELLED)
        case StandStill():
            _note(work, run, action, Paused(at=work.now, reason=PauseReason.REQUESTED))
            pause(work, run, PauseReason.REQUESTED)
        case GoOn():
            _leave_pause(work, run)
            not_before, run.not_before = run.not_before, None
            queue(work, run)
            if not_before is not None and not_before > work.now:
                run.due_at = not_before
                work.records.save(run)
        case TryAgain():
            _try_again(work, run)
        case Erase():
            woken = _erase(work, run)
        case never:
            assert_never(never)
    work.changed.add(run_id)
    return Controlled(run_id=run_id, status=run.status, woken=woken)


def pause(work: Work, run: RunState, reason: PauseReason, detail: str = "") -> None:
    """The run stands still; a run that never started keeps its delay for later."""
    run.not_before = run.due_at if run.started_at is None else None
    run.status = RunStatus.PAUSED
    run.pause_reason, run.pause_detail = reason, detail
    run.due_at = run.worker = None
    run.pause_requested = False
    work.records.save(run)
    work.changed.add(run.id)


def _ask(work: Work, run: RunState, decision: AskCancel | AskPause | TakeBackPause) -> tuple[RunId, ...]:
    """Note a request in the run's row, for its owner to read."""
    match decision:
        case AskCancel():
            run.cancel_requested = not run.cancel_delivered
        case AskPause():
            run.pause_requested = True
        case TakeBackPause():
            run.pause_requested = False
    work.records.save(run)
    return (run.id,)


def _leave_pause(work: Work, run: RunState) -> None:
    _note(work, run, Action.RESUME, Resumed(at=work.now))
    run.pause_reason, run.pause_detail = None, ""


def _try_again(work: Work, run: RunState) -> None:
    run.attempt += 1
    _note(work, run, Action.RETRY, AttemptStarted(at=work.now, attempt=run.attempt))
    run.ended_at = run.output = run.failure = None
    queue(work, run)


def _erase(work: Work, run: RunState) -> tuple[RunId, ...]:
    """Delete the run; a paused one ends as cancelled first, so that its parent and children know."""
    woken = () if run.status.ended else end(work, run, RunStatus.CANCELLED)
    work.records.remove(run)
    return woken


def _note(work: Work, run: RunState, action: Action, entry: Entry) -> None:
    """Append the store's own journal row, which also fences whoever owned the run."""
    seq = work.records.last_seq(run.id) + 1
    work.records.append(run.id, seq, CONTROL, f"{action}-{seq}", (entry,))
