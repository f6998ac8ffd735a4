"""Audience: who watches, in other processes, the runs that are executed here. They are told what is not in the journal yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Final, Protocol

from stepflow._engine.current import RUN_LOG
from stepflow._runtime.bodies import Bodies, Body
from stepflow._runtime.broadcasting import Broadcaster
from stepflow._runtime.lines import Line, Lines
from stepflow._runtime.signals import Origin, RunsWatched, Transient, WatchersSought, told
from stepflow._runtime.telling import Teller
from stepflow.clock import Clock
from stepflow.hooks import Fact, Hooks, StepRetried, StepStarted
from stepflow.types import RunId

_SWEPT_EVERY: Final = timedelta(seconds=30)
_MOST_RUNS: Final = 100_000
"""Watched runs that are remembered, whoever executes them."""


class Driven(Protocol):
    """A driver, as it is seen from here."""

    teller: Teller | None

    @property
    def run_id(self) -> RunId: ...

    @property
    def workflow_id(self) -> str: ...


class Audience:
    """Knows the watched runs of the whole store, because who watches says so; asks nobody. Used on one event loop.

    While there are none, it costs nothing: no hook is there, and no handler of logs.
    """

    def __init__(
        self,
        broadcaster: Broadcaster,
        clock: Clock,
        hooks: Hooks,
        drivers: Mapping[RunId, Driven],
        bodies: Bodies,
    ) -> None:
        self._broadcaster = broadcaster
        self._clock = clock
        self._hooks = hooks
        self._also_watched = Hooks([hooks.tell, self._overhear])
        self._drivers = drivers
        self._bodies = bodies
        if hooks:
            bodies.began = self._body_began
        self._loop = asyncio.get_running_loop()
        self._watchers: dict[RunId, dict[Origin, float]] = {}
        self._lines = Lines(self._logged, wanted=self._hears_lines)
        self._unset: Callable[[], None] | None = None

    def teller_for(self, driver: Driven) -> Teller | None:
        """What tells the facts of this run from now on to those who want to hear them; None if nobody does."""
        hooks = self._also_watched if driver.run_id in self._watchers else self._hooks
        teller = driver.teller
        if teller is None:
            return Teller(hooks, driver.run_id, driver.workflow_id) if hooks else None
        teller.hooks = hooks  # a commit of the run may be on its way, and the teller knows it
        return teller

    def seek(self) -> None:
        """Ask who watches, since nobody has said it to us yet."""
        self._broadcaster.send(WatchersSought(origin=self._broadcaster.origin))

    def heard(self, signal: RunsWatched) -> None:
        """Somebody watches these runs, or does not any more."""
        origin, here = signal.origin, self._broadcaster.origin
        if (origin.process, origin.app) == (here.process, here.app):
            return  # it hears our hooks
        until = self._clock.monotonic() + signal.seconds
        changed: list[RunId] = []
        for run_id in signal.run_ids:
            watchers = self._watchers.get(run_id)
            if signal.seconds <= 0:
                if watchers is not None and watchers.pop(origin, None) is not None and not watchers:
                    changed.append(run_id)
            elif watchers is not None:
                watchers[origin] = until
            elif len(self._watchers) < _MOST_RUNS:
                self._watchers[run_id] = {origin: until}
                changed.append(run_id)
        self._settle(changed)

    def close(self) -> None:
        """Tell nobody anything any more."""
        self._watchers.clear()
        RUN_LOG.removeHandler(self._lines)
        if self._unset is not None:
            self._unset()
            self._unset = None

    # ------------------------------------------------------------------ who is there
    def _settle(self, changed: Collection[RunId]) -> None:
        """These runs have got their first watcher, or have none left."""
        if not changed:
            return
        for run_id in changed:
            if not self._watchers.get(run_id):
                self._watchers.pop(run_id, None)
        if self._watchers:
            RUN_LOG.addHandler(self._lines)
            if self._unset is None:
                self._unset = self._clock.call_at(self._clock.now() + _SWEPT_EVERY, self._sweep)
        else:
            RUN_LOG.removeHandler(self._lines)
        self._bodies.began = self._body_began if self._watchers or self._hooks else None
        for run_id in changed:
            driver = self._drivers.get(run_id)
            if driver is not None:
                driver.teller = self.teller_for(driver)

    def _sweep(self) -> None:
        """Forget those who have not said for too long that they still watch."""
        self._unset = None
        now = self._clock.monotonic()
        alone: list[RunId] = []
        for run_id, watchers in self._watchers.items():
            for origin in [origin for origin, until in watchers.items() if until < now]:
                del watchers[origin]
            if not watchers:
                alone.append(run_id)
        self._settle(alone)
        if self._watchers and self._unset is None:
            self._unset = self._clock.call_at(self._clock.now() + _SWEPT_EVERY, self._sweep)

    # ------------------------------------------------------------------ telling them
    def _body_began(self, body: Body) -> None:
        run_id, key = body.identity
        driver = self._drivers.get(run_id)
        if driver is not None and driver.teller is not None:
            driver.teller.step_started(key, body.attempt, self._clock.now())

    def _overhear(self, fact: Fact) -> None:
        if isinstance(fact, StepStarted | StepRetried):
            self._tell(fact)

    def _hears_lines(self, run_id: RunId) -> bool:
        """Called in any thread. Whoever watches in this very process hears the log itself."""
        here = self._broadcaster.origin.process
        watchers = self._watchers.get(run_id)
        return watchers is not None and any(origin.process != here for origin in tuple(watchers))

    def _logged(self, line: Line) -> None:
        """Called in the thread that logs."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._tell(line)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, line)

    def _tell(self, fact: Transient) -> None:
        self._broadcaster.send(told(self._broadcaster.origin, fact))
