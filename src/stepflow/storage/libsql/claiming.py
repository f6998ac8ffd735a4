"""Claiming over a distance: one journey to see what may be taken, one to fetch what goes with it, one to take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from stepflow.model.events import Event
from stepflow.model.journal import Claimed, JournalRow
from stepflow.model.states import RunStatus
from stepflow.storage._rules.claims import CLAIM_EVENTS_LIMIT, RUN_ROWS_LIMIT, RowBudget, known_seq, take
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage._sql.rows import Micros, event_of, micros
from stepflow.storage.libsql.reading import read_rows
from stepflow.storage.libsql.transcript import Transcript
from stepflow.storage.libsql.working_set import DistantSet, together
from stepflow.storage.sqlite.connection import fetch_json
from stepflow.storage.sqlite.operations import events, workers
from stepflow.storage.sqlite.operations.claims import CANDIDATES, OWNERS, Candidate, WorkflowNames
from stepflow.storage.sqlite.operations.journal import StoredRow
from stepflow.storage.writes import Claim
from stepflow.types import RunId, WorkerId

_SMALL_TAIL = 32_768
"""Bytes of a journal that are fetched beside those of many other runs."""

# For each queue the priorities that runs wait with, highest first: one seek each, however long the backlog is.
_STEPS = """
WITH RECURSIVE step (queue, priority) AS (
    SELECT q.value, (SELECT max(priority) FROM stepflow_runs WHERE queue = q.value AND due_at IS NOT NULL)
    FROM json_each(?1) q
    UNION ALL
    SELECT s.queue, (SELECT max(priority) FROM stepflow_runs
        WHERE queue = s.queue AND priority < s.priority AND due_at IS NOT NULL)
    FROM step s WHERE s.priority IS NOT NULL)
"""
_OF_WORKFLOWS = "(?2 IS NULL OR d.workflow_id IN (SELECT value FROM json_each(?2)))"
_DUE = f"""{_STEPS}
SELECT json_group_array(json_array(-r.priority, r.due_at, r.created_pos, r.id, r.queue))
FROM step s JOIN stepflow_runs r ON r.rowid IN (
    SELECT d.rowid FROM stepflow_runs d
    WHERE d.queue = s.queue AND d.priority = s.priority AND d.due_at <= ?3 AND {_OF_WORKFLOWS}
    ORDER BY d.due_at, d.created_pos LIMIT ?4)
"""  # noqa: S608 - nothing in it is given from outside
_NEXT_DUE = f"""{_STEPS}
SELECT min((SELECT d.due_at FROM stepflow_runs d
    WHERE d.queue = s.queue AND d.priority = s.priority AND d.due_at IS NOT NULL AND {_OF_WORKFLOWS}
    ORDER BY d.due_at LIMIT 1))
FROM step s WHERE s.priority IS NOT NULL
"""  # noqa: S608 - nothing in it is given from outside
_ORPHANED = f"""
SELECT json_group_array(json_array(-d.priority, 0, d.created_pos, d.id, d.queue)) FROM stepflow_runs d
WHERE d.worker IN ({OWNERS}) AND d.queue IN (SELECT value FROM json_each(?1)) AND {_OF_WORKFLOWS}
"""  # noqa: S608 - nothing in it is given from outside
# ?1 is an object: run → the seq after which its rows are wanted. ``before`` are the bytes up to and with a row.
_TAILS = """
SELECT json_group_array(json_array(run_id, seq, writer, write_id, entries)) FROM (
    SELECT j.run_id, j.seq, j.writer, j.write_id, j.entries,
        sum(length(CAST(j.entries AS BLOB))) OVER (PARTITION BY j.run_id ORDER BY j.seq) AS before
    FROM json_each(?1) w JOIN stepflow_journal j ON j.run_id = w.key AND j.seq > w.value
    ORDER BY j.run_id, j.seq)
WHERE before <= ?2
"""
_STORED: Final = msgspec.json.Decoder(list[StoredRow])


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for how many runs, of which queues."""

    worker: WorkerId
    queues: Mapping[str, int]
    known: Mapping[RunId, int]
    limit: int
    now: datetime
    workflows: WorkflowNames


class LostWorkers(msgspec.Struct, frozen=True):
    """The claim has to wait until these are forgotten, whose leases have passed."""

    ids: Sequence[WorkerId]


def next_due(transcript: Transcript, queues: Sequence[str], workflows: WorkflowNames) -> Micros | None:
    """The earliest instant at which a run of these queues is due, past or future."""
    asked = msgspec.json.encode(sorted(queues)).decode()
    row = transcript.execute(_NEXT_DUE, (asked, workflows)).fetchone()
    due = None if row is None else row[0]
    return due if isinstance(due, int) else None


def claim(
    transcript: Transcript, request: ClaimRequest, tried: dict[RunId, int]
) -> tuple[list[Claim], Work] | LostWorkers:
    """Take the runs, if no lost worker is to be forgotten before. ``tried`` notes each with the seq of its claim."""
    records = DistantSet(transcript)
    work = Work(records, request.now)
    known, due, orphaned = _look(transcript, request)
    if request.worker not in known:
        return [], work
    lost = [worker for worker, lease_until in known.items() if lease_until <= micros(request.now)]
    if any(worker != request.worker for worker in lost):
        return LostWorkers([worker for worker in lost if worker != request.worker])
    chosen = _choose([*due, *orphaned], request)
    if not chosen:
        return [], work
    rows, waited = _load(transcript, records, chosen, request)
    budget = RowBudget()
    taken: list[tuple[RunState, tuple[JournalRow, ...], bool, bool]] = []
    for run_id in chosen:
        run = records.find(run_id)
        assert run is not None, "it was seen at the same moment"
        last = records.last_seq(run_id)
        missing = last - known_seq(request.known, run, last)
        fitting = budget.fit((row.decoded(), row.size) for row in rows.get(run_id, ()))
        takeover = run.status is RunStatus.RUNNING
        claimed = take(work, run, request.worker)
        tried[run_id] = claimed.seq
        taken.append((run, (*fitting, claimed), len(fitting) == missing, takeover))
    found = [
        Claim(
            run=records.record(run),
            rows=brought,
            complete=complete,
            takeover=takeover,
            events=tuple(waited.get(run.id, ())[:CLAIM_EVENTS_LIMIT]),
        )
        for run, brought, complete, takeover in taken
    ]
    records.flush()
    return found, work


def claimed_before(transcript: Transcript, request: ClaimRequest, tried: Mapping[RunId, int]) -> list[Claim]:
    """Those of the runs that an earlier claim of the worker took, whose answer was lost on its way."""
    records = DistantSet(transcript)
    rows, waited = _load(transcript, records, sorted(tried), request)
    own = [
        run_id
        for run_id, seq in sorted(tried.items())
        if records.owner(run_id) == request.worker and records.last_seq(run_id) == seq
    ]
    last: dict[RunId, list[StoredRow]] = {}
    together(*(partial(_add_row, transcript, last, run_id, tried[run_id]) for run_id in own))
    budget = RowBudget()
    found: list[Claim] = []
    for run_id in own:
        run = records.find(run_id)
        assert run is not None, "an owned run exists"
        (claimed,) = (row.decoded() for row in last[run_id])
        missing = claimed.seq - 1 - min(known_seq(request.known, run, claimed.seq), claimed.seq - 1)
        brought = budget.fit(
            (row.decoded(), row.size) for row in rows.get(run_id, ()) if row.seq < claimed.seq
        )
        found.append(
            Claim(
                run=records.record(run),
                rows=(*brought, claimed),
                complete=len(brought) == missing,
                takeover=any(isinstance(entry, Claimed) and entry.takeover for entry in claimed.entries),
                events=tuple(waited.get(run_id, ())[:CLAIM_EVENTS_LIMIT]),
            )
        )
    return found


def _add_row(transcript: Transcript, rows: dict[RunId, list[StoredRow]], run_id: RunId, seq: int) -> None:
    rows[run_id] = read_rows(transcript, run_id, seq - 1, 1)


def _look(
    transcript: Transcript, request: ClaimRequest
) -> tuple[dict[WorkerId, Micros], list[Candidate], list[Candidate]]:
    """Who is registered, which runs are due, and which have lost their worker."""
    room = {queue: free for queue, free in request.queues.items() if free > 0}
    queues = msgspec.json.encode(sorted(room)).decode()
    most = min(request.limit, max(room.values(), default=0))
    due = (_DUE, (queues, request.workflows, micros(request.now), most))
    orphaned = (_ORPHANED, (queues, request.workflows))
    transcript.ahead(*due)
    transcript.ahead(*orphaned)
    return (
        workers.registered(transcript),
        fetch_json(transcript, *due, CANDIDATES),
        fetch_json(transcript, *orphaned, CANDIDATES),
    )


def _choose(found: Sequence[Candidate], request: ClaimRequest) -> list[RunId]:
    """The runs to claim, best first: no more of a queue than it has room for."""
    room = dict(request.queues)
    chosen: list[RunId] = []
    for run in sorted(found):
        if len(chosen) < request.limit and room.get(run.queue, 0) > 0:
            room[run.queue] -= 1
            chosen.append(run.run_id)
    return chosen


def _load(
    transcript: Transcript, records: DistantSet, chosen: Sequence[RunId], request: ClaimRequest
) -> tuple[dict[RunId, list[StoredRow]], dict[RunId, list[Event]]]:
    """What the claims bring along: runs and inputs, which stay in the records, journals, and events."""
    known = {run_id: request.known.get(run_id, 0) for run_id in chosen}
    waited: dict[RunId, list[Event]] = {}
    rows: dict[RunId, list[StoredRow]] = {}
    together(
        lambda: records.load_runs(chosen),
        lambda: records.load_inputs(chosen),
        lambda: waited.update(_waited(transcript, chosen)),
        lambda: rows.update(_tails(transcript, known, _SMALL_TAIL)),
    )
    again: list[RunId] = []
    for run_id in chosen:
        run = records.find(run_id)
        if run is None:
            continue
        last = records.last_seq(run_id)
        after = known_seq(request.known, run, last)
        found = rows.get(run_id, [])
        if len(found) < last - after:
            known[run_id] = after
            again.append(run_id)
    together(*(partial(_add_tail, transcript, rows, run_id, known[run_id]) for run_id in again))
    return rows, waited


def _waited(transcript: Transcript, run_ids: Sequence[RunId]) -> dict[RunId, list[Event]]:
    """For each run the events that its registered waits may have, by position."""
    found: dict[RunId, list[Event]] = {}
    large: list[events.Waited] = []
    for waited in events.read_small_waited(transcript, run_ids, CLAIM_EVENTS_LIMIT):
        if waited.event.payload:
            found.setdefault(waited.run_id, []).append(event_of(waited.event))
        else:
            large.append(waited)
    together(*(partial(_add_large, transcript, found, waited) for waited in large))
    for log in found.values():
        log.sort(key=_pos)
    return found


def _add_large(transcript: Transcript, found: dict[RunId, list[Event]], waited: events.Waited) -> None:
    found.setdefault(waited.run_id, []).append(event_of(events.read_whole(transcript, waited.event.pos)))


def _pos(event: Event) -> int:
    return event.pos


def _add_tail(transcript: Transcript, rows: dict[RunId, list[StoredRow]], run_id: RunId, after: int) -> None:
    rows.update(_tails(transcript, {run_id: after}, RUN_ROWS_LIMIT))


def _tails(transcript: Transcript, after: Mapping[RunId, int], most: int) -> dict[RunId, list[StoredRow]]:
    """For each run the rows after a seq, from the first on, ``most`` bytes of each."""
    asked = (msgspec.json.encode(after).decode(), most)
    tails: dict[RunId, list[StoredRow]] = {}
    for row in fetch_json(transcript, _TAILS, asked, _STORED):
        tails.setdefault(row.run_id, []).append(row)
    return tails
