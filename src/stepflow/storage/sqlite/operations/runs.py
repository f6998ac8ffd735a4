"""Runs in SQLite: found by id or key, loaded many at a time, listed, and deleted with all that is theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from stepflow.model.payloads import Payload
from stepflow.model.runs import Progress, RunFilter
from stepflow.model.states import RunStatus
from stepflow.storage._rules.listing import Place
from stepflow.storage._sql.connection import Connection
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
from stepflow.storage.sqlite.bulk import insert
from stepflow.storage.sqlite.connection import fetch_json
from stepflow.types import RunId, WorkerId

_ENCODER = msgspec.json.Encoder()


class LoadedRun(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A run and what rules need to know around it."""

    run: RunRow
    last_seq: int
    waits: list[WaitRow]
    children: list[RunId]


class RunPlace(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a run's journal ends and who owns it: all that a plain step commit needs to know."""

    id: RunId
    worker: WorkerId | None
    last_seq: int


class RunProgress(msgspec.Struct, array_like=True, frozen=True, gc=False):
    id: RunId
    last_seq: int
    status: RunStatus


class LoadedInput(msgspec.Struct, array_like=True, frozen=True, gc=False):
    run_id: RunId
    codec: str
    input: str


_LARGE = 65_536
"""Values longer than this are fetched one by one: one text can't hold a thousand of them."""

_COLUMNS: Final = ", ".join(
    f"CASE WHEN length(r.output) <= {_LARGE} THEN r.output END" if column == "output" else f"r.{column}"
    for column in RUN_COLUMNS
)
_LAST_SEQ = "coalesce((SELECT max(j.seq) FROM stepflow_journal j WHERE j.run_id = r.id), 0)"
AMONG = "r.id IN (SELECT value FROM json_each(?))"

_LOAD: Final = f"""
SELECT json_group_array(json_array(
    json_array({_COLUMNS}),
    {_LAST_SEQ},
    json((SELECT json_group_array(json_array(w.event_id, w.run_id, w.after_pos, w.name, w.until_at))
          FROM stepflow_waits w WHERE w.run_id = r.id)),
    json((SELECT json_group_array(c.id)
          FROM stepflow_runs c WHERE c.parent_id = r.id AND c.ended_at IS NULL AND c.parent_detached = 0))))
FROM stepflow_runs r WHERE """  # noqa: S608 - the columns are ours
_LOAD_AMONG: Final = _LOAD + AMONG
_PLACES: Final = f"""
SELECT json_group_array(json_array(r.id, r.worker, {_LAST_SEQ})) FROM stepflow_runs r WHERE {AMONG}
"""  # noqa: S608 - nothing in it is given from outside
_PROGRESS: Final = f"""
SELECT json_group_array(json_array(r.id, {_LAST_SEQ}, r.status)) FROM stepflow_runs r WHERE {AMONG}
"""  # noqa: S608 - nothing in it is given from outside
_INPUTS = """
SELECT json_group_array(json_array(run_id, codec, input)) FROM stepflow_inputs
WHERE run_id IN (SELECT value FROM json_each(?)) AND length(input) <= 65536
"""
_LOADED = msgspec.json.Decoder(list[LoadedRun])
_PLACED = msgspec.json.Decoder(list[RunPlace])
_PROGRESSED = msgspec.json.Decoder(list[RunProgress])
_INPUT_ROWS = msgspec.json.Decoder(list[LoadedInput])

SAVE_RUNS: Final = insert(
    "stepflow_runs",
    RUN_COLUMNS,
    "ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in MUTABLE_COLUMNS),
)
SAVE_INPUTS: Final = insert(
    "stepflow_inputs",
    ("run_id", "codec", "input"),
    "ON CONFLICT (run_id) DO UPDATE SET codec = excluded.codec, input = excluded.input",
)


# ------------------------------------------------------------------ loading
def load_runs(connection: Connection, run_ids: Iterable[RunId]) -> list[LoadedRun]:
    """Those of the runs that exist, with their last seq, waits and unfinished attached children."""
    found = fetch_json(connection, _LOAD_AMONG, (_json(run_ids),), _LOADED)
    return [with_output(connection, loaded) for loaded in found]


def load_where(connection: Connection, condition: str, parameters: tuple[Column, ...]) -> list[LoadedRun]:
    """The same of the runs ``r`` that a condition chooses, without large outputs: ``with_output`` adds them."""
    return fetch_json(connection, _LOAD + condition, parameters, _LOADED)


def with_output(connection: Connection, loaded: LoadedRun) -> LoadedRun:
    """The run with its output, however large."""
    if not loaded.run.output_codec or loaded.run.output:
        return loaded
    row: tuple[str] = connection.execute(
        "SELECT output FROM stepflow_runs WHERE id = ?", (loaded.run.id,)
    ).fetchone()
    return replace(loaded, run=replace(loaded.run, output=row[0]))


def load_places(connection: Connection, run_ids: Iterable[RunId]) -> list[RunPlace]:
    """Those of the runs that exist, as a plain step commit needs them."""
    return fetch_json(connection, _PLACES, (_json(run_ids),), _PLACED)


def read_progress(connection: Connection, run_ids: Iterable[RunId]) -> dict[RunId, Progress]:
    """How far those of the runs are that exist."""
    found = fetch_json(connection, _PROGRESS, (_json(run_ids),), _PROGRESSED)
    return {run.id: Progress(run.last_seq, run.status) for run in found}


def load_inputs(connection: Connection, run_ids: Sequence[RunId]) -> dict[RunId, Payload]:
    """The runs' inputs: the small ones in one go, each large one by itself."""
    inputs = load_small_inputs(connection, run_ids)
    for run_id in run_ids:
        if run_id not in inputs:
            found = load_input(connection, run_id)
            if found is not None:
                inputs[run_id] = found
    return inputs


def load_small_inputs(connection: Connection, run_ids: Sequence[RunId]) -> dict[RunId, Payload]:
    """The inputs that are not large."""
    small = fetch_json(connection, _INPUTS, (_json(run_ids),), _INPUT_ROWS)
    return {row.run_id: payload(row.input, row.codec) for row in small}


def load_input(connection: Connection, run_id: RunId) -> Payload | None:
    row: tuple[str, str] | None = connection.execute(
        "SELECT codec, input FROM stepflow_inputs WHERE run_id = ?", (run_id,)
    ).fetchone()
    return None if row is None else payload(row[1], row[0])


def id_of_key(connection: Connection, idempotency_key: str) -> RunId | None:
    """The id of the run that has the key."""
    row: tuple[RunId] | None = connection.execute(
        "SELECT id FROM stepflow_runs WHERE idempotency_key = ?", (idempotency_key,)
    ).fetchone()
    return None if row is None else row[0]


def unfinished_children(connection: Connection, run_id: RunId) -> list[RunId]:
    """The attached children that have not ended."""
    rows: list[tuple[RunId]] = connection.execute(
        "SELECT id FROM stepflow_runs WHERE parent_id = ? AND ended_at IS NULL AND parent_detached = 0",
        (run_id,),
    ).fetchall()
    return [child_id for (child_id,) in rows]


# ------------------------------------------------------------------ listing
def list_ids(
    connection: Connection, where: RunFilter, after: Place | None, limit: int
) -> list[tuple[RunId, Micros]]:
    """The ids and creation instants of the runs that the filter lets through, newest first."""
    terms, values = _conditions(where)
    if after is not None:
        terms.append("(created_at, id) < (?, ?)")
        values += [after.created_at, after.run_id]
    condition = " AND ".join(terms) or "1"
    return connection.execute(
        f"SELECT id, created_at FROM stepflow_runs WHERE {condition} ORDER BY created_at DESC, id DESC LIMIT ?",  # noqa: S608 - fixed terms
        (*values, limit),
    ).fetchall()


def _conditions(where: RunFilter) -> tuple[list[str], list[Column]]:
    terms: list[str] = []
    values: list[Column] = []
    for column, value in (
        ("workflow_id = ?", where.workflow_id),
        ("queue = ?", where.queue),
        ("parent_id = ?", where.parent_id),
        ("created_at > ?", None if where.created_after is None else micros(where.created_after)),
        ("created_at < ?", None if where.created_before is None else micros(where.created_before)),
    ):
        if value is not None:
            terms.append(column)
            values.append(value)
    if where.statuses:
        terms.append(f"status IN ({', '.join('?' * len(where.statuses))})")
        values += sorted(where.statuses)
    for name, value in where.tags.items():
        # Not json_extract with a path: no path can name every key.
        terms.append("EXISTS (SELECT 1 FROM json_each(tags) t WHERE t.key = ? AND t.value = ?)")
        values += [name, value]
    return terms, values


def count_by_status(connection: Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT status, count(*) FROM stepflow_runs GROUP BY status"))


def oldest_unfinished(connection: Connection) -> tuple[RunId, int] | None:
    """The unfinished run with the smallest ``created_pos``, which keeps later events from being pruned."""
    row: tuple[RunId, int] | None = connection.execute(
        "SELECT id, created_pos FROM stepflow_runs WHERE ended_at IS NULL ORDER BY created_pos LIMIT 1"
    ).fetchone()
    return row


# ------------------------------------------------------------------ deleting
def prunable_ids(connection: Connection, ended_before: Micros, limit: int) -> list[RunId]:
    """Ended runs, the longest ended first, without those that a living parent may still ask for."""
    rows: list[tuple[RunId]] = connection.execute(
        """
        SELECT r.id FROM stepflow_runs r WHERE r.ended_at < ? AND NOT EXISTS (
            SELECT 1 FROM stepflow_runs p
            WHERE p.id = r.parent_id AND r.parent_detached = 0 AND p.ended_at IS NULL)
        ORDER BY r.ended_at, r.id LIMIT ?
        """,
        (ended_before, limit),
    ).fetchall()
    return [run_id for (run_id,) in rows]


def delete_runs(connection: Connection, run_ids: Iterable[RunId]) -> None:
    """Delete the runs with their inputs, journals, waits and the events addressed to them."""
    chosen = (_json(run_ids),)
    for table, column in (
        ("stepflow_inputs", "run_id"),
        ("stepflow_journal", "run_id"),
        ("stepflow_waits", "run_id"),
        ("stepflow_events", "run_id"),
        ("stepflow_runs", "id"),
    ):
        connection.execute(
            f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))",  # noqa: S608 - fixed names
            chosen,
        )


def _json(run_ids: Iterable[RunId]) -> str:
    return _ENCODER.encode(tuple(run_ids)).decode()
