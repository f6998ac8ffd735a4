"""Meddling: somebody whose request reaches the store just before a commit that moves a run. Races that no user hits by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepflow.model.events import NewEvent
from stepflow.model.payloads import NULL
from stepflow.storage.writes import Action, CommitRun, ControlRun, Pause, SendEvent, Write
from tests.simulation.proxy import at_once
from tests.simulation.scenarios import EVENTS
from tests.simulation.stores import Store
from tests.simulation.virtual import MICROSECONDS
from tests.simulation.world import World

FOLLOW_UPS = (0.005, 0.02, 0.5)
"""How long, at most, until whoever asked for a pause thinks better of it, or worse."""


class Meddler:
    """An outsider without a process: what it asks is done at one instant, and its answer interests nobody."""

    def __init__(self, world: World, store: Store) -> None:
        self._world = world
        self._store = store
        self._sent = 0

    def before(self, batch: Sequence[Write]) -> None:
        """This batch is going to be applied next."""
        for write in batch:
            moves = isinstance(write, CommitRun) and write.transition is not None
            if moves and self._world.dice(self._world.dials.meddling):
                self._meddle(write)

    def _meddle(self, commit: CommitRun) -> None:
        random, run_id = self._world.random, commit.run_id
        if isinstance(commit.transition, Pause):
            self._control(run_id, random.choice((Action.RESUME, Action.CANCEL)))
            return
        kind = random.choice(("pause", "pause", "cancel", "notify"))
        waits = [wait.event_id for wait in commit.waits if wait.event_id in EVENTS]
        if kind == "notify" and waits:
            self._notify(run_id, random.choice(waits))
        elif kind == "cancel":
            self._control(run_id, Action.CANCEL)
        else:
            self._control(run_id, Action.PAUSE)
            then = random.choice((Action.RESUME, Action.RESUME, Action.CANCEL))
            pause = random.random() * random.choice(FOLLOW_UPS)
            self._world.after(int(pause * MICROSECONDS), lambda: self._control(run_id, then))

    def _control(self, run_id: str, action: Action) -> None:
        self._do(ControlRun(run_id=run_id, action=action), f"{action} {run_id}")

    def _notify(self, run_id: str, event_id: str) -> None:
        self._sent += 1
        event = NewEvent(event_id=event_id, payload=NULL, run_id=run_id, dedup_id=f"meddled-{self._sent}")
        self._do(SendEvent(event=event), f"{event_id} to {run_id}")

    def _do(self, write: Write, what: str) -> None:
        world = self._world
        world.fault("meddling")
        outcomes: Any = at_once(self._store.inner.write([write], now=world.instant()))
        world.trace("outsider", what, type(outcomes[0]).__name__)
        world.observer.applied(None, "write", [write], outcomes)
