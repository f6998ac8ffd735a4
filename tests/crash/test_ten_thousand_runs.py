"""Four worker processes, of which one is killed every second: of all the runs none is lost, and nothing is recorded twice.

``STEPFLOW_FULL=1`` runs 10,000 of them, as the project promises; without it they are few, so that it takes seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from stepflow.model.journal import Ended, StepCompleted
from stepflow.model.runs import RunFilter, RunRecord
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from tests.crash.conftest import Scene
from tests.crash.forking import Child, ForkServer
from tests.crash.ledger import Step
from tests.crash.test_frozen_owner import AnyScene
from tests.crash.test_many_runs import steps_of_errands
from tests.crash.workers import errand_result
from tests.servers.stores import FULL, Stores, stores

__all__ = ["stores"]

_log = logging.getLogger(__name__)

RUNS = 10_000 if FULL else 300
PAUSE = 1.0 if FULL else 0.1
"""Seconds between two kills: few runs are done in no time on a quick machine."""
WORKERS = 4
SOMETHING = 3_000
"""Bytes of the ledger: about a hundred steps."""
PATIENCE = 1_800 if FULL else 55

pytestmark = pytest.mark.timeout(PATIENCE)


@pytest.fixture(params=["postgres", "redis"])
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer, stores: Stores
) -> Iterator[Scene]:
    yield AnyScene(tmp_path, fork_server, stores.fresh(request.param))
    fork_server.end_children()


class Workers:
    """Four at any time: who is killed has a successor."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._numbers = count(1)
        self.alive: dict[str, Child] = {}
        self.killed: set[str] = set()
        for _ in range(WORKERS):
            self._begin()

    def kill_one(self) -> None:
        """The oldest."""
        phase = next(iter(self.alive))
        victim = self.alive.pop(phase)
        victim.kill()
        victim.wait()
        self.killed.add(phase)
        self._begin()

    def end(self) -> None:
        for worker in self.alive.values():
            worker.end_in_peace()

    def _begin(self) -> None:
        phase = f"worker-{next(self._numbers)}"
        self.alive[phase] = self._scene.start("workers:serve", phase=phase, concurrency=50, lease="2s")


def test_while_a_worker_is_killed_every_second_nothing_is_lost_or_recorded_twice(scene: Scene) -> None:
    workers = Workers(scene)
    client = scene.start("workers:run_errands", phase="client", runs=RUNS, worker=False)
    done = 0
    while not ends_within(client, PAUSE):
        # Where a machine is so busy that the pause is nothing, the next one is killed when they have done something.
        if (size := size_of(scene.ledger)) > done + SOMETHING:
            done = size
            workers.kill_one()

    client.must_succeed()  # every result is what it should be
    workers.end()

    assert len(workers.killed) >= 1
    check_effects(scene, workers.killed)
    asyncio.run(check_store(scene.url))
    _log.info("%d runs, %d kills: none lost, none recorded twice", RUNS, len(workers.killed))


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def ends_within(child: Child, seconds: float) -> bool:
    """Give it so long; whether it has ended. Who waits for it learns its code."""
    descriptor = os.pidfd_open(child.pid)
    try:
        ready, _, _ = select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)
    return bool(ready)


def check_effects(scene: Scene, killed: set[str]) -> None:
    """A body ran again only if whoever had begun it was killed."""
    phases: dict[Step, list[str]] = {}
    for effect in scene.effects():
        phases.setdefault(effect.step, []).append(effect.phase)
    assert steps_of_errands(RUNS) <= phases.keys()
    unexplained = {step: by for step, by in phases.items() if not set(by[:-1]) <= killed}
    assert not unexplained, f"run again, and nobody who had begun it was killed: {unexplained}"


async def check_store(url: str) -> None:
    """All runs are there, each has ended once, with one outcome of each step."""
    runs: list[RunRecord] = []
    async with open_storage(url) as storage:
        cursor: str | None = None
        while True:
            page = await storage.list_runs(RunFilter(), cursor=cursor, limit=1_000)
            runs += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert Counter(run.status for run in runs) == {RunStatus.COMPLETED: RUNS + RUNS // 10}
        outputs = {run.id: int(bytes(run.output.data)) for run in runs if run.output is not None}
        assert {f"errand-{n}": errand_result(n) for n in range(RUNS)}.items() <= outputs.items()
        for run in runs:
            await check_journal(storage, run.id)


async def check_journal(storage: Storage, run_id: str) -> None:
    """No gap, one end, and one outcome of each step."""
    rows = await storage.read_journal(run_id)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    entries = [entry for row in rows for entry in row.entries]
    assert sum(isinstance(entry, Ended) for entry in entries) == 1
    keys = Counter(entry.key for entry in entries if isinstance(entry, StepCompleted))
    assert set(keys.values()) == {1}, f"{run_id} has steps that are recorded twice: {keys}"
