"""Processes: simulated ones. Each has a loop, a clock that may be wrong, dice and a proxy; it can be frozen, and killed for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from random import Random
from typing import Any

from stepflow import Stepflow
from stepflow._runtime.surroundings import Surroundings
from stepflow._runtime.worker import Worker
from stepflow.clock import Clock
from stepflow.errors import StorageError
from stepflow.storage.base import Storage
from stepflow.types import WorkerId
from tests.simulation.proxy import Proxy
from tests.simulation.virtual import MICROSECONDS, VirtualLoop, VirtualTimer
from tests.simulation.world import EPOCH, World

_RENEWALS_PER_LEASE = 6


class SkewedClock:
    """A machine's clock: the world's time, and an error that it was born with."""

    def __init__(self, world: World, loop: VirtualLoop, skew: timedelta) -> None:
        self._world = world
        self._loop = loop
        self._start = EPOCH + skew
        self.skew = skew

    def now(self) -> datetime:
        return self._start + timedelta(microseconds=self._world.now)

    def monotonic(self) -> float:
        return self._world.now / MICROSECONDS

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Callable[[], None]:
        micros = (when - self._start) // timedelta(microseconds=1)
        timer = VirtualTimer(micros / MICROSECONDS, callback, (), self._loop, None)
        self._world.later(max(micros, self._world.now), self._loop.process, timer)
        return timer.cancel


class Holder:
    """Keeps a lease as the real thread does, in the process's own time."""

    def __init__(
        self,
        storage: Any,
        worker: WorkerId,
        clock: Clock,
        lease: timedelta,
        *,
        lost: Callable[[], None],
        holding_up: Any,
    ) -> None:
        self._proxy: Proxy = storage
        self._worker = worker
        self._clock = clock
        self._lease = lease
        self._lost = lost
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / _RENEWALS_PER_LEASE)
            try:
                if not await self._proxy.renew(self._worker, self._clock.now(), self._lease):
                    self._lost()
            except StorageError:
                continue  # as in the thread: the next renewal tries again


class Process:
    """One process of the cluster; never more than its incarnation, a restart is another one."""

    def __init__(self, world: World, name: str, store: Callable[[], Storage], skew: timedelta) -> None:
        self.world = world
        self.name = name
        self.loop = VirtualLoop(world, self)
        self.clock = SkewedClock(world, self.loop, skew)
        self.random = Random(f"{world.seed}-{name}")
        self.proxy = Proxy(self, store)
        self.dead = False
        self.frozen_until = 0
        self.troubled_at = 0
        """When it last was frozen, or did not get through to the store at once."""
        self.ready = False
        self.stopping = self.closed = False
        self.app: Stepflow | None = None
        self.bodies: dict[tuple[str, str], int] = {}
        """Run and key of a step → its bodies that execute here."""
        self.most_runs = 1_000
        self.stillborn: set[WorkerId] = set()
        """Incarnations that may have been registered, and whose app did not open."""
        self._incarnations = 0
        self._opening: asyncio.Task[Any] | None = None

    def begin(self, app: Stepflow, *, worker: bool) -> None:
        """Open the app here. Where the store can't be reached the process tries again, as a supervisor would."""
        app._surroundings = Surroundings(random=self.random, incarnation=self._incarnation, keep_lease=Holder)
        self.app = app
        self._opening = self.spawn(self._open(app, worker))

    async def _open(self, app: Stepflow, worker: bool) -> None:
        while True:
            try:
                await app._open(worker=worker)
            except StorageError:
                self.stillborn.add(f"{self.name}.{self._incarnations}")
                await asyncio.sleep(0.5)
            else:
                self.ready = True
                return

    async def close(self) -> None:
        """Stop in order, as soon as it has begun."""
        assert self.app is not None and self._opening is not None
        await self._opening
        await self.app._close()
        self.closed = True

    def _incarnation(self) -> WorkerId:
        self._incarnations += 1
        return f"{self.name}.{self._incarnations}"

    @property
    def worker(self) -> Worker | None:
        """What works in it, also while it stops: its last bodies run in the grace that it has then."""
        opened = None if self.app is None else self.app._opened
        return None if opened is None else opened.worker or opened._stopping

    @property
    def worker_id(self) -> WorkerId | None:
        return None if self.worker is None else self.worker.worker_id

    @property
    def runs_in_memory(self) -> int:
        """How many runs it drives, or reads to drive them."""
        worker = self.worker
        return 0 if worker is None else len(worker.drivers) + len(worker._arrivals._loading)

    @property
    def usable(self) -> bool:
        """Whether it may be asked for something."""
        return self.ready and not self.dead and not self.stopping

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task in the process, which begins when the process has its turn."""
        task = self.loop.create_task(work)
        self.world.later(self.world.now, self, asyncio.Handle(_nothing, (), self.loop))
        return task

    def handle(self, call: Callable[..., object], *args: Any) -> asyncio.Handle:
        """Something to run in the process."""
        return asyncio.Handle(call, args, self.loop)

    def kill(self, how: str) -> None:
        """As ``kill -9``: nothing of it ever runs again, and what it had not sent is never sent."""
        self.world.fault("kills")
        self.world.trace(self.name, "killed", how)
        self.dead = self.loop.halted = True

    def freeze(self, seconds: float, how: str) -> None:
        """Nothing of it runs until then; then it goes on, believing that no time has passed."""
        if self.dead or self.frozen_until > self.world.now:
            return
        self.world.fault("freezes")
        self.world.trace(self.name, "frozen", f"{seconds:.6f}", how)
        self.frozen_until = self.world.now + int(seconds * MICROSECONDS)
        self.troubled_at = max(self.troubled_at, self.frozen_until)
        self.loop.halted = True
        self.world.after(self.frozen_until - self.world.now, self._thaw)

    def _thaw(self) -> None:
        if not self.dead:
            self.loop.halted = False
            self.loop.run_ready()

    def thaw_now(self) -> None:
        """The world is calm: it goes on at once."""
        if not self.dead and self.frozen_until > self.world.now:
            self.world.hasten(self, self.frozen_until)
            self.frozen_until = self.world.now
            self._thaw()

    def bury(self) -> None:
        """The simulation is over: end what is left of it, so that nothing of it runs later in another one."""
        self.dead = False
        self.loop.halted = False
        worker = self.worker
        if worker is not None:
            for driver in list(worker.drivers.values()):
                driver.drop()
            worker.keeping.drop_all()
            worker.offload.close()
        for _ in range(50):
            tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.run_ready()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.dead = self.loop.halted = True


def _nothing() -> None:
    """What is ready runs beside it."""
