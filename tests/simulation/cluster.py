"""Cluster: the processes of one simulation, and the misfortunes that befall them from outside."""

from __future__ import annotations

from datetime import timedelta

from stepflow import Stepflow
from stepflow.storage.writes import Wakeup
from tests.simulation.processes import Process
from tests.simulation.scenarios import Scenario
from tests.simulation.stores import Store, make
from tests.simulation.virtual import MICROSECONDS
from tests.simulation.workflows import WORKFLOWS
from tests.simulation.world import World


class Cluster:
    """Starts workers again that were killed, freezes them, cuts the store off, and at last lets everything heal."""

    def __init__(self, world: World, scenario: Scenario, store: str) -> None:
        self.world = world
        self.scenario = scenario
        self.store: Store = make(store, self._publish)
        self._slots: list[Process | None] = [None] * scenario.workers
        self._born = 0
        self.last: list[Process] = []
        """Those that were stopped in the end, in peace."""

    # -------------------------------------------------------------- processes
    def start(self) -> None:
        for slot in range(self.scenario.workers):
            self._start_worker(slot)
        self._start("asker", worker=False)
        dials = self.world.dials
        self._now_and_then(dials.kills_every, self._kill_one)
        self._now_and_then(dials.freezes_every, self._freeze_one)
        self._now_and_then(dials.outages_every, self._cut_off)
        self._now_and_then(dials.restarts_every, self._restart_one)
        self._now_and_then(dials.failovers_every, self._fail_over)

    def _restart(self, slot: int) -> None:
        if not self.world.calm:  # then fresh ones have taken over
            self._start_worker(slot)

    def _start_worker(self, slot: int) -> None:
        self._slots[slot] = self._start("worker", worker=True, slot=slot)

    def _start(self, kind: str, *, worker: bool, slot: int | None = None) -> Process:
        world = self.world
        self._born += 1
        skew = 0.0 if world.calm else world.random.uniform(-1, 1) * world.dials.skew
        process = Process(world, f"{kind}-{self._born}", lambda: self.store.inner, timedelta(seconds=skew))
        process.most_runs = self.scenario.concurrency
        # Every second worker has a name that stays over restarts: its successor need not wait for a lease.
        name = f"slot-{slot}" if slot is not None and slot % 2 == 1 else None
        app = Stepflow(
            process.proxy,
            workflows=WORKFLOWS,
            clock=process.clock,
            concurrency=self.scenario.concurrency,
            lease=self.scenario.lease,
            grace=2,
            retention=None,
            event_retention=None,
            worker_name=name,
        )
        world.processes.append(process)
        world.trace(process.name, "starts", f"{skew:.6f}")
        process.begin(app, worker=worker)
        return process

    def usable(self) -> list[Process]:
        """Processes that users can reach; a frozen one looks as if it could be."""
        return [process for process in self.world.processes if process.usable]

    def _workers(self) -> list[tuple[int, Process]]:
        return [(slot, p) for slot, p in enumerate(self._slots) if p is not None and not p.dead]

    # -------------------------------------------------------------- misfortunes
    def _now_and_then(self, every: float, what: object) -> None:
        if every:
            pause = self.world.random.expovariate(1 / every)
            self.world.after(int(pause * MICROSECONDS), lambda: self._strike(every, what))

    def _strike(self, every: float, what: object) -> None:
        if not self.world.calm:
            what()  # type: ignore[operator]
            self._now_and_then(every, what)

    def _kill_one(self) -> None:
        workers = self._workers()
        if workers:
            _, process = self.world.random.choice(workers)
            process.kill("from outside")

    def look_after(self) -> None:
        """A supervisor: what is dead is started again, sooner or later."""
        for slot, process in enumerate(self._slots):
            if process is not None and process.dead:
                self._slots[slot] = None
                pause = self.world.random.choice((0.1, 1, 10)) * self.world.random.random()
                self.world.after(int(pause * MICROSECONDS), lambda slot=slot: self._restart(slot))  # type: ignore[misc]
        if not self.world.calm:
            self.world.after(500_000, self.look_after)

    def _freeze_one(self) -> None:
        workers = self._workers()
        if workers:
            _, process = self.world.random.choice(workers)
            process.freeze(self.world.random.random() * self.world.dials.longest_freeze, "from outside")

    def _cut_off(self) -> None:
        world = self.world
        world.fault("outages")
        world.outage_until = world.now + int(
            world.random.choice((1, 5, 25)) * world.random.random() * MICROSECONDS
        )

    def _restart_one(self) -> None:
        workers = self._workers()
        if workers:
            slot, process = self.world.random.choice(workers)
            if process.usable:
                self.world.fault("restarts")
                self._stop(process)
                self._slots[slot] = None
                self.world.after(int(self.world.random.random() * 3_000_000), lambda: self._restart(slot))

    def _stop(self, process: Process) -> None:
        process.stopping = True
        process.spawn(process.close())

    def _fail_over(self) -> None:
        self.world.fault("failovers")
        forgotten = self.store.fail_over(self.world.random)
        self.world.trace("failover", forgotten)
        self.world.observer.failed_over()

    # -------------------------------------------------------------- hints
    def _publish(self, hints: list[Wakeup]) -> None:
        world, dials = self.world, self.world.dials
        for process in world.processes:
            hearing = process.proxy.hearing
            if hearing is None or process.dead:
                continue
            for hint in hints:
                if world.dice(dials.lost_hints):
                    world.fault("lost hints")
                    continue
                for _ in range(1 + world.dice(dials.doubled_hints)):
                    late = world.dice(dials.late_hints)
                    if late:
                        world.fault("late hints")
                    delay = world.random.random() * (3 if late else 0.002) * MICROSECONDS
                    world.later(world.now + int(delay), process, process.handle(hearing.hear, hint))

    # -------------------------------------------------------------- in the end
    def heal(self) -> None:
        """Nothing goes wrong any more. Old workers are stopped or killed, and fresh ones take over; or the old ones just go on."""
        world = self.world
        world.calm = True
        world.calm_from = world.now + int(self.scenario.lease * MICROSECONDS)
        world.outage_until = 0
        for process in world.processes:
            process.thaw_now()
        # Clocks that are wrong by more than a lease take runs from each other for ever.
        may_stay = world.dials.skew * 2 < self.scenario.lease * 5 / 6
        stays = may_stay and world.random.randrange(3) == 0
        for process in [process for process in world.processes if not process.dead and not process.stopping]:
            if stays:
                continue
            if process.usable and world.random.randrange(2):
                self._stop(process)
            else:
                process.kill("to be replaced")
        self._slots = []
        for _ in range(2):
            self._start("worker", worker=True)
        self._start("asker", worker=False)

    def close(self) -> bool:
        """Stop every process in order; whether all of them did."""
        self.last = open_ones = [p for p in self.world.processes if not p.dead and not p.stopping]
        for process in open_ones:
            self._stop(process)
        return self.world.run(90, lambda: all(process.dead or process.closed for process in open_ones))

    def bury(self) -> None:
        for process in self.world.processes:
            process.bury()
        self.store.close()
