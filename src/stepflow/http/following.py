"""Following: what a reader of one run gets next, by its place in the run's journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from stepflow._runtime.lines import Line
from stepflow._runtime.signals import Transient
from stepflow.hooks import StepRetried
from stepflow.http.history import read_history
from stepflow.http.lookout import ROWS_AT_ONCE, Lookout
from stepflow.http.messages import Frame
from stepflow.model.journal import Ended, Entry, JournalRow
from stepflow.model.runs import RunRecord
from stepflow.types import RunId
from stepflow.wire import records
from stepflow.wire.records import View, instant, run_record
from stepflow.wire.streams import (
    START,
    Log,
    Position,
    RunSnapshot,
    StepComplete,
    StepFailed,
    StepRetry,
    StepStart,
    StreamEvent,
    event_name,
    journal_event,
    transient_event,
)

K = TypeVar("K")
V = TypeVar("V")
BACKLOG = 500
"""Rows that a reader may be behind before it is told how things are instead of what happened."""

_TOLD = 1_000


@dataclass(frozen=True, slots=True)
class Happened:
    """One event for the reader; ``position`` is the journal entry it comes from, if it comes from one."""

    event: StreamEvent
    position: Position | None = None


def frame_of(event: StreamEvent, id: str | None) -> Frame:
    return Frame(event=event_name(event), data=records.encode(event), id=id)


class Follower:
    """One reader's place in one run. ``position`` None: it has seen nothing yet, or (``reset``) nothing that is of use.

    ``ended``: the run has, and the reader has been told everything. ``gone``: the run does not exist any more.
    """

    def __init__(
        self, lookout: Lookout, run_id: RunId, view: View, position: Position | None, *, reset: bool = False
    ) -> None:
        self.run_id = run_id
        self.position = position
        self.ended = False
        self.gone = False
        self._reset = reset
        self._lookout = lookout
        self._view = view
        self._live = False
        self._row_is_read = False
        self._checked = position in (None, START)
        self._told: dict[tuple[str, int, str], None] = {}
        self._over: dict[str, datetime] = {}

    async def is_past_the_end(self) -> bool:
        """Whether the run has ended and the reader has seen that."""
        if self.position is None or self.position == START:
            return False
        record = await self._lookout.record(self.run_id)
        if not record.status.ended:
            return False
        return self.position >= await self._last(record)

    async def next(self, transients: Iterable[Transient]) -> list[Happened]:
        """What there is to tell now, at most some pages of it: an empty list if there is nothing (yet).

        ``RunNotFoundError`` if the run is gone.
        """
        record = await self._lookout.record(self.run_id)
        if await self._must_reset(record):
            self._live = True
            return [await self._snapshot(record, reset=self._reset or self.position is not None)]
        assert self.position is not None
        if self._row_is_read and record.seq == self.position.seq:
            self.ended = record.status.ended
            return self._with(transients, [])  # most looks at a quiet run end here
        rows = await self._lookout.rows(self.run_id, max(self.position.seq - 1, 0))
        if rows and isinstance(rows[-1].entries[-1], Ended):
            record = await self._lookout.record(self.run_id)  # the result is in the run's own row
        happened = list(self._read(rows, record))
        if len(rows) < ROWS_AT_ONCE:
            self._live = True
            self.ended = record.status.ended and self.position.seq >= record.seq
        elif not happened:
            return await self.next(transients)  # a page without anything to tell; never the same one again
        return self._with(transients, happened)

    # ------------------------------------------------------------------ snapshots
    async def _must_reset(self, record: RunRecord) -> bool:
        position = self.position
        if position is None:
            return True
        if not self._checked:
            self._checked = True
            return not await self._knows(record, position)
        behind = record.seq - max(position.seq, record.first_seq - 1)
        return self._live and (behind > BACKLOG or position.seq > record.seq)

    async def _knows(self, record: RunRecord, position: Position) -> bool:
        """Whether the journal still has this entry. (It may be of a run that had the same id once.)"""
        if not record.first_seq <= position.seq <= record.seq:
            return False
        rows = await self._lookout.rows(self.run_id, position.seq - 1)
        return bool(rows) and rows[0].seq == position.seq and position.place < len(rows[0].entries)

    async def _last(self, record: RunRecord) -> Position:
        if record.seq == 0:
            return START
        rows = await self._lookout.rows(self.run_id, record.seq - 1)
        return Position(record.seq, len(rows[0].entries) - 1 if rows else 0)

    async def _snapshot(self, record: RunRecord, *, reset: bool) -> Happened:
        history = await read_history(self._lookout.service.storage, record)
        self.position = history.last
        self._checked = self._row_is_read = True
        self.ended = record.status.ended
        return Happened(
            RunSnapshot(
                run_id=self.run_id,
                at=instant(self._lookout.service.clock.now()),
                run=run_record(record, history.steps, self._view),
                reset=reset,
            ),
            self.position,
        )

    # ------------------------------------------------------------------ events
    def _read(self, rows: Iterable[JournalRow], record: RunRecord) -> Iterator[Happened]:
        assert self.position is not None
        for row in rows:
            for place, entry in enumerate(row.entries):
                position = Position(row.seq, place)
                if position <= self.position:
                    continue
                self.position = position
                yield from self._events(entry, record, position)
            self._row_is_read = True

    def _events(self, entry: Entry, record: RunRecord, position: Position) -> Iterator[Happened]:
        late = transient_event(entry, self.run_id, self._view)
        if late is not None:
            if self._is_news(late):
                yield Happened(late)
            return
        if isinstance(entry, Ended) and not (record.status.ended and record.seq == position.seq):
            return  # it was retried meanwhile: this was not the end
        event = journal_event(entry, record, self._view)
        if event is not None:
            yield Happened(event, position)

    def _with(self, transients: Iterable[Transient], happened: list[Happened]) -> list[Happened]:
        """What is not in the journal, each at its time; but before what the journal tells of the same step."""
        for fact in transients:
            event = self._transient(fact)
            if event is None or not self._is_news(event):
                continue
            key = None if isinstance(event, Log) else event.key
            place = len(happened)
            for index, other in enumerate(happened):
                if other.position is None:
                    continue
                same_step = key is not None and getattr(other.event, "key", None) == key
                if same_step or other.event.at > event.at:
                    place = index
                    break
            happened.insert(place, Happened(event))
        for each in happened:
            if isinstance(each.event, StepComplete | StepFailed):
                _remember(self._over, each.event.key, each.event.at)
        return happened

    def _transient(self, fact: Transient) -> StepStart | StepRetry | Log | None:
        if isinstance(fact, Line):
            return self._log(fact)
        if isinstance(fact, StepRetried):
            return StepRetry(
                run_id=self.run_id,
                at=instant(fact.at),
                step_name=fact.name,
                key=fact.key,
                attempt=fact.attempt,
                error=self._view.error(fact.error),
                wake_at=instant(fact.retry_at),
            )
        return StepStart(
            run_id=self.run_id, at=instant(fact.at), step_name=fact.name, key=fact.key, attempt=fact.attempt
        )

    def _log(self, line: Line) -> Log | None:
        """A message may hold what was given to the run."""
        if not self._view.values:
            return None
        at = instant(line.at)
        return Log(run_id=self.run_id, at=at, level=line.level, message=line.message, fields=line.fields)

    def _is_news(self, event: StepStart | StepRetry | Log) -> bool:
        """A retry is told by a hook at once, and by the journal later; once is enough. From another process, the beginning of a step
        may come after its end: then it is no news either.
        """
        if isinstance(event, Log):
            return True
        over = self._over.get(event.key)
        if over is not None and event.at <= over:
            return False
        told = (event.key, event.attempt, event_name(event))
        if told in self._told:
            return False
        _remember(self._told, told, None)
        return True


def _remember(known: dict[K, V], key: K, value: V) -> None:
    """The last thousand of them."""
    known[key] = value
    if len(known) > _TOLD:
        del known[next(iter(known))]
