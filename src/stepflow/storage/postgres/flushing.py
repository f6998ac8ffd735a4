"""Flushing: what a working set changed, written in one statement however many tables it touches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stepflow.storage._sql.rows import (
    EVENT_COLUMNS,
    RUN_COLUMNS,
    WAIT_COLUMNS,
    Column,
    event_columns,
    json_text,
    run_columns,
    wait_columns,
)
from stepflow.storage.postgres import bulk
from stepflow.storage.postgres.link import Link
from stepflow.storage.postgres.operations import events, journal, runs
from stepflow.storage.postgres.working_set import WorkingSet

_UNLESS_TAKEN = "ON CONFLICT DO NOTHING RETURNING 1"
_REPLACING_INPUT = "ON CONFLICT (run_id) DO UPDATE SET codec = excluded.codec, input = excluded.input"
Rows = Sequence[Sequence[Column]]
_STATEMENTS: Final[dict[tuple[str, ...], str]] = {}
"""Which parts → the statement: a handful of combinations occur."""


async def flush(link: Link, records: WorkingSet) -> bool:
    """Write everything that changed; False if somebody else has a run's id or key, or a place in a journal: then roll back, look again."""
    if records.removed:
        await runs.delete(link, records.removed)
    if records.new:
        await runs.delete_left_over(link, records.new)
    parts = {name: rows for name, rows in _parts(records).items() if rows}
    if parts:
        arguments = [texts for name, rows in parts.items() for texts in bulk.arrays(rows, _COLUMNS[name])]
        (written,) = await link.fetch(_statement(tuple(parts)), *arguments)
        expected = [len(parts[name]) for name in _GUARDED if name in parts]
        if list(written) != expected:
            return False
    for run_id, seq in records.cuts.items():
        await journal.cut_before(link, run_id, seq)
    return True


def _parts(records: WorkingSet) -> dict[str, Rows]:
    changed = [(run_id in records.new, run_columns(run)) for run_id, run in records.changed.items()]
    waits = records.wait_changes.items()
    return {
        "created": [row for new, row in changed if new],
        "appended": records.rows,
        "updated": [runs.changing(row) for new, row in changed if not new],
        "inputs": [(run_id, value.codec, json_text(value)) for run_id, value in records.inputs.items()],
        "sent": [event_columns(event) for event in records.events],
        "dropped": [key for key, wait in waits if wait is None],
        "kept": [wait_columns(run_id, wait) for (_, run_id), wait in waits if wait is not None],
    }


_COLUMNS: Final = {
    "created": RUN_COLUMNS,
    "appended": journal.COLUMNS,
    "updated": runs.CHANGING,
    "inputs": runs.INPUT_COLUMNS,
    "sent": EVENT_COLUMNS,
    "dropped": events.WAIT_KEY,
    "kept": WAIT_COLUMNS,
}
_GUARDED: Final = ("created", "appended")
"""Parts of which every row must go in."""


def _part(name: str, first: int) -> str:
    columns = _COLUMNS[name]
    match name:
        case "created":
            return bulk.insert("runs", columns, _UNLESS_TAKEN, first=first)
        case "appended":
            return bulk.insert("journal", columns, _UNLESS_TAKEN, first=first)
        case "updated":
            return bulk.update("runs", columns, first=first)
        case "inputs":
            return bulk.insert("inputs", columns, _REPLACING_INPUT, first=first)
        case "sent":
            return bulk.insert("events", columns, first=first)
        case "dropped":
            return bulk.delete("waits", columns, first=first)
        case _:
            return bulk.insert("waits", columns, events.KEPT_WAIT, first=first)


def _statement(names: tuple[str, ...]) -> str:
    """All parts as one statement; its row says how many rows of the guarded ones went in."""
    known = _STATEMENTS.get(names)
    if known is None:
        bodies: list[str] = []
        first = 1
        for name in names:
            bodies.append(f"{name} AS ({_part(name, first)})")
            first += len(_COLUMNS[name])
        counts = [f"(SELECT count(*) FROM {name})" for name in _GUARDED if name in names]  # noqa: S608 - our names
        known = (
            f"WITH {', '.join(bodies)} SELECT {', '.join(counts)}"
            if counts
            else f"WITH {', '.join(bodies)} SELECT"
        )
        _STATEMENTS[names] = known
    return known
