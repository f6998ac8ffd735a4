"""The committer: one transaction for many runs, and no write lost, doubled, or spoilt by its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from random import random
from typing import Any

import pytest

from stepflow import RunPausedError, step, wait_for_event, workflow
from stepflow._runtime.committer import Committer
from stepflow.clock import SystemClock
from stepflow.model.events import NewEvent
from stepflow.model.journal import encode_entries
from stepflow.model.payloads import NULL
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.writes import CommitRun, CreateRun, Outcome, SendEvent, Write
from stepflow.testing.faults import FaultyStorage
from tests.runtime.living import living, settle, until, worker_of

effects: list[Any] = []


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()


@step
async def note(what: Any) -> Any:
    effects.append(what)
    return what


@workflow
async def three(n: int) -> list[Any]:
    return [await note(n), await note(n), await wait_for_event(f"go/{n}", timeout="1h", default="none")]


class Counting(MemoryStorage):
    """Remembers how large the batches were."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Sequence[Write]] = []

    async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
        self.batches.append(batch)
        await asyncio.sleep(0)
        return await super().write(batch, now=now)


async def test_runs_share_their_transactions() -> None:
    storage = Counting()
    async with living(three, storage=storage) as world:
        await asyncio.gather(*(world.app.trigger(three, n) for n in range(100)))
        await until(lambda: len(effects) == 200)
        await settle()

    writes = sum(map(len, storage.batches))
    assert writes == 300, "create, first step, second step with the suspension"
    assert len(storage.batches) < 30


async def test_no_run_has_two_writes_on_their_way() -> None:
    in_flight: set[str] = set()

    class Watching(MemoryStorage):
        async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
            ids = [
                write.run_id if isinstance(write, CommitRun) else write.run.id
                for write in batch
                if isinstance(write, CommitRun | CreateRun)
            ]
            assert len(ids) == len(set(ids))
            assert not in_flight.intersection(ids)
            in_flight.update(ids)
            for _ in range(3):
                await asyncio.sleep(0)
            in_flight.difference_update(ids)
            return await super().write(batch, now=now)

    async with living(three, storage=Watching()) as world:
        runs = [await world.app.trigger(three, n) for n in range(50)]
        await asyncio.gather(*(world.app.notify(f"go/{n}", n) for n in range(50)))
        assert await asyncio.gather(*(run.result() for run in runs)) == [[n, n, n] for n in range(50)]


@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_write_that_fails_or_whose_answer_is_lost_is_sent_again(nth: int, when: str) -> None:
    """D1 and D3, for every write of a run: create, steps, registration and suspension, event, end."""
    async with living(three) as world:
        count = [0]

        def this_one(write: Write) -> bool:
            count[0] += 1
            return count[0] == nth + 1

        getattr(world.storage, f"fail_{when}")("write", picks=this_one, times=1)
        run = await world.app.trigger(three, 1)
        await world.reaches(run, "suspended")
        await world.app.notify("go/1", "gone")

        assert await run.result(timeout="15s") == [1, 1, "gone"]
        assert effects == [1, 1]
        kinds = await world.kinds(run)
        assert kinds == [
            "Claimed", "StepCompleted", "StepCompleted", "Suspended", "Claimed", "EventReceived", "Ended",
        ]  # fmt: skip


async def test_an_outage_is_waited_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with living(three) as world:
        runs = [await world.app.trigger(three, n) for n in range(5)]
        for run in runs:
            await world.reaches(run, "suspended")
        world.storage.fail_before("write", times=4)
        sending = [asyncio.create_task(world.app.notify(f"go/{n}", n)) for n in range(5)]
        await asyncio.gather(*sending)
        assert [r[2] for r in await asyncio.gather(*(run.result() for run in runs))] == list(range(5))

    told = [record.getMessage() for record in caplog.records if record.name == "stepflow.committer"]
    assert len([line for line in told if "does not take writes" in line]) == 1
    assert told[-1] == "the storage takes writes again"


async def test_trouble_in_any_other_call_is_waited_out_too() -> None:
    async with living(three) as world:
        for method in ("claim_runs", "next_due", "read_requests", "read_events", "get_run", "read_journal"):
            world.storage.fail_before(method, times=2)
        runs = [await world.app.trigger(three, n) for n in range(3)]
        for run in runs:
            await world.reaches(run, "suspended")
        for n in range(3):
            await world.app.notify(f"go/{n}", n)
        for run in runs:
            await until(lambda run=run: is_done(world, run), turns=3_000_000)


async def is_done(world: Any, run: Any) -> bool:
    if not world.clock.next_alarm:
        return False
    world.clock.advance("100ms")
    return (await world.record(run)).status.ended


async def test_recovery_goes_on_after_trouble_in_any_of_its_reads() -> None:
    """dbos-transact-py #716: an error in the recovery loop was swallowed, and runs stayed pending for ever."""
    for method in ("claim_runs", "read_journal", "next_due", "read_requests"):
        storage = MemoryStorage()
        async with living(three, storage=storage) as world:
            runs = [await world.app.trigger(three, n) for n in range(5)]
            for run in runs:
                await world.reaches(run, "suspended")
            for n in range(5):
                await world.app.notify(f"go/{n}", n)
            await storage.release_worker(worker_of(world).worker_id, now=world.clock.now())
            clock = world.clock
        faulty = FaultyStorage(storage)
        faulty.fail_before(method, times=3)
        async with living(three, storage=faulty, clock=clock) as later:
            for n, run in enumerate(runs):
                await until(lambda run=run: is_done(later, run), turns=3_000_000)
                assert await later.app.handle(run.id).result() == [n, n, n]


# ------------------------------------------------------------------ poison
async def test_a_write_that_the_storage_can_t_take_spoils_none_of_its_neighbours() -> None:
    class Picky(MemoryStorage):
        async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
            for write in batch:
                if isinstance(write, CommitRun) and b"arsenic" in encode_entries(write.entries):
                    raise ValueError("this can not be stored")
            return await super().write(batch, now=now)

    @workflow
    async def writes(word: str) -> str:
        await note(word)
        return await note("end")

    async with living(writes, storage=Picky()) as world:
        bad = await world.app.trigger(writes, "arsenic")
        good = [await world.app.trigger(writes, f"fine {n}") for n in range(20)]

        assert await asyncio.gather(*(run.result() for run in good)) == ["end"] * 20
        with pytest.raises(RunPausedError, match="could not be written: ValueError"):
            await bad.result(timeout="15s")
        assert worker_of(world).drivers == {}


async def test_a_create_that_the_storage_can_t_take_is_told_to_whoever_triggers() -> None:
    class Full(MemoryStorage):
        async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
            raise ValueError("nothing fits")

    async with living(three, storage=Full()) as world:
        with pytest.raises(ValueError, match="nothing fits"):
            await world.app.trigger(three, 1)
        with pytest.raises(ValueError, match="nothing fits"):
            await world.app.trigger(three, 1, delay="1h")
        with pytest.raises(ValueError, match="nothing fits"):
            await world.app.notify("go")
        assert worker_of(world).drivers == {}


# ------------------------------------------------------------------ alone
class Awkward:
    """A writer with a bug in one of its methods."""

    write_size = 1

    def __init__(self, where: str) -> None:
        self.where = where
        self.failed: list[Exception] = []

    def take_write(self) -> Write | None:
        if self.where == "take_write":
            raise RuntimeError("a bug")
        return SendEvent(event=NewEvent(event_id="e", payload=NULL))

    def written(self, outcome: Outcome) -> None:
        if self.where == "written":
            raise RuntimeError("a bug")

    def write_failed(self, error: Exception) -> None:
        self.failed.append(error)
        if self.where == "write_failed":
            raise RuntimeError("another bug")


@pytest.mark.parametrize("where", ["take_write", "written"])
async def test_a_bug_in_one_writer_does_not_hold_up_the_others(where: str) -> None:
    committer = Committer(MemoryStorage(), SystemClock(), random=random)
    awkward = Awkward(where)
    committer.enlist(awkward)
    outcome = await committer.write(Awkward("nowhere").take_write())  # type: ignore[arg-type]

    assert type(outcome).__name__ == "Sent"
    assert len(awkward.failed) == 1
    assert await committer.drain(5)


async def test_draining_gives_up_in_time_and_closing_tells_who_waits() -> None:
    storage = FaultyStorage(MemoryStorage())
    storage.fail_before("write", times=10_000)
    committer = Committer(storage, SystemClock(), random=random)
    waiting = [asyncio.create_task(committer.write(Awkward("nowhere").take_write())) for _ in range(3)]  # type: ignore[arg-type]
    await settle()

    assert not await committer.drain(0.01)
    await committer.close()
    for task in waiting:
        with pytest.raises(ConnectionError, match="closed"):
            await task


async def test_the_storage_has_the_next_batch_while_the_writers_of_two_are_told() -> None:
    seen: list[str] = []
    answers = asyncio.Event()

    class Watched(MemoryStorage):
        async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
            seen.append("sent")
            await answers.wait()
            return await super().write(batch, now=now)

    class Again(Awkward):
        """As a run whose next step ends at once."""

        def written(self, outcome: Outcome) -> None:
            seen.append("told")
            if seen.count("told") == 1:
                committer.enlist(self)

    committer = Committer(Watched(), SystemClock(), random=random)
    for _ in range(2):
        for _ in range(1_000):
            committer.enlist(Again("nowhere"))
        await settle()
    assert seen == ["sent", "sent"]
    answers.set()
    assert await committer.drain(5)

    assert seen.count("told") == 2_001
    assert seen.index("sent", 2) < 1_000, "most of both are told after the third was sent"


async def test_closing_tells_those_too_whose_batch_is_being_sent_one_by_one() -> None:
    class Stuck(MemoryStorage):
        async def write(self, batch: Sequence[Write], *, now: datetime) -> Sequence[Outcome]:
            if len(batch) > 1:
                raise ValueError("not as one")
            await asyncio.get_running_loop().create_future()
            raise AssertionError("it is never answered")

    committer = Committer(Stuck(), SystemClock(), random=random)
    writers = [Awkward("nowhere") for _ in range(3)]
    for writer in writers:
        committer.enlist(writer)
    await settle()
    late = Awkward("nowhere")
    committer.enlist(late)
    await settle()
    await committer.close()

    assert [len(writer.failed) for writer in (*writers, late)] == [1, 1, 1, 1]
