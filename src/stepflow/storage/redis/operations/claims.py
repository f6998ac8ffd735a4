"""Claims: which runs a worker takes next, out of every partition, and what comes along with each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from stepflow.model.events import Event, Wait
from stepflow.model.journal import JournalRow
from stepflow.model.states import RunStatus
from stepflow.storage._rules.claims import (
    CLAIM_EVENTS_LIMIT,
    RUN_ROWS_LIMIT,
    RowBudget,
    known_seq,
    take,
)
from stepflow.storage._rules.records import RunState, Work
from stepflow.storage.redis.calls import Call, Script, command, evaluate, unpacked
from stepflow.storage.redis.fields import micros, read_row, size_of_entries
from stepflow.storage.redis.keys import STORE, Keys, Partition
from stepflow.storage.redis.operations.finishing import finish
from stepflow.storage.redis.operations.records import Held, OneRun, load, load_many, remember, save
from stepflow.storage.redis.sagas import Act, Saga
from stepflow.storage.writes import Claim
from stepflow.types import RunId, WorkerId

SURVEY: Final = Script("survey")
WORKERS: Final = Script("workers")
ROWS: Final = Script("rows")
SWEEP_AFTER: Final = 2
"""Seconds that whoever left an intent has to perform it, before a claimant does."""

_LANE: Final = msgspec.json.Decoder(tuple[str, str, int])


class Survey(NamedTuple):
    """One partition, as a claimant sees it: its lanes, who owns runs there, and what was left undone."""

    here: Partition
    lanes: Sequence[str]
    owners: Sequence[WorkerId]
    pending: Sequence[str]


class Candidate(NamedTuple):
    """A run that may be claimed. ``due`` is None if it is one whose owner was lost."""

    order: tuple[int, int, int]
    queue: str
    run_id: RunId
    owner: WorkerId | None


# ------------------------------------------------------------------ looking
def survey(keys: Keys, *, age: int = SWEEP_AFTER) -> Saga[list[Survey]]:
    replies = yield _survey_calls(keys, age)
    return _surveys(keys, replies)


def glance(act: Act, worker: WorkerId) -> Saga[tuple[frozenset[WorkerId], list[Survey]]]:
    """Who lives (see ``living``), and what there is to claim, in one round trip."""
    alive, *replies = yield [_living_call(act, worker), *_survey_calls(act.keys, SWEEP_AFTER)]
    return frozenset(unpacked(alive)), _surveys(act.keys, replies)


def _survey_calls(keys: Keys, age: int) -> list[Call]:
    return [
        evaluate(SURVEY, here.tag, (here.lanes, here.owners, here.pending), {"age": age})
        for here in keys.partitions
    ]


def _surveys(keys: Keys, replies: Sequence[Any]) -> list[Survey]:
    return [Survey(here, *unpacked(reply)) for here, reply in zip(keys.partitions, replies, strict=True)]


def workers_call(keys: Keys, argument: Mapping[str, Any]) -> Call:
    return evaluate(WORKERS, STORE, (keys.workers, keys.leases, keys.names), argument)


def living(act: Act, worker: WorkerId) -> Saga[frozenset[WorkerId]]:
    """The workers whose lease has not passed, and the claimant; nobody if it is not registered."""
    [reply] = yield [_living_call(act, worker)]
    return frozenset(unpacked(reply))


def _living_call(act: Act, worker: WorkerId) -> Call:
    return workers_call(act.keys, {"verb": "claim", "id": worker, "now": str(micros(act.now))})


def candidates(
    act: Act,
    surveys: Sequence[Survey],
    alive: frozenset[WorkerId],
    worker: WorkerId,
    queues: Mapping[str, int],
    workflows: Collection[str] | None,
    limit: int,
) -> Saga[list[Candidate]]:
    """The best runs to claim, best first: no more of a queue than it has room for."""
    found = yield from _due(act, surveys, queues, workflows, limit)
    lost = {owner for one in surveys for owner in one.owners if owner not in alive}
    if lost:
        # Who registered since it was asked who lives may own runs by now; who did not is gone for good.
        lost -= yield from living(act, worker)
        found += yield from _orphans(surveys, lost, queues, workflows)
    found.sort()
    room = dict(queues)
    chosen: list[Candidate] = []
    for one in found:
        if len(chosen) < limit and room[one.queue] > 0:
            room[one.queue] -= 1
            chosen.append(one)
    return chosen


def _due(
    act: Act,
    surveys: Sequence[Survey],
    queues: Mapping[str, int],
    workflows: Collection[str] | None,
    limit: int,
) -> Saga[list[Candidate]]:
    asked = [
        (one.here, lane, queue, priority)
        for one in surveys
        for lane, queue, priority in _served(one.lanes, queues, workflows)
        if min(queues[queue], limit) > 0
    ]
    if not asked:
        return []
    now = micros(act.now)
    replies = yield [
        command(
            here.tag,
            "ZRANGEBYSCORE",
            here.due(lane),
            "-inf",
            now,
            "WITHSCORES",
            "LIMIT",
            0,
            min(queues[queue], limit),
        )
        for here, lane, queue, _ in asked
    ]
    found: list[Candidate] = []
    for (_, _, queue, priority), reply in zip(asked, replies, strict=True):
        for place, score in zip(reply[::2], reply[1::2], strict=True):
            pos, _, run_id = place.decode().partition("|")
            found.append(Candidate((-priority, int(float(score)), int(pos)), queue, run_id, None))
    return found


def _orphans(
    surveys: Sequence[Survey],
    lost: Collection[WorkerId],
    queues: Mapping[str, int],
    workflows: Collection[str] | None,
) -> Saga[list[Candidate]]:
    """The running runs of workers that are gone: before all others of their priority."""
    asked = [(one.here, owner) for one in surveys for owner in one.owners if owner in lost]
    if not asked:
        return []
    replies = yield [command(here.tag, "HGETALL", here.owned(owner)) for here, owner in asked]
    found: list[Candidate] = []
    for (_, owner), reply in zip(asked, replies, strict=True):
        for run_id, owned in zip(reply[::2], reply[1::2], strict=True):
            pos, _, lane = owned.decode().partition("|")
            for _, queue, priority in _served([lane], queues, workflows):
                order = (-priority, -(2**62), int(pos))
                found.append(Candidate(order, queue, run_id.decode(), owner))
    return found


def _served(
    lanes: Sequence[str], queues: Collection[str], workflows: Collection[str] | None
) -> list[tuple[str, str, int]]:
    """The lanes of these queues and workflows: name, queue, priority."""
    found: list[tuple[str, str, int]] = []
    for lane in lanes:
        queue, workflow, priority = _LANE.decode(lane)
        if queue in queues and (workflows is None or workflow in workflows):
            found.append((lane, queue, priority))
    return found


# ------------------------------------------------------------------ taking
class Taken(NamedTuple):
    """A claimed run, before its journal and events are read."""

    one: OneRun
    former: Held
    row: JournalRow
    takeover: bool


def take_run(act: Act, candidate: Candidate, worker: WorkerId) -> Saga[Taken | None]:
    """Make the run the worker's, if it still is what it was chosen for."""
    held = yield from load(act, candidate.run_id)
    if held is not None and held.intent is not None:
        yield from finish(act, held)
        held = yield from load(act, candidate.run_id)
    if held is None or held.intent is not None or not _claimable(held.run, candidate, act.now):
        return None
    one = OneRun(held)
    work = Work(one, act.now)
    takeover = held.run.status is RunStatus.RUNNING
    row = take(work, one.run, worker)
    if not (yield from save(act, one)):
        return None
    act.noted(work)
    remember(act, one)
    return Taken(one, held, row, takeover)


def _claimable(run: RunState, candidate: Candidate, now: datetime) -> bool:
    """Whether the run is due, or still owned by the lost worker that it was chosen for."""
    if run.status is RunStatus.RUNNING:
        return run.worker is not None and run.worker == candidate.owner
    return run.due_at is not None and run.due_at <= now


# ------------------------------------------------------------------ what comes along
Brought: TypeAlias = tuple[int, Sequence[str]]
"""The seq after which a worker needs rows, and those rows as they are stored."""


def rows_of(act: Act, taken: Sequence[Taken], known: Mapping[RunId, int]) -> Saga[list[Brought]]:
    """For each run the rows that its worker does not know, as far as they may come along."""
    afters = [known_seq(known, one.one.run, one.former.seq) for one in taken]
    behind = [(place, one) for place, one in enumerate(taken) if afters[place] < one.former.seq]
    found: list[Brought] = [(after, ()) for after in afters]
    if behind:
        replies = yield [
            rows_call(
                act.keys,
                one.one.run,
                afters[place],
                count=one.former.seq - afters[place],
                room=RUN_ROWS_LIMIT + 64 * 1024,
            )
            for place, one in behind
        ]
        for (place, _), reply in zip(behind, replies, strict=True):
            found[place] = afters[place], unpacked(reply)[0]
    return found


def waits_of(taken: Sequence[Taken]) -> list[tuple[RunId, Wait]]:
    """What the claimed runs wait for."""
    return [(one.one.run.id, wait) for one in taken for wait in one.one.kept.values()]


def claims_of(
    taken: Sequence[Taken], brought: Sequence[Brought], logs: Sequence[Sequence[Event]]
) -> list[Claim]:
    """The claims, each with its rows and with the events of its waits, which are given in the order of ``waits_of``."""
    found = iter(logs)
    budget = RowBudget()
    claims: list[Claim] = []
    for one, (after, encoded) in zip(taken, brought, strict=True):
        run_id = one.one.run.id
        rows = budget.fit(
            (row, size_of_entries(row, text))
            for row, text in (
                (read_row(run_id, after + 1 + at, text), text) for at, text in enumerate(encoded)
            )
        )
        events = [event for _ in one.one.kept for event in next(found)]
        events.sort(key=lambda event: event.pos)
        claims.append(
            Claim(
                run=one.one.record(one.one.run),
                rows=(*rows, one.row),
                complete=len(rows) == one.former.seq - after,
                takeover=one.takeover,
                events=tuple(events[:CLAIM_EVENTS_LIMIT]),
            )
        )
    return claims


def rows_call(keys: Keys, run: RunState, after: int, *, count: int | None, room: int) -> Call:
    """Rows after a seq, at most ``count`` (None: all), as far as they fit."""
    here = keys.of(run.id)
    first = max(0, after + 1 - run.first_seq)
    return evaluate(
        ROWS,
        here.tag,
        (here.journal(run.id),),
        {"first": first, "count": -1 if count is None else count, "room": room},
    )


# ------------------------------------------------------------------ what is due next
def next_due(keys: Keys, queues: Sequence[str], workflows: Collection[str] | None) -> Saga[int | None]:
    surveys = yield from survey(keys)
    asked = [(one.here, lane) for one in surveys for lane, _, _ in _served(one.lanes, queues, workflows)]
    if not asked:
        return None
    replies = yield [command(here.tag, "ZRANGE", here.due(lane), 0, 0, "WITHSCORES") for here, lane in asked]
    return min((int(float(reply[1])) for reply in replies if reply), default=None)


# ------------------------------------------------------------------ whose runs are whose
def owned_runs(act: Act, worker: WorkerId) -> Saga[dict[RunId, str]]:
    """The worker's running runs, each with its queue."""
    replies = yield [command(here.tag, "HGETALL", here.owned(worker)) for here in act.keys.partitions]
    found: dict[RunId, str] = {}
    for reply in replies:
        for run_id, owned in zip(reply[::2], reply[1::2], strict=True):
            queue, _, _ = _LANE.decode(owned.partition(b"|")[2])
            found[run_id.decode()] = queue
    return found


def requested(act: Act, worker: WorkerId) -> Saga[list[RunState]]:
    """The worker's runs with a cancel or a pause asked of them, by id."""
    replies = yield [command(here.tag, "SMEMBERS", here.requested) for here in act.keys.partitions]
    asked = sorted(run_id.decode() for reply in replies for run_id in reply)
    held = yield from load_many(act, asked)
    return [
        one.run
        for one in held
        if one is not None
        and one.run.worker == worker
        and (one.run.cancel_requested or one.run.pause_requested)
    ]
