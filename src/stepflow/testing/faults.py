"""Faults: a storage that fails, answers late or freezes, so that you can see what your workflows make of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from stepflow.clock import Clock
from stepflow.durations import parse_duration
from stepflow.errors import StorageUnavailableError
from stepflow.model.events import Event, Wait
from stepflow.model.journal import JournalRow
from stepflow.model.pages import Page
from stepflow.model.runs import Progress, RunFilter, RunRecord
from stepflow.storage.base import LeaseKeeper, Storage, StorageInfo, WorkerRecord
from stepflow.storage.broadcasting import BroadcastingStorage
from stepflow.storage.writes import Claim, Outcome, Request, Wakeup, Write
from stepflow.types import Duration, RunId, WorkerId

T = TypeVar("T")
Picks = Callable[[Write], bool]
"""Chooses writes: a fault of ``write`` concerns the batches that hold one of them."""


class Gate:
    """Holds calls up until it is opened."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._reached = asyncio.Event()
        self.held = 0

    async def reached(self) -> None:
        """Wait until a call stands before the gate."""
        await self._reached.wait()

    def open(self) -> None:
        """Let through whoever waits, and everyone after."""
        self._opened.set()

    async def _pass(self) -> None:
        self.held += 1
        self._reached.set()
        await self._opened.wait()


class _Fault:
    """Something that goes wrong with the next ``times`` calls of one method."""

    def __init__(
        self, method: str, picks: Picks | None, times: int, *, after: bool, act: Callable[[], Awaitable[None]]
    ) -> None:
        self.method = method
        self.after = after
        self.act = act
        self._picks = picks
        self._times = times

    @property
    def spent(self) -> bool:
        return self._times <= 0

    def concerns(self, method: str, writes: Sequence[Write]) -> bool:
        """Whether it strikes this call; then it has struck once more."""
        if self.spent or method != self.method:
            return False
        if self._picks is not None and not any(map(self._picks, writes)):
            return False
        self._times -= 1
        return True


class FaultyStorage:
    """A ``Storage`` around another, whose faults a test arranges. Without any it is the other one.

    ``calls`` counts the calls of each method as they are made, also those that fail. A call meets one fault at most, the one
    that was arranged first.
    """

    def __init__(self, storage: Storage) -> None:
        self.inner = storage
        self.calls: Counter[str] = Counter()
        self._faults: list[_Fault] = []
        self._frozen: asyncio.Event | None = None

    # -------------------------------------------------------------- arranging faults
    def fail_before(
        self,
        method: str = "write",
        *,
        times: int = 1,
        picks: Picks | None = None,
        error: Callable[[], Exception] | None = None,
    ) -> None:
        """The next ``times`` calls raise, and nothing was done: the request was lost on its way."""
        self._arrange(method, picks, times, after=False, act=_raising(error))

    def fail_after(
        self,
        method: str = "write",
        *,
        times: int = 1,
        picks: Picks | None = None,
        error: Callable[[], Exception] | None = None,
    ) -> None:
        """The next ``times`` calls are done, durable, and raise all the same: the answer was lost on its way."""
        self._arrange(method, picks, times, after=True, act=_raising(error))

    def hold(
        self, method: str = "write", *, times: int = 1, picks: Picks | None = None, done: bool = False
    ) -> Gate:
        """The next ``times`` calls stop at the gate: before anything is done, or (``done``) after, with the answer held back."""
        gate = Gate()
        self._arrange(method, picks, times, after=done, act=gate._pass)  # pyright: ignore[reportPrivateUsage]
        return gate

    def delay(
        self,
        duration: Duration,
        clock: Clock,
        method: str = "write",
        *,
        times: int = 1,
        picks: Picks | None = None,
    ) -> None:
        """The next ``times`` calls are made this much later by ``clock``."""
        delta = parse_duration(duration)

        async def wait() -> None:
            over = asyncio.Event()
            cancel = clock.call_at(clock.now() + delta, over.set)
            try:
                await over.wait()
            finally:
                cancel()

        self._arrange(method, picks, times, after=False, act=wait)

    def freeze(self) -> None:
        """From now on nothing gets through and no lease is renewed, as if the process were stopped; ``thaw`` ends it.

        Calls that are made meanwhile stand still with their request unsent, and go on then.
        """
        if self._frozen is None:
            self._frozen = asyncio.Event()

    def thaw(self) -> None:
        """Go on."""
        if self._frozen is not None:
            self._frozen.set()
            self._frozen = None

    @property
    def frozen(self) -> bool:
        return self._frozen is not None

    def heal(self) -> None:
        """Forget every fault that has not struck yet, and thaw."""
        self._faults.clear()
        self.thaw()

    def _arrange(
        self,
        method: str,
        picks: Picks | None,
        times: int,
        *,
        after: bool,
        act: Callable[[], Awaitable[None]],
    ) -> None:
        if not hasattr(self, method):
            raise ValueError(f"a storage has no method {method!r}")
        self._faults.append(_Fault(method, picks, times, after=after, act=act))

    async def _call(self, method: str, work: Callable[[], Awaitable[T]], writes: Sequence[Write] = ()) -> T:
        self.calls[method] += 1
        # One fault a call: the others wait for the next ones.
        struck = next((fault for fault in self._faults if fault.concerns(method, writes)), None)
        self._faults = [fault for fault in self._faults if not fault.spent]
        if struck is not None and not struck.after:
            await struck.act()
        while self._frozen is not None:
            await self._frozen.wait()
        answer = await work()
        if struck is not None and struck.after:
            await struck.act()
        return answer

    # -------------------------------------------------------------- the port
    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def durable(self) -> bool:
        return self.inner.durable

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        await self.inner.__aexit__(kind, error, trace)

    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        return await self._call("write", lambda: self.inner.write(batch, now=now), batch)

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
        return await self._call(
            "claim_runs",
            lambda: self.inner.claim_runs(
                worker, queues=queues, known=known, limit=limit, now=now, workflows=workflows
            ),
        )

    async def register_worker(self, worker: WorkerRecord) -> None:
        await self._call("register_worker", lambda: self.inner.register_worker(worker))

    async def release_worker(self, worker: WorkerId, *, now: datetime) -> Sequence[RunId]:
        return await self._call("release_worker", lambda: self.inner.release_worker(worker, now=now))

    def lease_keeper(self, worker: WorkerId) -> LeaseKeeper:
        return _FaultyKeeper(self, self.inner.lease_keeper(worker))

    async def list_workers(self, *, now: datetime) -> Sequence[WorkerRecord]:
        return await self._call("list_workers", lambda: self.inner.list_workers(now=now))

    async def read_requests(self, worker: WorkerId) -> Sequence[Request]:
        return await self._call("read_requests", lambda: self.inner.read_requests(worker))

    async def owned_runs(self, worker: WorkerId) -> Sequence[RunId]:
        return await self._call("owned_runs", lambda: self.inner.owned_runs(worker))

    async def get_run(self, run_id: RunId) -> RunRecord | None:
        return await self._call("get_run", lambda: self.inner.get_run(run_id))

    async def read_progress(self, run_ids: Sequence[RunId]) -> Mapping[RunId, Progress]:
        return await self._call("read_progress", lambda: self.inner.read_progress(run_ids))

    async def find_run(self, idempotency_key: str) -> RunRecord | None:
        return await self._call("find_run", lambda: self.inner.find_run(idempotency_key))

    async def list_runs(
        self, where: RunFilter, *, cursor: str | None = None, limit: int = 50
    ) -> Page[RunRecord]:
        return await self._call("list_runs", lambda: self.inner.list_runs(where, cursor=cursor, limit=limit))

    async def read_journal(
        self, run_id: RunId, *, after: int = 0, limit: int | None = None
    ) -> Sequence[JournalRow]:
        return await self._call(
            "read_journal", lambda: self.inner.read_journal(run_id, after=after, limit=limit)
        )

    async def read_events(
        self, waits: Sequence[tuple[RunId, Wait]], *, limit: int = 100
    ) -> Sequence[Sequence[Event]]:
        return await self._call("read_events", lambda: self.inner.read_events(waits, limit=limit))

    async def next_due(
        self, queues: Sequence[str], *, now: datetime, workflows: Collection[str] | None = None
    ) -> datetime | None:
        return await self._call("next_due", lambda: self.inner.next_due(queues, now=now, workflows=workflows))

    async def setting(self, name: str, default: bytes) -> bytes:
        return await self._call("setting", lambda: self.inner.setting(name, default))

    async def prune(
        self, *, ended_before: datetime | None, events_before: datetime | None, limit: int
    ) -> int:
        return await self._call(
            "prune",
            lambda: self.inner.prune(ended_before=ended_before, events_before=events_before, limit=limit),
        )

    async def info(self, *, now: datetime) -> StorageInfo:
        return await self._call("info", lambda: self.inner.info(now=now))

    async def server_time(self) -> datetime | None:
        return await self._call("server_time", self.inner.server_time)

    def wakeups(self) -> AsyncIterator[Wakeup]:
        return self.inner.wakeups()

    async def broadcast(self, texts: Sequence[str]) -> None:
        """Lost, if the other one has no means for it."""
        if isinstance(self.inner, BroadcastingStorage):
            await self._call("broadcast", partial(self.inner.broadcast, texts))


class _FaultyKeeper:
    """Renews, unless the storage is frozen."""

    def __init__(self, storage: FaultyStorage, keeper: LeaseKeeper) -> None:
        self._storage = storage
        self._keeper = keeper

    def renew(self, now: datetime, lease: timedelta) -> bool:
        if self._storage.frozen:
            raise unavailable()
        return self._keeper.renew(now, lease)

    def close(self) -> None:
        self._keeper.close()


def unavailable() -> StorageUnavailableError:
    """The error of a storage that can't be reached for now."""
    return StorageUnavailableError("the storage can't be reached (a test arranged it)")


def _raising(error: Callable[[], Exception] | None) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        raise unavailable() if error is None else error()

    return act
