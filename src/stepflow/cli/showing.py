"""Showing: one run in the terminal, with its steps as a table and its time as bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Console
from rich.text import Text

from stepflow.cli.describing import failure_text, key_text, waits_text
from stepflow.cli.displays import Reader, look_of
from stepflow.cli.opening import Session
from stepflow.cli.output import (
    STATUS_STYLES,
    ago,
    duration_text,
    is_plain,
    joined,
    lines,
    local_time,
    out,
    print_table,
    shortened,
    status_text,
    text,
    to_json,
)
from stepflow.cli.timeline import STILL, WAIT, WORK, Bar, Scale, bars, draw
from stepflow.model.journal import Continued, Entry
from stepflow.model.steps import Run, StepView
from stepflow.types import Json

_VALUE_WIDTH = 60
_LONG_VALUE = 2_000
_BLOCKS = {WORK: ("█", "#"), WAIT: ("░", "."), STILL: ("·", "-"), "": (" ", " ")}
_NARROWEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run, its journal, and how much of it is wanted: the last ``limit`` steps (None: all)."""

    run: Run
    entries: Sequence[Entry]
    now: datetime
    limit: int | None
    tracebacks: bool


async def read_entries(session: Session, run: Run) -> list[Entry]:
    """The journal of the run's present generation."""
    found: list[Entry] = []
    for row in await session.storage.read_journal(run.id):
        for entry in row.entries:
            if isinstance(entry, Continued):
                found.clear()
            found.append(entry)
    return found


def show(shown: Shown, reader: Reader) -> None:
    """Print everything about the run."""
    console = out()
    _print_facts(console, _facts(shown))
    steps = shown.run.steps if shown.limit is None else shown.run.steps[-shown.limit :]
    if shown.run.steps:
        console.print()
        if len(steps) < len(shown.run.steps):
            hidden = len(shown.run.steps) - len(steps)
            console.print(text(f"{hidden} earlier steps are left out; --all shows them", "dim"))
        print_table(_HEADINGS, _rows(steps, shown.run, reader, plain=is_plain(console)))
        console.print()
        _print_timeline(console, shown, {step.key for step in steps})
    if shown.tracebacks:
        _print_tracebacks(console, shown.run)


# ------------------------------------------------------------------ facts
def _facts(shown: Shown) -> Iterator[tuple[str, Text]]:
    run, now = shown.run, shown.now
    yield "run", text(run.id, "bold")
    version = f" (version {run.version})" if run.version else ""
    yield "workflow", text(f"{run.workflow_id}{version}")
    yield "status", joined(status_text(run.status), _standing(run))
    yield "created", text(f"{local_time(run.created_at)} ({ago(run.created_at, now)})")
    if run.started_at is not None:
        took = duration_text((run.ended_at or now) - run.started_at)
        yield "started", text(f"{local_time(run.started_at)}, {'took' if run.ended_at else 'for'} {took}")
    if run.ended_at is not None:
        yield "ended", text(local_time(run.ended_at))
    if run.wake_at is not None:
        yield "wakes", text(f"{local_time(run.wake_at)} ({ago(run.wake_at, now)})")
    if run.waits:
        yield "waits", text(", ".join(waits_text(run.waits)))
    if run.attempt > 1:
        yield "attempt", text(run.attempt)
    yield "queue", text(run.queue + (f", priority {run.priority}" if run.priority else ""))
    if run.tags:
        yield "tags", text(", ".join(f"{name}={value}" for name, value in sorted(run.tags.items())))
    if run.parent is not None:
        yield "parent", text(f"{run.parent.run_id} ({run.parent.key})")
    yield "input", text(shortened(to_json(run.input), _LONG_VALUE))
    if run.output is not None:
        yield "output", text(shortened(to_json(run.output), _LONG_VALUE))
    if run.error is not None:
        yield "error", text(failure_text(run.error), "red")


def _standing(run: Run) -> Text:
    if run.pause_reason is None:
        return Text()
    return text(f" ({run.pause_reason.value}{': ' if run.pause_detail else ''}{run.pause_detail})", "yellow")


def _print_facts(console: Console, facts: Iterable[tuple[str, Text]]) -> None:
    for name, value in facts:
        console.print(joined(Text(f"{name:<10}", style="dim"), value))


# ------------------------------------------------------------------ steps
_HEADINGS = ("", "step", "kind", "status", "attempts", "began", "took", "result")


def _rows(steps: Sequence[StepView], run: Run, reader: Reader, *, plain: bool) -> Iterator[list[Text]]:
    zero = run.started_at or run.created_at
    for step in steps:
        mark, style = look_of(step.status, plain=plain)
        took = (
            duration_text(step.ended_at - step.started_at)
            if step.started_at is not None and step.ended_at is not None
            else ""
        )
        began = step.started_at or step.ended_at
        yield [
            Text(mark, style=style),
            text(key_text(step.key)),
            text(step.kind.value, "dim"),
            status_text(step.status),
            text(step.attempts),
            text("" if began is None else f"+{duration_text(began - zero)}", "dim"),
            text(took),
            _result(step, reader),
        ]


def _result(step: StepView, reader: Reader) -> Text:
    if step.error is not None:
        return text(shortened(failure_text(step.error), _VALUE_WIDTH * 2), "red")
    if step.result is None:
        return Text()
    value: Json = reader.decode(step.result)
    return text(shortened(to_json(value), _VALUE_WIDTH))


# ------------------------------------------------------------------ timeline
def _print_timeline(console: Console, shown: Shown, keys: set[str]) -> None:
    all_rows = bars(shown.run, shown.entries, now=shown.now)
    rows = [row for row in all_rows if not row.key or row.key in keys]
    names = [text(shortened(key_text(row.key), 30) or "run") for row in rows]
    name_width = max(name.cell_len for name in names)
    durations = [duration_text(row.duration) for row in rows]
    duration_width = max(map(len, durations))
    width = max(_NARROWEST, console.width - name_width - duration_width - 4)
    scale = Scale.over(rows, width)
    for row, name, duration in zip(rows, names, durations, strict=True):
        gap = Text(" " * (name_width - name.cell_len + 2))
        bar = _bar_text(row, scale, plain=is_plain(console))
        console.print(joined(name, gap, bar, Text(f"  {duration:>{duration_width}}", style="dim")))
    total = duration_text(scale.end - scale.start)
    ruler = f"{'':{name_width}}  0{total:>{width - 1}}"
    console.print(Text(ruler, style="dim"))
    legend = f"{_BLOCKS[WORK][is_plain(console)]} runs  {_BLOCKS[WAIT][is_plain(console)]} waits"
    console.print(Text(f"{legend}  {_BLOCKS[STILL][is_plain(console)]} queued or paused", style="dim"))


def _bar_text(bar: Bar, scale: Scale, *, plain: bool) -> Text:
    style = STATUS_STYLES.get(bar.status, "")
    found = Text()
    for look, count in draw(bar, scale):
        found.append(_BLOCKS[look][plain] * count, style=style if look == WORK else "dim")
    return found


# ------------------------------------------------------------------ tracebacks
def _print_tracebacks(console: Console, run: Run) -> None:
    failures = [(key_text(step.key), step.error) for step in run.steps if step.error is not None]
    if run.error is not None:
        failures.append(("run", run.error))
    for name, failure in failures:
        console.print()
        console.print(text(f"{name}: {failure_text(failure)}", "bold red"))
        console.print(Text(lines(failure.traceback.rstrip()) or "no traceback was recorded", style="dim"))
    if not failures:
        console.print()
        console.print(Text("no failure was recorded", style="dim"))


def run_row(run: Run, now: datetime) -> list[Text]:
    """A run as a row of the list; see ``RUN_HEADINGS``."""
    took = ""
    if run.started_at is not None:
        took = duration_text((run.ended_at or now) - run.started_at)
    return [
        text(run.id),
        text(run.workflow_id),
        status_text(run.status),
        text(ago(run.created_at, now)),
        text(took),
        text(_why(run, now)),
        text(", ".join(f"{name}={value}" for name, value in sorted(run.tags.items())), "dim"),
    ]


RUN_HEADINGS = ("run", "workflow", "status", "created", "took", "note", "tags")


def _why(run: Run, now: datetime) -> str:
    """What a reader of the list wants to know next."""
    if run.error is not None:
        return shortened(failure_text(run.error), _VALUE_WIDTH)
    if run.pause_reason is not None:
        detail = f": {run.pause_detail}" if run.pause_detail else ""
        return shortened(f"{run.pause_reason.value}{detail}", _VALUE_WIDTH)
    parts = waits_text(run.waits)
    if run.wake_at is not None and run.wake_at > now + timedelta(seconds=1):
        parts.insert(0, f"wakes {ago(run.wake_at, now)}")
    return shortened(", ".join(parts), _VALUE_WIDTH)
