"""Parts: a server sends so much at once and no more; what is more is asked for again in halves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from stepflow.model.events import Event, Wait
from stepflow.model.runs import RunRecord
from stepflow.storage._rules.records import Work
from stepflow.storage.libsql.errors import AnswerTooLarge
from stepflow.storage.libsql.reading import read_events, read_records
from stepflow.storage.libsql.session import Session
from stepflow.storage.libsql.working_set import decide
from stepflow.storage.writes import Action, ControlRun, Outcome, Write
from stepflow.types import RunId


def parts_of(batch: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """The batch, cut after each deletion: what is gone must be gone before others look for it."""
    begin = 0
    for place, write in enumerate(batch, start=1):
        if isinstance(write, ControlRun) and write.action is Action.DELETE:
            yield batch[begin:place]
            begin = place
    if begin < len(batch):
        yield batch[begin:]


async def decisions_of(
    session: Session, batch: Sequence[Write], encoded: Mapping[int, str], now: datetime
) -> AsyncIterator[tuple[list[Outcome], Work]]:
    """Decide the writes in order, in as few transactions as the server's answers allow; each is durable when it is given."""
    try:
        decided = await session.write(lambda transcript: decide(transcript, batch, encoded, now))
    except AnswerTooLarge:
        if len(batch) == 1:
            raise
    else:
        yield decided
        return
    middle = len(batch) // 2
    for half in (batch[:middle], batch[middle:]):
        async for decided in decisions_of(session, half, encoded, now):
            yield decided


async def records_of(session: Session, run_ids: Sequence[RunId]) -> list[RunRecord]:
    """Those of the runs that exist, in the order of the ids."""
    try:
        return await session.read(lambda transcript: read_records(transcript, run_ids))
    except AnswerTooLarge:
        if len(run_ids) == 1:
            raise
    middle = len(run_ids) // 2
    return [
        *await records_of(session, run_ids[:middle]),
        *await records_of(session, run_ids[middle:]),
    ]


async def events_of(
    session: Session, waits: Sequence[tuple[RunId, Wait]], limit: int
) -> Sequence[Sequence[Event]]:
    """For each wait the events that it may have, by position."""
    try:
        return await session.read(lambda transcript: read_events(transcript, waits, limit))
    except AnswerTooLarge:
        return [await _events_of_one(session, run_id, wait, limit) for run_id, wait in waits]


async def _events_of_one(session: Session, run_id: RunId, wait: Wait, limit: int) -> Sequence[Event]:
    try:
        (found,) = await session.read(lambda transcript: read_events(transcript, [(run_id, wait)], limit))
    except AnswerTooLarge:
        if limit == 1:
            raise
    else:
        return found
    half = limit // 2
    first = await _events_of_one(session, run_id, wait, half)
    if len(first) < half:
        return first
    later = replace(wait, after=first[-1].pos)
    return [*first, *await _events_of_one(session, run_id, later, limit - half)]
