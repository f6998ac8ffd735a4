"""Journals: row after row, and whether the run's record says what the last entries say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from stepflow.model.events import Wait
from stepflow.model.journal import (
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildStarted,
    Claimed,
    Continued,
    Ended,
    Entry,
    EventReceived,
    JournalRow,
    Paused,
    Resumed,
    RunAttemptFailed,
    StepCompleted,
    StepFailed,
    Suspended,
)
from stepflow.model.runs import RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage._rules.runs import CONTROL
from stepflow.storage.checking import Finding, Kind
from stepflow.types import RunId

_NAMED: Final = 3


class Reading:
    """What a run's journal says, taken up row by row; holds keys and numbers, no values."""

    def __init__(self, run: RunRecord) -> None:
        self.run_id = run.id
        self.first_seq = run.first_seq
        self.next_seq = run.first_seq
        self.rows = 0
        self.state: Entry | None = None
        self.last_writer = ""
        self.attempt = 1
        self.cancelled = False
        self.had_ended = False
        self.children: dict[str, ChildStarted] = {}
        self.wrong: list[Finding] = []
        self._done: set[str] = set()
        self._received: set[tuple[str, int]] = set()
        self._twice: list[str] = []

    def unreadable(self, seq: int, reason: str) -> None:
        self._note(Kind.JOURNAL_UNREADABLE, f"row {seq} can't be read: {reason}")
        self.next_seq = seq + 1

    def take(self, row: JournalRow) -> None:
        """The next row of the run."""
        self.rows += 1
        if row.seq < self.first_seq:
            self._note(
                Kind.JOURNAL_GAP, f"row {row.seq} lies before the journal's beginning, {self.first_seq}"
            )
            return
        if row.seq != self.next_seq:
            missing = (
                str(self.next_seq) if row.seq == self.next_seq + 1 else f"{self.next_seq} to {row.seq - 1}"
            )
            self._note(Kind.JOURNAL_GAP, f"row {missing} is missing; the journal goes on at {row.seq}")
        self.next_seq = row.seq + 1
        self.last_writer = row.writer
        for entry in row.entries:
            self._follow(entry, row.writer)

    def _follow(self, entry: Entry, writer: str) -> None:
        match entry:
            case Claimed() | Suspended() | Paused() | Resumed():
                self.state = entry
            case Ended():
                self.state, self.had_ended = entry, True
            case RunAttemptFailed():
                self.state = entry
            case Continued():
                self.state, self.attempt, self.cancelled = entry, 1, False
                self._begin_again()
            case AttemptStarted(attempt=attempt):
                self.attempt = attempt
                self._begin_again()
                if writer == CONTROL:
                    self.state = entry
            case CancelRequested():
                self.cancelled = True
            case StepCompleted(key=key) | StepFailed(key=key):
                self._once(key, f"step {key!r}")
            case EventReceived(event_id=event_id, pos=pos):
                if (event_id, pos) in self._received:
                    self._twice.append(f"event {event_id!r} at {pos}")
                self._received.add((event_id, pos))
            case ChildStarted(key=key):
                self.children[key] = entry
            case ChildEnded(key=key):
                self.children.pop(key, None)
                self._once(key, f"the end of child {entry.child_id}")
            case _:
                pass

    def _begin_again(self) -> None:
        self._done.clear()
        self._received.clear()
        self.children.clear()  # a new attempt starts those that it still wants anew

    def _once(self, key: str, name: str) -> None:
        if key in self._done:
            self._twice.append(name)
        self._done.add(key)

    def _note(self, what: Kind, detail: str) -> None:
        self.wrong.append(Finding(what=what, run_id=self.run_id, detail=detail))

    def findings(self, run: RunRecord) -> Iterator[Finding]:
        """What is wrong with the journal, and where the record disagrees with it. To be asked after the last row."""
        yield from self.wrong
        if run.seq != self.next_seq - 1:
            detail = f"the record counts {run.seq} rows, the journal ends with {self.next_seq - 1}"
            yield Finding(what=Kind.JOURNAL_GAP, run_id=run.id, detail=detail)
        if self._twice:
            more = "" if len(self._twice) <= _NAMED else f" and {len(self._twice) - _NAMED} more"
            detail = f"recorded twice: {', '.join(self._twice[:_NAMED])}{more}"
            yield Finding(what=Kind.JOURNAL_REPEATS, run_id=run.id, detail=detail)
        yield from _compare(run, self)


def _compare(run: RunRecord, reading: Reading) -> Iterator[Finding]:
    allowed = _allowed(reading.state)
    if run.status not in allowed:
        said = "nothing" if reading.state is None else _name(reading.state)
        detail = f"{run.status}, but its journal's last word is {said} ({' or '.join(sorted(allowed))})"
        yield Finding(what=Kind.STATUS_MISMATCH, run_id=run.id, detail=detail)
        return  # the rest would only say it again
    if run.status is RunStatus.RUNNING and run.worker is not None and reading.last_writer != run.worker:
        detail = f"owned by {run.worker}, but {reading.last_writer or 'nobody'} wrote its last row"
        yield Finding(what=Kind.OWNER_MISMATCH, run_id=run.id, detail=detail)
    if run.attempt != reading.attempt:
        detail = f"the record is at attempt {run.attempt}, the journal at {reading.attempt}"
        yield Finding(what=Kind.ATTEMPT_MISMATCH, run_id=run.id, detail=detail)
    if run.status is RunStatus.SUSPENDED:
        yield from _compare_suspended(run, reading.state)
    if isinstance(reading.state, Paused) and run.pause_reason not in (None, reading.state.reason):
        detail = f"paused for {run.pause_reason}, but its journal says {reading.state.reason}"
        yield Finding(what=Kind.STATUS_MISMATCH, run_id=run.id, detail=detail)


def _compare_suspended(run: RunRecord, state: Entry | None) -> Iterator[Finding]:
    due: datetime | None = None
    if isinstance(state, Suspended):
        due = state.wake_at
        registered, journaled = _places(run.waits), _places(state.waits)
        if registered != journaled:
            detail = f"waits for {_list(registered)}, but its journal says {_list(journaled)}"
            yield Finding(what=Kind.WAIT_MISMATCH, run_id=run.id, detail=detail)
    elif isinstance(state, RunAttemptFailed):
        due = state.retry_at
    if run.due_at != due:
        detail = f"due at {run.due_at or 'no time'}, but its journal says {due or 'no time'}"
        yield Finding(what=Kind.DUE_MISMATCH, run_id=run.id, detail=detail)


def _allowed(state: Entry | None) -> frozenset[RunStatus]:
    """The statuses that a run may have after this entry, the last one that moved it."""
    match state:
        case None:
            return frozenset({RunStatus.QUEUED})
        case Ended(status=status):
            return frozenset({status})
        case Suspended() | RunAttemptFailed():
            return frozenset({RunStatus.SUSPENDED, RunStatus.QUEUED})
        case Paused(reason=PauseReason.REQUESTED):
            return frozenset({RunStatus.PAUSED, RunStatus.QUEUED})  # queued: taken back on its way
        case Paused():
            return frozenset({RunStatus.PAUSED})
        case Resumed() | AttemptStarted():
            return frozenset({RunStatus.QUEUED})
        case _:
            return frozenset({RunStatus.RUNNING, RunStatus.QUEUED})


def _places(waits: tuple[Wait, ...]) -> dict[str, int]:
    return {wait.event_id: wait.after for wait in waits}


def _list(places: dict[str, int]) -> str:
    return ", ".join(f"{event_id} after {after}" for event_id, after in sorted(places.items())) or "nothing"


def _name(entry: Entry) -> str:
    said = type(entry).__name__
    return f"{said} {entry.status}" if isinstance(entry, Ended) else said


def open_children(reading: Reading) -> list[tuple[str, RunId]]:
    """The attached children whose end the journal has not got yet, by key."""
    return [(key, child.child_id) for key, child in reading.children.items() if not child.detached]
