"""Runs in PostgreSQL: locked in the order of their ids, loaded many at a time, listed, and deleted with all that is theirs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from stepflow.model.events import Event
from stepflow.model.payloads import Payload
from stepflow.model.runs import Progress, RunFilter
from stepflow.model.states import RunStatus
from stepflow.storage._rules.listing import Place
from stepflow.storage._sql.rows import (
    MUTABLE_COLUMNS,
    RUN_COLUMNS,
    Column,
    Micros,
    RunRow,
    WaitRow,
    micros,
    payload,
)
from stepflow.storage.postgres import bulk
from stepflow.storage.postgres.driver import Row
from stepflow.storage.postgres.link import Link
from stepflow.storage.postgres.operations.events import WAITED, waited_of
from stepflow.storage.postgres.operations.journal import BEFORE_LAST, SizedRow, sized
from stepflow.types import RunId

_WIDTH: Final = len(RUN_COLUMNS)
# As text: a connection of the caller's own may turn JSON into something else.
_COLUMNS: Final = ", ".join(
    f"r.{column}::text" if column in ("output", "failure") else f"r.{column}" for column in RUN_COLUMNS
)
_LAST_SEQ = "coalesce((SELECT j.seq FROM @.journal j WHERE j.run_id = r.id ORDER BY j.seq DESC LIMIT 1), 0)"
_WAITS = """(SELECT json_agg(json_build_array(w.event_id, w.run_id, w.after_pos, w.name, w.until_at))::text
    FROM @.waits w WHERE w.run_id = r.id)"""
_PROGRESS: Final = f"SELECT r.id, {_LAST_SEQ}, r.status FROM @.runs r WHERE r.id = ANY($1::text[])"  # noqa: S608 - it is ours
_LOAD: Final = (
    f"SELECT {_COLUMNS}, {_LAST_SEQ}, {_WAITS}, NULL, NULL FROM @.runs r WHERE r.id = ANY($1::text[])"  # noqa: S608 - our columns
)
_LOAD_WHOLE: Final = f"""
SELECT {_COLUMNS}, {_LAST_SEQ}, {_WAITS}, i.codec, i.input::text
FROM @.runs r LEFT JOIN @.inputs i ON i.run_id = r.id WHERE r.id = ANY($1::text[])
"""  # noqa: S608 - our columns
_LOAD_CLAIMED: Final = f"""
SELECT {_COLUMNS}, {_LAST_SEQ}, {_WAITS}, i.codec, i.input::text, {WAITED}, r.id, b.seq, b.writer, b.write_id, b.entries
FROM @.runs r LEFT JOIN @.inputs i ON i.run_id = r.id LEFT JOIN {BEFORE_LAST} b ON true WHERE r.id = ANY($2::text[])
"""  # noqa: S608 - our columns

# The subquery gives ids only, each once; the rows themselves are locked one after the other, in the order of the ids.
_LOCK = """
SELECT r.id FROM @.runs r WHERE r.id IN (
    SELECT unnest($1::text[])
    UNION SELECT w.run_id FROM @.waits w WHERE w.event_id = ANY($2::text[])
    UNION SELECT k.id FROM @.runs k WHERE k.idempotency_key = ANY($3::text[]))
ORDER BY r.id FOR UPDATE OF r
"""
_LOCK_FAMILIES = """
WITH RECURSIVE family (id) AS (
    SELECT unnest($4::text[]) COLLATE "C"
    UNION SELECT c.id FROM @.runs c JOIN family f ON c.parent_id = f.id WHERE c.ended_at IS NULL AND c.parent_detached = 0)
SELECT r.id FROM @.runs r WHERE r.id IN (
    SELECT unnest($1::text[])
    UNION SELECT w.run_id FROM @.waits w WHERE w.event_id = ANY($2::text[])
    UNION SELECT k.id FROM @.runs k WHERE k.idempotency_key = ANY($3::text[])
    UNION SELECT f.id FROM family f
    UNION SELECT p.parent_id FROM @.runs p JOIN family f ON p.id = f.id WHERE p.parent_id IS NOT NULL AND p.parent_detached = 0)
ORDER BY r.id FOR UPDATE OF r
"""
_INPUTS = "SELECT run_id, codec, input::text FROM @.inputs WHERE run_id = ANY($1::text[])"
_ID_OF_KEY = "SELECT id FROM @.runs WHERE idempotency_key = $1"

CHANGING: Final = ("id", *MUTABLE_COLUMNS)
"""What may change in a run, after its id."""
_CHANGING_PLACES: Final = tuple(RUN_COLUMNS.index(column) for column in CHANGING)
INPUT_COLUMNS: Final = ("run_id", "codec", "input")
_DELETE: Final = tuple(
    f"DELETE FROM @.{table} WHERE {column} = ANY($1::text[])"  # noqa: S608 - fixed names
    for table, column in (
        ("inputs", "run_id"),
        ("journal", "run_id"),
        ("waits", "run_id"),
        ("events", "run_id"),
        ("runs", "id"),
    )
)
_LEFT_OVER = "DELETE FROM @.journal WHERE run_id = ANY($1::text[])"

_WAIT_ROWS = msgspec.json.Decoder(list[WaitRow])
_ENCODER = msgspec.json.Encoder()


class LoadedRun(msgspec.Struct, frozen=True, gc=False):
    """A run and what rules need to know around it."""

    run: RunRow
    last_seq: int
    waits: list[WaitRow]
    input: Payload | None = None
    """None if it was not asked for."""


class LoadedClaim(msgspec.Struct, frozen=True, gc=False):
    """A run, and what its owner needs to know at once."""

    run: LoadedRun
    events: list[Event]
    """Those that its waits may have."""
    before_last: SizedRow | None
    """Its journal's row before the last one, if it is not large."""


# ------------------------------------------------------------------ loading
async def read_progress(link: Link, run_ids: Sequence[RunId]) -> dict[RunId, Progress]:
    """How far those of the runs are that exist."""
    rows = await link.fetch(_PROGRESS, list(run_ids))
    return {run_id: Progress(seq, RunStatus(status)) for run_id, seq, status in rows}


async def lock(
    link: Link,
    run_ids: Collection[RunId],
    *,
    waiting_for: Collection[str] = (),
    keys: Collection[str] = (),
    families_of: Collection[RunId] = (),
) -> list[RunId]:
    """Lock runs by id, those that wait for an event or have an idempotency key, and parents and descendants; who exists.

    Look at them in a later statement: this one's snapshot is older than the locks it waited for.
    """
    keys = [bulk.storable(key) for key in keys]
    if families_of:
        rows = await link.fetch(_LOCK_FAMILIES, list(run_ids), list(waiting_for), keys, list(families_of))
    else:
        rows = await link.fetch(_LOCK, list(run_ids), list(waiting_for), keys)
    return [row[0] for row in rows]


async def load(link: Link, run_ids: Collection[RunId], *, whole: bool = False) -> list[LoadedRun]:
    """Those of the runs that exist, with their last seq and waits; ``whole``: with their inputs."""
    if not run_ids:
        return []
    return [_loaded(row) for row in await link.fetch(_LOAD_WHOLE if whole else _LOAD, list(run_ids))]


async def load_claimed(link: Link, run_ids: Collection[RunId], *, limit: int) -> dict[RunId, LoadedClaim]:
    """Runs with their inputs, with the events that their waits may have, at most ``limit`` a wait, and with the row before the last."""
    found: dict[RunId, LoadedClaim] = {}
    for columns in await link.fetch(_LOAD_CLAIMED, limit, list(run_ids)):
        row = tuple(columns)
        run, events, before = row[:-6], row[-6], row[-5:]
        found[row[0]] = LoadedClaim(
            _loaded(run), waited_of(events), None if before[4] is None else sized(before)
        )
    return found


def _loaded(row: Row) -> LoadedRun:
    columns = tuple(row)
    last_seq, waits, codec, value = columns[_WIDTH:]
    run = RunRow(*columns[:_WIDTH])
    if run.idempotency_key or run.version or run.parent_key or run.pause_detail:
        run = replace(
            run,
            idempotency_key=bulk.restored_or_none(run.idempotency_key),
            version=bulk.restored_or_none(run.version),
            parent_key=bulk.restored_or_none(run.parent_key),
            pause_detail=bulk.restored(run.pause_detail),
        )
    return LoadedRun(
        run=run,
        last_seq=last_seq,
        waits=[_wait(row) for row in _WAIT_ROWS.decode(waits)] if waits else [],
        input=None if value is None else payload(value, codec),
    )


def _wait(row: WaitRow) -> WaitRow:
    return replace(row, name=bulk.restored(row.name)) if row.name else row


async def load_inputs(link: Link, run_ids: Collection[RunId]) -> dict[RunId, Payload]:
    """The runs' inputs."""
    if not run_ids:
        return {}
    return {row[0]: payload(row[2], row[1]) for row in await link.fetch(_INPUTS, list(run_ids))}


async def id_of_key(link: Link, idempotency_key: str) -> RunId | None:
    """The id of the run that has the key."""
    rows = await link.fetch(_ID_OF_KEY, bulk.storable(idempotency_key))
    return rows[0][0] if rows else None


# ------------------------------------------------------------------ saving
def changing(row: Sequence[Column]) -> tuple[Column, ...]:
    """Of a run's columns those in ``CHANGING``."""
    return tuple(row[place] for place in _CHANGING_PLACES)


async def delete_left_over(link: Link, run_ids: Collection[RunId]) -> None:
    """Before runs are made: a journal row may be left of a deleted run with the id, if its owner wrote in the instant of the deletion."""
    await link.fetch(_LEFT_OVER, list(run_ids))


async def delete(link: Link, run_ids: Collection[RunId]) -> None:
    """Delete the runs with their inputs, journals, waits and the events addressed to them."""
    for statement in _DELETE:
        await link.fetch(statement, list(run_ids))


# ------------------------------------------------------------------ listing
async def list_ids(
    link: Link, where: RunFilter, after: Place | None, limit: int
) -> list[tuple[RunId, Micros]]:
    """The ids and creation instants of the runs that the filter lets through, newest first."""
    terms, values = _conditions(where)
    if after is not None:
        terms.append(f"(created_at, id) < (${len(values) + 1}, ${len(values) + 2})")
        values += [after.created_at, after.run_id]
    condition = " AND ".join(terms) or "true"
    rows = await link.fetch(
        f"SELECT id, created_at FROM @.runs WHERE {condition} "  # noqa: S608 - fixed terms
        f"ORDER BY created_at DESC, id DESC LIMIT ${len(values) + 1}",
        *values,
        limit,
    )
    return [(row[0], row[1]) for row in rows]


def _conditions(where: RunFilter) -> tuple[list[str], list[object]]:
    terms: list[str] = []
    values: list[object] = []
    for term, value in (
        ("workflow_id = $", where.workflow_id),
        ("queue = $", where.queue),
        ("parent_id = $", where.parent_id),
        ("created_at > $", None if where.created_after is None else micros(where.created_after)),
        ("created_at < $", None if where.created_before is None else micros(where.created_before)),
    ):
        if value is not None:
            values.append(value)
            terms.append(f"{term}{len(values)}")
    if where.statuses:
        values.append(sorted(where.statuses))
        terms.append(f"status = ANY(${len(values)}::text[])")
    for name, value in where.tags.items():
        # In the text, not as JSON: reading a tag with \u0000 as JSON would fail. A quote within a string never follows { or a comma.
        pair = _ENCODER.encode({name: value}).decode()[1:-1]
        values += ["{" + pair, "," + pair]
        terms.append(f"(strpos(tags, ${len(values) - 1}) = 1 OR strpos(tags, ${len(values)}) > 0)")
    return terms, values


async def count_by_status(link: Link) -> dict[str, int]:
    rows = await link.fetch("SELECT status, count(*) FROM @.runs GROUP BY status")
    return {row[0]: row[1] for row in rows}


async def oldest_unfinished(link: Link) -> tuple[RunId, int] | None:
    """The unfinished run with the smallest ``created_pos``, which keeps later events from being pruned."""
    rows = await link.fetch(
        "SELECT id, created_pos FROM @.runs WHERE ended_at IS NULL ORDER BY created_pos LIMIT 1"
    )
    return (rows[0][0], rows[0][1]) if rows else None


# ------------------------------------------------------------------ pruning
_PRUNABLE = """
SELECT r.id FROM @.runs r WHERE r.ended_at < $1 AND (r.parent_detached = 1 OR
    (SELECT p.id FROM @.runs p WHERE p.id = r.parent_id AND p.ended_at IS NULL) IS NULL)
ORDER BY r.ended_at, r.id LIMIT $2
"""
_STILL_ENDED = """
SELECT r.id FROM @.runs r WHERE r.id = ANY($1::text[]) AND r.ended_at < $2 ORDER BY r.id FOR UPDATE SKIP LOCKED
"""


async def prune(link: Link, ended_before: Micros, limit: int) -> int:
    """Delete ended runs, the longest ended first, without those that a living parent may still ask for."""
    found = [row[0] for row in await link.fetch(_PRUNABLE, ended_before, limit)]
    if not found:
        return 0
    doomed = [row[0] for row in await link.fetch(_STILL_ENDED, found, ended_before)]
    await delete(link, doomed)
    return len(doomed)
