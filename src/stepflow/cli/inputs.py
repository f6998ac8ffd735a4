"""Inputs: what is typed on a command line, as values. Whatever is wrong with it is said with its place."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, cast

from stepflow.cli.exits import ExitCode, Stop
from stepflow.durations import parse_duration
from stepflow.errors import DurationError
from stepflow.observability.logging import safe_text
from stepflow.types import Json

_SHOWN_AROUND = 30


def read_json(option: str, given: str | None) -> Json:
    """The JSON that an option gives: text, ``@file``, or ``-`` for stdin. Nothing given, or nothing in it, is null."""
    if given is None:
        return None
    source, content = _content(option, given)
    if not content.strip():
        return None
    try:
        return cast(Json, json.loads(content, parse_constant=_refuse_constant))
    except json.JSONDecodeError as error:
        raise Stop(
            ExitCode.USAGE,
            f"{source} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            excerpt=_excerpt(content, error.lineno, error.colno),
            hint=_quoting_hint(option, content),
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        hint = _quoting_hint(option, content)
        raise Stop(ExitCode.USAGE, f"{source} is not JSON: {reason}", hint=hint) from error


def _content(option: str, given: str) -> tuple[str, str]:
    """What to call it in errors, and its text."""
    if given == "-":
        raw = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
        return f"{option} (stdin)", _decoded(option, raw)
    if not given.startswith("@"):
        return option, given
    path = Path(given[1:])
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Stop(
            ExitCode.USAGE,
            f"{option} {given}: {error.strerror or error}",
            hint="after @ comes the path of a file; a text in JSON begins with a quotation mark",
        ) from error
    return f"{option} {given}", _decoded(option, raw)


def _decoded(option: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")  # editors on Windows like to begin a file with a mark
    except UnicodeDecodeError as error:
        raise Stop(
            ExitCode.USAGE,
            f"{option} is not UTF-8 text: byte {error.start} is wrong",
            hint="save it as UTF-8",
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _excerpt(content: str, line: int, column: int) -> str:
    """The place of an error with a caret under it."""
    text = content.splitlines()[line - 1] if line <= len(content.splitlines()) else ""
    start = max(0, column - 1 - _SHOWN_AROUND)
    before = safe_text(text[start : column - 1])
    after = safe_text(text[column - 1 : column - 1 + _SHOWN_AROUND])
    return f"  {before}{after}\n  {' ' * len(before)}^"


def _quoting_hint(option: str, content: str) -> str:
    word = content.strip()
    if word.replace("-", "").replace("_", "").isalnum() and not word[0].isdigit():
        return f"""a text needs quotation marks of its own: {option} '"{word[:40]}"'"""
    return f"""quote it for the shell, like {option} '{{"name": 1}}', or write {option} @file.json, or {option} - for stdin"""


def read_tags(given: Sequence[str]) -> dict[str, str]:
    """``--tag k=v`` (or ``k:v``), repeated."""
    tags: dict[str, str] = {}
    for each in given:
        name, separator, value = each.partition("=")
        if not separator:
            name, separator, value = each.partition(":")
        if not separator or not name:
            raise Stop(ExitCode.USAGE, f"--tag {each!r} has no value", hint="write it as name=value")
        tags[name] = value
    return tags


def read_instant(option: str, given: str | None, *, now: datetime) -> datetime | None:
    """An ISO-8601 date or time (of the local zone unless it names one), or a duration that is counted back from now."""
    if given is None:
        return None
    try:
        instant = datetime.fromisoformat(given)
    except ValueError:
        pass
    else:
        return instant.astimezone(UTC)
    try:
        return now - parse_duration(given)
    except (DurationError, OverflowError) as error:
        raise Stop(
            ExitCode.USAGE,
            f"{option} {given!r} is neither a time nor a duration",
            hint=f"write {option} 2026-01-31T12:00+01:00, or how long ago: {option} 2h",
        ) from error
