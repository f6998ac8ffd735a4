"""Quick writes: those that need no look at anything shared, as one statement that is its own transaction: one round trip.

Quick are: a commit that only appends its journal row; one that also ends a run without family, or suspends one without waits and
requests; and a new run. Each row is inserted only if the run is the writer's and the row the next one; whoever changes a run's owner appends a row, so
of two writers of a place the primary key lets one win. What did not go in is decided again with a look, under locks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace

from stepflow.model.runs import NewRun
from stepflow.model.states import RunStatus
from stepflow.storage._rules.journal import is_plain
from stepflow.storage._rules.records import state_of
from stepflow.storage._sql.rows import RUN_COLUMNS, Column, json_text, micros, micros_or_none, run_columns
from stepflow.storage.postgres import bulk
from stepflow.storage.postgres.driver import Row
from stepflow.storage.postgres.link import Link
from stepflow.storage.writes import (
    Cancel,
    CommitRun,
    Committed,
    Complete,
    ControlRun,
    Created,
    CreateRun,
    Fail,
    Outcome,
    SendEvent,
    Suspend,
    Transition,
    Write,
)
from stepflow.types import RunId

FEW: Final = 8
"""Writes that are not worth a transaction beside the one that their neighbours need."""

_COMMITTED: Final = Committed()
_MOVES = (Complete, Fail, Cancel, Suspend)
_ENCODER = msgspec.json.Encoder()

_ROW = ("run_id", "seq", "writer", "write_id", "entries")
_MOVE = (*_ROW, "status", "due_at", "ended_at", "output_codec", "output", "failure")
_VARYING: Final = tuple(
    column
    for column in RUN_COLUMNS[: RUN_COLUMNS.index("attempt")]
    if column not in ("created_pos", "not_before")
)
"""The columns of a new run that are not alike in all new runs."""
_VARYING_PLACES: Final = tuple(RUN_COLUMNS.index(column) for column in _VARYING)
_CREATE = (*_VARYING, "started_at", "codec", "input", "writer", "write_id", "entries")

_IS_NEXT = (
    "(SELECT p.seq FROM @.journal p WHERE p.run_id = v.run_id AND p.seq = v.seq::bigint - 1) IS NOT NULL"
)
_VALUES = "v.run_id, v.seq::bigint, v.writer, v.write_id, v.entries::json"
_OWNED = f"""
    SELECT {_VALUES} FROM {bulk.unnest(_ROW)}
    WHERE (SELECT r.worker FROM @.runs r WHERE r.id = v.run_id) = v.writer AND {_IS_NEXT}
"""  # noqa: S608 - our columns
_JOURNAL = "INSERT INTO @.journal (run_id, seq, writer, write_id, entries)"
_IGNORE = "ON CONFLICT DO NOTHING RETURNING run_id"
_REPORT = "(SELECT count(*) FROM appended), (SELECT CASE WHEN count(*) < $%d::bigint THEN array_agg(run_id) END FROM appended)"

PLAIN: Final = f"""
WITH appended AS ({_JOURNAL} {_OWNED} {_IGNORE})
SELECT {_REPORT % 6}
"""

# The runs that move are locked by id before anything is inserted: the count makes the whole of them come first. A subquery that
# locks is not merged with the rest, so each is found by its key, whatever the planner believes about the tables; and not by its
# worker, who may have thousands: for IS NOT DISTINCT FROM there is no index.
_MOVING: Final = f"""
moving AS MATERIALIZED (
    SELECT v.* FROM {bulk.unnest(_MOVE, first=6)}, LATERAL (
        SELECT r.id FROM @.runs r WHERE r.id = v.run_id AND r.worker IS NOT DISTINCT FROM v.writer
            AND CASE WHEN v.status = 'suspended' THEN r.cancel <> 1 AND r.pause = 0
                ELSE r.parent_id IS NULL OR r.parent_detached = 1 END
        FOR UPDATE) own
    WHERE {_IS_NEXT}
        AND (v.status <> 'suspended' OR (SELECT w.run_id FROM @.waits w WHERE w.run_id = v.run_id LIMIT 1) IS NULL)
        AND (v.status = 'suspended' OR (SELECT c.id FROM @.runs c
            WHERE c.parent_id = v.run_id AND c.ended_at IS NULL AND c.parent_detached = 0 LIMIT 1) IS NULL)),
"""  # noqa: S608 - our columns
_MOVED: Final = """
moved AS (
    UPDATE @.runs AS t SET status = m.status, worker = NULL, due_at = m.due_at::bigint, ended_at = m.ended_at::bigint,
        output_codec = m.output_codec, output = m.output::json, failure = m.failure::json, not_before = NULL,
        pause_reason = CASE WHEN m.ended_at IS NULL THEN t.pause_reason END,
        pause_detail = CASE WHEN m.ended_at IS NULL THEN t.pause_detail ELSE '' END,
        cancel = CASE WHEN m.ended_at IS NULL THEN t.cancel ELSE 0 END,
        pause = CASE WHEN m.ended_at IS NULL THEN t.pause ELSE 0 END
    FROM moving m WHERE t.id = m.run_id AND (m.run_id IN (SELECT run_id FROM appended)) IS TRUE),
unwaited AS (
    DELETE FROM @.waits AS w USING moving m
    WHERE w.run_id = m.run_id AND m.ended_at IS NOT NULL AND (m.run_id IN (SELECT run_id FROM appended)) IS TRUE)
"""
_ALL_LOCKED = "(SELECT count(*) FROM moving) >= 0"

MOVES: Final = f"""
WITH {_MOVING}
appended AS ({_JOURNAL}
    SELECT {_VALUES} FROM moving v WHERE {_ALL_LOCKED}
    UNION ALL {_OWNED} AND {_ALL_LOCKED}
    {_IGNORE}),
{_MOVED}
SELECT {_REPORT % 17}
"""  # noqa: S608 - our columns

_FIXED = {"created_pos": "nextval('@.positions')", "not_before": "NULL", "attempt": "1", "first_seq": "1", "cancel": "0", "pause": "0",
    "pause_reason": "NULL", "pause_detail": "''", "started_at": "v.started_at::bigint", "ended_at": "NULL",
    "output_codec": "NULL", "output": "NULL", "failure": "NULL"}  # fmt: skip
_RUN_VALUES: Final = ", ".join(_FIXED.get(column) or bulk.cast(column) for column in RUN_COLUMNS)
_GIVEN: Final = bulk.unnest(_CREATE, first=17)
_IS_CREATED = "(v.id IN (SELECT id FROM created)) IS TRUE"

EVERYTHING: Final = f"""
WITH {_MOVING}
created AS (INSERT INTO @.runs ({", ".join(RUN_COLUMNS)})
    SELECT {_RUN_VALUES} FROM {_GIVEN}
    WHERE (SELECT r.id FROM @.runs r WHERE r.id = v.id) IS NULL
        AND (SELECT k.id FROM @.runs k WHERE k.idempotency_key = v.idempotency_key) IS NULL AND {_ALL_LOCKED}
    ON CONFLICT DO NOTHING RETURNING id, created_pos),
inputs AS (INSERT INTO @.inputs (run_id, codec, input)
    SELECT v.id, v.codec, v.input::json FROM {_GIVEN} WHERE {_IS_CREATED}
    ON CONFLICT (run_id) DO UPDATE SET codec = excluded.codec, input = excluded.input),
left_over AS (DELETE FROM @.journal WHERE run_id IN (SELECT id FROM created) AND seq > 1),
appended AS ({_JOURNAL}
    SELECT {_VALUES} FROM moving v WHERE {_ALL_LOCKED}
    UNION ALL {_OWNED} AND {_ALL_LOCKED}
    UNION ALL SELECT v.id, 1, v.writer, v.write_id, v.entries::json FROM {_GIVEN} WHERE v.entries IS NOT NULL AND {_IS_CREATED}
    {_IGNORE}),
{_MOVED}
SELECT {_REPORT % (17 + len(_CREATE))}, (SELECT array_agg(id) FROM created), (SELECT array_agg(created_pos::text) FROM created)
"""  # noqa: S608 - our columns


class Split(msgspec.Struct, frozen=True):
    """A batch in two: places of quick writes, and of those that have to look."""

    quick: list[int]
    rest: list[int]


class Done(msgspec.Struct):
    """What became of quick writes, by place; those that did not go in are missing."""

    outcomes: dict[int, Outcome] = {}
    ready: set[str] = set()
    changed: set[RunId] = set()


# ------------------------------------------------------------------ which
def split(batch: Sequence[Write]) -> Split:
    """Which writes may be quick: none that another write of the batch also concerns, as their order would count."""
    quick: list[int] = []
    rest: list[int] = []
    seen: set[str] = set()
    twice: set[str] = set()
    numbered = False
    for place, write in enumerate(batch):
        is_quick = _is_quick(write)
        (quick if is_quick else rest).append(place)
        numbered = numbered or not (is_quick or isinstance(write, ControlRun))
        for name in _concerned(write):
            (twice if name in seen else seen).add(name)
    if not rest and not twice:
        return Split(quick, rest)
    if twice or rest:
        quick = [
            place
            for place in quick
            # A new run's number tells which events it may see: it takes its turn among them.
            if not (numbered and isinstance(batch[place], CreateRun))
            and twice.isdisjoint(_concerned(batch[place]))
        ]
    if len(quick) < FEW:
        return Split([], list(range(len(batch))))
    chosen = set(quick)
    return Split(quick, [place for place in range(len(batch)) if place not in chosen])


def _is_quick(write: Write) -> bool:
    if isinstance(write, CommitRun):
        if write.transition is None:
            return is_plain(write)
        return isinstance(write.transition, _MOVES) and is_plain(_without_move(write))
    return isinstance(write, CreateRun) and (write.commit is None or is_plain(write.commit))


def _without_move(write: CommitRun) -> CommitRun:
    # Whoever ends waits for nothing any more, whatever else the commit says of that.
    unwaits = write.unwaits if isinstance(write.transition, Suspend) else ()
    return replace(write, transition=None, unwaits=unwaits)


def _concerned(write: Write) -> Sequence[str]:
    """The runs and keys that a write names."""
    match write:
        case CommitRun():
            if not (write.creates or write.cancels or write.sends):
                return (write.run_id,)
            named = [write.run_id, *write.cancels]
            for run in write.creates:
                named += _names(run)
            named += [event.run_id for event in write.sends if event.run_id is not None]
            return list(dict.fromkeys(named))
        case CreateRun(run=run, commit=commit):
            return list(dict.fromkeys([*_names(run), *(() if commit is None else _concerned(commit))]))
        case ControlRun(run_id=run_id):
            return (run_id,)
        case SendEvent(event=event):
            return () if event.run_id is None else (event.run_id,)


def _names(run: NewRun) -> list[str]:
    return [run.id] if run.idempotency_key is None else [run.id, f"key {run.idempotency_key}"]


# ------------------------------------------------------------------ writing
async def write_quickly(
    link: Link, batch: Sequence[Write], places: Sequence[int], encoded: Mapping[int, str], now: datetime
) -> Done:
    """Do quick writes, none of which concerns what another one does."""
    plain: list[tuple[Column, ...]] = []
    moves: list[tuple[Column, ...]] = []
    creates: list[tuple[Column, ...]] = []
    for place in places:
        write = batch[place]
        if isinstance(write, CommitRun):
            row = _row(write, encoded)
            if write.transition is None:
                plain.append(row)
            else:
                moves.append((*row, *_move(write.transition, now)))
        elif isinstance(write, CreateRun):
            creates.append(_create(write, encoded))
    # In the order of their ids: so do all who lock runs or insert rows.
    plain.sort(key=_run_id)
    moves.sort(key=_run_id)
    rows = len(plain) + len(moves) + sum(1 for create in creates if create[-1] is not None)
    arguments: list[object] = [*bulk.arrays(plain, _ROW)]
    statement = PLAIN
    if moves or creates:
        statement = MOVES
        arguments += bulk.arrays(moves, _MOVE)
    if creates:
        statement = EVERYTHING
        arguments += bulk.arrays(creates, _CREATE)
    (report,) = await link.fetch(statement, *arguments, rows)
    return _done(batch, places, report, rows)


def _row(write: CommitRun, encoded: Mapping[int, str]) -> tuple[Column, ...]:
    return write.run_id, str(write.seq), write.writer, write.write_id, encoded[id(write.entries)]


def _move(transition: Transition, now: datetime) -> tuple[Column, ...]:
    """Status, due and end instants, output and failure after a transition."""
    match transition:
        case Suspend(wake_at=wake_at):
            return RunStatus.SUSPENDED.value, micros_or_none(wake_at), None, None, None, None
        case Complete(output=output):
            return RunStatus.COMPLETED.value, None, micros(now), output.codec, json_text(output), None
        case Fail(failure=failure):
            return RunStatus.FAILED.value, None, micros(now), None, None, _ENCODER.encode(failure).decode()
        case _:
            return RunStatus.CANCELLED.value, None, micros(now), None, None, None


def _create(write: CreateRun, encoded: Mapping[int, str]) -> tuple[Column, ...]:
    run = state_of(write.run, created_pos=0)
    first = write.commit
    rest: tuple[Column, ...] = (None, None, None)
    started_at = None
    if first is not None:
        run.status, run.worker, run.due_at = RunStatus.RUNNING, first.writer, None
        started_at = micros(first.entries[0].at)
        rest = (first.writer, first.write_id, encoded[id(first.entries)])
    columns = run_columns(run)
    value = write.run.input
    return (*[columns[place] for place in _VARYING_PLACES], started_at, value.codec, json_text(value), *rest)


def _done(batch: Sequence[Write], places: Sequence[int], report: Row, rows: int) -> Done:
    done = Done()
    complete = report[0] == rows
    appended: set[RunId] = set() if complete else set(report[1] or ())
    created: dict[RunId, str] = {}
    if len(report) > 2:
        created.update(zip(report[2] or (), report[3] or (), strict=True))
    for place in places:
        write = batch[place]
        if isinstance(write, CommitRun):
            if complete or write.run_id in appended:
                done.outcomes[place] = _COMMITTED
                if write.transition is not None:
                    done.changed.add(write.run_id)
        elif isinstance(write, CreateRun) and write.run.id in created:
            run_id, pos = write.run.id, int(created[write.run.id])
            if write.commit is None:
                done.outcomes[place] = Created(run_id=run_id, created_pos=pos)
                done.ready.add(write.run.queue)
            elif complete or run_id in appended:
                done.outcomes[place] = Created(run_id=run_id, created_pos=pos, committed=_COMMITTED)
    return done


def _run_id(row: tuple[Column, ...]) -> str:
    return str(row[0])
