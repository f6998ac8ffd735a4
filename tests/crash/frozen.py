"""A worker that is frozen with a write of every kind on its way: decided here, and not sent."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from stepflow import Stepflow, continue_as, current_run, sleep, step, wait_for_event, workflow
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.storage.writes import CommitRun, Outcome, Write
from stepflow.testing.faults import FaultyStorage
from tests.crash.ledger import effect
from tests.crash.program import prepare

KINDS: Final = (
    "checkpoint", "sleep", "wait", "child", "send", "cancel-child", "complete", "fail", "cancelled", "continue",
)  # fmt: skip
"""What the run of each name does as soon as all of them stand at the same place."""

_arrived = 0
_together = asyncio.Event()
_gather_all = False


@step
async def meet() -> str:
    """In the process that will be frozen: wait until every run is here, so that all of them go on at once."""
    global _arrived
    effect()
    if _gather_all:
        _arrived += 1
        if _arrived == len(KINDS):
            _together.set()
        await _together.wait()
    return "met"


@step
async def after(text: str) -> str:
    effect()
    return text


@workflow(id="frozen-child")
async def small(number: int) -> int:
    await wait_for_event("never/comes", timeout="1h", default=None)
    return number


@workflow(id="frozen")
async def frozen(kind: str) -> str:
    """Meets the others, then does what its kind says."""
    match kind:
        case "continued":
            return "continued"
        case "cancelled":
            try:
                await wait_for_event("never/comes")
            except asyncio.CancelledError:
                await meet()
                raise
        case "cancel-child":
            child = await step.start(small, 1)
            await meet()
            await child.cancel()
            return await after("cancelled it")
    await meet()
    match kind:
        case "sleep":
            await sleep("6s")
        case "wait":
            return await wait_for_event(f"go/{current_run().id}", type=str)
        case "child":
            return str(await step.invoke(quick, 7))
        case "send":
            await step.send_event("told/everyone", current_run().id)
        case "fail":
            raise ValueError("as it should")
        case "continue":
            continue_as("continued")
    return kind if kind == "complete" else await after(kind)


@workflow(id="frozen-quick-child")
async def quick(number: int) -> int:
    return number


WORKFLOWS: Final = [frozen, small, quick]


class Outcomes(msgspec.Struct):
    """What became of the writes that were on their way: by run the kind of its outcome."""

    of: dict[str, str] = {}


class Freezer(FaultyStorage):
    """Stops the whole process as the first write of a run that has met the others is about to be sent."""

    def __init__(self, storage: Storage, woken: Path, told: Path) -> None:
        super().__init__(storage)
        self._woken, self._told = woken, told
        self._outcomes = Outcomes()

    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        late = [write.run_id for write in batch if isinstance(write, CommitRun)] if _together.is_set() else []
        while late and not self._woken.exists():
            os.kill(os.getpid(), signal.SIGSTOP)
        outcomes = await super().write(batch, now=now)
        for write, outcome in zip(batch, outcomes, strict=True):
            if late and isinstance(write, CommitRun):
                self._outcomes.of.setdefault(write.run_id, type(outcome).__name__)
        if late:
            self._tell()
        return outcomes

    def _tell(self) -> None:
        # Put in place whole: the test reads it while it is written.
        draft = self._told.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(self._outcomes))
        draft.replace(self._told)


async def serve(url: str, ledger: str, phase: str, lease: str, woken: str = "", told: str = "") -> None:
    """Work until SIGTERM; ``woken``: be frozen as all runs have met, until that file exists, and tell what became of it."""
    global _gather_all
    prepare(ledger=ledger, phase=phase)
    _gather_all = bool(woken)
    storage = open_storage(url)
    app = Stepflow(
        Freezer(storage, Path(woken), Path(told)) if woken else storage,
        workflows=WORKFLOWS,
        lease=lease,
        grace="5s",
        worker=True,
    )
    async with app:
        # One that came before `serve_forever` listens has waited (tests/crash/forking.py).
        asyncio.get_running_loop().call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})
        await app.serve_forever()
