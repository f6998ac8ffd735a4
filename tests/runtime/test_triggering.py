"""Triggering: a run begins once, when it should, where it should, and says clearly why not."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from stepflow import (
    DefinitionError,
    DurationError,
    InputError,
    InvalidIdError,
    NotOpenError,
    PayloadTooLargeError,
    RunConflictError,
    RunNotFoundError,
    Stepflow,
    UnknownWorkflowError,
    step,
    wait_for_event,
    workflow,
)
from stepflow.storage.memory import MemoryStorage
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
async def double(number: int) -> int:
    await note(number)
    return number * 2


@workflow
async def shout(word: str = "hey") -> str:
    return word.upper()


@workflow
async def wait_long(number: int) -> int:
    return number + int(await wait_for_event("go"))


@workflow(queue="slow")
async def in_another_queue(number: int) -> int:
    await note(number)
    return number


async def test_a_run_returns_what_its_workflow_returned() -> None:
    async with living(double) as world:
        run = await world.app.trigger(double, 21)

        assert await run.result() == 42
        assert run.created
        assert await run.status() == "completed"


async def test_an_input_with_a_default_may_be_left_out() -> None:
    async with living(shout) as world:
        assert await (await world.app.trigger(shout)).result() == "HEY"
        assert await (await world.app.trigger(shout, "you")).result() == "YOU"


async def test_a_workflow_may_be_named_by_its_id() -> None:
    async with living(double) as world:
        assert await (await world.app.trigger("double", 4)).result() == 8


async def test_an_unknown_workflow_is_refused_with_the_nearest_names() -> None:
    async with living(double) as world:
        with pytest.raises(UnknownWorkflowError, match="did you mean 'double'"):
            await world.app.trigger("duble", 4)


async def test_a_workflow_that_is_not_registered_is_refused() -> None:
    async with living(double) as world:
        with pytest.raises(UnknownWorkflowError, match="shout"):
            await world.app.trigger(shout, "you")


async def test_another_workflow_under_a_registered_id_is_refused() -> None:
    @workflow(id="double")
    async def impostor(number: int) -> int:
        return 0

    async with living(double) as world:
        with pytest.raises(DefinitionError, match="another workflow is registered"):
            await world.app.trigger(impostor, 4)


async def test_an_input_that_does_not_fit_is_refused_before_anything_is_stored() -> None:
    async with living(double, shout) as world:
        with pytest.raises(InputError, match="input of workflow 'double'"):
            await world.app.trigger("double", "four")
        with pytest.raises(PayloadTooLargeError):
            await world.app.trigger(shout, "x" * (4 * 1024 * 1024))

        assert (await world.app.list_runs()).items == []


# ------------------------------------------------------------------ once
async def test_the_same_id_again_is_the_same_run() -> None:
    async with living(double) as world:
        first = await world.app.trigger(double, 1, id="one")
        again = await world.app.trigger(double, 1, id="one")

        assert (first.created, again.created) == (True, False)
        assert await first.result() == await again.result() == 2
        assert effects == [1]


async def test_the_same_idempotency_key_again_is_the_same_run() -> None:
    async with living(double) as world:
        first = await world.app.trigger(double, 1, idempotency_key="order-7")
        again = await world.app.trigger(double, 1, idempotency_key="order-7")

        assert again.id == first.id
        assert not again.created
        await again.result()
        assert effects == [1]


async def test_a_hundred_triggers_of_one_key_at_once_are_one_run() -> None:
    async with living(double) as world:
        runs = await asyncio.gather(
            *(world.app.trigger(double, 3, idempotency_key="k") for _ in range(50)),
            *(world.app.trigger(double, 3, idempotency_key="k", delay="1s") for _ in range(50)),
        )

        assert len({run.id for run in runs}) == 1
        assert [run.created for run in runs].count(True) == 1
        assert await world.ends(runs[0]) == 6
        assert effects == [3]


@pytest.mark.parametrize("option", ["id", "idempotency_key"])
async def test_an_id_or_key_of_another_input_or_workflow_is_a_conflict(option: str) -> None:
    async with living(double, wait_long) as world:
        run = await world.app.trigger(double, 1, **{option: "taken"})

        with pytest.raises(RunConflictError, match="another input") as caught:
            await world.app.trigger(double, 2, **{option: "taken"})
        assert caught.value.run_id == run.id
        with pytest.raises(RunConflictError, match="workflow 'double'"):
            await world.app.trigger(wait_long, 1, **{option: "taken"})


async def test_a_conflict_is_told_while_the_first_run_is_still_in_memory() -> None:
    async with living(wait_long, double) as world:
        await world.app.trigger(wait_long, 1, id="taken")

        with pytest.raises(RunConflictError):
            await world.app.trigger(wait_long, 2, id="taken")
        again = await world.app.trigger(wait_long, 1, id="taken")

        assert not again.created


async def test_an_id_and_a_key_together_are_an_error() -> None:
    async with living(double) as world:
        with pytest.raises(InputError, match="not both"):
            await world.app.trigger(double, 1, id="a", idempotency_key="b")


@pytest.mark.parametrize("bad", ["", " ", "a/b", "ä", "-x", "x" * 201, "a\0b", "a\n"])
async def test_malformed_run_ids_are_refused(bad: str) -> None:
    async with living(double) as world:
        with pytest.raises(InvalidIdError):
            await world.app.trigger(double, 1, id=bad)
        with pytest.raises(InvalidIdError):
            world.app.handle(bad)


@pytest.mark.parametrize("key", ["", "x" * 501])
async def test_malformed_idempotency_keys_are_refused(key: str) -> None:
    async with living(double) as world:
        with pytest.raises(InputError):
            await world.app.trigger(double, 1, idempotency_key=key)


# ------------------------------------------------------------------ when
async def test_a_delayed_run_begins_when_the_delay_is_over() -> None:
    async with living(double) as world:
        run = await world.app.trigger(double, 5, delay="3d")

        await world.pass_time("71h")
        assert await run.status() == "queued"
        assert effects == []
        await world.pass_time("1h")

        assert await run.result() == 10
        record = await world.record(run)
        assert record.started_at == record.created_at + timedelta(days=3)


async def test_a_run_may_begin_at_an_instant_and_a_past_one_is_now() -> None:
    async with living(double) as world:
        tomorrow = await world.app.trigger(double, 1, at=world.clock.now() + timedelta(days=1))
        yesterday = await world.app.trigger(double, 2, at=world.clock.now() - timedelta(days=1))

        assert await yesterday.result() == 4
        assert await tomorrow.status() == "queued"
        await world.pass_time("1d")
        assert await tomorrow.result() == 2


async def test_naive_and_contradictory_instants_are_refused() -> None:
    async with living(double) as world:
        with pytest.raises(InputError, match="naive"):
            await world.app.trigger(double, 1, at=datetime(2030, 5, 1))  # noqa: DTZ001
        with pytest.raises(InputError, match="not both"):
            await world.app.trigger(double, 1, at=world.clock.now(), delay="1s")


# ------------------------------------------------------------------ where
@pytest.mark.parametrize(
    "when",
    [
        {"delay": timedelta.max},
        {"delay": "2912256d"},
        {"at": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2)))},
    ],
)
async def test_an_instant_after_the_year_9999_is_refused_before_anything_is_stored(when: Any) -> None:
    async with living(double) as world:
        with pytest.raises((DurationError, InputError), match="after the year 9999"):
            await world.app.trigger(double, 1, **when)

        assert world.storage.calls["write"] == 0


async def test_a_run_keeps_its_tags_priority_and_queue() -> None:
    async with living(double, queues=["default", "bulk"]) as world:
        run = await world.app.trigger(double, 1, tags={"tenant": "a"}, priority=3, queue="bulk")
        await run.result()

        found = await world.app.get_run(run.id)
        assert (dict(found.tags), found.priority, found.queue) == ({"tenant": "a"}, 3, "bulk")
        assert [item.id for item in (await world.app.list_runs(tags={"tenant": "a"})).items] == [run.id]
        assert (await world.app.list_runs(tags={"tenant": "b"})).items == []


@pytest.mark.parametrize(
    "tags",
    [
        {"": "x"},
        {"x" * 101: "y"},
        {"x": "y" * 501},
        {"x": 1},
        {f"t{n}": "" for n in range(51)},
        {"x": "\ud800"},
        {"\ud800": "x"},
    ],
)
async def test_malformed_tags_are_refused(tags: Any) -> None:
    async with living(double) as world:
        with pytest.raises(InputError):
            await world.app.trigger(double, 1, tags=tags)


async def test_a_text_that_is_not_valid_unicode_is_refused_wherever_it_is_given() -> None:
    """One such text would spoil the whole batch of writes that it is part of."""
    async with living(double) as world:
        with pytest.raises(InputError):
            await world.app.trigger(double, 1, idempotency_key="\ud800")
        with pytest.raises(InputError):
            await world.app.notify("go", id="\ud800")
        for ask in (world.app.pause, world.app.get_run, world.app.cancel):
            with pytest.raises(RunNotFoundError):
                await ask("run\ud800")
        with pytest.raises(RunNotFoundError):
            await world.app.notify("go", run_id="run\ud800")


@pytest.mark.parametrize("priority", [1.5, True, 2**32, "high"])
async def test_malformed_priorities_are_refused(priority: Any) -> None:
    async with living(double) as world:
        with pytest.raises(InputError):
            await world.app.trigger(double, 1, priority=priority)


async def test_of_those_that_wait_the_higher_priority_begins_first() -> None:
    storage = MemoryStorage()
    async with living(double, storage=storage, worker=False) as world:
        for number, priority in enumerate([0, 5, -1, 5]):
            await world.app.trigger(double, number, priority=priority)
        clock = world.clock

    async with living(double, storage=storage, clock=clock, concurrency=1):
        await until(lambda: len(effects) == 4)

    assert effects == [1, 3, 0, 2]


async def test_a_new_run_does_not_overtake_those_that_wait() -> None:
    """A trigger in the worker's own process claims its run at once, but only if nothing older waits."""
    order: list[int] = []
    gate = asyncio.Event()

    @step
    async def note_order(number: int) -> None:
        order.append(number)
        await gate.wait()

    @workflow
    async def ordered(number: int) -> None:
        await note_order(number)

    async with living(ordered, concurrency=1) as world:
        runs = [await world.app.trigger(ordered, number) for number in range(4)]
        await settle()
        gate.set()
        for run in runs:
            await run.result()

    assert order == [0, 1, 2, 3]


async def test_a_new_run_does_not_take_the_slot_that_a_claim_on_its_way_asks_for() -> None:
    """Found by the simulator (seed 506): the claim brought a run as well, and there was one more than is allowed."""
    ends = asyncio.Event()

    @step
    async def takes_long() -> None:
        await ends.wait()

    @workflow
    async def holds_its_slot() -> None:
        await takes_long()

    async with living(holds_its_slot, concurrency=1) as world:
        waits = await world.app.trigger(holds_its_slot, delay="1s")
        await settle()
        claim = world.storage.hold("claim_runs", done=True)
        world.clock.advance("1s")
        await claim.reached()
        assert (await world.record(waits)).status == "running", "its claim is on its way here"
        fresh = await world.app.trigger(holds_its_slot)
        claim.open()
        await settle()
        assert list(worker_of(world).drivers) == [waits.id]
        ends.set()

        await asyncio.gather(waits.result(), fresh.result())


async def test_runs_that_waited_for_a_slot_begin_as_soon_as_one_is_free() -> None:
    """Not with the next poll: no time passes in this test."""
    async with living(double, concurrency=2) as world:
        runs = [await world.app.trigger(double, number) for number in range(20)]

        results = await asyncio.gather(*(run.result() for run in runs))

    assert results == [number * 2 for number in range(20)]


async def test_a_queue_that_no_worker_serves_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async with living(double, in_another_queue, queues=["default"]) as world:
        await world.app.trigger(in_another_queue, 1)
        await world.app.trigger(in_another_queue, 2)
        await settle()

    warnings = [r for r in caplog.records if "no live worker serves queue 'slow'" in r.getMessage()]
    assert len(warnings) == 1
    assert effects == []


async def test_a_queue_that_another_process_serves_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    storage = MemoryStorage()
    async with (
        living(double, storage=storage) as world,
        living(double, storage=storage, clock=world.clock, worker=False) as other,
    ):
        run = await other.app.trigger(double, 2)
        assert await run.result() == 4
        await settle()

    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


# ------------------------------------------------------------------ not open
async def test_an_app_that_is_not_open_says_so() -> None:
    app = Stepflow("memory://", workflows=[double])

    with pytest.raises(NotOpenError, match=r"app\.trigger\(\) was called while the app is not open"):
        await app.trigger(double, 1)
    async with app:
        run = await app.trigger(double, 1)
    with pytest.raises(NotOpenError):
        await run.result()
    with pytest.raises(NotOpenError):
        await app.notify("go")


async def test_an_app_is_opened_once_at_a_time_and_may_be_opened_again() -> None:
    app = Stepflow("memory://", workflows=[double])
    async with app:
        run = await app.trigger(double, 4)
        assert await run.result() == 8
        with pytest.raises(NotOpenError, match="open already"):
            async with app:
                pass

    async with app:
        assert await app.handle(run.id, double).result() == 8


async def test_an_app_without_a_worker_runs_nothing() -> None:
    async with living(double, worker=False) as world:
        run = await world.app.trigger(double, 1)
        await world.pass_time("1h")

        assert await run.status() == "queued"
        assert effects == []


@pytest.mark.parametrize(("said", "runs"), [("0", False), ("1", True), ("no", False), ("", True)])
async def test_the_environment_decides_about_the_worker_where_the_code_does_not(
    said: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPFLOW_WORKER", said)

    async with living(double) as world:
        run = await world.app.trigger(double, 1)
        await settle()

        assert (await run.status() == "completed") is runs


async def test_a_malformed_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPFLOW_WORKER", "perhaps")

    with pytest.raises(InputError, match="STEPFLOW_WORKER"):
        Stepflow("memory://", workflows=[double])


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"threads": 0}, {"queues": "default"}, {"queues": {"default": 0}}]
)
def test_malformed_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Stepflow("memory://", workflows=[double], **options)
