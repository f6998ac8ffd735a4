"""Untold claims: a claim was made, and its answer got lost. The runs are the worker's, and it must learn that.

Nobody else would ever take them: their owner lives, and renews its lease. So after a claim that failed the worker's next one
looks among its own runs for those that were taken by just that call, which it knows by the instant in their ``Claimed`` entry. It
looks once more when a request that was on its way still can't be carried out any more.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from stepflow.errors import StorageError
from stepflow.model.events import Event
from stepflow.model.journal import Claimed, JournalRow
from stepflow.model.runs import RunRecord
from stepflow.storage._rules.claims import CLAIM_EVENTS_LIMIT, is_claim
from stepflow.storage.base import Storage
from stepflow.storage.writes import Claim
from stepflow.types import RunId, WorkerId

SETTLED: Final = timedelta(seconds=60)
"""After which nothing of a lost connection is still on its way: more than any call's time-out."""

_AT_ONCE = 32
_POS = operator.attrgetter("pos")


@dataclass(slots=True)
class _Lost:
    """A worker's calls of which no answer came."""

    instants: set[datetime] = field(default_factory=set[datetime])
    told: set[tuple[RunId, int]] = field(default_factory=set[tuple[RunId, int]])
    """What it has got since, by run and seq: a later look must not find it again."""
    settles_at: datetime | None = None
    """When to look for the last time; None if nobody has looked yet."""


class UntoldClaims:
    """Makes claims, and finds again what lost ones have taken."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lost: dict[WorkerId, _Lost] = {}

    async def claim(
        self,
        worker: WorkerId,
        *,
        known: Mapping[RunId, int],
        now: datetime,
        take: Callable[[], Awaitable[Sequence[Claim]]],
    ) -> Sequence[Claim]:
        """What was taken before without the worker's knowledge; else what ``take`` takes."""
        lost = self._lost.get(worker)
        if lost is not None:
            found = await self._find(worker, lost, known, now)
            if found:
                return found
        try:
            taken = await take()
        except (StorageError, asyncio.CancelledError):
            lost = self._lost.setdefault(worker, _Lost())
            lost.instants.add(now)
            lost.settles_at = None
            raise
        if lost is not None:
            lost.told.update((claim.run.id, claim.run.seq) for claim in taken)
        return taken

    def forget(self, worker: WorkerId) -> None:
        """The worker is gone, and its runs are everybody's."""
        self._lost.pop(worker, None)

    async def _find(
        self, worker: WorkerId, lost: _Lost, known: Mapping[RunId, int], now: datetime
    ) -> list[Claim]:
        if lost.settles_at is not None and now < lost.settles_at:
            return []
        found: list[Claim] = []
        owned = await self._storage.owned_runs(worker)
        for begin in range(0, len(owned), _AT_ONCE):
            looks = (self._look(worker, lost, known, run_id) for run_id in owned[begin : begin + _AT_ONCE])
            found += [claim for claim in await asyncio.gather(*looks) if claim is not None]
        if lost.settles_at is None:
            lost.settles_at = now + SETTLED
        else:
            self.forget(worker)
        lost.told.update((claim.run.id, claim.run.seq) for claim in found)
        return found

    async def _look(
        self, worker: WorkerId, lost: _Lost, known: Mapping[RunId, int], run_id: RunId
    ) -> Claim | None:
        """The claim of a run, if it was made by a lost call and is the last thing that happened to it."""
        run = await self._storage.get_run(run_id)
        if run is None or run.worker != worker or (run.id, run.seq) in lost.told:
            return None
        floor = run.first_seq - 1
        after = known.get(run_id, floor)
        rows = await self._storage.read_journal(run_id, after=after if floor <= after < run.seq else floor)
        entry = _claimed(rows, run, worker)
        if entry is None or entry.at not in lost.instants:
            return None
        return Claim(
            run=run,
            rows=tuple(rows),
            complete=True,
            takeover=entry.takeover,
            events=await self._events(run),
        )

    async def _events(self, run: RunRecord) -> tuple[Event, ...]:
        if not run.waits:
            return ()
        waits = [(run.id, wait) for wait in run.waits]
        logs = await self._storage.read_events(waits, limit=CLAIM_EVENTS_LIMIT)
        events = {event.pos: event for log in logs for event in log}
        return tuple(sorted(events.values(), key=_POS)[:CLAIM_EVENTS_LIMIT])


def _claimed(rows: Sequence[JournalRow], run: RunRecord, worker: WorkerId) -> Claimed | None:
    """The claim in the last row of a journal, if that is the worker's and nothing else.

    A run that the worker started and took in one write is no claim, though the clock may have shown the same for both.
    """
    if not rows or rows[-1].seq != run.seq or rows[-1].writer != worker or not is_claim(rows[-1]):
        return None
    entry = rows[-1].entries[0]
    return entry if isinstance(entry, Claimed) else None
