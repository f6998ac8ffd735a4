"""Displays: a run's progress as a live picture, as plain lines, as JSON lines, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from stepflow.cli.describing import MARKS, STYLES, Line, describe, failure_text, key_text, waits_text
from stepflow.cli.following import Display
from stepflow.cli.output import (
    duration_text,
    err,
    is_plain,
    joined,
    local_time,
    shortened,
    status_text,
    text,
    to_json,
)
from stepflow.cli.records import event_record
from stepflow.clock import Clock
from stepflow.model.payloads import Payload
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run, RunEvent, StepStatus, StepView
from stepflow.types import Json

_FRAMES_PER_SECOND = 8
_SPARE_LINES = 6


class Reader(Protocol):
    """What showing a run needs of the place that it is in."""

    @property
    def clock(self) -> Clock: ...

    def decode(self, payload: Payload) -> Json: ...


def display_for(reader: Reader, *, quiet: bool, json_lines: bool = False) -> Display:
    """What suits the terminal: everything for people goes to stderr, so that stdout is free for results."""
    if json_lines:
        return JsonLines(reader)
    if quiet:
        return Nothing()
    console = err()
    return (
        Picture(console, reader.clock)
        if console.is_terminal and not console.is_dumb_terminal
        else Lines(console)
    )


class Nothing:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def happened(self, event: RunEvent) -> None: ...

    def changed(self, run: Run) -> None: ...


class Lines(Nothing):
    """One line for each entry of the journal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def happened(self, event: RunEvent) -> None:
        line = describe(event.entry)
        if line is not None:
            when = text(f"{event.entry.at.astimezone():%H:%M:%S} ", "dim")
            self._console.print(joined(when, _line_text(line, plain=is_plain(self._console))))


class JsonLines(Nothing):
    """One JSON document for each entry, on stdout, in the form of the stream's events."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._run: Run | None = None
        self._early: list[RunEvent] = []

    def changed(self, run: Run) -> None:
        self._run = run
        early, self._early = self._early, []
        for event in early:
            self._print(event, run)

    def happened(self, event: RunEvent) -> None:
        if self._run is None:
            self._early.append(event)
        else:
            self._print(event, self._run)

    def _print(self, event: RunEvent, run: Run) -> None:
        record = event_record(event.id, run, event.entry, self._reader.decode)
        if record is not None:
            print(to_json(record), flush=True)


class Picture(Nothing):
    """The last steps, and what the run does now, drawn anew a few times a second."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._plain = is_plain(console)
        self._run: Run | None = None
        self._spinner = Spinner("line" if self._plain else "dots")
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=_FRAMES_PER_SECOND,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def changed(self, run: Run) -> None:
        self._run = run

    def _draw(self) -> RenderableType:
        run = self._run
        if run is None:
            return Text("")
        room = max(3, self._console.height - _SPARE_LINES)
        shown = run.steps[-room:]
        parts: list[RenderableType] = []
        if len(shown) < len(run.steps):
            parts.append(text(f"  {len(run.steps) - len(shown)} earlier steps", "dim"))
        if shown:
            parts.append(self._table(shown))
        parts.append(self._footer(run))
        return Group(*parts)

    def _table(self, steps: Sequence[StepView]) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=3, justify="right")
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for step in steps:
            mark, style = look_of(step.status, plain=self._plain)
            table.add_row(Text(mark, style=style), text(key_text(step.key)), text(step_detail(step), "dim"))
        return table

    def _footer(self, run: Run) -> RenderableType:
        now = self._clock.now()
        line = Text(" ").append_text(status_text(run.status))
        since = run.started_at or run.created_at
        line.append_text(text(f" {duration_text((run.ended_at or now) - since)}", "dim"))
        line.append_text(text(doing(run), "dim"))
        if run.status is RunStatus.RUNNING:
            self._spinner.update(text=line)
            return self._spinner
        return Text("  ").append_text(line)


def doing(run: Run) -> str:
    """What the run waits for, if it does: `` · until 12:00:00 or for event shipped/42``."""
    if run.status.ended or run.status is RunStatus.RUNNING:
        return ""
    if run.status is RunStatus.PAUSED:
        reason = run.pause_reason.value if run.pause_reason is not None else "requested"
        return f" · {reason}{': ' if run.pause_detail else ''}{run.pause_detail}"
    if run.status is RunStatus.QUEUED:
        return f" · for a worker on queue {run.queue}"
    until: list[str] = []
    if run.wake_at is not None and run.wake_at not in [wait.until for wait in run.waits]:
        until.append(f"until {local_time(run.wake_at)}")
    return f" · {' or '.join([*until, *waits_text(run.waits)])}"


def step_detail(step: StepView) -> str:
    """How long a step took, or what is wrong with it."""
    parts: list[str] = []
    if step.started_at is not None and step.ended_at is not None:
        parts.append(duration_text(step.ended_at - step.started_at))
    if step.attempts > 1 or step.status is StepStatus.RETRYING:
        parts.append(f"attempt {step.attempts}")
    if step.error is not None:
        parts.append(shortened(failure_text(step.error), 200))
    if step.status in (StepStatus.WAITING, StepStatus.CANCELLED):
        parts.append(step.status.value)
    return ", ".join(parts)


def look_of(look: str, *, plain: bool) -> tuple[str, str]:
    """The mark and the style of a status."""
    return MARKS[look][plain], STYLES[look]


def _line_text(line: Line, *, plain: bool) -> Text:
    mark, style = look_of(line.look, plain=plain)
    found = joined(Text(f"{mark} ", style=style), text(line.what))
    return joined(found, text(f"  {line.detail}", "dim")) if line.detail else found
