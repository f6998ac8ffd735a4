"""Events in SQLite: one log by position, looked up by id, addressee and dedup id; and the waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from stepflow.model.events import Event, Wait
from stepflow.storage._sql.connection import Connection, Cursor
from stepflow.storage._sql.rows import EVENT_COLUMNS, WAIT_COLUMNS, EventRow, Micros, event_of
from stepflow.storage.sqlite.bulk import delete, insert
from stepflow.storage.sqlite.connection import fetch_json
from stepflow.types import EventId, RunId

APPEND_EVENTS: Final = insert("stepflow_events", EVENT_COLUMNS)
SET_WAITS: Final = insert(
    "stepflow_waits",
    WAIT_COLUMNS,
    "ON CONFLICT (event_id, run_id) DO UPDATE SET "
    "after_pos = excluded.after_pos, name = excluded.name, until_at = excluded.until_at",
)
DROP_WAITS: Final = delete("stepflow_waits", ("event_id", "run_id"))

_COLUMNS = ", ".join(EVENT_COLUMNS)
_FIRST_FOR_ALL = (
    f"SELECT {_COLUMNS} FROM stepflow_events WHERE event_id = ? AND run_id IS NULL ORDER BY pos LIMIT 1"  # noqa: S608 - our columns
)
_FIRST_FOR_RUN = (
    f"SELECT {_COLUMNS} FROM stepflow_events WHERE event_id = ? AND run_id = ? ORDER BY pos LIMIT 1"  # noqa: S608 - our columns
)
_BY_DEDUP = f"SELECT {_COLUMNS} FROM stepflow_events WHERE event_id = ? AND dedup_id = ?"  # noqa: S608 - our columns
# Two seeks rather than one scan: thousands of events to others may share the id.
_ELIGIBLE = f"""
SELECT {_COLUMNS} FROM (
    SELECT * FROM (SELECT {_COLUMNS} FROM stepflow_events
        WHERE event_id = :id AND run_id IS NULL AND pos > :after ORDER BY pos LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT {_COLUMNS} FROM stepflow_events
        WHERE event_id = :id AND run_id = :run AND pos > :after ORDER BY pos LIMIT :limit))
ORDER BY pos LIMIT :limit
"""  # noqa: S608 - our columns
_HAS = """
SELECT EXISTS (SELECT 1 FROM stepflow_events WHERE event_id = :id AND run_id IS NULL AND pos > :after)
    OR EXISTS (SELECT 1 FROM stepflow_events WHERE event_id = :id AND run_id = :run AND pos > :after)
"""
_WAITED_AT_ONCE = 32
"""Runs whose events are fetched as one text, the large payloads left out."""

_SMALL_COLUMNS = ", ".join(
    "CASE WHEN length(v.payload) <= 16384 THEN v.payload ELSE '' END"
    if column == "payload"
    else f"v.{column}"
    for column in EVENT_COLUMNS
)
_PER_WAIT = """
SELECT pos FROM (
    SELECT * FROM (SELECT pos FROM stepflow_events e
        WHERE e.event_id = w.event_id AND e.run_id IS NULL AND e.pos > w.after_pos ORDER BY pos LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT pos FROM stepflow_events e
        WHERE e.event_id = w.event_id AND e.run_id = w.run_id AND e.pos > w.after_pos ORDER BY pos LIMIT :limit))
ORDER BY pos LIMIT :limit
"""
_WAITED = f"""
SELECT json_group_array(json_array(w.run_id, json_array({_SMALL_COLUMNS})))
FROM json_each(:runs) r
JOIN stepflow_waits w ON w.run_id = r.value
JOIN stepflow_events v ON v.pos IN ({_PER_WAIT})
"""  # noqa: S608 - our columns
_WAITING = """
SELECT json_group_array(json_array(event_id, run_id, after_pos)) FROM stepflow_waits
WHERE event_id IN (SELECT value FROM json_each(?))
"""


class Waiting(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One run's interest in an event id."""

    event_id: EventId
    run_id: RunId
    after: int


class Waited(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An event that a run's registered wait may have."""

    run_id: RunId
    event: EventRow


_WAITED_ROWS = msgspec.json.Decoder(list[Waited])
_WAITING_ROWS = msgspec.json.Decoder(list[Waiting])


# ------------------------------------------------------------------ events
def find_by_dedup(connection: Connection, event_id: EventId, dedup_id: str) -> Event | None:
    return _one(connection.execute(_BY_DEDUP, (event_id, dedup_id)))


def find_first(connection: Connection, event_id: EventId, run_id: RunId | None) -> Event | None:
    """The first event with exactly this address."""
    if run_id is None:
        return _one(connection.execute(_FIRST_FOR_ALL, (event_id,)))
    return _one(connection.execute(_FIRST_FOR_RUN, (event_id, run_id)))


def has_event(connection: Connection, event_id: EventId, run_id: RunId, after: int) -> bool:
    """Whether an event after that position is for all or for this run."""
    row: tuple[int] = connection.execute(_HAS, {"id": event_id, "run": run_id, "after": after}).fetchone()
    return bool(row[0])


def read_eligible(connection: Connection, run_id: RunId, wait: Wait, limit: int) -> list[Event]:
    """The events that the wait may have, by position."""
    rows = connection.execute(
        _ELIGIBLE, {"id": wait.event_id, "run": run_id, "after": wait.after, "limit": limit}
    ).fetchall()
    return [event_of(EventRow(*row)) for row in rows]


def read_waited(connection: Connection, run_ids: Sequence[RunId], limit: int) -> dict[RunId, list[Event]]:
    """For each run the events that its registered waits may have, by position; at most ``limit`` a wait."""
    found: dict[RunId, list[Event]] = {}
    for start in range(0, len(run_ids), _WAITED_AT_ONCE):
        for waited in read_small_waited(connection, run_ids[start : start + _WAITED_AT_ONCE], limit):
            event = waited.event if waited.event.payload else read_whole(connection, waited.event.pos)
            found.setdefault(waited.run_id, []).append(event_of(event))
    for log in found.values():
        log.sort(key=_pos)
    return found


def read_small_waited(connection: Connection, run_ids: Sequence[RunId], limit: int) -> list[Waited]:
    """The same in no order, and for a large event an empty payload."""
    wanted = msgspec.json.encode(run_ids).decode()
    row: tuple[str] = connection.execute(_WAITED, {"runs": wanted, "limit": limit}).fetchone()
    return _WAITED_ROWS.decode(row[0])


def read_whole(connection: Connection, pos: int) -> EventRow:
    """The event with its payload, however large."""
    return EventRow(
        *connection.execute(f"SELECT {_COLUMNS} FROM stepflow_events WHERE pos = ?", (pos,)).fetchone()  # noqa: S608 - our columns
    )


def _pos(event: Event) -> int:
    return event.pos


def count_events(connection: Connection) -> int:
    row: tuple[int] = connection.execute("SELECT count(*) FROM stepflow_events").fetchone()
    return row[0]


def prune_events(connection: Connection, before: Micros, floor: int | None, limit: int) -> int:
    """Delete events older than an instant, and before the position ``floor`` if there is one."""
    doomed: list[tuple[int]] = connection.execute(
        "SELECT pos FROM stepflow_events WHERE at < ? AND (? IS NULL OR pos < ?) ORDER BY pos LIMIT ?",
        (before, floor, floor, limit),
    ).fetchall()
    positions = msgspec.json.encode([pos for (pos,) in doomed]).decode()
    connection.execute(
        "DELETE FROM stepflow_events WHERE pos IN (SELECT value FROM json_each(?))", (positions,)
    )
    return len(doomed)


def last_pos(connection: Connection) -> int:
    row: tuple[int] = connection.execute("SELECT last_pos FROM stepflow_sequence").fetchone()
    return row[0]


def set_last_pos(connection: Connection, pos: int) -> None:
    connection.execute("UPDATE stepflow_sequence SET last_pos = ?", (pos,))


# ------------------------------------------------------------------ waits
def load_waiting(connection: Connection, event_ids: Iterable[EventId]) -> list[Waiting]:
    """Who waits for any of the ids."""
    wanted = msgspec.json.encode(tuple(event_ids)).decode()
    return fetch_json(connection, _WAITING, (wanted,), _WAITING_ROWS)


def _one(cursor: Cursor) -> Event | None:
    row = cursor.fetchone()
    return None if row is None else event_of(EventRow(*row))
