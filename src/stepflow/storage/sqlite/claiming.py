"""Claiming: one transaction that chooses runs, takes them, and gathers what their new owner needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from stepflow.model.events import Event
from stepflow.model.journal import JournalRow
from stepflow.model.states import RunStatus
from stepflow.storage._rules.claims import CLAIM_EVENTS_LIMIT, RowBudget, known_seq, take
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage._sql.rows import micros
from stepflow.storage.sqlite.operations import claims, events, journal, workers
from stepflow.storage.sqlite.operations.claims import Candidate, WorkflowNames
from stepflow.storage.sqlite.working_set import WorkingSet
from stepflow.storage.writes import Claim
from stepflow.types import RunId, WorkerId

FEW = 8
"""So many runs are claimed in about the time that two thread switches take."""


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for how many runs, of which queues; ``dead`` are workers whose process is gone."""

    worker: WorkerId
    queues: Mapping[str, int]
    known: Mapping[RunId, int]
    limit: int
    now: datetime
    dead: frozenset[WorkerId]
    workflows: WorkflowNames


def look(connection: sqlite3.Connection, request: ClaimRequest) -> int:
    """How many runs a claim would find, without the write lock; counts no further than just over ``FEW``.

    0 is certain: such a claim would come back empty and change nothing.
    """
    now = micros(request.now)
    known = workers.registered(connection)
    if request.worker not in known:
        return 0
    found = len(_lost(known, request)) + len(claims.orphaned_runs(connection, request.workflows))
    for queue, room in request.queues.items():
        if room > 0 and found <= FEW:
            found += len(claims.due_runs(connection, queue, request.workflows, FEW + 1, now))
    return found


def claim(connection: sqlite3.Connection, request: ClaimRequest) -> tuple[list[Claim], Work]:
    """Take the runs. Called within a write transaction."""
    known = workers.registered(connection)
    records = WorkingSet(connection)
    work = Work(records, request.now)
    if request.worker not in known:
        return [], work
    workers.forget(connection, _lost(known, request))
    chosen = _choose(connection, request)
    if not chosen:
        return [], work
    records.load_runs(chosen)
    states = [state for run_id in chosen if (state := records.find(run_id)) is not None]
    rows = _missing_rows(connection, records, states, request.known)
    waited = _eligible_events(connection, records, states)
    budget = RowBudget()
    taken: list[tuple[RunState, tuple[JournalRow, ...], bool, bool]] = []
    for run in states:
        last = records.last_seq(run.id)
        missing = last - known_seq(request.known, run, last)
        fitting = budget.fit((row.decoded(), row.size) for row in rows.get(run.id, ()))
        takeover = run.status is RunStatus.RUNNING
        claimed = take(work, run, request.worker)
        taken.append((run, (*fitting, claimed), len(fitting) == missing, takeover))
    records.load_inputs(chosen)
    found = [
        Claim(
            run=records.record(run),
            rows=brought,
            complete=complete,
            takeover=takeover,
            events=waited.get(run.id, ()),
        )
        for run, brought, complete, takeover in taken
    ]
    records.flush()
    return found, work


def _lost(known: Mapping[WorkerId, int], request: ClaimRequest) -> list[WorkerId]:
    """The registered workers that are not there any more."""
    now = micros(request.now)
    return [
        worker
        for worker, lease_until in known.items()
        if worker != request.worker and (lease_until <= now or worker in request.dead)
    ]


def _choose(connection: sqlite3.Connection, request: ClaimRequest) -> list[RunId]:
    """The runs to claim, best first: no more of a queue than it has room for."""
    room = dict(request.queues)
    now = micros(request.now)
    found: list[Candidate] = []
    for queue, free in room.items():
        found += claims.due_runs(connection, queue, request.workflows, min(free, request.limit), now)
    found += [run for run in claims.orphaned_runs(connection, request.workflows) if run.queue in room]
    chosen: list[RunId] = []
    for run in sorted(found):
        if len(chosen) < request.limit and room[run.queue] > 0:
            room[run.queue] -= 1
            chosen.append(run.run_id)
    return chosen


def _missing_rows(
    connection: sqlite3.Connection,
    records: WorkingSet,
    states: Sequence[RunState],
    known: Mapping[RunId, int],
) -> dict[RunId, Sequence[journal.StoredRow] | journal.LazyRows]:
    """The journal rows that the claimant does not know: short tails in one query, long ones when asked for."""
    short: dict[RunId, int] = {}
    rows: dict[RunId, Sequence[journal.StoredRow] | journal.LazyRows] = {}
    for run in states:
        last = records.last_seq(run.id)
        after = known_seq(known, run, last)
        if last > after:
            rows[run.id] = journal.LazyRows(connection, run.id, after)
            if last - after <= journal.SHORT_TAIL:
                short[run.id] = after
    if short:
        tails = journal.read_tails(connection, short).items()
        rows.update({run: tail for run, tail in tails if len(tail) == records.last_seq(run) - short[run]})
    return rows


def _eligible_events(
    connection: sqlite3.Connection, records: WorkingSet, states: Sequence[RunState]
) -> dict[RunId, tuple[Event, ...]]:
    """The events that the runs' registered waits may have, by position."""
    waiting = [run.id for run in states if records.waits(run.id)]
    if not waiting:
        return {}
    found = events.read_waited(connection, waiting, CLAIM_EVENTS_LIMIT)
    return {run_id: tuple(log[:CLAIM_EVENTS_LIMIT]) for run_id, log in found.items()}
