"""Timeline: a run's steps as bars over time, computed from its journal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stepflow.model.journal import (
    ChildEnded,
    ChildStarted,
    Claimed,
    Continued,
    Ended,
    Entry,
    EventReceived,
    EventTimedOut,
    Paused,
    StepCompleted,
    StepFailed,
    Suspended,
    TimerFired,
)
from stepflow.model.names import END
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run
from stepflow.types import StepKey

WORK = "work"
WAIT = "wait"
STILL = "still"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time. ``look`` is ``WORK`` (something ran), ``WAIT`` (asleep, or for an event) or ``STILL`` (queued or paused)."""

    start: datetime
    end: datetime
    look: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: the whole run (``key`` is empty) or one of its steps."""

    key: StepKey
    status: str
    segments: tuple[Segment, ...]

    @property
    def duration(self) -> timedelta:
        return self.segments[-1].end - self.segments[0].start


def bars(run: Run, entries: Sequence[Entry], *, now: datetime) -> list[Bar]:
    """The run's own bar, then those of the steps whose time is known, in the order of ``run.steps``."""
    end = run.ended_at or now
    statuses = {step.key: step.status for step in run.steps}
    spans = _spans(entries, end)
    rows = [Bar("", run.status.value, _life(run, entries, end))]
    rows += [
        Bar(key, statuses[key].value, (Segment(start, max(start, finish), look),))
        for key, (start, finish, look) in spans.items()
        if key in statuses
    ]
    return rows


def _life(run: Run, entries: Sequence[Entry], end: datetime) -> tuple[Segment, ...]:
    """When the run waited for a worker, when it was in one's hands, and when it slept or stood still."""
    found: list[Segment] = []
    look, since = STILL, run.created_at
    last = since
    for entry in entries:
        last = max(last, entry.at)
        match entry:
            case Claimed():
                following = WORK
            case Suspended():
                following = WAIT
            case Paused():
                following = STILL
            case Ended():
                break
            case _:
                continue
        if entry.at > since:
            found.append(Segment(since, entry.at, look))
        look, since = following, max(entry.at, since)
    if (
        run.status is RunStatus.QUEUED and look != STILL
    ):  # given back, which no entry tells: after the last one
        found.append(Segment(since, last, look))
        look, since = STILL, last
    found.append(Segment(since, max(end, since), look))
    return tuple(found)


def _spans(entries: Sequence[Entry], end: datetime) -> dict[StepKey, tuple[datetime, datetime, str]]:
    """When each step began and ended. An event's wait is dated from the suspension that it caused, if it caused one."""
    spans: dict[StepKey, tuple[datetime, datetime, str]] = {}
    waiting: dict[str, datetime] = {}
    for entry in entries:
        match entry:
            case Continued():
                spans.clear()
            case (
                StepCompleted(key=key, started_at=started_at, at=at)
                | StepFailed(key=key, started_at=started_at, at=at)
            ):
                spans[key] = (started_at or at, at, WORK)
            case TimerFired(key=key, delay=delay, sleep=True, at=at):
                spans[key] = (at - timedelta(microseconds=delay), at, WAIT)
            case Suspended(waits=waits, at=at):
                for wait in waits:
                    waiting.setdefault(wait.event_id, at)
            case (
                EventReceived(key=key, event_id=event_id, at=at)
                | EventTimedOut(key=key, event_id=event_id, at=at)
            ):
                spans[key] = (waiting.pop(event_id, at), at, WAIT)
            case ChildStarted(key=key, at=at, detached=detached):
                spans[key] = (at, at if detached else end, WAIT)
            case ChildEnded(key=key, at=at):
                started = spans.get(key.partition(END)[0], (at, at, WAIT))[0]
                spans[key.partition(END)[0]] = (started, at, WAIT)
            case _:
                pass
    return spans


# ------------------------------------------------------------------ drawing
@dataclass(frozen=True, slots=True)
class Scale:
    """Time to columns."""

    start: datetime
    end: datetime
    width: int

    @classmethod
    def over(cls, rows: Sequence[Bar], width: int) -> Scale:
        start = min(row.segments[0].start for row in rows)
        end = max(row.segments[-1].end for row in rows)
        return cls(start, max(end, start + timedelta(microseconds=1)), width)

    def columns(self, segment: Segment) -> tuple[int, int]:
        """First column and the one after the last: at least one, and inside the picture."""
        span = self.end - self.start
        first = min(math.floor((segment.start - self.start) / span * self.width), self.width - 1)
        last = math.ceil((segment.end - self.start) / span * self.width)
        return max(first, 0), min(max(last, first + 1), self.width)


def draw(bar: Bar, scale: Scale) -> list[tuple[str, int]]:
    """The bar as (look, columns) from left to right; the look of a blank is empty."""
    cells = [""] * scale.width
    for segment in bar.segments:
        first, last = scale.columns(segment)
        for column in range(first, last):
            if cells[column] != WORK:  # what ran for a moment only is shown rather than the sleep around it
                cells[column] = segment.look
    runs: list[tuple[str, int]] = []
    for cell in cells:
        if runs and runs[-1][0] == cell:
            runs[-1] = (cell, runs[-1][1] + 1)
        else:
            runs.append((cell, 1))
    return runs
