"""Output: what goes to stdout and stderr, for people and for pipes. Nothing that is printed can command a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepflow.model.states import RunStatus
from stepflow.model.steps import StepStatus
from stepflow.observability.logging import safe_text
from stepflow.types import Json

STATUS_STYLES: dict[str, str] = {
    RunStatus.QUEUED: "cyan",
    RunStatus.RUNNING: "bold blue",
    RunStatus.SUSPENDED: "blue",
    RunStatus.PAUSED: "bold yellow",
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "bold red",
    RunStatus.CANCELLED: "magenta",
    StepStatus.RETRYING: "yellow",
    StepStatus.WAITING: "blue",
}

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


class _Console(Console):
    """One that leaves the end of a pipe to ``root.perform``, instead of ending the program by itself."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def out() -> Console:
    """Standard output: results. Colours only on a terminal, and never with NO_COLOR."""
    return _Console(highlight=False, emoji=False, markup=False, soft_wrap=True)


def err() -> Console:
    """Standard error: progress, notes and errors."""
    return _Console(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)


def escape_streams() -> None:
    """What the terminal's encoding can't show is written as an escape instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def is_plain(console: Console) -> bool:
    """True if the console can only show ASCII."""
    return not console.encoding.lower().replace("-", "").startswith("utf")


# ------------------------------------------------------------------ text
def text(value: object, style: str = "") -> Text:
    """The value on one line, with control characters written as escapes and brackets left alone."""
    return Text(safe_text(str(value)), style=style)


def joined(*parts: Text) -> Text:
    """The parts in a row, each in its own style only."""
    return Text().join(parts)


def lines(value: str) -> str:
    """Text of several lines, each made safe on its own."""
    return "\n".join(safe_text(line.expandtabs(4)) for line in value.split("\n"))


def status_text(status: str) -> Text:
    return text(status, STATUS_STYLES.get(status, ""))


def shortened(value: str, width: int) -> str:
    return value if len(value) <= width else f"{value[: width - 1]}…"


# ------------------------------------------------------------------ JSON
def to_json(value: Json, *, indent: int | None = None) -> str:
    """JSON text in which every character is printable: control characters and the like are written as ``\\uXXXX``."""
    encoded = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    return _UNPRINTABLE.sub(_escape, encoded)


def _escape(match: re.Match[str]) -> str:
    # Outside of strings JSON is ASCII, so whatever is replaced here stands in a string.
    character = match.group()
    if character.isprintable() or character == "\n":
        return character
    return json.dumps(character)[1:-1]


def print_json(value: Json) -> None:
    """A document on stdout: over several lines for people, on one line for a pipe."""
    stream = sys.stdout
    print(to_json(value, indent=2 if stream.isatty() else None), file=stream, flush=True)


def note(message: str) -> None:
    """A line on stderr that is no error."""
    err().print(text(message, "dim"))


# ------------------------------------------------------------------ tables
def print_table(headings: Sequence[str], rows: Iterable[Sequence[Text]]) -> None:
    """A table on stdout: coloured on a terminal; elsewhere plain columns that nothing is cut from."""
    console = out()
    cells = list(rows)
    if console.is_terminal:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for place, heading in enumerate(headings):
            table.add_column(heading, no_wrap=place == 0, overflow="fold")
        for row in cells:
            table.add_row(*row)
        console.print(table, soft_wrap=False)
        return
    plain = [list(headings), *([cell.plain for cell in row] for row in cells)]
    widths = [max(len(row[column]) for row in plain) for column in range(len(headings))]
    for line in plain:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


# ------------------------------------------------------------------ time
def local_time(instant: datetime | None) -> str:
    """In the reader's time zone, to the second."""
    return "" if instant is None else instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(instant: datetime, now: datetime) -> str:
    """``3m ago``, ``in 2d``: roughly how far it is."""
    if instant > now:
        return f"in {duration_text(instant - now)}"
    return f"{duration_text(now - instant)} ago"


def duration_text(duration: timedelta) -> str:
    """Three digits are enough for people: ``1.3ms``, ``14.2s``, ``3m04s``, ``2d5h``."""
    duration = max(duration, timedelta(0))
    if duration < _SECOND:
        milliseconds = duration / timedelta(milliseconds=1)
        return f"{milliseconds:.1f}ms" if milliseconds < 10 else f"{milliseconds:.0f}ms"
    if duration < _MINUTE:
        return f"{duration.total_seconds():.1f}s"
    if duration < _HOUR:
        return f"{duration // _MINUTE}m{duration % _MINUTE // _SECOND:02d}s"
    if duration < _DAY:
        return f"{duration // _HOUR}h{duration % _HOUR // _MINUTE:02d}m"
    return f"{duration // _DAY}d{duration % _DAY // _HOUR}h"


def size_text(size: int | None) -> str:
    """``3.4 MiB``; empty if unknown."""
    if size is None:
        return ""
    if size < 1024:
        return f"{size} bytes"
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024 or unit == "GiB":
            return f"{amount:.1f} {unit}"
    return ""
