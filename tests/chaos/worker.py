"""Worker: the process that is killed, stopped and cut off. It works, starts runs of its own, and keeps a ledger."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from stepflow import Stepflow, failpoints
from stepflow._runtime import driver
from stepflow.errors import StorageError
from stepflow.storage.opening import open_storage
from stepflow.storage.writes import Claim, Created, CreateRun, Outcome, Write
from stepflow.testing.faults import FaultyStorage
from stepflow.types import RunId, WorkerId
from tests.chaos.ledger import Ledger, Place
from tests.chaos.workload import WORKFLOWS, Plans, take_the_stage
from tests.servers.polling import for_as_long_as
from tests.simulation.mutants.table import MUTANTS

_log = logging.getLogger("stepflow.chaos")

NOT_NOW: Final = 75
"""The exit code of a process that could not open its storage, and is to be started again."""

OWN_SCENARIOS: Final = 1_000_000
"""The numbers of the scenarios that workers start begin here; each process has a thousand of them."""

_MOST_STARTED: Final = 150
"""Runs that a process has in hand, at most, when it starts another one."""

_EXPECTED: Final = (
    "lost its lease",
    "is paused: its worker was lost",
    "the storage does not take what is left",
    # asyncpg's own, of a connection that was given up before it was there: nobody asks it any more.
    "Future exception was never retrieved",
)
"""Errors that are logged because somebody wants to know, and that faults bring about."""


class Watched(FaultyStorage):
    """Remembers which run an id stands for, and by which row this process has it: its ledger says so of each body."""

    def __init__(self, url: str) -> None:
        super().__init__(open_storage(url))
        self._places: dict[RunId, Place] = {}

    def place(self, run_id: RunId) -> Place:
        return self._places[run_id]

    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        outcomes = await super().write(batch, now=now)
        for write, outcome in zip(batch, outcomes, strict=True):
            if (
                isinstance(write, CreateRun)
                and isinstance(outcome, Created)
                and outcome.committed is not None
            ):
                self._places[outcome.run_id] = (outcome.created_pos, 1)
        return outcomes

    async def claim_runs(self, worker: WorkerId, **asked: Any) -> Sequence[Claim]:
        claims = await super().claim_runs(worker, **asked)
        for claim in claims:
            self._places[claim.run.id] = (claim.run.created_pos, claim.run.seq)
        return claims


class _Heard(logging.Handler):
    """Errors that the engine logs, and does not expect: each is one that nobody may ever see."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._complain = complain

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if not any(expected in said for expected in _EXPECTED):
            error = record.exc_info[1] if record.exc_info else None
            self._complain(f"logged: {said}{'' if error is None else f': {error!r}'}")


@contextmanager
def heard_errors(log: Path, complain: Callable[[str], None]) -> Generator[None]:
    """What this process logs goes to a file; what it never should is complained of, too."""
    to_file = logging.FileHandler(log)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handlers = (to_file, _Heard(complain))
    loggers = [logging.getLogger(name) for name in ("stepflow", "asyncio")]
    for logger in loggers:
        logger.propagate = False
        for handler in handlers:
            logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            # Programs may leave a coroutine that they never await.
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        for logger in loggers:
            logger.propagate = True
            for handler in handlers:
                logger.removeHandler(handler)
        to_file.close()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is to do. Its ledger and its log are in ``folder``."""

    url: str
    folder: str
    phase: str
    number: int
    seed: int
    lease: float
    concurrency: int
    hot: float
    """Seconds that a run may wait in memory."""
    starts: float
    """Runs that it starts in a second, until that time of the machine's monotonic clock."""
    until: float
    name: str | None = None
    failpoint: tuple[str, int] | None = None
    """It dies there, as by ``kill -9``."""
    mutant: str | None = None
    """A bug of the simulator's list that is planted in it."""


async def serve(**given: Any) -> None:
    """Work until SIGTERM, as the fields of ``Part`` say."""
    part = msgspec.convert(given, Part)
    faulthandler.enable()
    folder = Path(part.folder)
    ledger = Ledger(folder, part.phase)
    with heard_errors(folder / f"{part.phase}.log", ledger.complain):
        await _serve(part, ledger)


async def _serve(part: Part, ledger: Ledger) -> None:
    take_the_stage(part.seed, ledger)
    driver.HOT = timedelta(seconds=part.hot)
    if part.mutant is not None:
        plant(part.mutant)
    storage = Watched(part.url)
    ledger.place = storage.place
    app = Stepflow(
        storage, workflows=WORKFLOWS, lease=part.lease, concurrency=part.concurrency, grace="1s", retention=None,
        event_retention=None, worker=True, worker_name=part.name,
    )  # fmt: skip
    if part.failpoint is not None:
        failpoints.kill_at(*part.failpoint)
    try:
        await app.__aenter__()
    except StorageError as error:
        _log.warning("the storage can't be opened: %s", error)
        os._exit(NOT_NOW)
    try:
        # A SIGTERM that came before `serve_forever` listens has waited (tests/crash/forking.py).
        asyncio.get_running_loop().call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})
        starter = asyncio.create_task(_start_runs(app, ledger, part))
        await app.serve_forever()
        starter.cancel()
        await asyncio.wait([starter])
        if not starter.cancelled():
            starter.result()
    finally:
        await app.__aexit__(None, None, None)


def _in_hand(app: Stepflow) -> int:
    opened = app._opened
    return 0 if opened is None or opened.worker is None else len(opened.worker.drivers)


def plant(name: str) -> None:
    """Break the engine of this process, for as long as it lives."""
    mutants = {mutant.__name__: mutant for mutant in MUTANTS}
    mutants[name](pytest.MonkeyPatch())


async def _start_runs(app: Stepflow, ledger: Ledger, part: Part) -> None:
    """Start the runs of scenarios of this process's own: their start and first claim are one write."""
    loop = asyncio.get_running_loop()
    plans = Plans(part.seed)
    for scenario in count(OWN_SCENARIOS + 1_000 * part.number):
        for plan in plans.of(scenario):
            await for_as_long_as(1 / part.starts)
            if loop.time() > part.until:
                return
            if _in_hand(app) > _MOST_STARTED:
                continue
            try:
                run = await app.trigger(
                    plan.workflow,
                    {"plan": plan.index, "generation": 1},
                    id=f"run-{plan.index}",
                    tags={"plan": str(plan.index)},
                )
            except StorageError as error:
                _log.warning("a start was not acknowledged: %s", error)
                continue
            ledger.acknowledged(plan.index, run.id)
