"""Worker: executes runs. It gives each a driver, and drivers what they need. One per process."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from stepflow._engine.registry import Registry
from stepflow._runtime.adopting import Adopting
from stepflow._runtime.arrivals import Arrivals
from stepflow._runtime.audience import Audience
from stepflow._runtime.bodies import Bodies
from stepflow._runtime.broadcasting import Broadcaster
from stepflow._runtime.chores import Chores
from stepflow._runtime.claiming import Claiming
from stepflow._runtime.committer import Committer
from stepflow._runtime.driver import Driver
from stepflow._runtime.executions import Executions
from stepflow._runtime.keeping import Keeping
from stepflow._runtime.loading import Loader
from stepflow._runtime.membership import Membership
from stepflow._runtime.offload import Offload
from stepflow._runtime.options import WorkerOptions
from stepflow._runtime.slots import Slots
from stepflow._runtime.strangers import Strangers
from stepflow._runtime.surroundings import Surroundings
from stepflow._runtime.timers import ProcessTimers
from stepflow._runtime.watching import Watching
from stepflow.clock import Clock
from stepflow.codecs.failures import ErrorRegistry
from stepflow.codecs.json import Values
from stepflow.errors import StorageError
from stepflow.failpoints import failpoint
from stepflow.hooks import Hooks
from stepflow.model.events import Wait
from stepflow.model.failures import Failure
from stepflow.model.journal import Claimed, Continued
from stepflow.model.runs import NewRun
from stepflow.storage import writes
from stepflow.storage.base import Storage
from stepflow.storage.writes import Outcome, Transition
from stepflow.types import RunId, WorkerId

_log = logging.getLogger("stepflow.worker")
POLL = timedelta(seconds=1)
"""Hints may be lost: at the latest after this long, everything is looked up."""

_STRANGERS_EVERY = timedelta(minutes=1)
_ORPHANS_EVERY = timedelta(seconds=30)
_LONGEST_DRAIN = 30.0
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Worker:
    """Claims and drives runs until it is stopped. Created and used on one event loop."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        options: WorkerOptions,
        *,
        clock: Clock,
        surroundings: Surroundings,
        values: Values,
        errors: ErrorRegistry,
        committer: Committer,
        hooks: Hooks,
        broadcaster: Broadcaster,
        run_left: Callable[[RunId, Transition], None],
        run_progressed: Callable[[RunId], None],
    ) -> None:
        self.registry = registry
        self.options = options
        self.clock = clock
        self.values = values
        self.storage = storage
        self.committer = committer
        self.hooks = hooks
        self.timers = ProcessTimers(clock)
        self.offload = Offload(threads=options.threads, errors=errors)
        self.bodies = Bodies(clock=clock, timers=self.timers, offload=self.offload, limit=options.steps)
        self.bodies.around = surroundings.around_body
        self.drivers: dict[RunId, Driver] = {}
        self.audience = Audience(broadcaster, clock, hooks, self.drivers, self.bodies)
        self.keeping = Keeping()
        self.slots = Slots(options.queues, options.concurrency)
        self.stopping = self._hurried = False
        self._run_left = run_left
        self._run_progressed = run_progressed
        self._random = surroundings.random
        self._executions = Executions(registry, values, errors)
        self._chores = Chores()
        self._creators: dict[Driver, asyncio.Future[Outcome]] = {}
        self._empty: asyncio.Future[None] | None = None
        self._claiming: asyncio.Task[None] | None = None
        self._workflows = frozenset(definition.id for definition in registry)
        self._strangers = Strangers(storage, self.slots.queues, self._workflows)
        self._membership = self._make_membership(storage, surroundings)
        self._watching = self._make_watching(storage)
        loader = Loader(storage, self.random)
        self._arrivals = Arrivals(self, loader, self._executions, self._chores, paused=run_left)
        self._claims = self._make_claiming(storage)
        self._adopting = Adopting(storage, self, self._arrivals)

    def _make_membership(self, storage: Storage, surroundings: Surroundings) -> Membership:
        return Membership(
            storage,
            self.clock,
            surroundings,
            self.options,
            lost=self._lease_lost,
            holding_up=self._holding_up,
        )

    def _make_watching(self, storage: Storage) -> Watching:
        return Watching(
            storage,
            self.drivers,
            self._chores,
            worker=lambda: self.worker_id,
            lose=self._lose,
            random=self.random,
        )

    def _make_claiming(self, storage: Storage) -> Claiming:
        return Claiming(
            storage,
            self.slots,
            clock=self.clock,
            timers=self.timers,
            workflows=self._workflows,
            worker=lambda: self.worker_id,
            known=lambda: self.keeping.known(),
            take=self._arrivals.take,
            random=self.random,
        )

    @property
    def worker_id(self) -> WorkerId:
        """Its present incarnation."""
        return self._membership.id

    # ================================================================ life
    async def start(self) -> None:
        """Register, take the lease, and begin to claim."""
        await self._membership.join()
        self._claiming = self._chores.begin(self._claims.run())
        self.audience.seek()
        self._poll()
        self._every(_STRANGERS_EVERY, self._strangers.look)
        self._every(_ORPHANS_EVERY, self._adopting.look)

    async def stop(self, *, now: bool = False) -> None:
        """Stop claiming, let bodies finish for ``grace``, commit, give everything back. ``now``: don't wait for bodies."""
        self.stopping = True
        if self._claiming is not None:
            self._claiming.cancel()
            await asyncio.gather(self._claiming, return_exceptions=True)
        for driver in list(self.drivers.values()):
            driver.ask_release()
        if self.drivers and not (now or self._hurried):
            await self._wait_until_empty(self.options.grace)
        for driver in list(self.drivers.values()):
            driver.end_bodies()
        if self.drivers:
            await self._wait_until_empty(POLL * 5)
        if not await self.committer.drain(_LONGEST_DRAIN):
            _log.error("the storage does not take what is left to write; it will be done again elsewhere")
        for driver in list(self.drivers.values()):
            driver.drop()
        self.drivers.clear()
        self.keeping.drop_all()
        self.audience.close()
        self.timers.close()
        self.offload.close()
        await self._chores.end()
        failpoint("shutdown.before_release")
        try:
            await self._membership.leave()
        except StorageError as error:
            _log.warning("the worker could not sign off (%s); its lease runs out by itself", error)

    def hurry(self) -> None:
        """Shut down without waiting for bodies any longer; the rest of ``stop`` may come after it."""
        self.stopping = self._hurried = True  # also for what was on its way here
        for driver in list(self.drivers.values()):
            # Released first: an execution whose bodies are merely gone would look asleep, and nobody would wake it.
            driver.ask_release()
            driver.end_bodies()

    async def _wait_until_empty(self, limit: timedelta) -> None:
        self._empty = asyncio.get_running_loop().create_future()
        cancel = self.clock.call_at(self.clock.now() + limit, self._tell_empty)
        if not self.drivers:
            self._tell_empty()
        await self._empty
        cancel()

    def _tell_empty(self) -> None:
        if self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _lease_lost(self) -> None:
        """Others took this worker for dead (it was away for longer than its lease): nothing here is ours any more."""
        if self.stopping:
            return
        _log.error("worker %s lost its lease; its runs are dropped and it registers anew", self.worker_id)
        for driver in list(self.drivers.values()):
            self._lose(driver)
        self._arrivals.stop_all()
        self._chores.begin(self._register_anew())

    async def _register_anew(self) -> None:
        await self._membership.join_anew()
        self._claims.wake()

    def _holding_up(self, task: asyncio.Task[Any] | None) -> str | None:
        """What user code is running on the loop right now; asked by the lease's thread when the loop does not answer."""
        if task is not None and (step := self.bodies.step_of(task)) is not None:
            return step
        for driver in list(self.drivers.values()):
            if driver.execution.active:
                return f"the code of workflow {driver.definition.id!r} (run {driver.run_id!r})"
        return None

    def _poll(self) -> None:
        """The fallback for hints that were lost."""
        if not self.stopping:
            self._claims.wake()
            self._watching.look_around()
            self._watching.check_some()
            self.timers.at(self.clock.now() + POLL, self._poll)

    def _every(self, pause: timedelta, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self.stopping:
            self._chores.begin(look())
            self.timers.at(self.clock.now() + pause, lambda: self._every(pause, look))

    # ================================================================ hints
    def hint(self, queue: str | None = None) -> None:
        """Runs may be claimable."""
        self._claims.wake(queue)

    def run_changed(self, run_id: RunId) -> None:
        """A hint about one run: its requests and events may be new."""
        self._watching.run_changed(run_id)

    def anything_changed(self) -> None:
        """A vague hint: another process wrote something."""
        self._claims.wake()
        self._watching.look_around()

    # ================================================================ starting runs here
    def can_start(self, workflow_id: str, queue: str) -> bool:
        """Whether a new run may begin here at once: a slot is free and nothing older waits in its queue."""
        return (
            self.slots.has_room(queue)
            and not self.stopping
            and self._membership.joined
            and not self._claims.is_waited_in(queue)
            and workflow_id in self.registry
        )

    def start_here(self, run: NewRun) -> asyncio.Future[Outcome]:
        """Create and claim the run in one write; the future gets the outcome of the creation."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if run.id in self.drivers or run.id in self._arrivals:
            self._chores.begin(self._create_elsewhere(run, outcome))
            return outcome
        definition = self.registry.get(run.workflow_id)
        execution = self._executions.of_new(run, definition)
        driver = Driver(self, definition, execution, seq=0, queue=run.queue, create=run)
        self._creators[driver] = outcome
        self.slots.take(run.queue)
        self.drivers[run.id] = driver
        driver.begin_new(Claimed(at=self.clock.now(), worker=self.worker_id, python=PYTHON))
        return outcome

    async def _create_elsewhere(self, run: NewRun, outcome: asyncio.Future[Outcome]) -> None:
        """The id is in use here: the storage decides whether it is the same run."""
        try:
            _answer(outcome, await self.committer.write(writes.CreateRun(run=run)))
        except Exception as error:  # whoever triggered it hears of it
            _answer(outcome, error)

    def created(self, driver: Driver, outcome: Outcome) -> None:
        """The run that a driver was creating is durable."""
        self._tell_creator(driver, outcome)

    def _tell_creator(self, driver: Driver, outcome: Outcome | Exception) -> bool:
        """Answer whoever triggered the run by this driver; False if nobody did. (The run may have had another one meanwhile.)"""
        if (waiter := self._creators.pop(driver, None)) is not None:
            _answer(waiter, outcome)
        return waiter is not None

    # ================================================================ runs that leave
    def _forget(self, driver: Driver) -> None:
        """The driver does not drive any more: its slot is free."""
        if self.drivers.get(driver.run_id) is driver:
            del self.drivers[driver.run_id]
            self.give_slot(driver.queue)
            if not self.drivers:
                self._tell_empty()

    def take_slot(self, queue: str) -> None:
        """A run of this queue comes into memory."""
        self.slots.take(queue)

    def give_slot(self, queue: str) -> None:
        """One left."""
        self.slots.give(queue)
        self._claims.slot_is_free(queue)

    def _lose(self, driver: Driver) -> None:
        """The run is not ours any more."""
        driver.drop()
        self._forget(driver)

    def lost(self, run_id: RunId) -> None:
        """Its driver can't go on: it was ended behind its back, or cut off. What stays ours is found, and taken up again."""
        if (driver := self.drivers.get(run_id)) is not None:
            self._lose(driver)

    def ending(self, run_id: RunId) -> Callable[[], None]:
        """What lets go of the driver that the run has now, and of no other that it has after a retry and a claim."""
        driver = self.drivers.get(run_id)
        return lambda: self.lost(run_id) if self.drivers.get(run_id) is driver else None

    def left(self, driver: Driver, how: Transition, *, again: bool) -> None:
        """The driver gave its run up."""
        self._forget(driver)
        if again and isinstance(how, writes.Pause):
            how = writes.Release()  # the pause was taken back: the run is queued
            self._claims.wake()
        if isinstance(how, writes.Suspend):
            failpoint("suspend.after_write")
            if not driver.dropped:
                self.keeping.keep(driver)
            if again:
                self._claims.wake()
            elif how.wake_at is not None:
                self._claims.sleeps_until(how.wake_at)
        else:
            failpoint("finish.after_write")
        self._run_left(driver.run_id, how)

    def refused(self, driver: Driver, outcome: Outcome) -> None:
        """The store did not take the driver's write: the run is another's, gone, or was there before."""
        self._forget(driver)
        if not self._tell_creator(driver, outcome):
            _log.info("run %s is not ours any more: %s", driver.run_id, type(outcome).__name__.lower())
            if isinstance(outcome, writes.Fenced) and not self.stopping:
                self._chores.begin(self._adopting.look_at(driver.run_id, driver.seq))

    def failed(self, driver: Driver, error: Exception) -> None:
        """The store can't take the driver's write at all."""
        self._forget(driver)
        if not self._tell_creator(driver, error) and not self.stopping:
            _log.error("run %s can't be written", driver.run_id, exc_info=error)
            detail = f"it could not be written: {error!r}"
            self._arrivals.give_up(driver.run_id, driver.definition.id, driver.seq, detail)

    def continue_as(self, driver: Driver, entry: Continued) -> None:
        """The run goes on in a fresh journal, in its place and in its slot."""
        execution = self._executions.of_continued(driver.execution, driver.definition, entry)
        fresh = Driver(self, driver.definition, execution, seq=driver.seq, queue=driver.queue)
        self.drivers[driver.run_id] = fresh
        fresh.go_on_as(entry, driver, release=self.stopping)

    # ================================================================ what drivers need
    def record_failure(self, error: BaseException) -> Failure:
        return self._executions.record_failure(error)

    def child_queue(self, workflow_id: str) -> tuple[str, str | None]:
        """The queue and version for a child of this workflow."""
        definition = self.registry.find(workflow_id)
        return ("default", None) if definition is None else (definition.queue, definition.version)

    def random(self) -> float:
        return self._random.random()

    def fetch_events(self, driver: Driver, waits: Sequence[Wait]) -> None:
        self._chores.begin(self._watching.fetch_events(driver, waits))

    def progressed(self, driver: Driver) -> None:
        """A commit of the run is durable: its followers may look."""
        self._run_progressed(driver.run_id)


def _answer(waiter: asyncio.Future[Outcome], outcome: Outcome | Exception) -> None:
    if isinstance(outcome, Exception) and not waiter.done():
        waiter.set_exception(outcome)
    elif not isinstance(outcome, Exception) and not waiter.done():
        waiter.set_result(outcome)
