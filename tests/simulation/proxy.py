"""Proxy: the way from one process to the store. Requests are late, lost, sent by a frozen process, or answered by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from stepflow.errors import StepflowError, StorageUnavailableError
from stepflow.model.events import Wait
from stepflow.model.runs import RunFilter
from stepflow.storage._untold import UntoldClaims
from stepflow.storage.base import Storage, WorkerRecord
from stepflow.storage.writes import Claim, Wakeup, Write
from stepflow.types import RunId, WorkerId
from tests.simulation.virtual import MICROSECONDS

if TYPE_CHECKING:
    from tests.simulation.processes import Process

T = TypeVar("T")


def at_once(work: Any) -> Any:
    """The answer of a store that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the store under the proxy waited for something: it has to answer at one instant")


class Hearing:
    """One process's ear for hints."""

    def __init__(self) -> None:
        self._pending: list[Wakeup] = []
        self._waiter: asyncio.Future[None] | None = None

    def hear(self, hint: Wakeup) -> None:
        self._pending.append(hint)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Wakeup:
        while not self._pending:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._pending.pop(0)


class Proxy:
    """A ``Storage`` for one process. Each call is applied at one instant, if it is; what its process hears of it may differ."""

    url = "simulated://"
    durable = True

    def __init__(self, process: Process, inner: Callable[[], Storage]) -> None:
        self._process = process
        self._world = process.world
        self._inner = inner
        self._untold = UntoldClaims(self)  # as every store on a server has it, at this end of the road
        self.hearing: Hearing | None = None

    # -------------------------------------------------------------- one call
    def _call(self, method: str, work: Callable[[Storage], Any], about: Any = None) -> asyncio.Future[Any]:
        world, process = self._world, self._process
        answer: asyncio.Future[Any] = process.loop.create_future()
        if world.dice(world.dials.freezes_at_requests):
            process.freeze(world.random.random() * world.dials.longest_freeze, "with a request unsent")
        travel = self._travel()
        if process.frozen_until > world.now:
            # The request is not on its way yet: it is sent when the process goes on, if it ever does.
            handle = asyncio.Handle(self._send, (travel, method, work, about, answer), process.loop)
            world.later(process.frozen_until, process, handle)
        else:
            self._send(travel, method, work, about, answer)
        return answer

    def _send(self, travel: int, method: str, work: Any, about: Any, answer: asyncio.Future[Any]) -> None:
        self._world.after(travel, lambda: self._arrive(method, work, about, answer))

    def _arrive(self, method: str, work: Any, about: Any, answer: asyncio.Future[Any]) -> None:
        world, process, dials = self._world, self._process, self._world.dials
        if world.outage_until > world.now:
            world.fault("requests in an outage")
            self._is_in_trouble()
            self._reply(method, answer, None, _unavailable("an outage"))
            return
        if world.dice(dials.lost_requests):
            world.fault("lost requests")
            self._is_in_trouble()
            self._reply(method, answer, None, _unavailable("the request was lost"))
            return
        if method == "write":
            world.meddler.before(about)
        result, error = None, None
        try:
            result = at_once(work(self._inner()))
        except StepflowError as refused:
            error = refused
        world.trace(process.name, method, summary(method, about, result, error))
        world.observer.applied(process, method, about, result)
        if world.dice(dials.kills_at_requests) and not process.dead:
            process.kill("after a request was applied")
            return
        if world.dice(dials.lost_answers):
            world.fault("lost answers")
            self._is_in_trouble()
            if method == "claim_runs" and result:
                world.observer.requests.claimed_untold(result)
            result, error = None, _unavailable("the answer was lost")
        self._reply(method, answer, result, error)

    def _reply(self, method: str, answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        process = self._process
        if process.dead:
            return
        handle = asyncio.Handle(_settle, (answer, result, error), process.loop)
        self._world.later(self._world.now + self._travel(), process, handle)

    def _travel(self) -> int:
        world = self._world
        longest = world.dials.latency
        if world.dice(world.dials.stragglers):
            world.fault("stragglers")
            longest *= 100
            self._is_in_trouble(longest)
        return 1 + int(world.random.random() * longest * MICROSECONDS)

    def _is_in_trouble(self, seconds: float = 0) -> None:
        """What its process does next may be late, for as long as this takes and a while after it."""
        until = self._world.now + int(seconds * MICROSECONDS)
        self._process.troubled_at = max(self._process.troubled_at, until)

    # -------------------------------------------------------------- the port
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        return None

    def write(self, batch: Sequence[Write], *, now: datetime) -> Awaitable[Any]:
        return self._call("write", lambda inner: inner.write(batch, now=now), batch)

    async def claim_runs(
        self,
        worker: WorkerId,
        *,
        queues: Mapping[str, int],
        known: Mapping[RunId, int],
        limit: int,
        now: datetime,
        workflows: Collection[str] | None = None,
    ) -> Sequence[Claim]:
        def take() -> Awaitable[Sequence[Claim]]:
            return self._call(
                "claim_runs",
                lambda inner: inner.claim_runs(
                    worker, queues=queues, known=known, limit=limit, now=now, workflows=workflows
                ),
                worker,
            )

        return await self._untold.claim(worker, known=known, now=now, take=take)

    def register_worker(self, worker: WorkerRecord) -> Awaitable[None]:
        return self._call("register_worker", lambda inner: inner.register_worker(worker), worker)

    def release_worker(self, worker: WorkerId, *, now: datetime) -> Awaitable[Any]:
        self._untold.forget(worker)
        return self._call("release_worker", lambda inner: inner.release_worker(worker, now=now), worker)

    def renew(self, worker: WorkerId, now: datetime, lease: timedelta) -> Awaitable[bool]:
        """What a lease keeper asks, over the same bad roads."""

        async def renew(inner: Storage) -> bool:
            return inner.lease_keeper(worker).renew(now, lease)

        return self._call("renew", renew, worker)

    def lease_keeper(self, worker: WorkerId) -> Any:
        raise AssertionError("a simulated process keeps its lease without a thread")

    def list_workers(self, *, now: datetime) -> Awaitable[Any]:
        return self._call("list_workers", lambda inner: inner.list_workers(now=now))

    def read_requests(self, worker: WorkerId) -> Awaitable[Any]:
        return self._call("read_requests", lambda inner: inner.read_requests(worker))

    def owned_runs(self, worker: WorkerId) -> Awaitable[Any]:
        return self._call("owned_runs", lambda inner: inner.owned_runs(worker))

    def get_run(self, run_id: RunId) -> Awaitable[Any]:
        return self._call("get_run", lambda inner: inner.get_run(run_id))

    def find_run(self, idempotency_key: str) -> Awaitable[Any]:
        return self._call("find_run", lambda inner: inner.find_run(idempotency_key))

    def list_runs(self, where: RunFilter, *, cursor: str | None = None, limit: int = 50) -> Awaitable[Any]:
        return self._call("list_runs", lambda inner: inner.list_runs(where, cursor=cursor, limit=limit))

    def read_progress(self, run_ids: Sequence[RunId]) -> Awaitable[Any]:
        return self._call("read_progress", lambda inner: inner.read_progress(run_ids))

    def read_journal(self, run_id: RunId, *, after: int = 0, limit: int | None = None) -> Awaitable[Any]:
        return self._call("read_journal", lambda inner: inner.read_journal(run_id, after=after, limit=limit))

    def read_events(self, waits: Sequence[tuple[RunId, Wait]], *, limit: int = 100) -> Awaitable[Any]:
        return self._call("read_events", lambda inner: inner.read_events(waits, limit=limit))

    def next_due(
        self, queues: Sequence[str], *, now: datetime, workflows: Collection[str] | None = None
    ) -> Awaitable[Any]:
        return self._call("next_due", lambda inner: inner.next_due(queues, now=now, workflows=workflows))

    def setting(self, name: str, default: bytes) -> Awaitable[bytes]:
        return self._call("setting", lambda inner: inner.setting(name, default))

    def prune(
        self, *, ended_before: datetime | None, events_before: datetime | None, limit: int
    ) -> Awaitable[int]:
        return self._call(
            "prune",
            lambda inner: inner.prune(ended_before=ended_before, events_before=events_before, limit=limit),
        )

    def info(self, *, now: datetime) -> Awaitable[Any]:
        return self._call("info", lambda inner: inner.info(now=now))

    def server_time(self) -> Awaitable[datetime | None]:
        return self._call("server_time", lambda inner: inner.server_time())

    def wakeups(self) -> Hearing:
        self.hearing = Hearing()
        return self.hearing


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def _unavailable(why: str) -> StorageUnavailableError:
    return StorageUnavailableError(f"the store can't be reached: {why} (the simulator arranged it)")


def summary(method: str, about: Any, result: Any, error: Exception | None) -> str:
    """What a call did, in a few words."""
    if error is not None:
        return f"{type(error).__name__}"
    if method == "write":
        return " ".join(
            f"{type(write).__name__}>{type(outcome).__name__}:{_place(write)}"
            for write, outcome in zip(about, result, strict=True)
        )
    if method == "claim_runs":
        return " ".join(f"{claim.run.id}@{claim.run.seq}{'!' * claim.takeover}" for claim in result)
    return ""


def _place(write: Any) -> str:
    commit = getattr(write, "commit", None) or write
    run_id = getattr(commit, "run_id", None)
    if run_id is None:
        return str(write.run.id if hasattr(write, "run") else write.event.event_id)
    if not hasattr(commit, "seq"):
        return f"{run_id} {write.action}"
    kinds = ",".join(type(entry).__name__ for entry in commit.entries)
    return f"{run_id}@{commit.seq} {kinds} {type(commit.transition).__name__ if commit.transition else ''}"
