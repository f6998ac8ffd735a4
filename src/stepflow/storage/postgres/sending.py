"""Sending: an event that comes alone, as one statement that is its own transaction: one round trip.

The statement locks the event's stream and looks with the snapshot that it began with, which is older than the lock. So whoever locks
a stream counts its ``turn`` up: if there was a turn that the snapshot does not know, somebody may have begun to wait meanwhile,
nothing is sent, and the event is decided again in a transaction that locks, then looks. The runs that wait are locked before the event
goes in, as there: a run that suspends at the same time either is seen as suspended, or sees the event.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from stepflow.model.events import NewEvent
from stepflow.model.states import RunStatus
from stepflow.storage._sql.rows import json_text, micros
from stepflow.storage.postgres import bulk
from stepflow.storage.postgres.link import Link
from stepflow.storage.writes import Sent
from stepflow.types import RunId

# $1 event id, $2 addressee, $3 dedup id, $4 now, $5 codec, $6 payload. The counts make one part come before another.
_SEND: Final = """
WITH stream AS (
    INSERT INTO @.streams (event_id, turn) VALUES ($1, 1)
    ON CONFLICT (event_id) DO UPDATE SET turn = streams.turn + 1 RETURNING turn),
new AS MATERIALIZED (
    SELECT s.turn FROM stream s
    WHERE s.turn = 1 + coalesce((SELECT o.turn FROM @.streams o WHERE o.event_id = $1), 0)
        AND (SELECT x.pos FROM @.events x WHERE x.event_id = $1 AND x.dedup_id = $3 LIMIT 1) IS NULL),
concerned AS MATERIALIZED (
    SELECT r.id, r.status, r.queue, r.ended_at FROM @.runs r
    WHERE (SELECT count(*) FROM new) = 1 AND r.id IN (
        SELECT w.run_id FROM @.waits w WHERE w.event_id = $1 AND ($2::text IS NULL OR w.run_id = $2) UNION SELECT $2)
    ORDER BY r.id FOR UPDATE OF r),
sent AS (
    INSERT INTO @.events (pos, event_id, run_id, dedup_id, at, codec, payload)
    SELECT nextval('@.positions'), $1, $2, $3, $4::bigint, $5, $6::json FROM new
    WHERE (SELECT count(*) FROM concerned) >= 0
        AND ($2 IS NULL OR (SELECT c.id FROM concerned c WHERE c.id = $2 AND c.ended_at IS NULL) IS NOT NULL)
    RETURNING pos),
woken AS MATERIALIZED (
    SELECT c.id, c.status, c.queue FROM sent s, concerned c
    WHERE c.status IN ('suspended', 'running')
        AND (SELECT w.after_pos FROM @.waits w WHERE w.event_id = $1 AND w.run_id = c.id) < s.pos),
queued AS (
    UPDATE @.runs AS t SET status = 'queued', due_at = $4, worker = NULL
    FROM woken k WHERE t.id = k.id AND k.status = 'suspended')
SELECT (SELECT pos FROM sent), (SELECT json_agg(json_build_array(k.id, k.queue, k.status)) FROM woken k)
"""

_WOKEN: Final = msgspec.json.Decoder(list[tuple[str, str, str]])


class Delivered(msgspec.Struct, frozen=True):
    """What became of the event, and whom to tell."""

    outcome: Sent
    ready: set[str]
    changed: set[RunId]


async def send_alone(link: Link, event: NewEvent, now: datetime) -> Delivered | None:
    """Send it; None if it needs a closer look: it was there already, it can't be delivered, or somebody was faster."""
    dedup_id = None if event.dedup_id is None else bulk.storable(event.dedup_id)
    payload = event.payload
    ((pos, woken),) = await link.fetch(
        _SEND, event.event_id, event.run_id, dedup_id, micros(now), payload.codec, json_text(payload)
    )
    if pos is None:
        return None
    runs = sorted(_WOKEN.decode(woken)) if woken else []
    return Delivered(
        outcome=Sent(pos=pos, woken=tuple(run_id for run_id, _, _ in runs)),
        ready={queue for _, queue, status in runs if status == RunStatus.SUSPENDED},
        changed={run_id for run_id, _, _ in runs},
    )
