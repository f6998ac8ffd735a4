"""What the demo knows at one instant: what the storage has recorded, joined with what the ledger saw start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from demo.ledger import Entry
from stepflow import Run, StepKind, StepStatus, StepView


class State(Enum):
    """How a line of the picture is doing; the value is its sign on the screen."""

    DONE = "✔"
    RUNNING = "●"
    RETRYING = "↻"
    WAITING = "☾"
    KILLED = "☠"
    FAILED = "✘"


_RECORDED = {
    StepStatus.COMPLETED: State.DONE,
    StepStatus.FAILED: State.FAILED,
    StepStatus.CANCELLED: State.FAILED,
    StepStatus.RETRYING: State.RETRYING,
    StepStatus.WAITING: State.WAITING,
    StepStatus.RUNNING: State.RUNNING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One step. ``attempts`` is what the engine counts, ``bodies`` how often the ledger saw it start."""

    label: str
    group: str
    kind: StepKind
    state: State
    attempts: int
    bodies: tuple[Entry, ...]
    started_at: datetime | None
    ended_at: datetime | None

    def seconds(self, now: datetime) -> float:
        """How long it has taken so far, or took."""
        return ((self.ended_at or now) - self.started_at).total_seconds() if self.started_at else 0.0


def draw(runs: Sequence[Run], ledger: Iterable[Entry], killed_at: datetime | None) -> list[Line]:
    """The lines of all runs, in the order in which they began.

    The storage knows what is finished; that a body is at work right now only the ledger knows.
    """
    bodies: dict[str, list[Entry]] = {}
    for entry in ledger:
        bodies.setdefault(entry.step, []).append(entry)
    lines: list[Line] = []
    for run in runs:
        recorded = [_recorded(view, tuple(bodies.pop(view.key, ()))) for view in run.steps]
        lines += [_since(line, recorded) if line.started_at is None else line for line in recorded]
    lines += [_at_work(label, tuple(entries), killed_at) for label, entries in bodies.items()]
    return sorted(lines, key=lambda line: (line.started_at is None, line.started_at, line.label))


def _recorded(view: StepView, bodies: tuple[Entry, ...]) -> Line:
    return Line(
        label=view.key if view.kind is StepKind.STEP else view.name,
        group=view.name,
        kind=view.kind,
        state=_RECORDED[view.status],
        attempts=view.attempts,
        bodies=bodies,
        started_at=view.started_at,
        ended_at=view.ended_at,
    )


def _since(line: Line, others: Sequence[Line]) -> Line:
    """A sleep or a wait is recorded when it ends. In these workflows it begins when all that came before has ended."""
    ended = [other.ended_at for other in others if other.ended_at]
    before = [instant for instant in ended if line.ended_at is None or instant < line.ended_at]
    return replace(line, started_at=max(before, default=None))


def _at_work(label: str, bodies: tuple[Entry, ...], killed_at: datetime | None) -> Line:
    killed = killed_at is not None and bodies[-1].time < killed_at
    return Line(
        label=label,
        group=label.partition("[")[0],
        kind=StepKind.STEP,
        state=State.KILLED if killed else State.RUNNING,
        attempts=0,
        bodies=bodies,
        started_at=bodies[-1].time,
        ended_at=killed_at if killed else None,
    )
