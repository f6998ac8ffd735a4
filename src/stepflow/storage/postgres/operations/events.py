"""Events in PostgreSQL: one log by position, looked up by id, addressee and dedup id; and the waits for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from stepflow.model.events import Event, Wait
from stepflow.storage._sql.rows import EVENT_COLUMNS, EventRow, Micros, event_of
from stepflow.storage.postgres import bulk
from stepflow.storage.postgres.driver import Row
from stepflow.storage.postgres.link import Link
from stepflow.types import EventId, RunId

_COLUMNS = ", ".join(EVENT_COLUMNS)
WAIT_KEY: Final = ("event_id", "run_id")
_WANTED: Final = ("place", *WAIT_KEY, "after_pos")

# A row that is there is written: that locks it wherever this dialect is spoken, at any isolation level. See sending.py for its turn.
_LOCK_STREAMS = """
INSERT INTO @.streams (event_id, turn) SELECT v.event_id, 1 FROM unnest($1::text[]) AS v (event_id)
ON CONFLICT (event_id) DO UPDATE SET turn = streams.turn + 1
"""
KEPT_WAIT: Final = (
    "ON CONFLICT (event_id, run_id) DO UPDATE SET "
    "after_pos = excluded.after_pos, name = excluded.name, until_at = excluded.until_at"
)
"""A wait that is registered again replaces the former."""
_BY_DEDUP = f"""
SELECT e.* FROM {bulk.unnest(("event_id", "dedup_id"))},
    LATERAL (SELECT {_COLUMNS} FROM @.events x WHERE x.event_id = v.event_id AND x.dedup_id = v.dedup_id LIMIT 1) e
"""  # noqa: S608 - our columns
_FIRST = f"""
SELECT e.* FROM {bulk.unnest(WAIT_KEY)},
    LATERAL (
        (SELECT {_COLUMNS} FROM @.events x WHERE x.event_id = v.event_id AND v.run_id IS NULL AND x.run_id IS NULL ORDER BY x.pos LIMIT 1)
        UNION ALL
        (SELECT {_COLUMNS} FROM @.events x WHERE x.event_id = v.event_id AND x.run_id = v.run_id ORDER BY x.pos LIMIT 1)) e
"""  # noqa: S608 - our columns
_LATEST = f"""
SELECT v.event_id, v.run_id,
    (SELECT x.pos FROM @.events x WHERE x.event_id = v.event_id AND x.run_id IS NULL ORDER BY x.pos DESC LIMIT 1),
    (SELECT x.pos FROM @.events x WHERE x.event_id = v.event_id AND x.run_id = v.run_id ORDER BY x.pos DESC LIMIT 1)
FROM {bulk.unnest(WAIT_KEY)}
"""  # noqa: S608 - our columns
# Of a wait ``w``. Two seeks rather than one scan: thousands of events to others may share the id.
EACH = f"""LATERAL (SELECT u.* FROM (
    (SELECT {_COLUMNS} FROM @.events x WHERE x.event_id = w.event_id AND x.run_id IS NULL AND x.pos > w.after_pos
        ORDER BY x.pos LIMIT $1::bigint)
    UNION ALL
    (SELECT {_COLUMNS} FROM @.events x WHERE x.event_id = w.event_id AND x.run_id = w.run_id AND x.pos > w.after_pos
        ORDER BY x.pos LIMIT $1::bigint)) u ORDER BY u.pos LIMIT $1::bigint) e
"""  # noqa: S608 - our columns
_ELIGIBLE = f"""
SELECT w.place, e.* FROM (
    SELECT v.place, v.event_id, v.run_id, v.after_pos::bigint AS after_pos
    FROM {bulk.unnest(_WANTED, first=2)}) w, {EACH}
"""  # noqa: S608 - our columns
WAITED: Final = f"""(SELECT json_agg(json_build_array(e.pos, e.event_id, e.run_id, e.dedup_id, e.at, e.codec, e.payload::text))
    FROM @.waits w, {EACH} WHERE w.run_id = r.id)"""  # noqa: S608 - our columns
"""The events that the waits of a run ``r`` may have, at most ``$1`` a wait; ``waited_of`` reads them."""
_PRUNE = """
DELETE FROM @.events WHERE pos IN (
    SELECT pos FROM @.events WHERE at < $1::bigint AND ($2::bigint IS NULL OR pos < $2::bigint) ORDER BY pos LIMIT $3::bigint)
RETURNING 1
"""
# Whoever waits for a lock that is deleted under it makes the row anew.
_SWEEP_STREAMS = """
DELETE FROM @.streams WHERE event_id IN (
    SELECT s.event_id FROM @.streams s
    WHERE (SELECT x.pos FROM @.events x WHERE x.event_id = s.event_id LIMIT 1) IS NULL
        AND (SELECT w.run_id FROM @.waits w WHERE w.event_id = s.event_id LIMIT 1) IS NULL
    LIMIT $1::bigint FOR UPDATE SKIP LOCKED)
"""
_EVENT_ROWS = msgspec.json.Decoder(list[EventRow])
_RESERVE = "SELECT nextval('@.positions') FROM generate_series(1, $1::bigint)"
_PEEK = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM @.positions"


# ------------------------------------------------------------------ the streams' locks and the sequence
async def lock_streams(link: Link, event_ids: Collection[EventId]) -> None:
    """From now until the commit nobody else sends these events or begins to wait for them. Look in a later statement."""
    await link.fetch(_LOCK_STREAMS, sorted(event_ids))


async def reserve(link: Link, count: int) -> list[int]:
    """The next numbers of the sequence. They are in the order of the commits, if the streams' locks are held."""
    return [row[0] for row in await link.fetch(_RESERVE, count)]


async def peek(link: Link) -> int:
    """The last number that was given out."""
    last: int = (await link.fetch(_PEEK))[0][0]
    return last


# ------------------------------------------------------------------ events
async def find_by_dedup(
    link: Link, wanted: Collection[tuple[EventId, str]]
) -> dict[tuple[EventId, str], Event]:
    rows = await link.fetch(_BY_DEDUP, *bulk.arrays(wanted, ("event_id", "dedup_id")))
    found = [_event(row) for row in rows]
    return {(event.event_id, event.dedup_id or ""): event for event in found}


async def find_first(
    link: Link, wanted: Collection[tuple[EventId, RunId | None]]
) -> dict[tuple[EventId, RunId | None], Event]:
    """For each id and address the first event with exactly these."""
    rows = await link.fetch(_FIRST, *bulk.arrays(wanted, WAIT_KEY))
    return {(row[1], row[2]): _event(row) for row in rows}


async def find_latest(
    link: Link, wanted: Collection[tuple[EventId, RunId]]
) -> dict[tuple[EventId, RunId], tuple[int, int]]:
    """For each id and run the positions of the last event to all and of the last one to this run; 0 for none."""
    rows = await link.fetch(_LATEST, *bulk.arrays(wanted, WAIT_KEY))
    return {(row[0], row[1]): (row[2] or 0, row[3] or 0) for row in rows}


async def read_eligible(link: Link, waits: Sequence[tuple[RunId, Wait]], limit: int) -> list[list[Event]]:
    """For each wait the events that it may have, by position."""
    found: list[list[Event]] = [[] for _ in waits]
    wanted = [(place, wait.event_id, run_id, wait.after) for place, (run_id, wait) in enumerate(waits)]
    for row in await link.fetch(_ELIGIBLE, limit, *bulk.arrays(wanted, _WANTED)):
        found[int(row[0])].append(_event(tuple(row)[1:]))
    for log in found:
        log.sort(key=_pos)
    return found


def waited_of(text: str | None) -> list[Event]:
    """What ``WAITED`` gave, by position."""
    rows = _EVENT_ROWS.decode(text) if text else []
    return sorted((_event(row) for row in rows), key=_pos)


async def count_events(link: Link) -> int:
    count: int = (await link.fetch("SELECT count(*) FROM @.events"))[0][0]
    return count


async def prune(link: Link, before: Micros, floor: int | None, limit: int) -> int:
    """Delete events older than an instant and before the position ``floor`` if there is one, and locks that nobody needs."""
    gone = len(await link.fetch(_PRUNE, before, floor, limit))
    await link.fetch(_SWEEP_STREAMS, limit)
    return gone


def _event(row: Row | EventRow) -> Event:
    stored = row if isinstance(row, EventRow) else EventRow(*row)
    if stored.dedup_id is not None:
        stored = replace(stored, dedup_id=bulk.restored(stored.dedup_id))
    return event_of(stored)


def _pos(event: Event) -> int:
    return event.pos
