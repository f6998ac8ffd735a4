"""Records: what must hold within one run's record, whatever its journal says."""

from __future__ import annotations

from collections.abc import Iterator

from stepflow.model.runs import RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage.checking import Finding, Kind

_NEVER_DUE = frozenset(RunStatus) - {RunStatus.QUEUED, RunStatus.SUSPENDED}


def check_record(run: RunRecord) -> Iterator[Finding]:
    """Contradictions within the record."""
    for what, wrong, detail in _rules(run):
        if wrong:
            yield Finding(what=what, run_id=run.id, detail=detail)


def _rules(run: RunRecord) -> Iterator[tuple[Kind, bool, str]]:
    """What would be wrong, whether it is, and how to say it."""
    status, ended = run.status, run.status.ended
    owned = run.worker is not None
    yield (
        Kind.OWNER_MISMATCH,
        owned and status is not RunStatus.RUNNING,
        f"{status}, but owned by {run.worker}",
    )
    yield Kind.OWNER_MISMATCH, not owned and status is RunStatus.RUNNING, "running, but owned by nobody"
    due = run.due_at is not None
    yield Kind.DUE_MISMATCH, not due and status is RunStatus.QUEUED, "queued, but due never"
    yield Kind.DUE_MISMATCH, due and status in _NEVER_DUE, f"{status}, but due at {run.due_at}"
    yield Kind.END_MISMATCH, ended and run.ended_at is None, f"{status}, but without the instant of its end"
    yield Kind.END_MISMATCH, not ended and run.ended_at is not None, f"{status}, but ended at {run.ended_at}"
    output, failure = run.output is not None, run.failure is not None
    completed, failed = status is RunStatus.COMPLETED, status is RunStatus.FAILED
    yield Kind.END_MISMATCH, completed and not output, "completed, but its result is not there"
    yield Kind.END_MISMATCH, output and not completed, f"{status}, but with a result"
    yield Kind.END_MISMATCH, failed and not failure, "failed, but its failure is not there"
    yield Kind.END_MISMATCH, failure and not failed, f"{status}, but with a failure"
    yield Kind.WAIT_MISMATCH, ended and bool(run.waits), f"{status}, but it waits for {_names(run)}"
    wrong = Kind.RECORD_CONTRADICTS_ITSELF
    paused = status is RunStatus.PAUSED
    yield wrong, paused and run.pause_reason is None, "paused for no reason"
    yield wrong, run.pause_reason is not None and not paused, f"{status}, but with the reason of a pause"
    asked = run.cancel_requested or run.pause_requested
    yield (
        wrong,
        ended and asked,
        f"{status}, but still asked to {'cancel' if run.cancel_requested else 'pause'}",
    )
    yield wrong, run.first_seq < 1 or run.attempt < 1, f"first_seq is {run.first_seq}, attempt {run.attempt}"
    yield wrong, run.created_pos < 1, f"its position among the events is {run.created_pos}"
    started = run.started_at is not None
    yield wrong, status is RunStatus.RUNNING and not started, "running, but it never started"


def _names(run: RunRecord) -> str:
    return ", ".join(wait.event_id for wait in run.waits)
