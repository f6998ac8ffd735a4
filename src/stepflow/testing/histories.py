"""Histories: recorded runs as files of JSON, taken from a storage, to be replayed with the code of another day."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from stepflow.app import Stepflow
from stepflow.codecs.json import Values
from stepflow.errors import InputError, RunNotFoundError
from stepflow.model.failures import Failure
from stepflow.model.journal import Entry, JournalRow
from stepflow.model.payloads import Payload
from stepflow.model.runs import RunFilter, RunRecord
from stepflow.storage.base import Storage
from stepflow.testing.replaying import Comparison, Replayer, Verdict
from stepflow.types import Json, RunId

FORMAT = 1
_PAGE = 500
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_REDACTED = "redacted"


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One recorded run: its record and its present journal. ``redacted``: some values are not those that were recorded."""

    format: int
    run: RunRecord
    rows: tuple[JournalRow, ...]
    redacted: bool = False


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(History)


def write_history(history: History) -> bytes:
    """The history as JSON text, over several lines."""
    return msgspec.json.format(_ENCODER.encode(history), indent=1) + b"\n"


def read_history(data: bytes, *, name: str = "a history") -> History:
    """The inverse of ``write_history``; ``InputError`` for anything else, and for a format of a later release."""
    try:
        history = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise InputError(f"{name} is no exported history: {error}") from error
    if history.format != FORMAT:
        raise InputError(f"{name} has format {history.format}; this release reads {FORMAT}: use a newer one")
    return history


def read_histories(folder: Path) -> list[History]:
    """Every history of a folder, by file name; ``InputError`` if it holds none, or if one can't be read."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{str(folder)!r} holds no histories; `stepflow histories export` writes them")
    return [read_history(file.read_bytes(), name=file.name) for file in files]


def file_name(run_id: RunId) -> str:
    """The name of the run's file: its id, as every file system takes it."""
    return f"{_UNSAFE.sub(lambda match: f'%{ord(match.group()):02x}', run_id)}.json"


async def histories_of(storage: Storage, run_ids: Iterable[RunId]) -> AsyncIterator[History]:
    """The histories of these runs; ``RunNotFoundError``."""
    for run_id in run_ids:
        run = await storage.get_run(run_id)
        if run is None:
            raise RunNotFoundError(run_id)
        yield await _history_of(storage, run)


async def histories_where(
    storage: Storage, where: RunFilter, *, limit: int | None = None
) -> AsyncIterator[History]:
    """The histories of the runs that match, the newest first, at most ``limit``."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        page = await storage.list_runs(
            where, cursor=cursor, limit=_PAGE if left is None else min(left, _PAGE)
        )
        for run in page.items:
            yield await _history_of(storage, run)
        cursor = page.next_cursor
        if cursor is None:
            return
        left = None if left is None else left - len(page.items)


async def _history_of(storage: Storage, run: RunRecord) -> History:
    rows = await storage.read_journal(run.id, after=run.first_seq - 1)
    slim = tuple(replace(row, entries=tuple(map(_without_traceback, row.entries))) for row in rows)
    failure = None if run.failure is None else replace(run.failure, traceback="")
    return History(format=FORMAT, run=replace(run, failure=failure), rows=slim)


def _without_traceback(entry: Entry) -> Entry:
    """Tracebacks name files of the machine that they come from, and no replay needs them."""
    failure: Failure | None = getattr(entry, "failure", None)
    return entry if failure is None else replace(entry, failure=replace(failure, traceback=""))


# ------------------------------------------------------------------ redacting
def redacted(history: History, names: Collection[str], values: Values) -> History:
    """The same without what stands under these names in any object, at any depth, and without the words of failures.

    Text becomes as many ``x``, a number 0; what is an object or a list is gone through. Code that branches on such a value may
    take another branch in a replay. Values come out unencrypted; ``values`` are those of the app that wrote them.
    """
    changed = tuple(
        replace(row, entries=tuple(_redact(entry, names, values) for entry in row.entries))
        for row in history.rows
    )
    return replace(history, run=_redact(history.run, names, values), rows=changed, redacted=True)


def _redact(record: Any, names: Collection[str], values: Values) -> Any:
    changes: dict[str, Any] = {}
    for field in record.__struct_fields__:
        value = getattr(record, field)
        if isinstance(value, Payload):
            changes[field] = _redact_payload(value, names, values)
        elif isinstance(value, Failure):
            changes[field] = replace(value, message=_REDACTED, rebuilt=False, args=None)
    return replace(record, **changes)


def _redact_payload(payload: Payload, names: Collection[str], values: Values) -> Payload:
    document: Json = msgspec.json.decode(values.text(payload))
    return Payload(msgspec.Raw(msgspec.json.encode(_redact_value(document, names, inside=False))))


def _redact_value(value: Json, names: Collection[str], *, inside: bool) -> Json:
    match value:
        case dict():
            return {
                key: _redact_value(each, names, inside=inside or key in names) for key, each in value.items()
            }
        case list():
            return [_redact_value(each, names, inside=inside) for each in value]
        case str() if inside:
            return "x" * len(value)
        case int() | float() if inside and not isinstance(value, bool):
            return 0
        case _:
            return value


# ------------------------------------------------------------------ checking
def check_history(replayer: Replayer, history: History) -> Comparison:
    """Replay the history with the workflows of the replayer's app, and say what differs."""
    run = history.run
    if not replayer.knows(run.workflow_id):
        return Comparison(
            run_id=run.id,
            workflow_id=run.workflow_id,
            verdict=Verdict.DIVERGENT,
            notes=("the app has no such workflow any more",),
        )
    return replayer.compare(run, history.rows, redacted=history.redacted)


def check_histories(app: Stepflow, histories: Path | Sequence[History]) -> list[Comparison]:
    """Replay histories (a folder of them, or read ones) with the workflows of ``app``: for a test of your own. The app need not be open."""
    found = read_histories(histories) if isinstance(histories, Path) else histories
    replayer = Replayer(app)
    return [check_history(replayer, history) for history in found]
