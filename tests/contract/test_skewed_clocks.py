"""Machines whose clocks differ by hours: due times, leases and takeovers go by the server's clock, on which all agree."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta

import pytest

from stepflow import RunHandle, Stepflow, current_run, sleep, step, workflow
from stepflow.clock import SystemClock
from stepflow.storage.opening import open_storage
from stepflow.testing.faults import FaultyStorage
from tests.servers.polling import until
from tests.servers.stores import FULL, ONE_SERVER, SERVERS, Stores, stores

__all__ = ["stores"]

HOUR = timedelta(hours=1)
AGREED = timedelta(milliseconds=500)
"""How well machines agree: half a round trip, on a busy machine."""


class SkewedClock(SystemClock):
    """The clock of a machine that is wrong by so much."""

    def __init__(self, wrong_by: timedelta) -> None:
        super().__init__()
        self.wrong_by = wrong_by

    def now(self) -> datetime:
        return super().now() + self.wrong_by


class Machine:
    """A worker on a machine of its own, with its own idea of the time."""

    def __init__(self, name: str, url: str, wrong_by: timedelta, **options: object) -> None:
        self.storage = FaultyStorage(open_storage(url))
        self.clock = SkewedClock(wrong_by)
        self.app = Stepflow(
            self.storage, workflows=[patient], clock=self.clock, worker_name=name, lease="2s", **options
        )  # type: ignore[arg-type]

    async def polls(self, times: int) -> None:
        """Wait until it has asked for runs so many times more."""
        enough = self.storage.calls["claim_runs"] + times
        await until(lambda: self.storage.calls["claim_runs"] >= enough)


begun: Counter[str] = Counter()
go_on = asyncio.Event()
is_begun = asyncio.Event()


@step
async def wait_here() -> None:
    begun[current_run().id] += 1
    is_begun.set()
    await go_on.wait()


@workflow
async def patient(naps: float) -> datetime:
    started = current_run().started_at
    if naps:
        await sleep(timedelta(seconds=naps))
    else:
        await wait_here()
    return started


@pytest.fixture(autouse=True)
def fresh_events() -> None:
    global go_on, is_begun
    go_on, is_begun = asyncio.Event(), asyncio.Event()
    begun.clear()


@pytest.fixture(params=SERVERS if FULL else ONE_SERVER)
def url(request: pytest.FixtureRequest, stores: Stores) -> str:
    return stores.fresh(request.param)


async def test_what_is_due_is_due_by_the_server_s_clock(url: str) -> None:
    fast, slow = (Machine(name, url, wrong_by) for name, wrong_by in (("fast", HOUR), ("slow", -HOUR)))
    async with fast.app, slow.app, open_storage(url) as storage:
        runs: list[RunHandle[datetime]] = []
        before = await storage.server_time()
        assert before is not None
        for machine in (fast, slow):
            assert abs(machine.clock.now() - before) < timedelta(seconds=10)
            runs += [await machine.app.trigger(patient, 0.5, delay="1s") for _ in range(3)]

        started = await asyncio.gather(*(run.result() for run in runs))

        after = await storage.server_time()
        assert after is not None
        for run, at in zip(runs, started, strict=True):
            record = await storage.get_run(run.id)
            assert record is not None
            assert before - AGREED <= record.created_at <= after + AGREED
            assert at >= record.created_at + timedelta(seconds=1), "early"
            assert record.ended_at is not None
            assert record.ended_at >= at + timedelta(seconds=0.5), "early"
            assert record.ended_at <= after + AGREED


@pytest.mark.deadline(50)
async def test_leases_hold_and_pass_by_the_server_s_clock(url: str) -> None:
    fast, slow, right = (
        Machine(name, url, wrong_by)
        for name, wrong_by in (("fast", HOUR), ("slow", -HOUR), ("right", timedelta(0)))
    )
    async with right.app:
        async with fast.app, slow.app:
            runs = [await machine.app.trigger(patient, 0) for machine in (fast, slow)]
            await both_began(runs, times=1)
            for machine in (fast, slow, right):
                await machine.polls(2)
            assert set(begun.values()) == {1}, "a lease that holds was taken for one that has passed"

            fast.storage.freeze()
            slow.storage.freeze()
            await both_began(runs, times=2)  # at the third one's, when the leases have passed
            go_on.set()
            for run in runs:
                await right.app.handle(run.id, patient).result()
            fast.storage.thaw()
            slow.storage.thaw()

        assert [begun[run.id] for run in runs] == [2, 2]
        workers = {row.writer for run in runs for row in await right.storage.read_journal(run.id)}
        assert len(workers) == 3, "each owner wrote, and then the one who took over"


async def both_began(runs: list[RunHandle[datetime]], *, times: int) -> None:
    """Wait until the step of each run was begun so many times."""
    while not all(begun[run.id] >= times for run in runs):
        is_begun.clear()
        await is_begun.wait()
