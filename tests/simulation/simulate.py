"""Simulate: one seed from its first trigger to its last check. The same seed always goes the same way."""

from __future__ import annotations

import gc
import logging
import traceback
import warnings
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from tests.simulation import dials as dialling
from tests.simulation.cluster import Cluster
from tests.simulation.dials import Dials
from tests.simulation.invariants import INVARIANTS, Seen, contradictions
from tests.simulation.meddling import Meddler
from tests.simulation.observer import Observer
from tests.simulation.scenarios import FAULTY_SECONDS, Scenario, scenario
from tests.simulation.users import Users
from tests.simulation.workflows import STAGE
from tests.simulation.world import World

HEALING_SECONDS = 2_000
_LOOK_EVERY = 10


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a seed. ``failures`` is empty if nothing was wrong."""

    seed: int
    store: str
    failures: list[str]
    faults: Counter[str]
    hash: str
    calls: int
    lines: list[str] | None

    @property
    def failed(self) -> bool:
        return bool(self.failures)


class _Heard(logging.Handler):
    """Errors that the engine logs: each is something that it did not expect."""

    EXPECTED = ("lost its lease", "is paused: its worker was lost", "the storage does not take what is left")

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if not any(expected in said for expected in self.EXPECTED):
            error = record.exc_info[1] if record.exc_info else None
            where = ""
            if error is not None:
                where = f": {error!r} at " + " < ".join(
                    f"{frame.name}:{frame.lineno}"
                    for frame in reversed(traceback.extract_tb(error.__traceback__))
                )
            self.lines.append(f"logged: {said}{where}")


@contextmanager
def _alone() -> Generator[_Heard]:
    """Nothing of this process takes part: no collector at odd moments, no log on the terminal."""
    logger = logging.getLogger("stepflow")
    heard = _Heard()
    before, passes_on = logger.level, logger.propagate
    logger.addHandler(heard)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # programs may leave a coroutine that they never await
            yield heard
    finally:
        logger.removeHandler(heard)
        logger.setLevel(before)
        logger.propagate = passes_on
        if collecting:
            gc.enable()


def simulate(
    seed: int,
    store: str = "memory",
    *,
    dials: Dials | None = None,
    plan: Scenario | None = None,
    keep_lines: bool = False,
) -> Result:
    """Run the seed. ``dials`` and ``plan`` replace what the seed would draw: that is how a failure is made smaller."""
    if dials is None:
        dials = dialling.draw(Random(f"dials-{seed}"), failovers=store == "redis-model")
    if plan is None:
        plan = scenario(seed)
    with _alone() as heard:
        world = World(seed, dials)
        if keep_lines:
            world.lines = []
        cluster = Cluster(world, plan, store)
        observer = world.observer = Observer(world, cluster.store)
        world.meddler = Meddler(world, cluster.store)
        STAGE.scenario, STAGE.ledger = plan, observer.ledger
        users = Users(world, cluster)
        try:
            failures = _play(Seen(world, cluster, users, observer), heard)
        finally:
            cluster.bury()
        return Result(seed, store, failures, world.faults, world.hash, observer.calls, world.lines)


def _play(seen: Seen, heard: _Heard) -> list[str]:
    world, cluster, users, observer = seen.world, seen.cluster, seen.users, seen.observer
    cluster.start()
    cluster.look_after()
    users.start()

    def wrong() -> list[str]:
        return [*observer.wrong, *observer.ledger.complaints, *users.wrong, *heard.lines]

    for _ in range(FAULTY_SECONDS // _LOOK_EVERY):
        world.run(_LOOK_EVERY)
        observer.look_at_all()
        observer.wrong += contradictions(cluster.store.inner, world, observer)
        if found := wrong():
            return found
    cluster.heal()
    users.heal()

    def over() -> bool:
        ended = all(history.record.status.ended for history in observer.runs.values())
        return (ended and users.content) or bool(observer.wrong or heard.lines)

    world.run(HEALING_SECONDS, over)
    observer.look_at_all()
    if found := wrong():
        return found
    users.stop()
    closed = cluster.close()
    observer.look_at_all()
    failures = [] if closed else ["a process did not stop in time"]
    for invariant in INVARIANTS:
        failures += [f"{invariant.__name__}: {what}" for what in invariant(seen)]
    return failures + wrong()
