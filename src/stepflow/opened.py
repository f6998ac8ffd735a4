"""Opened: an app that is open. The storage, the writer to it, perhaps a worker, and the tasks that keep them going."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, assert_never

from stepflow._engine.registry import Registry
from stepflow._runtime.aftermath import Aftermath
from stepflow._runtime.attention import Attention
from stepflow._runtime.broadcasting import Broadcaster
from stepflow._runtime.committer import Committer
from stepflow._runtime.following import Follower
from stepflow._runtime.options import WorkerOptions
from stepflow._runtime.signals import Origin, RunsWatched, Signal, WatchersSought
from stepflow._runtime.surroundings import Surroundings, of_this_machine
from stepflow._runtime.worker import Worker
from stepflow.clock import Clock, SystemClock
from stepflow.codecs.failures import ErrorRegistry
from stepflow.codecs.json import Values
from stepflow.errors import StorageError
from stepflow.failpoints import failpoint
from stepflow.hooks import Hooks, WorkerStarted, WorkerStopped
from stepflow.model.ids import IdMaker
from stepflow.service import Service
from stepflow.settings import OpenOptions
from stepflow.storage.base import Storage
from stepflow.storage.writes import Anything, Broadcast, QueueReady, RunChanged, Wakeup
from stepflow.types import RunId

_log = logging.getLogger("stepflow.app")
_PRUNE_EVERY = timedelta(hours=1)
_PRUNE_AT_ONCE = 500
_FORWARD_EVERY = timedelta(seconds=1)
_CALIBRATE_EVERY = timedelta(minutes=1)
_RETRY_WAKEUPS = 0.5
_LONGEST_DRAIN = 10.0


class Opened:
    """Opens everything in order, and closes it in the opposite order."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        options: OpenOptions,
        *,
        values: Values,
        errors: ErrorRegistry,
        hooks: Hooks,
        clock: Clock,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.storage = storage
        self.clock = clock
        self.worker: Worker | None = None
        self._registry = registry
        self._options = options
        self._values = values
        self._errors = errors
        self._hooks = hooks
        self._surroundings = of_this_machine() if surroundings is None else surroundings
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._unset: dict[str, Callable[[], None]] = {}
        self._queues_checked: set[str] = set()
        self._closing = False
        self._stopping: Worker | None = None

    async def open(self) -> None:
        """Connect, migrate, and begin to work."""
        try:
            await self._stack.enter_async_context(self.storage)
            has_clock = await self._calibrate()
            self.committer = Committer(self.storage, self.clock, random=self._surroundings.random.random)
            self.follower = Follower(self.storage, self.clock, driven_here=self._driven_here)
            self.broadcaster = Broadcaster(self.storage, self._values, self._origin(), spawn=self._spawn)
            self.attention = Attention(self.broadcaster, self.clock)
            self._stack.push_async_callback(self._close_writing)
            self.aftermath = Aftermath(
                self.storage, self.clock, look=lambda: self._hear(Anything()), spawn=self._spawn
            )
            self.service = Service(
                self.storage,
                self._registry,
                clock=self.clock,
                values=self._values,
                committer=self.committer,
                follower=self.follower,
                attention=self.attention,
                ids=IdMaker(self._surroundings.random.getrandbits(40)),
                hooks=self._hooks,
                starter=lambda: self.worker,
                written_within=self.aftermath.follows,
            )
            self._spawn(self._listen())
            if has_clock:
                self._every(_CALIBRATE_EVERY, self._calibrate)
            if self.aftermath.forwards:
                self._every(_FORWARD_EVERY, self.aftermath.forward)
            if self._options.queues is not None:
                await self._start_worker(self._options.queues)
        except BaseException:
            await self._stack.aclose()
            raise

    def _origin(self) -> Origin:
        """Who is who among those that speak and listen: an app and its shadow for blocking code share hooks, and a process its log."""
        return Origin(
            self._surroundings.process(), id(self._hooks), self._surroundings.random.getrandbits(40)
        )

    async def close(self, *, now: bool = False) -> None:
        """Stop working (running steps get their grace, unless ``now``), write what is left, and disconnect."""
        self._closing = True
        self.aftermath.close()
        for unset in self._unset.values():
            unset()
        if self.worker is not None:
            worker, self.worker = self.worker, None
            try:
                await self._stop_worker(worker, now=now)
            finally:
                await self._stack.aclose()
        else:
            await self._stack.aclose()

    async def _stop_worker(self, worker: Worker, *, now: bool) -> None:
        self._stopping = worker
        await worker.stop(now=now)
        if self._hooks:
            self._hooks.tell(
                WorkerStopped(
                    at=self.clock.now(),
                    worker_id=worker.worker_id,
                    name=worker.options.name,
                    clean=not now,
                )
            )

    def at_close(self, call: Callable[[], object]) -> None:
        """Call it when the worker has stopped."""
        self._stack.callback(call)

    def hurry(self) -> None:
        """Shut down without waiting for running steps, also when ``close`` is at it already."""
        worker = self.worker or self._stopping
        if worker is not None:
            worker.hurry()

    async def _close_writing(self) -> None:
        await self.committer.drain(_LONGEST_DRAIN)
        await self.committer.close()
        self.attention.close()
        self.broadcaster.close()
        await self.follower.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start_worker(self, queues: Mapping[str, int]) -> None:
        options = self._options
        worker = Worker(
            self.storage,
            self._registry,
            WorkerOptions(
                name=options.worker_name,
                queues=queues,
                concurrency=options.concurrency,
                steps=options.concurrency,
                threads=options.threads,
                lease=options.lease,
                grace=options.grace,
            ),
            clock=self.clock,
            surroundings=self._surroundings,
            values=self._values,
            errors=self._errors,
            committer=self.committer,
            hooks=self._hooks,
            broadcaster=self.broadcaster,
            run_left=self.follower.left,
            run_progressed=self.follower.progressed,
        )
        await worker.start()
        self.worker = worker
        if self._hooks:
            self._hooks.tell(
                WorkerStarted(
                    at=self.clock.now(),
                    worker_id=worker.worker_id,
                    name=options.worker_name,
                    queues=tuple(queues),
                )
            )
        self._every(_PRUNE_EVERY, self._prune)

    def _driven_here(self, run_id: RunId) -> bool:
        return self.worker is not None and run_id in self.worker.drivers

    # ================================================================ what goes on
    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        if task in self._tasks:
            self._tasks.remove(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a part of the app failed", exc_info=task.exception())

    def _every(self, interval: timedelta, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Do ``work`` now and then after every ``interval``."""

        async def once() -> None:
            try:
                await work()
            except StorageError as error:
                _log.warning("housekeeping failed (%s); it is tried again later", error)
            if not self._closing:
                self._unset[work.__name__] = self.clock.call_at(self.clock.now() + interval, again)

        def again() -> None:
            if not self._closing:
                self._spawn(once())

        again()

    async def _listen(self) -> None:
        """Turn the storage's hints into wake-ups, for as long as the app is open."""
        while True:
            try:
                async for hint in self.storage.wakeups():
                    self._hear(hint)
                return
            except StorageError as error:
                _log.warning("wake-ups are interrupted (%s); polling meanwhile", error)
                await asyncio.sleep(_RETRY_WAKEUPS)

    def _hear(self, hint: Wakeup) -> None:
        worker = self.worker
        match hint:
            case QueueReady(queue=queue):
                if worker is not None:
                    worker.hint(queue)
            case RunChanged(run_id=run_id):
                self.follower.hint(run_id)
                if worker is not None:
                    worker.run_changed(run_id)
            case Anything():
                self.follower.hint(None)
                if worker is not None:
                    worker.anything_changed()
            case Broadcast(text=text):
                self._hear_signal(self.broadcaster.read(text))
            case _:
                assert_never(hint)

    def _hear_signal(self, signal: Signal | None) -> None:
        match signal:
            case None:
                return
            case RunsWatched():
                if self.worker is not None:
                    self.worker.audience.heard(signal)
            case WatchersSought():
                self.attention.sought()
            case _:
                self.attention.heard(signal)

    async def _calibrate(self) -> bool:
        """Agree with the storage server about the time; False if there is nothing to agree about."""
        if not isinstance(self.clock, SystemClock):
            return False
        clock = self.clock
        before = clock.now()
        server = await self.storage.server_time()
        if server is None:
            return False
        middle = before + (clock.now() - before) / 2
        clock.shift += server - middle
        return True

    async def _prune(self) -> None:
        retention, events = self._options.retention, self._options.event_retention
        if retention is None and events is None:
            return
        now = self.clock.now()
        while not self._closing:
            failpoint("prune.before_write")
            pruned = await self.storage.prune(
                ended_before=None if retention is None else now - retention,
                events_before=None if events is None else now - events,
                limit=_PRUNE_AT_ONCE,
            )
            if pruned < _PRUNE_AT_ONCE:
                return

    def check_queue(self, queue: str) -> None:
        """Warn, once for each queue, if no live worker serves it."""
        if queue in self._queues_checked or (self.worker is not None and queue in self.worker.options.queues):
            return
        self._queues_checked.add(queue)
        self._spawn(self._warn_if_unserved(queue))

    async def _warn_if_unserved(self, queue: str) -> None:
        try:
            workers = await self.storage.list_workers(now=self.clock.now())
        except StorageError as error:
            self._queues_checked.discard(queue)  # the next trigger asks again
            _log.info("whether queue %r is served could not be read (%s)", queue, error)
            return
        if not any(queue in worker.queues for worker in workers):
            _log.warning(
                "no live worker serves queue %r: runs in it wait until one does (start one with "
                "`stepflow worker MODULE:APP`, or open the app with worker=True)",
                queue,
            )
