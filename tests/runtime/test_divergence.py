"""Code and journal that disagree, values that can't be read, and runs that take their worker down: they stand still, readably."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from stepflow import RunCancelledError, RunPausedError, sleep, step, wait_for_event, workflow
from stepflow.hooks import RunPaused
from stepflow.model.journal import JournalRow, StepCompleted
from stepflow.model.payloads import Payload
from stepflow.storage.base import WorkerRecord
from stepflow.storage.memory import MemoryStorage
from stepflow.testing.faults import FaultyStorage
from tests.runtime.living import living, settle, until

effects: list[Any] = []


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()


@step
async def note(what: str) -> str:
    effects.append(what)
    return what


async def other(what: str) -> str:
    return f"other {what}"


def old_code() -> Any:
    @workflow(id="flow")
    async def flow() -> list[Any]:
        first = await step.run("first", note, "one")
        await wait_for_event("go", name="wait")
        return [first, await note("end")]

    return flow


def new_code() -> Any:
    @workflow(id="flow")
    async def flow() -> list[Any]:
        first = await step.run("first", other, "one")
        await wait_for_event("go", name="wait")
        return [first, await note("end")]

    return flow


async def a_run_of_old_code(storage: MemoryStorage) -> tuple[str, Any]:
    code = old_code()
    async with living(code, storage=storage) as world:
        run = await world.app.trigger(code)
        await world.reaches(run, "suspended")
        return run.id, world.clock


async def test_another_function_under_a_recorded_key_pauses_the_run_with_the_reason() -> None:
    storage = MemoryStorage()
    run_id, clock = await a_run_of_old_code(storage)
    async with living(new_code(), storage=storage, clock=clock) as world:
        await world.app.notify("go")
        handle = world.app.handle(run_id)

        with pytest.raises(RunPausedError, match="at 'first' the journal has") as caught:
            await handle.result()
        assert "resume the run" in str(caught.value)
        assert [fact.reason for fact in world.facts if isinstance(fact, RunPaused)] == ["non-determinism"]
        found = await world.app.get_run(run_id)
        assert (found.status, found.pause_reason) == ("paused", "non-determinism")


async def test_mended_code_goes_on_where_it_was() -> None:
    storage = MemoryStorage()
    run_id, clock = await a_run_of_old_code(storage)
    async with living(new_code(), storage=storage, clock=clock) as world:
        await world.app.notify("go")
        await world.reaches(run_id, "paused")
    async with living(old_code(), storage=storage, clock=clock) as mended:
        await mended.app.resume(run_id)
        assert await mended.app.handle(run_id).result() == ["one", "end"]
    assert effects == ["one", "end"]


async def test_code_that_is_still_wrong_pauses_again_and_does_not_loop() -> None:
    storage = MemoryStorage()
    run_id, clock = await a_run_of_old_code(storage)
    async with living(new_code(), storage=storage, clock=clock) as world:
        await world.app.notify("go")
        for _ in range(3):
            await world.reaches(run_id, "paused")
            await settle(100)
            await world.app.resume(run_id)
        await world.reaches(run_id, "paused")
        rows = await storage.read_journal(run_id)
        assert len(rows) < 16


async def test_a_run_that_diverged_may_be_cancelled_at_once() -> None:
    storage = MemoryStorage()
    run_id, clock = await a_run_of_old_code(storage)
    async with living(new_code(), storage=storage, clock=clock) as world:
        await world.app.notify("go")
        await world.reaches(run_id, "paused")
        await world.app.cancel(run_id)
        with pytest.raises(RunCancelledError):
            await world.app.handle(run_id).result()


@pytest.mark.parametrize("asked", ["cancel", "pause"])
async def test_a_request_that_meets_a_divergence_leaves_nobody_hanging(asked: str) -> None:
    storage = MemoryStorage()
    run_id, clock = await a_run_of_old_code(storage)
    async with living(new_code(), storage=storage, clock=clock, worker=False) as asking:
        await getattr(asking.app, asked)(run_id)
    async with living(new_code(), storage=storage, clock=clock) as world:
        if asked == "pause":
            await world.app.resume(run_id)
            await world.app.notify("go")
        await until(lambda: not world.app._opened.worker.drivers)  # type: ignore[union-attr]
        await settle()
        record = await world.record(run_id)

    assert record.status in {"paused", "cancelled"}


async def test_what_was_recorded_and_not_asked_for_is_told_once_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = MemoryStorage()
    run_id, clock = await a_run_of_old_code(storage)

    @workflow(id="flow")
    async def shorter() -> str:
        await wait_for_event("go", name="wait")
        return "done"

    async with living(shorter, storage=storage, clock=clock) as world:
        await world.app.notify("go")
        assert await world.app.handle(run_id).result() == "done"

    told = [r.getMessage() for r in caplog.records if "did not ask for" in r.getMessage()]
    assert len(told) == 1
    assert "- first: the step function" in told[0]


# ------------------------------------------------------------------ values
def spoil(storage: MemoryStorage, run_id: str, payload: bytes) -> None:
    """Garbage where the first step's value was."""
    rows = storage._records.journal[run_id]
    for place, row in enumerate(rows):
        entries = tuple(
            msgspec.structs.replace(entry, value=Payload(msgspec.Raw(payload)))
            if isinstance(entry, StepCompleted)
            else entry
            for entry in row.entries
        )
        rows[place] = JournalRow(
            run_id=row.run_id, seq=row.seq, writer=row.writer, write_id=row.write_id, entries=entries
        )


async def test_a_value_that_can_t_be_read_pauses_its_run_and_leaves_others_alone() -> None:
    storage = MemoryStorage()
    spoiled, clock = await a_run_of_old_code(storage)
    fine, _ = await a_run_of_old_code(storage)
    spoil(storage, spoiled, b'{"not": "a string"}')
    async with living(old_code(), storage=storage, clock=clock) as world:
        await world.app.notify("go")

        assert await world.app.handle(fine).result() == ["one", "end"]
        with pytest.raises(RunPausedError, match="at 'first'"):
            await world.app.handle(spoiled).result()
        assert (await world.app.get_run(spoiled)).pause_reason == "undecodable"
        spoil(storage, spoiled, b'"repaired"')
        await world.app.resume(spoiled)
        assert await world.app.handle(spoiled).result() == ["repaired", "end"]


async def test_an_input_that_new_code_can_t_read_pauses_the_run() -> None:
    @workflow(id="flow")
    async def takes_text(word: str) -> str:
        await sleep("1h")
        return word

    @workflow(id="flow")
    async def takes_number(number: int) -> int:
        await sleep("1h")
        return number

    storage = MemoryStorage()
    async with living(takes_text, storage=storage) as world:
        run = await world.app.trigger(takes_text, "seven")
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(takes_number, storage=storage, clock=clock) as later:
        await later.pass_time("1h")
        with pytest.raises(RunPausedError, match="the run's input"):
            await later.app.handle(run.id).result()


async def test_an_event_of_another_type_pauses_the_run_that_waits_for_it() -> None:
    @workflow
    async def wants_a_number() -> int:
        return await wait_for_event("number", type=int)

    async with living(wants_a_number) as world:
        run = await world.app.trigger(wants_a_number)
        await world.reaches(run, "suspended")
        await world.app.notify("number", "seven")

        with pytest.raises(RunPausedError):
            await run.result()


# ------------------------------------------------------------------ poison
async def lose_a_worker(storage: MemoryStorage, clock: Any, name: str) -> int:
    """A worker that claims whatever there is, and is gone."""
    now = clock.now()
    await storage.register_worker(
        WorkerRecord(
            id=name,
            name=None,
            queues=("default",),
            host="h",
            pid=1,
            started_at=now,
            lease_until=now + timedelta(days=1),
        )
    )
    claims = await storage.claim_runs(name, queues={"default": 10}, known={}, limit=10, now=now)
    await storage.release_worker(name, now=now)
    return len(claims)


async def test_a_run_that_takes_ten_workers_down_is_paused_and_others_go_on() -> None:
    storage = MemoryStorage()
    code = old_code()
    async with living(code, storage=storage, worker=False) as world:
        run = await world.app.trigger(code)
        clock = world.clock
    for n in range(10):
        assert await lose_a_worker(storage, clock, f"lost-{n}") == 1
    async with living(code, storage=storage, clock=clock) as world:
        with pytest.raises(RunPausedError, match="worker was lost 10 times"):
            await world.app.handle(run.id).result()
        assert effects == []
        fine = await world.app.trigger(code)
        await world.reaches(fine, "suspended")
        await world.app.resume(run.id)
        await world.reaches(run, "suspended")
        await world.app.notify("go")
        assert await world.app.handle(run.id).result() == ["one", "end"]


async def test_nine_lost_workers_are_not_poison_and_progress_counts_anew() -> None:
    storage = MemoryStorage()
    code = old_code()
    async with living(code, storage=storage, worker=False) as world:
        run = await world.app.trigger(code)
        clock = world.clock
    for n in range(9):
        await lose_a_worker(storage, clock, f"lost-{n}")
    async with living(code, storage=storage, clock=clock) as world:
        await world.reaches(run, "suspended")
        await world.app.notify("go")
        assert await world.app.handle(run.id).result() == ["one", "end"]


# ------------------------------------------------------------------ unknown workflows
async def test_looking_for_unknown_workflows_and_unserved_queues_waits_out_a_storage_in_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @workflow(queue="elsewhere")
    async def known() -> str:
        return "known"

    storage = FaultyStorage(MemoryStorage())
    storage.fail_before("list_runs")
    storage.fail_before("list_workers")
    async with living(known, storage=storage, queues=["here"]) as world:
        await world.app.trigger(known)
        await settle()
        await world.app.trigger(known)
        await settle()

    assert [r.getMessage() for r in caplog.records if r.exc_info] == []
    assert len([r for r in caplog.records if "no live worker serves" in r.getMessage()]) == 1


async def test_a_run_of_an_unknown_workflow_is_left_for_others_and_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @workflow
    async def known() -> str:
        return "known"

    storage = MemoryStorage()
    code = old_code()
    async with living(code, storage=storage, worker=False) as world:
        waiting = [await world.app.trigger(code) for _ in range(3)]
        clock = world.clock
    async with living(known, storage=storage, clock=clock) as world:
        assert await (await world.app.trigger(known)).result() == "known"
        for _ in range(5):
            await world.pass_time("1m")
        calls = world.storage.calls["claim_runs"]
        await settle(200)
        assert world.storage.calls["claim_runs"] <= calls + 1
        assert [await world.app.handle(run.id).status() for run in waiting] == ["queued"] * 3
        async with living(code, storage=storage, clock=clock) as knows:
            await knows.app.notify("go")
            results = await asyncio.gather(*(knows.app.handle(run.id).result() for run in waiting))

    assert results == [["one", "end"]] * 3
    assert len([r for r in caplog.records if "does not know it" in r.getMessage()]) == 1
