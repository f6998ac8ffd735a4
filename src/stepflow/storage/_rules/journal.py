"""The journal: a commit goes in at the next seq or not at all, and its consequences with it."""

from __future__ import annotations

from typing import assert_never

from stepflow.model.journal import CancelRequested
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage._rules.events import queue, send
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage._rules.runs import already, begin, cancel, end, pause
from stepflow.storage.writes import (
    Cancel,
    CommitRun,
    Committed,
    Complete,
    Continue,
    Fail,
    Fenced,
    Gone,
    Pause,
    Release,
    Sent,
    Suspend,
    Transition,
)
from stepflow.types import RunId

_COMMITTED = Committed()


def is_plain(write: CommitRun) -> bool:
    """Whether the commit inserts its journal row and touches nothing else."""
    if write.transition is not None or write.attempt is not None:
        return False
    if write.creates or write.sends or write.waits or write.unwaits or write.cancels:
        return False
    return not _delivers_cancel(write)


def commit(work: Work, write: CommitRun) -> Committed | Fenced | Gone:
    """Append the owner's row and do the rest, if the run still is the writer's."""
    records, run_id = work.records, write.run_id
    if records.owner(run_id) != write.writer or records.last_seq(run_id) != write.seq - 1:
        return _not_next(work, write)
    records.append(run_id, write.seq, write.writer, write.write_id, write.entries)
    if is_plain(write):
        return _COMMITTED
    work.changed.add(run_id)
    run = records.find(run_id)
    assert run is not None, "an owned run exists"
    return follow_up(work, run, write)


def committed_before(work: Work, write: CommitRun) -> Committed | None:
    """The answer to a commit that is sent again: its row is there. ``events_ready`` is looked up afresh."""
    records, run_id = work.records, write.run_id
    if records.written_by(run_id, write.seq) != (write.writer, write.write_id):
        return None
    waits = records.waits(run_id)
    asked = waits if isinstance(write.transition, Suspend) else [w.event_id for w in write.waits]
    ready = any(
        records.has_event(event_id, run_id, waits[event_id].after) for event_id in asked if event_id in waits
    )
    return Committed(events_ready=ready)


def _not_next(work: Work, write: CommitRun) -> Committed | Fenced | Gone:
    before = committed_before(work, write)
    if before is not None:
        return before
    return Gone() if work.records.find(write.run_id) is None else Fenced()


def follow_up(work: Work, run: RunState, write: CommitRun) -> Committed:
    """Everything that a commit does beyond its row, in an order that lets a commit see itself.

    Children and events come before waits, waits before the transition: a run that suspends on what it sent
    itself finds it.
    """
    records = work.records
    for new in write.creates:
        if already(work, new) is None:
            begin(work, new)
    woken: list[RunId] = []
    for event in write.sends:
        outcome = send(work, event)
        if isinstance(outcome, Sent):
            woken += outcome.woken
    records.drop_waits(run.id, write.unwaits)
    for wait in write.waits:
        records.set_wait(run.id, wait)
    ready = any(records.has_event(wait.event_id, run.id, wait.after) for wait in write.waits)
    if _delivers_cancel(write):
        run.cancel_requested, run.cancel_delivered = False, True
    if write.attempt is not None and write.attempt != run.attempt:
        run.attempt, run.cancel_delivered = write.attempt, False
    records.save(run)
    for run_id in write.cancels:
        if run_id != run.id:
            woken += cancel(work, run_id)
    if write.transition is not None:
        ready, concerned = _move(work, run, write.transition, ready=ready, seq=write.seq)
        woken += concerned
    return Committed(events_ready=ready, woken=tuple(dict.fromkeys(woken)))


def _move(
    work: Work, run: RunState, transition: Transition, *, ready: bool, seq: int
) -> tuple[bool, tuple[RunId, ...]]:
    """The owner's transition; answers whether an event is ready, and whom the move concerns."""
    match transition:
        case Suspend():
            return _suspend(work, run, transition), ()
        case Release():
            queue(work, run)
        case Complete(output=output):
            return False, end(work, run, RunStatus.COMPLETED, output=output)
        case Fail(failure=failure):
            return False, end(work, run, RunStatus.FAILED, failure=failure)
        case Cancel():
            return False, end(work, run, RunStatus.CANCELLED)
        case Pause(reason=PauseReason.REQUESTED) if not run.pause_requested:
            queue(work, run)  # the request was taken back while this was on its way
            return True, ()
        case Pause():
            return ready, _pause(work, run, transition)
        case Continue(input=payload):
            run.input = payload
            run.first_seq = seq
            work.records.save(run)
            work.records.cut(run.id, seq)
        case never:
            assert_never(never)
    return ready, ()


def _suspend(work: Work, run: RunState, transition: Suspend) -> bool:
    """Give the run up until something happens, or queue it if something has happened already."""
    records = work.records
    ready = any(
        records.has_event(wait.event_id, run.id, wait.after) for wait in records.waits(run.id).values()
    )
    if ready or run.cancel_requested or run.pause_requested:
        queue(work, run)
        return ready
    run.status = RunStatus.SUSPENDED
    run.due_at = transition.wake_at
    run.worker = None
    records.save(run)
    return False


def _pause(work: Work, run: RunState, transition: Pause) -> tuple[RunId, ...]:
    """Stand still, but let a cancel that came in meanwhile have the last word."""
    cancelled = run.cancel_requested
    pause(work, run, transition.reason, transition.detail)
    return cancel(work, run.id) if cancelled else ()


def _delivers_cancel(write: CommitRun) -> bool:
    """Whether the owner journals the cancel that was asked of it."""
    for entry in write.entries:  # noqa: SIM110 - three times as fast as any(): this is asked of every commit
        if type(entry) is CancelRequested:
            return True
    return False
