"""History: all that was ever seen of one run, row by row, and what must not be in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from stepflow.model.journal import (
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    Claimed,
    Continued,
    Ended,
    Entry,
    EventReceived,
    EventTimedOut,
    JournalRow,
    StepCompleted,
    StepFailed,
    StepInterrupted,
    TimerFired,
)
from stepflow.model.runs import RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage._rules.runs import CONTROL


@dataclass(slots=True, eq=False)
class History:
    """All that was ever seen of one run: rows that ``continue_as`` deleted are still here."""

    record: RunRecord
    rows: list[JournalRow] = field(default_factory=list)
    outcomes: set[tuple[int, int, str]] = field(default_factory=set)
    """Steps that have an outcome: generation, attempt, key."""
    answers: set[tuple[int, int, str]] = field(default_factory=set)
    """The same of timers, waits and children."""
    completed: set[tuple[int, str]] = field(default_factory=set)
    """Steps that have a result, which a later attempt of the run keeps: generation, key."""
    generation: int = 1
    attempt: int = 1
    owner: str | None = None
    ended: bool = False
    ended_as: RunStatus | None = None
    deleted: bool = False
    cursors: dict[str, int] = field(default_factory=dict)
    """By event id the last one that was received in rows which nobody has seen."""
    blind: bool = False
    """Whether a failover took what was seen of it: rows that ``continue_as`` deleted before will not be seen again."""

    def last_claim_of(self, worker: str | None) -> int:
        """The row by which the worker had the run last; 0 if it never had."""
        for row in reversed(self.rows):
            if row.writer == worker and any(isinstance(entry, Claimed) for entry in row.entries):
                return row.seq
        return 0

    def placed(self) -> Iterator[tuple[Entry, int, int, int]]:
        """Every entry, in order, with its row, and the generation and attempt that it belongs to."""
        generation = attempt = 1
        for row in self.rows:
            for entry in row.entries:
                if isinstance(entry, Continued):
                    generation, attempt = entry.generation + 1, 1
                elif isinstance(entry, AttemptStarted):
                    attempt = entry.attempt
                yield entry, row.seq, generation, attempt

    def recount(self) -> None:
        """After rows were forgotten: what the rest of them says."""
        rows, self.rows = self.rows, []
        self.outcomes.clear()
        self.answers.clear()
        self.completed.clear()
        self.generation = self.attempt = 1
        self.owner, self.ended, self.ended_as = None, False, None
        for row in rows:
            follow(self, row, lambda _: None)


def cancelled(history: History) -> bool:
    """Whether the present attempt has had its cancel."""
    for row in reversed(history.rows):
        for entry in reversed(row.entries):
            if isinstance(entry, CancelRequested):
                return True
            if isinstance(entry, AttemptStarted):
                return False
    return False


def follow(history: History, row: JournalRow, complain: Callable[[str], None]) -> None:
    """Invariants 2, 4 and 10, for the next row of a run."""
    run_id = history.record.id
    expected = history.rows[-1].seq + 1 if history.rows else 1
    if not history.rows and history.blind:
        expected, history.owner = history.record.first_seq, row.writer
    if row.seq != expected:
        complain(f"{run_id}: row {row.seq} came, {expected} was due")
    history.rows.append(row)
    first = row.entries[0] if row.entries else None
    if isinstance(first, Claimed):
        if first.worker != row.writer:
            complain(f"{run_id}: row {row.seq} claims for {first.worker} and is by {row.writer}")
        history.owner = row.writer
    elif row.writer not in (CONTROL, history.owner):
        complain(f"{run_id}: row {row.seq} is by {row.writer}, the owner is {history.owner}")
    for entry in row.entries:
        _follow_entry(history, row, entry, complain)
    if row.writer == CONTROL:
        history.owner = None


def _follow_entry(history: History, row: JournalRow, entry: Entry, complain: Callable[[str], None]) -> None:
    run_id = history.record.id
    if history.ended and not isinstance(entry, AttemptStarted):
        complain(f"{run_id}: {type(entry).__name__} in row {row.seq}, after its end")
    match entry:
        case AttemptStarted(attempt=attempt):
            if history.ended_as is RunStatus.COMPLETED:
                complain(f"{run_id}: it has completed, and begins again")
            if attempt <= history.attempt:
                complain(f"{run_id}: attempt {attempt} begins after attempt {history.attempt}")
            history.attempt, history.ended, history.ended_as = attempt, False, None
        case Continued(generation=generation):
            history.generation = generation + 1
            history.attempt = 1
        case StepCompleted(key=key) | StepFailed(key=key) | StepInterrupted(key=key):
            step = (history.generation, history.attempt, key)
            if step in history.outcomes:
                complain(f"{run_id}: step {key} has two outcomes")
            history.outcomes.add(step)
            if isinstance(entry, StepCompleted):
                history.completed.add((history.generation, key))
        case TimerFired(key=key) | EventReceived(key=key) | EventTimedOut(key=key) | ChildEnded(key=key):
            answer = (history.generation, history.attempt, key)
            if answer in history.answers:
                complain(f"{run_id}: {key} is answered twice")
            history.answers.add(answer)
        case Ended(left_over=left_over, status=status):
            history.ended, history.ended_as = True, status
            if left_over:
                complain(f"{run_id}: its journal has what its code did not ask for: {left_over}")
        case _:
            pass
