"""The working set: what one transaction's writes read and change, loaded at the start and written at the end.

Within ``BEGIN IMMEDIATE`` nobody else writes, so what was loaded stays true. The rules decide over it in Python,
write by write, so a refused write has nothing to undo; what they changed goes out in one statement per table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from stepflow.failpoints import failpoint
from stepflow.model.events import Event, Wait
from stepflow.model.journal import Entry, encode_entries
from stepflow.model.payloads import NULL, Payload
from stepflow.model.runs import RunRecord
from stepflow.storage._rules.applying import apply
from stepflow.storage._rules.journal import is_plain
from stepflow.storage._rules.records import RunState, Work, record_of
from stepflow.storage._sql.connection import Connection
from stepflow.storage._sql.rows import (
    Column,
    event_columns,
    json_text,
    run_columns,
    run_state,
    wait_columns,
    wait_of,
)
from stepflow.storage.sqlite.bulk import Bulk
from stepflow.storage.sqlite.operations import events, journal, runs
from stepflow.storage.writes import CommitRun, ControlRun, CreateRun, Outcome, SendEvent, Write
from stepflow.types import EventId, RunId, WorkerId


def encode_batch(batch: Sequence[Write]) -> dict[int, str]:
    """The entries of all commits as JSON text, by identity; done before the transaction, so that it is short."""
    encoded: dict[int, str] = {}
    for write in batch:
        commit = write.commit if isinstance(write, CreateRun) else write
        if isinstance(commit, CommitRun):
            encoded[id(commit.entries)] = encode_entries(commit.entries).decode()
    return encoded


def apply_batch(
    connection: Connection, batch: Sequence[Write], encoded: Mapping[int, str], now: datetime
) -> tuple[list[Outcome], Work]:
    """Decide every write in order, then write what changed. Called within a write transaction."""
    records = WorkingSet(connection, encoded)
    records.load(batch)
    work = Work(records, now)
    outcomes = [apply(work, write) for write in batch]
    records.flush()
    failpoint("checkpoint.before_commit")
    return outcomes, work


def read_record(connection: Connection, run_id: RunId) -> RunRecord | None:
    """One run as callers of the port see it."""
    found = read_records(connection, (run_id,))
    return found[0] if found else None


def read_records(connection: Connection, run_ids: Sequence[RunId]) -> list[RunRecord]:
    """Those of the runs that exist, in the order of the ids."""
    records = WorkingSet(connection)
    records.load_runs(run_ids)
    records.load_inputs(run_ids)
    return [records.record(run) for run_id in run_ids if (run := records.find(run_id)) is not None]


class WorkingSet:
    """``Records`` over one SQLite transaction. ``encoded`` holds entries that were encoded before it, by identity."""

    def __init__(self, connection: Connection, encoded: Mapping[int, str] | None = None) -> None:
        self._connection = connection
        self._encoded = encoded or {}
        self._states: dict[RunId, RunState | None] = {}
        self._owners: dict[RunId, WorkerId | None] = {}
        self._seqs: dict[RunId, int] = {}
        self._children: dict[RunId, Sequence[RunId]] = {}
        self._changed_children: dict[RunId, set[RunId]] = {}
        self._keys: dict[str, RunId] = {}
        self._waits: dict[RunId, dict[EventId, Wait]] = {}
        self._waiting: dict[EventId, dict[RunId, int]] = {}
        self._known_inputs: dict[RunId, Payload] = {}
        self._last_pos: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Nothing is waiting to be written."""
        self._changed: dict[RunId, RunState] = {}
        self._inputs: dict[RunId, Payload] = {}
        self._rows: list[tuple[Column, ...]] = []
        self._cuts: dict[RunId, int] = {}
        self._events: dict[EventId, list[Event]] = {}
        self._wait_changes: dict[tuple[EventId, RunId], Wait | None] = {}

    # -------------------------------------------------------------- loading and writing
    def load(self, batch: Sequence[Write]) -> None:
        """Bring what the writes will surely ask for, in a few statements however many there are."""
        places: set[RunId] = set()
        whole: set[RunId] = set()
        event_ids: set[EventId] = set()
        for write in batch:
            match write:
                case CommitRun():
                    (places if is_plain(write) else whole).add(write.run_id)
                    event_ids.update(event.event_id for event in write.sends)
                case CreateRun():
                    whole.add(write.run.id)
                case ControlRun():
                    whole.add(write.run_id)
                case SendEvent(event=event):
                    event_ids.add(event.event_id)
                    if event.run_id is not None:
                        whole.add(event.run_id)
        self.load_runs(whole)
        self._load_places(places - whole)
        if event_ids:
            self._load_waiting(event_ids)

    def load_runs(self, run_ids: Iterable[RunId]) -> None:
        """Load runs with their last seq, waits and children; those that don't exist are known not to."""
        wanted = [run_id for run_id in run_ids if run_id not in self._states]
        if not wanted:
            return
        for run_id in wanted:
            self._states[run_id] = None
        for loaded in runs.load_runs(self._connection, wanted):
            run_id = loaded.run.id
            self._states[run_id] = run_state(loaded.run)
            self._seqs[run_id] = max(loaded.last_seq, self._seqs.get(run_id, 0))
            self._children[run_id] = loaded.children
            self._waits[run_id] = {row.event_id: wait_of(row) for row in loaded.waits}

    def _load_places(self, run_ids: set[RunId]) -> None:
        if not run_ids:
            return
        self._owners.update(dict.fromkeys(run_ids))
        for place in runs.load_places(self._connection, run_ids):
            self._owners[place.id] = place.worker
            self._seqs[place.id] = place.last_seq

    def _load_waiting(self, event_ids: set[EventId]) -> None:
        for event_id in event_ids:
            self._waiting[event_id] = {}
        for row in events.load_waiting(self._connection, event_ids):
            self._waiting[row.event_id][row.run_id] = row.after

    def load_inputs(self, run_ids: Sequence[RunId]) -> None:
        """Load the inputs of runs whose records will be asked for."""
        self._known_inputs.update(runs.load_inputs(self._connection, run_ids))

    def flush(self) -> None:
        """Write everything that changed, one statement per table."""
        self._put(runs.SAVE_RUNS, [run_columns(run) for run in self._changed.values()])
        self._put(
            runs.SAVE_INPUTS,
            [(run_id, value.codec, json_text(value)) for run_id, value in self._inputs.items()],
        )
        self._put(journal.APPEND_ROWS, self._rows)
        for run_id, seq in self._cuts.items():
            journal.cut_before(self._connection, run_id, seq)
        self._put(
            events.APPEND_EVENTS, [event_columns(event) for log in self._events.values() for event in log]
        )
        changes = self._wait_changes
        self._put(events.DROP_WAITS, [key for key, wait in changes.items() if wait is None])
        self._put(
            events.SET_WAITS,
            [wait_columns(run_id, wait) for (_, run_id), wait in changes.items() if wait is not None],
        )
        if self._last_pos is not None:
            events.set_last_pos(self._connection, self._last_pos)
        self._begin()

    def _put(self, statement: Bulk, rows: Sequence[tuple[Column, ...]]) -> None:
        statement.run(self._connection, rows)

    # -------------------------------------------------------------- runs
    def find(self, run_id: RunId) -> RunState | None:
        if run_id not in self._states:
            self.load_runs((run_id,))
        return self._states[run_id]

    def find_by_key(self, idempotency_key: str) -> RunState | None:
        run_id = self._keys.get(idempotency_key) or runs.id_of_key(self._connection, idempotency_key)
        return None if run_id is None else self.find(run_id)

    def add(self, run: RunState) -> None:
        self._states[run.id] = run
        self._seqs[run.id] = 0
        self._waits[run.id] = {}
        if run.idempotency_key is not None:
            self._keys[run.idempotency_key] = run.id
        self.save(run)

    def save(self, run: RunState) -> None:
        self._changed[run.id] = run
        if run.parent is not None and not run.parent.detached:
            # The database does not know yet that it is new, or being tried again.
            self._changed_children.setdefault(run.parent.run_id, set()).add(run.id)
        if run.input is not None:
            self._inputs[run.id] = run.input
            run.input = None

    def remove(self, run: RunState) -> None:
        self.drop_waits(run.id, tuple(self.waits(run.id)))
        self.flush()
        runs.delete_runs(self._connection, (run.id,))
        self._states[run.id] = None
        self._seqs[run.id] = 0
        self._children.pop(run.id, None)
        if run.idempotency_key is not None:
            self._keys.pop(run.idempotency_key, None)

    def record(self, run: RunState) -> RunRecord:
        value = self._inputs.get(run.id) or self._known_inputs.get(run.id)
        value = value or runs.load_input(self._connection, run.id)
        waits = tuple(self.waits(run.id).values())
        return record_of(run, input=value or NULL, seq=self.last_seq(run.id), waits=waits)

    def unfinished_children(self, run_id: RunId) -> Iterable[RunId]:
        if run_id not in self._children:
            self._children[run_id] = runs.unfinished_children(self._connection, run_id)
        children = {*self._children[run_id], *self._changed_children.get(run_id, ())}
        self.load_runs(children)
        return [
            child for child in children if (run := self._states[child]) is not None and not run.status.ended
        ]

    # -------------------------------------------------------------- journal
    def owner(self, run_id: RunId) -> WorkerId | None:
        if run_id in self._owners and run_id not in self._states:
            return self._owners[run_id]
        run = self.find(run_id)
        return None if run is None else run.worker

    def last_seq(self, run_id: RunId) -> int:
        if run_id not in self._seqs:
            self.find(run_id)
        return self._seqs.get(run_id, 0)

    def written_by(self, run_id: RunId, seq: int) -> tuple[WorkerId, str] | None:
        if seq < self._cuts.get(run_id, 0):
            return None
        for row in self._rows:
            if row[0] == run_id and row[1] == seq:
                return str(row[2]), str(row[3])
        return journal.written_by(self._connection, run_id, seq)

    def append(
        self, run_id: RunId, seq: int, writer: WorkerId, write_id: str, entries: tuple[Entry, ...]
    ) -> None:
        encoded = self._encoded.get(id(entries)) or encode_entries(entries).decode()
        self._rows.append((run_id, seq, writer, write_id, encoded))
        self._seqs[run_id] = seq

    def cut(self, run_id: RunId, before: int) -> None:
        self._cuts[run_id] = before

    # -------------------------------------------------------------- events
    def next_pos(self) -> int:
        if self._last_pos is None:
            self._last_pos = events.last_pos(self._connection)
        self._last_pos += 1
        return self._last_pos

    def append_event(self, event: Event) -> None:
        self._events.setdefault(event.event_id, []).append(event)

    def event_of(self, event_id: EventId, dedup_id: str) -> Event | None:
        for event in self._events.get(event_id, ()):
            if event.dedup_id == dedup_id:
                return event
        return events.find_by_dedup(self._connection, event_id, dedup_id)

    def first_event(self, event_id: EventId, run_id: RunId | None) -> Event | None:
        stored = events.find_first(self._connection, event_id, run_id)
        if stored is not None:
            return stored
        return next((new for new in self._events.get(event_id, ()) if new.run_id == run_id), None)

    def has_event(self, event_id: EventId, run_id: RunId, after: int) -> bool:
        for event in self._events.get(event_id, ()):
            if event.pos > after and event.run_id in (None, run_id):
                return True
        return events.has_event(self._connection, event_id, run_id, after)

    # -------------------------------------------------------------- waits
    def waits(self, run_id: RunId) -> Mapping[EventId, Wait]:
        if run_id not in self._waits:
            self.find(run_id)
        return self._waits.get(run_id, {})

    def waiting(self, event_id: EventId) -> Mapping[RunId, int]:
        if event_id not in self._waiting:
            self._load_waiting({event_id})
            for (changed_id, run_id), wait in self._wait_changes.items():
                if changed_id == event_id:
                    self._note_waiting(event_id, run_id, wait)
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
        self._wait_changes[event_id, run_id] = wait
        if event_id in self._waiting:
            self._note_waiting(event_id, run_id, wait)

    def _note_waiting(self, event_id: EventId, run_id: RunId, wait: Wait | None) -> None:
        if wait is None:
            self._waiting[event_id].pop(run_id, None)
        else:
            self._waiting[event_id][run_id] = wait.after
