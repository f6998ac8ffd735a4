"""The working set: what one transaction's writes read and change, loaded under locks and decided in Python.

Loading waits for the server, deciding does not: when a rule asks for what was not loaded, ``NotLoaded`` ends the
decision, the rest is loaded, and the same decision is made again over a fresh working set. Nothing is changed before it is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from stepflow.model.events import Event, Wait
from stepflow.model.journal import Entry, encode_entries
from stepflow.model.payloads import Payload
from stepflow.model.runs import RunRecord
from stepflow.storage._rules.records import RunState, record_of
from stepflow.storage._sql.rows import Column, run_state, wait_of
from stepflow.storage.postgres.operations.runs import LoadedRun
from stepflow.storage.writes import CommitRun, CreateRun, Write
from stepflow.types import EventId, RunId, WorkerId

Key = TypeVar("Key")
Value = TypeVar("Value")


def encode_batch(batch: Sequence[Write]) -> dict[int, str]:
    """The entries of all commits as JSON text, by identity; done once, before a transaction waits for it."""
    encoded: dict[int, str] = {}
    for write in batch:
        commit = write.commit if isinstance(write, CreateRun) else write
        if isinstance(commit, CommitRun):
            encoded[id(commit.entries)] = encode_entries(commit.entries).decode()
    return encoded


class NotLoaded(BaseException):
    """A rule asked for something that has to be loaded first."""

    def __init__(self, kind: str, key: object) -> None:
        super().__init__(kind, key)
        self.kind = kind
        self.key = key


class Loaded:
    """What was loaded, by what it was asked for with; never changed by a decision."""

    def __init__(self) -> None:
        self.runs: dict[RunId, LoadedRun | None] = {}
        """Locked runs; None for those that don't exist."""
        self.children: dict[RunId, list[RunId]] = {}
        """Attached children among the locked runs."""
        self.families: set[RunId] = set()
        """The runs of which all attached children that have not ended are locked."""
        self.keys: dict[str, RunId | None] = {}
        self.inputs: dict[RunId, Payload] = {}
        self.written: dict[tuple[RunId, int], tuple[WorkerId, str] | None] = {}
        self.waiting: dict[EventId, dict[RunId, int]] = {}
        self.dedup: dict[tuple[EventId, str], Event | None] = {}
        self.first: dict[tuple[EventId, RunId | None], Event | None] = {}
        self.latest: dict[tuple[EventId, RunId], tuple[int, int]] = {}
        """The position of the last event to all, and of the last one to this run."""

    def add_run(self, loaded: LoadedRun) -> None:
        self.runs[loaded.run.id] = loaded
        if loaded.input is not None:
            self.inputs[loaded.run.id] = loaded.input
        for wait in loaded.waits:
            # Whoever waits for what is sent is locked, so the runs' waits tell who waits for it.
            self.waiting.setdefault(wait.event_id, {})[loaded.run.id] = wait.after
        if loaded.run.idempotency_key is not None:
            self.keys[loaded.run.idempotency_key] = loaded.run.id
        if loaded.run.parent_id is not None and not loaded.run.parent_detached:
            self.children.setdefault(loaded.run.parent_id, []).append(loaded.run.id)

    def note_families(self, of: Iterable[RunId]) -> None:
        """These runs and their descendants were locked with their children."""
        grown = list(of)
        while grown:
            run_id = grown.pop()
            if run_id not in self.families:
                self.families.add(run_id)
                grown += self.children.get(run_id, ())


class WorkingSet:
    """Implements ``Records`` over what was loaded; ``next_pos`` counts on from ``positions``."""

    def __init__(
        self, loaded: Loaded, positions: Iterable[int], encoded: Mapping[int, str] | None = None
    ) -> None:
        self._loaded = loaded
        self._positions = iter(positions)
        self._encoded: Mapping[int, str] = {} if encoded is None else encoded
        self.used_positions = 0
        self._states: dict[RunId, RunState | None] = {}
        self._seqs: dict[RunId, int] = {}
        self._waits: dict[RunId, dict[EventId, Wait]] = {}
        self._waiting: dict[EventId, dict[RunId, int]] = {}
        self._keys: dict[str, RunId] = {}
        self._changed_children: dict[RunId, set[RunId]] = {}
        self.new: set[RunId] = set()
        self.changed: dict[RunId, RunState] = {}
        self.removed: set[RunId] = set()
        self.inputs: dict[RunId, Payload] = {}
        self.rows: list[tuple[Column, ...]] = []
        self.cuts: dict[RunId, int] = {}
        self.events: list[Event] = []
        self.wait_changes: dict[tuple[EventId, RunId], Wait | None] = {}

    # -------------------------------------------------------------- runs
    def find(self, run_id: RunId) -> RunState | None:
        if run_id not in self._states:
            loaded = self._need(self._loaded.runs, "run", run_id)
            self._states[run_id] = None if loaded is None else run_state(loaded.run)
            self._seqs[run_id] = 0 if loaded is None else loaded.last_seq
            rows = () if loaded is None else loaded.waits
            self._waits[run_id] = {row.event_id: wait_of(row) for row in rows}
        return self._states[run_id]

    def find_by_key(self, idempotency_key: str) -> RunState | None:
        run_id = self._keys.get(idempotency_key)
        if run_id is None:
            run_id = self._need(self._loaded.keys, "key", idempotency_key)
            if run_id in self.removed:
                return None
        return None if run_id is None else self.find(run_id)

    def add(self, run: RunState) -> None:
        self._states[run.id] = run
        self._seqs[run.id] = 0
        self._waits[run.id] = {}
        self.new.add(run.id)
        if run.idempotency_key is not None:
            self._keys[run.idempotency_key] = run.id
        self.save(run)

    def save(self, run: RunState) -> None:
        self.changed[run.id] = run
        if run.parent is not None and not run.parent.detached:
            # The database does not know yet that it is new, or being tried again.
            self._changed_children.setdefault(run.parent.run_id, set()).add(run.id)
        if run.input is not None:
            self.inputs[run.id] = run.input
            run.input = None

    def remove(self, run: RunState) -> None:
        self.drop_waits(run.id, tuple(self.waits(run.id)))
        self._states[run.id] = None
        self._seqs[run.id] = 0
        self.removed.add(run.id)
        self.new.discard(run.id)
        for changes in (self.changed, self.inputs, self.cuts):
            changes.pop(run.id, None)
        self.rows = [row for row in self.rows if row[0] != run.id]
        self.events = [event for event in self.events if event.run_id != run.id]
        if run.idempotency_key is not None:
            self._keys.pop(run.idempotency_key, None)

    def record(self, run: RunState) -> RunRecord:
        value = self.inputs.get(run.id)
        if value is None:
            value = self._need(self._loaded.inputs, "input", run.id)
        waits = tuple(self.waits(run.id).values())
        return record_of(run, input=value, seq=self.last_seq(run.id), waits=waits)

    def unfinished_children(self, run_id: RunId) -> Iterable[RunId]:
        if run_id not in self._loaded.families:
            raise NotLoaded("family", run_id)
        children = {*self._loaded.children.get(run_id, ()), *self._changed_children.get(run_id, ())}
        return [child for child in children if (run := self.find(child)) is not None and not run.status.ended]

    # -------------------------------------------------------------- journal
    def owner(self, run_id: RunId) -> WorkerId | None:
        run = self.find(run_id)
        return None if run is None else run.worker

    def last_seq(self, run_id: RunId) -> int:
        self.find(run_id)
        return self._seqs[run_id]

    def written_by(self, run_id: RunId, seq: int) -> tuple[WorkerId, str] | None:
        if seq < self.cuts.get(run_id, 0):
            return None
        for row in self.rows:
            if row[0] == run_id and row[1] == seq:
                return str(row[2]), str(row[3])
        if run_id in self.removed or run_id in self.new:
            return None
        return self._need(self._loaded.written, "written", (run_id, seq))

    def append(
        self, run_id: RunId, seq: int, writer: WorkerId, write_id: str, entries: tuple[Entry, ...]
    ) -> None:
        self.find(run_id)
        encoded = self._encoded.get(id(entries)) or encode_entries(entries).decode()
        self.rows.append((run_id, seq, writer, write_id, encoded))
        self._seqs[run_id] = seq

    def cut(self, run_id: RunId, before: int) -> None:
        self.cuts[run_id] = before

    # -------------------------------------------------------------- events
    def next_pos(self) -> int:
        self.used_positions += 1
        return next(self._positions)

    def append_event(self, event: Event) -> None:
        self.events.append(event)

    def event_of(self, event_id: EventId, dedup_id: str) -> Event | None:
        for event in self.events:
            if event.event_id == event_id and event.dedup_id == dedup_id:
                return event
        return self._still_there(self._need(self._loaded.dedup, "dedup", (event_id, dedup_id)))

    def first_event(self, event_id: EventId, run_id: RunId | None) -> Event | None:
        stored = self._still_there(self._need(self._loaded.first, "first", (event_id, run_id)))
        if stored is not None:
            return stored
        return next((new for new in self.events if new.event_id == event_id and new.run_id == run_id), None)

    def has_event(self, event_id: EventId, run_id: RunId, after: int) -> bool:
        for event in self.events:
            if event.event_id == event_id and event.pos > after and event.run_id in (None, run_id):
                return True
        for_all, for_run = self._need(self._loaded.latest, "latest", (event_id, run_id))
        return for_all > after or (for_run > after and run_id not in self.removed)

    # -------------------------------------------------------------- waits
    def waits(self, run_id: RunId) -> Mapping[EventId, Wait]:
        self.find(run_id)
        return self._waits[run_id]

    def waiting(self, event_id: EventId) -> Mapping[RunId, int]:
        if event_id not in self._waiting:
            waiting = dict(self._loaded.waiting.get(event_id, {}))
            for (changed_id, run_id), wait in self.wait_changes.items():
                if changed_id == event_id:
                    _note(waiting, run_id, wait)
            self._waiting[event_id] = waiting
        return self._waiting[event_id]

    def set_wait(self, run_id: RunId, wait: Wait) -> None:
        self.waits(run_id)
        self._waits[run_id][wait.event_id] = wait
        self._change_wait(run_id, wait.event_id, wait)

    def drop_waits(self, run_id: RunId, event_ids: Iterable[EventId]) -> None:
        self.waits(run_id)
        for event_id in event_ids:
            if self._waits[run_id].pop(event_id, None) is not None:
                self._change_wait(run_id, event_id, None)

    def _change_wait(self, run_id: RunId, event_id: EventId, wait: Wait | None) -> None:
        self.wait_changes[event_id, run_id] = wait
        if event_id in self._waiting:
            _note(self._waiting[event_id], run_id, wait)

    # -------------------------------------------------------------- what is loaded
    def _still_there(self, event: Event | None) -> Event | None:
        return None if event is not None and event.run_id in self.removed else event

    @staticmethod
    def _need(found: Mapping[Key, Value], kind: str, key: Key) -> Value:
        try:
            return found[key]
        except KeyError:
            raise NotLoaded(kind, key) from None


def _note(waiting: dict[RunId, int], run_id: RunId, wait: Wait | None) -> None:
    if wait is None:
        waiting.pop(run_id, None)
    else:
        waiting[run_id] = wait.after
