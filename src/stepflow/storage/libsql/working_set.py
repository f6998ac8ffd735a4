"""The working set over a distance: SQLite's, which foresees what the rules will ask and asks it in one journey."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from stepflow.failpoints import failpoint
from stepflow.model.children import child_event_id
from stepflow.storage._rules.applying import apply
from stepflow.storage._rules.journal import is_plain
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage._sql.rows import Column, run_state, wait_of
from stepflow.storage.libsql.bulk import statements_of
from stepflow.storage.libsql.transcript import Missing, Transcript
from stepflow.storage.sqlite.bulk import Bulk
from stepflow.storage.sqlite.connection import fetch_json
from stepflow.storage.sqlite.operations import events, runs
from stepflow.storage.sqlite.working_set import WorkingSet
from stepflow.storage.writes import (
    Action,
    Cancel,
    CommitRun,
    Complete,
    ControlRun,
    CreateRun,
    Fail,
    Outcome,
    SendEvent,
    Write,
)
from stepflow.types import EventId, RunId

_ENDS = (Complete, Fail, Cancel)
_MAY_END = frozenset({Action.CANCEL, Action.FORCE_CANCEL, Action.DELETE})

# ?1 runs asked for, ?2 those that may end, ?3 events that may be sent, ?4 idempotency keys that may be taken.
# Who ends takes attached children along, and theirs; each tells its parent.
_TREE = """
WITH RECURSIVE tree (id) AS (
    SELECT value FROM json_each(?2)
    UNION
    SELECT c.id FROM tree JOIN stepflow_runs c
        ON c.parent_id = tree.id AND c.ended_at IS NULL AND c.parent_detached = 0)
"""
_WIDE = f"""r.id IN ({_TREE}
    SELECT value FROM json_each(?1)
    UNION SELECT id FROM tree
    UNION SELECT p.parent_id FROM tree JOIN stepflow_runs p ON p.id = tree.id WHERE p.parent_id IS NOT NULL
    UNION SELECT w.run_id FROM json_each(?3) e JOIN stepflow_waits w ON w.event_id = e.value
    UNION SELECT k.id FROM json_each(?4) g JOIN stepflow_runs k ON k.idempotency_key = g.value)
"""  # noqa: S608 - nothing in it is given from outside
_WAITING = f"""
SELECT json_group_array(json_array(event_id, run_id, after_pos)) FROM stepflow_waits
WHERE event_id IN (SELECT value FROM json_each(?1))
    OR event_id IN ({_TREE} SELECT 'run/' || id FROM tree)
"""  # noqa: S608 - nothing in it is given from outside
# Registered waits of ?1, and those about to be: ?2 is an array of [event id, run id].
_LAST = """
WITH asked (event_id, run_id) AS (
    SELECT event_id, run_id FROM stepflow_waits WHERE run_id IN (SELECT value FROM json_each(?1))
    UNION SELECT value ->> 0, value ->> 1 FROM json_each(?2))
SELECT json_group_array(json_array(event_id, run_id, max(
    coalesce((SELECT max(pos) FROM stepflow_events e WHERE e.event_id = a.event_id AND e.run_id IS NULL), 0),
    coalesce((SELECT max(pos) FROM stepflow_events e WHERE e.event_id = a.event_id AND e.run_id = a.run_id), 0))))
FROM asked a
"""
_CHILDREN = """
SELECT json_group_array(json_array(parent_id, id)) FROM stepflow_runs
WHERE parent_id IN (SELECT value FROM json_each(?)) AND ended_at IS NULL AND parent_detached = 0
"""
_PAIRS: Final = msgspec.json.Decoder(list[tuple[str, str]])
_LAST_ROWS: Final = msgspec.json.Decoder(list[tuple[EventId, RunId, int]])
_WAITING_ROWS: Final = msgspec.json.Decoder(list[events.Waiting])


def decide(
    transcript: Transcript, batch: Sequence[Write], encoded: Mapping[int, str], now: datetime
) -> tuple[list[Outcome], Work]:
    """Decide every write in order, and leave what changes with the transcript.

    A write that misses something does not keep its neighbours from asking what they miss.
    """
    records = DistantSet(transcript, encoded)
    records.load(batch)
    work = Work(records, now)
    outcomes: list[Outcome] = []
    for write in batch:
        try:
            outcomes.append(apply(work, write))
        except Missing:
            continue
    if len(outcomes) < len(batch):
        raise Missing
    records.flush()
    failpoint("checkpoint.before_commit")
    return outcomes, work


class Foreseen(msgspec.Struct):
    """What a batch of writes will ask for."""

    whole: set[RunId] = msgspec.field(default_factory=set[RunId])
    places: set[RunId] = msgspec.field(default_factory=set[RunId])
    new: set[RunId] = msgspec.field(default_factory=set[RunId])
    ends: set[RunId] = msgspec.field(default_factory=set[RunId])
    events: set[EventId] = msgspec.field(default_factory=set[EventId])
    keys: set[str] = msgspec.field(default_factory=set[str])
    waits: set[tuple[EventId, RunId]] = msgspec.field(default_factory=set[tuple[EventId, RunId]])
    takes_pos: bool = False

    @classmethod
    def of(cls, batch: Iterable[Write]) -> Foreseen:
        found = cls()
        for write in batch:
            match write:
                case CommitRun():
                    found.commit(write)
                case CreateRun(run=run, commit=first):
                    found.create(run.id, run.idempotency_key)
                    if first is not None:
                        found.commit(first)
                case ControlRun(run_id=run_id, action=action):
                    found.whole.add(run_id)
                    if action in _MAY_END:
                        found.end(run_id)
                case SendEvent(event=event):
                    found.send(event.event_id, event.run_id)
        found.places -= found.whole
        return found

    def commit(self, write: CommitRun) -> None:
        if is_plain(write):
            self.places.add(write.run_id)
            return
        self.whole.add(write.run_id)
        for new in write.creates:
            self.create(new.id, new.idempotency_key)
        for event in write.sends:
            self.send(event.event_id, event.run_id)
        self.waits.update((wait.event_id, write.run_id) for wait in write.waits)
        for run_id in write.cancels:
            self.end(run_id)
        if isinstance(write.transition, _ENDS):
            self.end(write.run_id)

    def create(self, run_id: RunId, key: str | None) -> None:
        self.whole.add(run_id)
        self.new.add(run_id)
        self.takes_pos = True
        if key is not None:
            self.keys.add(key)

    def send(self, event_id: EventId, run_id: RunId | None) -> None:
        self.events.add(event_id)
        self.takes_pos = True
        if run_id is not None:
            self.whole.add(run_id)

    def end(self, run_id: RunId) -> None:
        self.whole.add(run_id)
        self.ends.add(run_id)
        self.events.add(child_event_id(run_id))
        self.takes_pos = True


class DistantSet(WorkingSet):
    """``WorkingSet`` over a transcript."""

    def __init__(self, transcript: Transcript, encoded: Mapping[int, str] | None = None) -> None:
        super().__init__(transcript, encoded)
        self._transcript = transcript
        self._known_keys: dict[str, RunId | None] = {}
        self._last: dict[tuple[EventId, RunId], int] = {}

    # -------------------------------------------------------------- loading and writing
    def load(self, batch: Sequence[Write]) -> None:
        """Ask everything that the writes are sure or likely to ask, and break off until it is there."""
        seen = Foreseen.of(batch)
        together(
            lambda: self._load_wide(seen),
            lambda: self._load_places(seen.places),
            lambda: self._load_listening(seen),
            lambda: self._load_last(seen),
            lambda: self._load_children(seen.new),
            lambda: self._load_pos(wanted=seen.takes_pos),
            *(look for write in batch for look in self._looks(write)),
        )

    def _load_wide(self, seen: Foreseen) -> None:
        if not seen.whole and not seen.events:
            return
        asked = (_json(seen.whole), _json(seen.ends), _json(seen.events), _json(seen.keys))
        found = runs.load_where(self._connection, _WIDE, asked)
        self._states.update(dict.fromkeys(seen.whole))
        self._known_keys.update(dict.fromkeys(seen.keys))
        self._take_all(found)

    def load_runs(self, run_ids: Iterable[RunId]) -> None:
        wanted = [run_id for run_id in run_ids if run_id not in self._states]
        if wanted:
            found = runs.load_where(self._connection, runs.AMONG, (_json(wanted),))
            self._take_all(found)
            for run_id in wanted:
                self._states.setdefault(run_id, None)

    def load_inputs(self, run_ids: Sequence[RunId]) -> None:
        self._known_inputs.update(runs.load_small_inputs(self._connection, run_ids))
        large = [run_id for run_id in run_ids if run_id not in self._known_inputs]
        together(*(partial(self._load_input, run_id) for run_id in large))

    def _load_input(self, run_id: RunId) -> None:
        found = runs.load_input(self._connection, run_id)
        if found is not None:
            self._known_inputs[run_id] = found

    def _take_all(self, found: Iterable[runs.LoadedRun]) -> None:
        together(*(partial(self._take, loaded) for loaded in found))

    def _take(self, small: runs.LoadedRun) -> None:
        loaded = runs.with_output(self._connection, small)
        run_id = loaded.run.id
        self._states[run_id] = run_state(loaded.run)
        self._seqs[run_id] = loaded.last_seq
        self._children[run_id] = loaded.children
        self._waits[run_id] = {row.event_id: wait_of(row) for row in loaded.waits}
        if loaded.run.idempotency_key is not None:
            self._known_keys[loaded.run.idempotency_key] = run_id

    def _load_listening(self, seen: Foreseen) -> None:
        if not seen.events:
            return
        asked = (_json(seen.events), _json(seen.ends))
        found = fetch_json(self._connection, _WAITING, asked, _WAITING_ROWS)
        asked_for = {*seen.events, *map(child_event_id, self._below(seen.ends))}
        self._waiting.update({event_id: {} for event_id in asked_for})
        for row in found:
            self._waiting.setdefault(row.event_id, {})[row.run_id] = row.after

    def _below(self, run_ids: Iterable[RunId]) -> Iterable[RunId]:
        """The runs and their loaded descendants."""
        open_ids = list(run_ids)
        found = set(open_ids)
        while open_ids:
            fresh = set(self._children.get(open_ids.pop(), ())) - found
            found |= fresh
            open_ids += fresh
        return found

    def _load_last(self, seen: Foreseen) -> None:
        if not seen.whole:
            return
        asked = (_json(seen.whole), _json(seen.waits))
        found = fetch_json(self._connection, _LAST, asked, _LAST_ROWS)
        self._last.update({(event_id, run_id): pos for event_id, run_id, pos in found})

    def _load_children(self, parents: set[RunId]) -> None:
        """Children that a run had before it was deleted are those of the new one with its id."""
        if not parents:
            return
        found = fetch_json(self._connection, _CHILDREN, (_json(parents),), _PAIRS)
        children: dict[RunId, list[RunId]] = {parent: [] for parent in parents}
        for parent, child in found:
            children[parent].append(child)
        self._children.update(children)

    def _load_pos(self, *, wanted: bool) -> None:
        if wanted:
            events.last_pos(self._connection)  # so that its answer is there when the first position is taken

    def _looks(self, write: Write) -> Iterable[Callable[[], object]]:
        """The lookups of each event that may have been sent before."""
        sent = write.sends if isinstance(write, CommitRun) else ()
        sent = (write.event,) if isinstance(write, SendEvent) else sent
        for event in sent:
            if event.dedup_id is not None:
                yield partial(events.find_by_dedup, self._connection, event.event_id, event.dedup_id)
            if event.once:
                yield partial(events.find_first, self._connection, event.event_id, event.run_id)

    def _put(self, statement: Bulk, rows: Sequence[tuple[Column, ...]]) -> None:
        for sql, parameters in statements_of(statement, rows):
            self._connection.execute(sql, parameters)

    # -------------------------------------------------------------- what the rules ask
    def find_by_key(self, idempotency_key: str) -> RunState | None:
        if idempotency_key not in self._keys and idempotency_key in self._known_keys:
            run_id = self._known_keys[idempotency_key]
            return None if run_id is None else self.find(run_id)
        return super().find_by_key(idempotency_key)

    def has_event(self, event_id: EventId, run_id: RunId, after: int) -> bool:
        last = self._last.get((event_id, run_id))
        if last is None:
            return super().has_event(event_id, run_id, after)
        if last > after:
            return True
        return any(
            event.pos > after and event.run_id in (None, run_id) for event in self._events.get(event_id, ())
        )


def together(*reads: Callable[[], object]) -> None:
    """Do each of the reads; if any misses its answer, all that miss theirs have asked."""
    missing = False
    for read in reads:
        try:
            read()
        except Missing:
            missing = True
    if missing:
        raise Missing


def _json(ids: Iterable[str] | Iterable[tuple[str, str]]) -> str:
    # In order, so that the same question is known to be the same.
    return msgspec.json.encode(sorted(ids)).decode()
