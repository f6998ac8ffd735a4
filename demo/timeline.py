"""Where the time went: one bar a step, as text, with the crash drawn right through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from demo.picture import Line
from demo.screen import groups
from stepflow import StepKind

WORK, WAIT, LOST, DOWN = "█", "░", "▒", "·"
LEGEND = f"{WORK} at work   {WAIT} waiting on purpose   {LOST} lost in the crash   {DOWN} no worker alive"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time drawn with one character."""

    start: datetime
    end: datetime
    character: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A named row of the timeline."""

    name: str
    spans: tuple[Span, ...]
    note: str


def rows(lines: Sequence[Line], killed_at: datetime, together: frozenset[str]) -> list[Row]:
    """A row for each step; the members of the groups in ``together`` share one."""
    drawn: list[Row] = []
    for name, members in groups(lines).items():
        if name in together:
            attempts = sum(line.attempts for line in members)
            spans = tuple(span for line in members for span in spans_of(line, killed_at))
            drawn.append(Row(name=f"{name} ×{len(members)}", spans=spans, note=f"{attempts} attempts"))
        else:
            drawn += [
                Row(name=line.label, spans=spans_of(line, killed_at), note=_seconds(line)) for line in members
            ]
    return drawn


def spans_of(line: Line, killed_at: datetime) -> tuple[Span, ...]:
    """What was recorded, and before it the bodies that the crash cut off."""
    if line.started_at is None or line.ended_at is None:
        return ()
    lost = [Span(body.time, killed_at, LOST) for body in line.bodies if body.time < killed_at < line.ended_at]
    recorded_from = max(line.started_at, killed_at) if lost else line.started_at
    kept = Span(recorded_from, line.ended_at, WORK if line.kind is StepKind.STEP else WAIT)
    return (*lost, kept)


def _seconds(line: Line) -> str:
    if line.started_at is None or line.ended_at is None:
        return ""
    return f"{(line.ended_at - line.started_at).total_seconds():.2f} s"


def render(rows: Sequence[Row], down: Span, start: datetime, end: datetime, width: int) -> list[str]:
    """The rows as lines of text, ``width`` characters wide."""
    label = max(len(row.name) for row in rows)
    note = max(len(row.note) for row in rows)
    columns = max(width - label - note - 4, 20)
    scale = columns / max((end - start).total_seconds(), 0.001)

    def column(instant: datetime) -> int:
        return min(max(int((instant - start).total_seconds() * scale), 0), columns - 1)

    drawn: list[str] = []
    for row in rows:
        cells = [" "] * columns
        for span in (down, *row.spans):
            first, last = column(span.start), column(span.end)
            cells[first : last + 1] = span.character * (last - first + 1)
        drawn.append(f"{row.name:<{label}}  {''.join(cells)}  {row.note:>{note}}")
    return drawn
