"""Judging: the whole store is read when all is over, and held against the ledgers, the users and the simulator's invariants."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from stepflow.clock import SystemClock
from stepflow.model.events import Event, Wait
from stepflow.model.journal import (
    Continued,
    EventReceived,
    JournalRow,
    StepCompleted,
    StepFailed,
    StepInterrupted,
)
from stepflow.model.runs import RunFilter, RunRecord
from stepflow.storage._checking.walking import Check
from stepflow.storage.base import Storage
from tests.chaos.ledger import Mark, Marks
from tests.chaos.people import People
from tests.simulation.history import History, follow
from tests.simulation.invariants import (
    Seen,
    acknowledged_events_are_kept,
    acknowledged_starts_are_kept,
    at_most_once_is_kept,
    effects_match,
    events_come_in_order,
    keys_start_one_run,
    nothing_is_lost,
    outcomes_follow_from_histories,
    streams_show_the_journal,
)
from tests.simulation.ledger import Step

_AT_ONCE = 40
_PAGE = 500

LOST = (nothing_is_lost, acknowledged_starts_are_kept, acknowledged_events_are_kept)
ONCE = (
    keys_start_one_run,
    effects_match,
    at_most_once_is_kept,
    outcomes_follow_from_histories,
    events_come_in_order,
)
SHOWN = (streams_show_the_journal,)
"""The simulator's invariants, by what it means if one does not hold."""


@dataclass(slots=True)
class Verdict:
    """What is wrong, sorted; all empty if nothing is."""

    lost: list[str] = field(default_factory=list)
    second_outcomes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    runs: int = 0
    bodies: int = 0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.second_outcomes or self.wrong)


@dataclass(slots=True)
class Observed:
    """What the simulator's invariants ask of an observer: here, the store as it is in the end."""

    ledger: Marks
    runs: dict[str, History] = field(default_factory=dict)
    former: list[History] = field(default_factory=list)
    failovers: int = 0
    events: dict[str, list[Event]] = field(default_factory=dict)

    def events_of(self, event_id: str, run_id: str) -> list[Event]:
        """The events of this id that the run may have had, by position."""
        return [event for event in self.events.get(event_id, ()) if event.run_id in (None, run_id)]


async def judge(storage: Storage, people: People, marks: Marks) -> Verdict:
    """Read everything, and say what is wrong. Nobody works on the store any more."""
    verdict = Verdict()
    observed = Observed(marks)
    await _read_runs(storage, observed, verdict)
    await _read_events(storage, observed, people)
    people.run_ids.update(marks.acknowledged)
    _leave_out_what_nobody_could_see(observed, people)
    seen = Seen(people.world, people.cluster, people, observed)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # Programs may leave a coroutine that they never await, and every journal is replayed here.
        warnings.simplefilter("ignore", RuntimeWarning)
        verdict.lost += _broken(LOST, seen)
        verdict.second_outcomes += [*_broken(ONCE, seen), *_repeated(observed)]
        verdict.wrong += [*_broken(SHOWN, seen), *people.wrong, *marks.complaints]
    verdict.wrong += await _contradictions(storage)
    verdict.runs = len(observed.runs)
    verdict.bodies = sum(1 for _ in marks.all())
    return verdict


def _broken(invariants: tuple[Callable[[Seen], Iterator[str]], ...], seen: Seen) -> list[str]:
    return [f"{invariant.__name__}: {what}" for invariant in invariants for what in invariant(seen)]


# ------------------------------------------------------------------ reading
async def _read_runs(storage: Storage, observed: Observed, verdict: Verdict) -> None:
    cursor: str | None = None
    while True:
        page = await storage.list_runs(RunFilter(), cursor=cursor, limit=_PAGE)
        for first in range(0, len(page.items), _AT_ONCE):
            some = page.items[first : first + _AT_ONCE]
            for history in await asyncio.gather(*(_history(storage, run, verdict) for run in some)):
                observed.runs[history.record.id] = history
        cursor = page.next_cursor
        if cursor is None:
            return


async def _history(storage: Storage, record: RunRecord, verdict: Verdict) -> History:
    """The run and its journal, row by row as the simulator's observer sees them."""
    rows = _of_generations_that_are_there(record, await storage.read_journal(record.id))
    history = History(record, blind=record.first_seq > 1)
    if rows and isinstance(continued := rows[0].entries[0], Continued):
        history.cursors = dict(continued.cursors)
    for row in rows:
        follow(history, row, verdict.second_outcomes.append)
    if history.rows and record.seq != history.rows[-1].seq:
        verdict.lost.append(
            f"{record.id}: the record counts {record.seq} rows, {history.rows[-1].seq} are there"
        )
    return history


def _of_generations_that_are_there(record: RunRecord, rows: Sequence[JournalRow]) -> list[JournalRow]:
    """Without what the generation before had in the row that ``continue_as`` begins with: the rest of it is deleted."""
    if record.first_seq == 1:
        return list(rows)
    entries = rows[0].entries
    begins = next(place for place, entry in enumerate(entries) if isinstance(entry, Continued))
    return [msgspec.structs.replace(rows[0], entries=entries[begins:]), *rows[1:]]


async def _read_events(storage: Storage, observed: Observed, people: People) -> None:
    """All events of the ids that somebody received or sent."""
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for event_id, _ in people.acknowledged_events:
        wanted[event_id].add("nobody")
    for run_id, history in observed.runs.items():
        for entry, *_ in history.placed():
            if isinstance(entry, EventReceived):
                wanted[entry.event_id].add(run_id)
    asked = [(run_id, Wait(event_id=event_id, after=0)) for event_id, ids in wanted.items() for run_id in ids]
    by_position: defaultdict[str, dict[int, Event]] = defaultdict(dict)
    for first in range(0, len(asked), _AT_ONCE):
        some = asked[first : first + _AT_ONCE]
        for (_, wait), found in zip(some, await storage.read_events(some, limit=10_000), strict=True):
            by_position[wait.event_id] |= {event.pos: event for event in found}
    observed.events = {
        event_id: [found[pos] for pos in sorted(found)] for event_id, found in by_position.items()
    }


def _leave_out_what_nobody_could_see(observed: Observed, people: People) -> None:
    """Rows that ``continue_as`` or a delete took away are not there to be held against what readers saw."""
    gone = {people.run_ids.get(index) for index in people.deleted}
    gone |= {run_id for run_id, history in observed.runs.items() if history.record.first_seq > 1}
    people.follows = [follow for follow in people.follows if follow.run_id not in gone]


async def _contradictions(storage: Storage) -> list[str]:
    """What `stepflow storage check` would say."""
    clock = SystemClock()
    return [
        f"{finding.what}: {finding.run_id}: {finding.detail}"
        async for finding in Check(storage, now=clock.now()).all()
        if finding.damage
    ]


# ------------------------------------------------------------------ bodies
@dataclass(slots=True)
class _Outcome:
    """Where a step of one generation has its outcome. A result is kept by the later attempts of its run."""

    row: int
    attempt: int
    kept: bool


def _repeated(observed: Observed) -> Iterator[str]:
    """No recorded step runs again, none twice for one claim, each after the same past."""
    outcomes = {
        (run_id, history.record.created_pos): _outcomes(history) for run_id, history in observed.runs.items()
    }
    for step, ran in observed.ledger.marks.items():
        claims = Counter((mark.owner, mark.attempt) for mark in ran)
        for (owner, attempt), times in claims.items():
            if times > 1:
                yield f"{step}: attempt {attempt} began {times} times for claim {owner}"
        if len({mark.seen for mark in ran}) > 1:
            yield f"{step}: began after two different pasts"
        run_id, created, generation, attempt, key = step
        for outcome in outcomes.get((run_id, created), {}).get((generation or 1, key), ()):
            yield from _run_again(step, attempt, ran, outcome)


def _run_again(step: Step, attempt: int, ran: list[Mark], outcome: _Outcome) -> Iterator[str]:
    """Whoever claims a run reads what is recorded; a retry of the run keeps the results of the attempts before."""
    for mark in ran:
        known = mark.owner[1] > outcome.row and attempt == outcome.attempt
        if known or (outcome.kept and attempt > outcome.attempt):
            yield f"{step}: has its outcome in row {outcome.row}, and {mark.owner} ran it again"


def _outcomes(history: History) -> dict[tuple[int, str], list[_Outcome]]:
    """Generation and key → every outcome in the journal."""
    found: defaultdict[tuple[int, str], list[_Outcome]] = defaultdict(list)
    for entry, row, generation, attempt in history.placed():
        if isinstance(entry, StepCompleted | StepFailed | StepInterrupted):
            kept = isinstance(entry, StepCompleted)
            found[generation, entry.key].append(_Outcome(row, attempt, kept))
    return found
