"""Streams: one run, or several on one connection, as they go on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

from stepflow.errors import InputError
from stepflow.http.call import Call
from stepflow.http.inputs import one
from stepflow.http.messages import Answer, Response, StreamingResponse
from stepflow.http.streaming import Reading
from stepflow.model.ids import check_run_id
from stepflow.types import RunId
from stepflow.wire.sse import MEDIA_TYPE
from stepflow.wire.streams import Position, parse_cursor, parse_positions

MOST_RUNS = 100
_RETRY = 1_000
_HEADERS = (("Content-Type", MEDIA_TYPE), ("X-Accel-Buffering", "no"))


async def stream_run(call: Call, heartbeat: timedelta, counted: AbstractContextManager[None]) -> Answer:
    """Its ids are places in the run's journal."""
    cursor = _cursor(call)
    positions = None if cursor is None else {call.run_id: parse_cursor(cursor)}
    return await _answer(call, [call.run_id], positions, heartbeat, counted, several=False)


async def stream_runs(call: Call, heartbeat: timedelta, counted: AbstractContextManager[None]) -> Answer:
    """Its ids are opaque, and hold a place in the journal of each run."""
    run_ids = list(dict.fromkeys(call.query.get("runId", ())))
    if not 0 < len(run_ids) <= MOST_RUNS:
        raise InputError(f"name the runs to stream: runId=…&runId=…, at most {MOST_RUNS}")
    cursor = _cursor(call)
    positions = None if cursor is None else parse_positions(cursor, run_ids)
    unknown = cursor is not None and positions is None
    return await _answer(call, run_ids, positions, heartbeat, counted, several=True, reset=unknown)


def _cursor(call: Call) -> str | None:
    """The header that a browser sends when it reconnects goes before the query that it began with."""
    header = call.request.headers.get("last-event-id")
    return header or one(call.query, "lastEventId")


async def _answer(
    call: Call,
    run_ids: Sequence[RunId],
    positions: dict[RunId, Position] | None,
    heartbeat: timedelta,
    counted: AbstractContextManager[None],
    *,
    several: bool,
    reset: bool = False,
) -> Answer:
    for run_id in run_ids:
        await call.lookout.record(
            check_run_id(run_id)
        )  # one that does not exist is told before the stream begins
    reading = Reading(
        call.lookout,
        run_ids,
        positions,
        call.view,
        call.who,
        several=several,
        heartbeat=heartbeat,
        reset=reset,
    )
    if positions is not None and await reading.is_over():
        return Response(status=204)
    return StreamingResponse(
        status=200,
        headers=_HEADERS,
        frames=reading.frames(counted),
        # Of many readers who are cut off together, not all come back in the same moment.
        retry=_RETRY + call.service.clock.now().microsecond % 1000,
    )
