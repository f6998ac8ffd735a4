"""The records of a store as dictionaries, with the few indexes that claims and events ask for."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice

from stepflow.model.events import Event, Wait
from stepflow.model.journal import Entry, JournalRow
from stepflow.model.payloads import NULL
from stepflow.model.runs import RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage._rules.records import RunState, record_of
from stepflow.types import EventId, RunId, WorkerId

_FEW = 64


class Dictionaries:
    """Everything a store knows. Implements ``Records``; what is put in is there."""

    def __init__(self) -> None:
        self.runs: dict[RunId, RunState] = {}
        self.journal: dict[RunId, list[JournalRow]] = {}
        self.events: dict[EventId, list[Event]] = {}
        self.owned: dict[WorkerId, set[RunId]] = {}
        self.due = DueRuns()
        self._last_pos = 0
        self._owner_of: dict[RunId, WorkerId] = {}
        self._addressed: dict[RunId, list[Event]] = {}
        self._by_key: dict[str, RunId] = {}
        self._by_dedup: dict[tuple[EventId, str], Event] = {}
        self._children: dict[RunId, set[RunId]] = {}
        self._waits: dict[RunId, dict[EventId, Wait]] = {}
        self._waiting: dict[EventId, dict[RunId, int]] = {}

    # -------------------------------------------------------------- runs
    def find(self, run_id: RunId) -> RunState | None:
        return self.runs.get(run_id)

    def find_by_key(self, idempotency_key: str) -> RunState | None:
        run_id = self._by_key.get(idempotency_key)
        return None if run_id is None else self.runs[run_id]

    def add(self, run: RunState) -> None:
        run.tags = dict(run.tags)
        self.runs[run.id] = run
        self.journal[run.id] = []
        if run.idempotency_key is not None:
            self._by_key[run.idempotency_key] = run.id
        if run.parent is not None and not run.parent.detached:
            self._children.setdefault(run.parent.run_id, set()).add(run.id)
        self.save(run)

    def save(self, run: RunState) -> None:
        before = self._owner_of.pop(run.id, None)
        if before is not None and before != run.worker:
            self._disown(before, run.id)
        if run.worker is not None:
            self._owner_of[run.id] = run.worker
            self.owned.setdefault(run.worker, set()).add(run.id)
        self.due.put(run)

    def remove(self, run: RunState) -> None:
        self.drop_waits(run.id, tuple(self.waits(run.id)))
        self._forget_events(self._addressed.get(run.id, []))
        if run.idempotency_key is not None:
            del self._by_key[run.idempotency_key]
        if run.parent is not None and not run.parent.detached:
            siblings = self._children[run.parent.run_id]
            siblings.discard(run.id)
            if not siblings:
                del self._children[run.parent.run_id]
        self.due.drop(run.id)
        del self.runs[run.id], self.journal[run.id]

    def record(self, run: RunState) -> RunRecord:
        return record_of(
            run,
            input=run.input or NULL,
            seq=self.last_seq(run.id),
            waits=tuple(self.waits(run.id).values()),
        )

    def unfinished_children(self, run_id: RunId) -> Iterable[RunId]:
        children = self._children.get(run_id, set())
        return [child for child in children if not self.runs[child].status.ended]

    def _disown(self, worker: WorkerId, run_id: RunId) -> None:
        runs = self.owned[worker]
        runs.discard(run_id)
        if not runs:
            del self.owned[worker]

    # -------------------------------------------------------------- journal
    def owner(self, run_id: RunId) -> WorkerId | None:
        run = self.runs.get(run_id)
        return None if run is None else run.worker

    def last_seq(self, run_id: RunId) -> int:
        rows = self.journal.get(run_id)
        return rows[-1].seq if rows else 0

    def written_by(self, run_id: RunId, seq: int) -> tuple[WorkerId, str] | None:
        rows = self.rows(run_id, after=seq - 1)
        return (rows[0].writer, rows[0].write_id) if rows and rows[0].seq == seq else None

    def rows(self, run_id: RunId, *, after: int) -> list[JournalRow]:
        """The rows with a greater seq; seqs have no gaps, so the place is known."""
        rows = self.journal.get(run_id)
        return rows[max(0, after + 1 - rows[0].seq) :] if rows else []

    def append(
        self, run_id: RunId, seq: int, writer: WorkerId, write_id: str, entries: tuple[Entry, ...]
    ) -> None:
        row = JournalRow(run_id=run_id, seq=seq, writer=writer, write_id=write_id, entries=entries)
        self.journal[run_id].append(row)

    def cut(self, run_id: RunId, before: int) -> None:
        self.journal[run_id] = self.rows(run_id, after=before - 1)

    # -------------------------------------------------------------- events
    def next_pos(self) -> int:
        self._last_pos += 1
        return self._last_pos

    def append_event(self, event: Event) -> None:
        self.events.setdefault(event.event_id, []).append(event)
        if event.run_id is not None:
            self._addressed.setdefault(event.run_id, []).append(event)
        if event.dedup_id is not None:
            self._by_dedup[event.event_id, event.dedup_id] = event

    def event_of(self, event_id: EventId, dedup_id: str) -> Event | None:
        return self._by_dedup.get((event_id, dedup_id))

    def first_event(self, event_id: EventId, run_id: RunId | None) -> Event | None:
        log = self.events.get(event_id, ())
        return next((event for event in log if event.run_id == run_id), None)

    def has_event(self, event_id: EventId, run_id: RunId, after: int) -> bool:
        return next(self.eligible(event_id, run_id, after), None) is not None

    def eligible(self, event_id: EventId, run_id: RunId, after: int) -> Iterator[Event]:
        """The events after that position which are for all or for this run, by position."""
        log = self.events.get(event_id, [])
        for event in islice(log, bisect_right(log, after, key=_pos), None):
            if event.run_id in (None, run_id):
                yield event

    def all_events(self) -> list[Event]:
        return [event for log in self.events.values() for event in log]

    def prune_events(self, before: datetime, limit: int) -> int:
        """Forget events older than that instant and than every unfinished run."""
        floor = min(
            (run.created_pos for run in self.runs.values() if not run.status.ended),
            default=self._last_pos + 1,
        )
        old = [event for event in self.all_events() if event.pos < floor and event.at < before]
        old.sort(key=_pos)
        self._forget_events(old[:limit])
        return len(old[:limit])

    def _forget_events(self, events: Iterable[Event]) -> None:
        for event in list(events):
            log = self.events[event.event_id]
            del log[bisect_left(log, event.pos, key=_pos)]
            if not log:
                del self.events[event.event_id]
            if event.dedup_id is not None:
                del self._by_dedup[event.event_id, event.dedup_id]
            if event.run_id is not None:
                addressed = self._addressed[event.run_id]
                addressed.remove(event)
                if not addressed:
                    del self._addressed[event.run_id]

    # -------------------------------------------------------------- waits
    def waits(self, run_id: RunId) -> Mapping[EventId, Wait]:
        return self._waits.get(run_id, {})

    def waiting(self, event_id: EventId) -> Mapping[RunId, int]:
        return self._waiting.get(event_id, {})

    def set_wait(self, run_id: RunId, wait: Wait) -> None:
        self._waits.setdefault(run_id, {})[wait.event_id] = wait
        self._waiting.setdefault(wait.event_id, {})[run_id] = wait.after

    def drop_waits(self, run_id: RunId, event_ids: Iterable[EventId]) -> None:
        waits = self._waits.get(run_id, {})
        for event_id in event_ids:
            if waits.pop(event_id, None) is not None:
                del self._waiting[event_id][run_id]
                if not self._waiting[event_id]:
                    del self._waiting[event_id]
        if not waits:
            self._waits.pop(run_id, None)


class DueRuns:
    """Which run of a queue is next: a heap for each workflow and priority, its stale places skipped when met."""

    def __init__(self) -> None:
        self._places: dict[RunId, tuple[datetime, int, RunId]] = {}
        self._lanes: dict[str, dict[str, dict[int, _Heap]]] = {}

    def put(self, run: RunState) -> None:
        """Note when the run may be claimed, if it may."""
        if run.due_at is None or run.status is RunStatus.RUNNING:
            self._places.pop(run.id, None)
            return
        place = (run.due_at, run.created_pos, run.id)
        if self._places.get(run.id) != place:
            self._places[run.id] = place
            lane = self._lanes.setdefault(run.queue, {}).setdefault(run.workflow_id, {})
            heap = lane.setdefault(run.priority, [])
            if len(heap) >= _FEW + 2 * len(self._places):
                self._sweep(heap)
            heapq.heappush(heap, place)

    def drop(self, run_id: RunId) -> None:
        self._places.pop(run_id, None)

    def first(self, queue: str, workflows: Collection[str] | None, limit: int, now: datetime) -> list[RunId]:
        """Take out up to ``limit`` due runs of the queue, best first; ``put`` puts one back."""
        found: list[RunId] = []
        while len(found) < limit:
            heads = [
                (-priority, head, heap)
                for priority, heap in self._heaps(queue, workflows)
                if (head := self._head(heap)) is not None and head[0] <= now
            ]
            if not heads:
                break
            _, head, heap = min(heads, key=_rank_and_place)
            heapq.heappop(heap)
            self.drop(head[2])
            found.append(head[2])
        return found

    def earliest(self, queue: str, workflows: Collection[str] | None) -> datetime | None:
        """When the queue's next run is due, past or future."""
        heads = [self._head(heap) for _, heap in self._heaps(queue, workflows)]
        return min((head[0] for head in heads if head is not None), default=None)

    def _heaps(self, queue: str, workflows: Collection[str] | None) -> Iterator[tuple[int, _Heap]]:
        for workflow, lane in self._lanes.get(queue, {}).items():
            if workflows is None or workflow in workflows:
                yield from lane.items()

    def _sweep(self, heap: _Heap) -> None:
        """Throw stale places away before they come up: a wait with a limit of a month that ended at once would be remembered for all of it."""
        heap[:] = [place for place in heap if self._places.get(place[2]) == place]
        heapq.heapify(heap)

    def _head(self, heap: _Heap) -> tuple[datetime, int, RunId] | None:
        """The first place that still is its run's, the stale ones before it thrown away."""
        while heap and self._places.get(heap[0][2]) != heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None


_Heap = list[tuple[datetime, int, RunId]]


def _rank_and_place(head: tuple[int, tuple[datetime, int, RunId], _Heap]) -> tuple[int, datetime, int]:
    return head[0], head[1][0], head[1][1]


def _pos(event: Event) -> int:
    return event.pos
