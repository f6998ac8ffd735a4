"""Claiming: a look that costs little; then runs are locked and taken; then what their owner needs is gathered.

What is due in one lane is taken by one statement, which is its own transaction. Anything else (several lanes, owners that were lost)
takes a transaction that locks, then looks. Either way what an owner needs is read later than its run was locked: an event that
was sent before is seen, and the sender of one that comes later sees that the run is running.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from stepflow.model.events import Event
from stepflow.model.journal import JournalRow, encode_entries
from stepflow.model.states import RunStatus
from stepflow.storage._rules.claims import (
    CLAIM_EVENTS_LIMIT,
    RowBudget,
    claimed_row,
    known_seq,
    take,
)
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage._sql.rows import micros
from stepflow.storage.postgres.flushing import flush
from stepflow.storage.postgres.link import Link, Rollback
from stepflow.storage.postgres.operations import claims, journal, runs, workers
from stepflow.storage.postgres.operations.claims import Lane, Workflows
from stepflow.storage.postgres.working_set import Loaded, WorkingSet
from stepflow.storage.writes import Claim
from stepflow.types import RunId, WorkerId

_ATTEMPTS = 5


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for how many runs, of which queues."""

    worker: WorkerId
    queues: Mapping[str, int]
    known: Mapping[RunId, int]
    limit: int
    now: datetime
    workflows: Workflows


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim brought: the runs, those that are taken and yet to be gathered, and whom to tell."""

    claims: Sequence[Claim] = ()
    ungathered: Mapping[RunId, JournalRow] = {}
    """By run the row that took it."""
    ready: frozenset[str] = frozenset()
    changed: frozenset[RunId] = frozenset()


NOTHING = Taken()


async def claim(link: Link, request: ClaimRequest) -> Taken:
    """Take the runs. Without any to take, it only looks."""
    now = micros(request.now)
    queues = [queue for queue, room in request.queues.items() if room > 0]
    for _ in range(_ATTEMPTS):
        look = await claims.look(link, queues, request.workflows, now)
        if request.worker not in look.workers:
            return NOTHING
        expired = [
            worker for worker, until in look.workers.items() if worker != request.worker and until <= now
        ]
        due = look.lanes
        if not due and not expired and not look.lost:
            return NOTHING
        if len(due) == 1 and not expired and not look.lost:
            return await _take_at_once(link, request, due[0])
        taken: Taken | None = None
        async with link.transaction():
            lost = look.lost
            if expired:
                await workers.forget(link, expired, expired_at=now)
                lost = await claims.lost_owners(link)
            taken = await _take(link, request, due, lost)
            if taken is None:
                raise Rollback
        if taken is not None:
            return taken
    return NOTHING


async def _take_at_once(link: Link, request: ClaimRequest, lane: Lane) -> Taken:
    """Take runs of one lane in one statement."""
    limit = min(request.limit, request.queues[lane.queue])
    row = claimed_row("", 0, request.worker, request.now, takeover=False)
    seqs = await claims.take_at_once(
        link,
        lane,
        limit,
        request.workflows,
        now=micros(request.now),
        worker=request.worker,
        entries=encode_entries(row.entries).decode(),
    )
    ungathered = {
        run_id: claimed_row(run_id, seq, request.worker, request.now, takeover=False)
        for run_id, seq in seqs.items()
        if seq is not None
    }
    missed = len(ungathered) < len(seqs)  # their journals went on meanwhile: they may be due nevertheless
    return Taken(ungathered=ungathered, ready=frozenset({lane.queue} if missed else ()))


async def gather(link: Link, request: ClaimRequest, taken: Mapping[RunId, JournalRow]) -> Sequence[Claim]:
    """What the owner of runs that were taken needs, without those that somebody else has by now."""
    found = await runs.load_claimed(link, list(taken), limit=CLAIM_EVENTS_LIMIT)
    loaded = Loaded()
    for one in found.values():
        loaded.add_run(one.run)
    records = WorkingSet(loaded, ())
    states: list[RunState] = []
    after: dict[RunId, int] = {}
    for run_id, row in taken.items():
        state = records.find(run_id) if run_id in found else None
        if state is not None and state.worker == request.worker and records.last_seq(run_id) == row.seq:
            states.append(state)
            after[run_id] = known_seq(request.known, state, row.seq - 1)
    tails = {
        run_id: [before]
        for run_id, seq in after.items()
        if (before := found[run_id].before_last) is not None and seq + 1 == before[0].seq
    }
    longer = {run_id: seq for run_id, seq in after.items() if seq + 1 < taken[run_id].seq}
    tails |= await journal.read_tails(link, {run: seq for run, seq in longer.items() if run not in tails})
    budget = RowBudget()
    brought: list[Claim] = []
    for run in states:
        own = taken[run.id]
        rows = budget.fit(row for row in tails.get(run.id, ()) if row[0].seq < own.seq)
        brought.append(
            Claim(
                run=records.record(run),
                rows=(*rows, own),
                complete=len(rows) == own.seq - 1 - after[run.id],
                takeover=False,
                events=tuple(found[run.id].events[:CLAIM_EVENTS_LIMIT]),
            )
        )
    return brought


async def _take(
    link: Link, request: ClaimRequest, due: Sequence[Lane], lost: Sequence[WorkerId]
) -> Taken | None:
    """Lock, read in later statements, and append a ``Claimed`` row each; None if an owner thought lost was faster."""
    chosen, passed = await claims.take(
        link,
        due,
        lost,
        room=request.queues,
        limit=request.limit,
        workflows=request.workflows,
        now=micros(request.now),
    )
    if not chosen:
        return Taken(ready=frozenset(passed))
    ids = [candidate.run_id for candidate in chosen]
    found = await runs.load_claimed(link, ids, limit=CLAIM_EVENTS_LIMIT)
    loaded = Loaded()
    for one in found.values():
        loaded.add_run(one.run)
    records = WorkingSet(loaded, ())
    work = Work(records, request.now)
    states = [state for run_id in ids if run_id in found and (state := records.find(run_id)) is not None]
    after = {run.id: known_seq(request.known, run, records.last_seq(run.id)) for run in states}
    tails = await journal.read_tails(
        link, {run.id: after[run.id] for run in states if records.last_seq(run.id) > after[run.id]}
    )
    budget = RowBudget()
    brought = [
        _taken(work, run, request.worker, budget, after[run.id], tails.get(run.id, ()), found[run.id].events)
        for run in states
    ]
    if not await flush(link, records):
        return None
    return Taken(claims=brought, ready=frozenset(passed | work.ready), changed=frozenset(work.changed))


def _taken(
    work: Work,
    run: RunState,
    worker: WorkerId,
    budget: RowBudget,
    after: int,
    tail: Sequence[tuple[JournalRow, int]],
    waited: Sequence[Event],
) -> Claim:
    missing = work.records.last_seq(run.id) - after
    rows = budget.fit(tail)
    takeover = run.status is RunStatus.RUNNING
    claimed = take(work, run, worker)
    return Claim(
        run=work.records.record(run),
        rows=(*rows, claimed),
        complete=len(rows) == missing,
        takeover=takeover,
        events=tuple(waited[:CLAIM_EVENTS_LIMIT]),
    )
