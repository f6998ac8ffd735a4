"""Building blocks: short names for what contract tests arrange and ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from stepflow.model.events import NewEvent, Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Claimed, Entry, StepCompleted
from stepflow.model.payloads import Payload
from stepflow.model.runs import NewRun, ParentLink, RunRecord
from stepflow.model.states import PauseReason, RunStatus
from stepflow.storage.base import Storage, WorkerRecord
from stepflow.storage.writes import (
    Action,
    Cancel,
    Claim,
    CommitRun,
    Committed,
    Complete,
    ControlRun,
    Created,
    CreateRun,
    Fail,
    Outcome,
    Pause,
    SendEvent,
    Suspend,
    Transition,
    Write,
)
from stepflow.types import EventId, RunId, WorkerId

T0: Final = datetime(2025, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
LEASE: Final = timedelta(seconds=30)
LONG: Final = timedelta(days=365)
SECOND: Final = timedelta(seconds=1)

FAILURE: Final = Failure(type="ValueError", message="bad luck", traceback="Traceback …")

Kind = TypeVar("Kind")


# ------------------------------------------------------------------ records
def value(json: str = "null", codec: str = "json") -> Payload:
    return Payload(msgspec.Raw(json.encode()), codec)


def a_run(run_id: RunId = "r1", **fields: Any) -> NewRun:
    """A new run, due at ``T0``."""
    given: dict[str, Any] = {
        "id": run_id,
        "workflow_id": "checkout",
        "input": value('{"order":7}'),
        "created_at": T0,
        "due_at": T0,
    }
    return NewRun(**given | fields)


def a_child(run_id: RunId, parent: RunId, *, detached: bool = False, **fields: Any) -> NewRun:
    """A new run that ``parent`` started."""
    link = ParentLink(run_id=parent, key=f"start/{run_id}", detached=detached)
    return a_run(run_id, parent=link, **fields)


def a_worker(worker: WorkerId = "w1", **fields: Any) -> WorkerRecord:
    """A worker whose lease ends ``LEASE`` after ``T0``."""
    given: dict[str, Any] = {
        "id": worker,
        "name": None,
        "queues": ("default",),
        "host": "host",
        "pid": 4711,
        "started_at": T0,
        "lease_until": T0 + LEASE,
    }
    return WorkerRecord(**given | fields)


def a_step(name: str = "charge", json: str = '"ok"', at: datetime = T0) -> StepCompleted:
    return StepCompleted(at=at, key=name, function="shop.charge", value=value(json), started_at=at)


def an_event(event_id: EventId = "paid", json: str = "true", **fields: Any) -> NewEvent:
    return NewEvent(event_id=event_id, payload=value(json), **fields)


# ------------------------------------------------------------------ writes
def create(run_id: RunId = "r1", **fields: Any) -> CreateRun:
    return CreateRun(run=a_run(run_id, **fields))


def start(run: NewRun, worker: WorkerId = "w1", *, at: datetime = T0, **fields: Any) -> CreateRun:
    """A create that claims the run at once."""
    entries = (Claimed(at=at, worker=worker, python="3.11"),)
    return CreateRun(run=run, commit=commit(run.id, 1, worker=worker, entries=entries, **fields))


def commit(
    run_id: RunId = "r1",
    seq: int = 2,
    *,
    worker: WorkerId = "w1",
    write_id: str | None = None,
    entries: Sequence[Entry] = (),
    transition: Transition | None = None,
    **fields: Any,
) -> CommitRun:
    """A commit of the run's owner, with one completed step if nothing else is given."""
    return CommitRun(
        run_id=run_id,
        seq=seq,
        writer=worker,
        write_id=write_id or f"{worker}/{run_id}/{seq}",
        entries=tuple(entries) or (a_step(f"step-{seq}"),),
        transition=transition,
        **fields,
    )


def send(event_id: EventId = "paid", json: str = "true", **fields: Any) -> SendEvent:
    return SendEvent(event=an_event(event_id, json, **fields))


def control(run_id: RunId, action: Action) -> ControlRun:
    return ControlRun(run_id=run_id, action=action)


# ------------------------------------------------------------------ asking
async def write(storage: Storage, *batch: Write, now: datetime = T0) -> Sequence[Outcome]:
    return await storage.write(batch, now=now)


async def write_one(storage: Storage, one: Write, kind: type[Kind], *, now: datetime = T0) -> Kind:
    """The outcome of one write, which must be of this kind."""
    (outcome,) = await storage.write([one], now=now)
    assert isinstance(outcome, kind), outcome
    return outcome


async def get(storage: Storage, run_id: RunId = "r1") -> RunRecord:
    """The record of a run that must exist."""
    run = await storage.get_run(run_id)
    assert run is not None, f"no run {run_id}"
    return run


async def status_of(storage: Storage, run_id: RunId = "r1") -> RunStatus:
    return (await get(storage, run_id)).status


async def claim(
    storage: Storage,
    worker: WorkerId = "w1",
    *,
    now: datetime = T0,
    queues: Mapping[str, int] | None = None,
    known: Mapping[RunId, int] | None = None,
    limit: int = 100,
    workflows: Collection[str] | None = None,
) -> Sequence[Claim]:
    return await storage.claim_runs(
        worker,
        queues={"default": 1_000} if queues is None else queues,
        known={} if known is None else known,
        limit=limit,
        now=now,
        workflows=workflows,
    )


async def claimed_ids(storage: Storage, worker: WorkerId = "w1", **options: Any) -> list[RunId]:
    return [taken.run.id for taken in await claim(storage, worker, **options)]


# ------------------------------------------------------------------ arranging
async def two_workers(storage: Storage) -> tuple[WorkerId, WorkerId]:
    await storage.register_worker(a_worker("w1"))
    await storage.register_worker(a_worker("w2", lease_until=T0 + LONG))
    return "w1", "w2"


async def running(storage: Storage, run_id: RunId = "r1", worker: WorkerId = "w1", **fields: Any) -> None:
    """A run that the worker owns, with one journal row."""
    await write_one(storage, start(a_run(run_id, **fields), worker), Created)


async def suspended(
    storage: Storage, run_id: RunId = "r1", *, waits: Sequence[Wait] = (), wake_at: datetime | None = None
) -> None:
    """A run that its owner suspended with its second journal row."""
    await running(storage, run_id)
    rest = commit(run_id, transition=Suspend(wake_at=wake_at), waits=tuple(waits))
    await write_one(storage, rest, Committed)


async def paused(storage: Storage, run_id: RunId = "r1", reason: PauseReason = PauseReason.REQUESTED) -> None:
    """A run that its owner paused with its second journal row, as it was asked to if that is the reason."""
    await running(storage, run_id)
    if reason is PauseReason.REQUESTED:
        await write(storage, control(run_id, Action.PAUSE))
    await write_one(storage, commit(run_id, transition=Pause(reason=reason, detail="why")), Committed)


async def ended(storage: Storage, run_id: RunId = "r1", status: RunStatus = RunStatus.COMPLETED) -> None:
    """A run that ended with its second journal row."""
    await running(storage, run_id)
    ends: dict[RunStatus, Transition] = {
        RunStatus.COMPLETED: Complete(output=value('"done"')),
        RunStatus.FAILED: Fail(failure=FAILURE),
        RunStatus.CANCELLED: Cancel(),
    }
    await write_one(storage, commit(run_id, transition=ends[status]), Committed)


async def arrive_at(storage: Storage, status: RunStatus, run_id: RunId = "r1") -> None:
    """A run in this status; a queued one never started, all others did."""
    match status:
        case RunStatus.QUEUED:
            await write_one(storage, create(run_id), Created)
        case RunStatus.RUNNING:
            await running(storage, run_id)
        case RunStatus.SUSPENDED:
            await suspended(storage, run_id)
        case RunStatus.PAUSED:
            await paused(storage, run_id)
        case RunStatus.COMPLETED | RunStatus.FAILED | RunStatus.CANCELLED:
            await ended(storage, run_id, status)
