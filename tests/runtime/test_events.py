"""Events: each reaches whom it is for once, in order, whenever it was sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import (
    Event,
    EventConflictError,
    EventTimeoutError,
    InputError,
    InvalidIdError,
    OperationRefusedError,
    RunNotFoundError,
    step,
    wait_for_event,
    workflow,
)
from stepflow.hooks import EventSent
from stepflow.storage.memory import MemoryStorage
from tests.runtime.living import living, settle, until, worker_of


@workflow
async def one() -> Any:
    return await wait_for_event("go")


@workflow
async def several(count: int) -> list[Any]:
    return [await wait_for_event("go") for _ in range(count)]


@workflow
async def with_timeout(name: str) -> str:
    try:
        return str(await wait_for_event("go", timeout="1h"))
    except EventTimeoutError:
        return "timed out"


@workflow
async def with_default() -> Any:
    return await wait_for_event("go", timeout="1h", default={"by": "default"})


@workflow
async def done() -> None:
    return None


# ------------------------------------------------------------------ before and after
async def test_an_event_wakes_a_suspended_run() -> None:
    async with living(one) as world:
        run = await world.app.trigger(one)
        await world.reaches(run, "suspended")

        assert await world.app.notify("go", {"n": 1}) == 1
        assert await run.result() == {"n": 1}


async def test_an_event_sent_before_the_wait_is_there() -> None:
    gate = asyncio.Event()

    @step
    async def holds() -> None:
        await gate.wait()

    @workflow
    async def waits_late() -> Any:
        await holds()
        return await wait_for_event("go")

    async with living(waits_late) as world:
        run = await world.app.trigger(waits_late)
        await settle()
        assert await world.app.notify("go", "early") == 0
        gate.set()

        assert await run.result(timeout="15s") == "early"


async def test_an_event_from_before_the_run_is_not_for_it_and_does_not_keep_anyone_busy() -> None:
    async with living(with_timeout) as world:
        await world.app.notify("go", "too early")
        run = await world.app.trigger(with_timeout, "x")
        await world.reaches(run, "suspended")
        claims = world.storage.calls["claim_runs"]
        await settle(200)

        assert world.storage.calls["claim_runs"] <= claims + 1
        assert await run.status() == "suspended"
        await world.app.notify("go", "in time")
        assert await run.result() == "in time"


@pytest.mark.parametrize("offset", range(25))
async def test_an_event_at_any_moment_of_the_registration_is_received(offset: int) -> None:
    """inngest #1433, absurd 0.0.7: lost between emit and await."""
    async with living(one) as world:
        triggering = asyncio.create_task(world.app.trigger(one, id="it", delay=0 if offset % 2 else None))
        await until(triggering.done)
        await settle(offset // 2)
        await world.app.notify("go", offset)

        assert await world.app.handle("it").result(timeout="15s") == offset


async def test_a_thousand_rounds_of_event_against_registration() -> None:
    async with living(several) as world:
        run = await world.app.trigger(several, 1000)
        for n in range(1000):
            await world.app.notify("go", n)
            await settle(n % 9)

        assert await run.result(timeout="15s") == list(range(1000))


async def test_many_events_in_a_row_are_received_in_order() -> None:
    async with living(several) as world:
        run = await world.app.trigger(several, 500)
        await asyncio.gather(*(world.app.notify("go", n) for n in range(500)))

        assert await run.result(timeout="15s") == list(range(500))


async def test_ten_thousand_events_take_a_time_that_grows_with_their_number_only() -> None:
    async with living(several) as world:
        for count in (10_000,):
            run = await world.app.trigger(several, count)
            for start in range(0, count, 1000):
                await asyncio.gather(*(world.app.notify("go", start + n) for n in range(1000)))
            assert await run.result(timeout="18s") == list(range(count))


# ------------------------------------------------------------------ several waits
async def test_of_several_waits_the_first_asked_is_first_served() -> None:
    @workflow
    async def three() -> list[Any]:
        async def wait(name: str) -> list[Any]:
            return [name, await wait_for_event("go")]

        return list(await asyncio.gather(wait("a"), wait("b"), wait("c")))

    async with living(three) as world:
        run = await world.app.trigger(three)
        for n in range(3):
            await world.app.notify("go", n)

        assert await run.result() == [["a", 0], ["b", 1], ["c", 2]]


async def test_an_event_of_a_wait_that_was_given_up_is_there_for_the_next() -> None:
    @workflow
    async def gives_up() -> Any:
        try:
            async with asyncio.timeout(10):
                await wait_for_event("go", name="first")
        except TimeoutError:
            return await wait_for_event("go", name="second")

    async with living(gives_up) as world:
        run = await world.app.trigger(gives_up)
        await world.sleep_over(run)
        await world.app.notify("go", "for the second")

        assert await run.result() == "for the second"


async def test_everyone_who_waits_gets_an_event_that_is_for_all() -> None:
    async with living(one) as world:
        runs = [await world.app.trigger(one) for _ in range(50)]
        for run in runs:
            await world.reaches(run, "suspended")

        assert await world.app.notify("go", "all") == 50
        assert await asyncio.gather(*(run.result() for run in runs)) == ["all"] * 50


async def test_an_event_for_one_run_reaches_that_one_alone() -> None:
    async with living(one) as world:
        mine, other = await world.app.trigger(one), await world.app.trigger(one)
        for run in (mine, other):
            await world.reaches(run, "suspended")

        assert await world.app.notify("go", "mine", run_id=mine.id) == 1
        assert await mine.result() == "mine"
        await settle()
        assert await other.status() == "suspended"


# ------------------------------------------------------------------ twice and once
async def test_the_same_event_id_twice_is_once() -> None:
    async with living(several) as world:
        run = await world.app.trigger(several, 2)
        for _ in range(5):
            await world.app.notify("go", "first", id="click-1")
        await settle()
        assert await run.status() == "suspended"
        await world.app.notify("go", "second", id="click-2")

        assert await run.result() == ["first", "second"]


async def test_once_lets_the_first_one_win_and_tells_the_others_who_won() -> None:
    async with living(one) as world:
        run = await world.app.trigger(one)
        outcomes = await asyncio.gather(
            *(world.app.notify("go", f"vote {n}", once=True) for n in range(10)), return_exceptions=True
        )

        winner = await run.result()
        lost = [error for error in outcomes if isinstance(error, EventConflictError)]
        assert len(lost) == 9
        assert {error.first for error in lost} == {winner}


async def test_an_event_to_a_run_that_is_not_there_or_over_is_refused() -> None:
    async with living(one, done) as world:
        over = await world.app.trigger(done)
        await over.result()
        cancelled = await world.app.trigger(one)
        await cancelled.cancel()
        await asyncio.gather(cancelled.result(), return_exceptions=True)

        with pytest.raises(RunNotFoundError):
            await world.app.notify("go", run_id="nobody")
        with pytest.raises(OperationRefusedError, match="completed"):
            await world.app.notify("go", run_id=over.id)
        with pytest.raises(OperationRefusedError, match="cancelled"):
            await world.app.notify("go", run_id=cancelled.id)


@pytest.mark.parametrize("bad", ["", "run/abc", "a//b", "../x", "a\nb", "x" * 201])
async def test_malformed_and_reserved_event_ids_are_refused(bad: str) -> None:
    async with living(one) as world:
        with pytest.raises((InvalidIdError, InputError)):
            await world.app.notify(bad)


# ------------------------------------------------------------------ against time
async def test_a_wait_times_out_or_gives_its_default() -> None:
    async with living(with_timeout, with_default) as world:
        strict, lenient = await world.app.trigger(with_timeout, "x"), await world.app.trigger(with_default)
        await world.reaches(strict, "suspended")
        await world.reaches(lenient, "suspended")
        await world.pass_time("59m")
        assert [await strict.status(), await lenient.status()] == ["suspended", "suspended"]
        await world.pass_time("1m")

        assert await strict.result() == "timed out"
        assert await lenient.result() == {"by": "default"}


@pytest.mark.parametrize("event_first", [True, False])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
async def test_event_and_timeout_at_one_instant_are_decided_once(event_first: bool, turns: int) -> None:
    storage = MemoryStorage()
    gate = asyncio.Event()
    seen: list[str] = []

    @step
    async def holds() -> None:
        await gate.wait()

    @workflow
    async def decides() -> list[str]:
        try:
            outcome = str(await wait_for_event("go", timeout="1h"))
        except EventTimeoutError:
            outcome = "timed out"
        seen.append(outcome)
        await holds()
        if outcome == "timed out":
            return [outcome, str(await wait_for_event("go", timeout="1h", default="lost"))]
        return [outcome]

    async with living(decides, storage=storage) as world:
        run = await world.app.trigger(decides)
        await world.reaches(run, "suspended")
        if event_first:
            sending = asyncio.create_task(world.app.notify("go", "event"))
            await settle(turns)
            world.clock.advance("1h")
        else:
            world.clock.advance("1h")
            await settle(turns)
            sending = asyncio.create_task(world.app.notify("go", "event"))
        await sending
        await until(lambda: len(seen) == 1)
        await settle()
        clock = world.clock
    gate.set()
    async with living(decides, storage=storage, clock=clock) as later:
        result = await later.app.handle(run.id).result()

    assert seen[0] == seen[1] == result[0]
    assert result in (["event"], ["timed out", "event"]), "the event is not lost if it lost"


# ------------------------------------------------------------------ types
class Shipment(dict[str, Any]):
    pass


shipped: Event[dict[str, int]] = Event("shipped/{order}", dict[str, int])


async def test_a_declared_event_shares_address_and_type() -> None:
    @workflow
    async def ships(order: int) -> dict[str, int]:
        return await shipped.wait(order=order)

    async with living(ships) as world:
        run = await world.app.trigger(ships, 7)
        await world.app.notify(shipped(order=8), {"weight": 9})
        with pytest.raises(InputError, match="does not fit"):
            await world.app.notify(shipped(order=7), {"weight": "heavy"})  # type: ignore[dict-item]
        await world.app.notify(shipped(order=7), {"weight": 3})

        assert await run.result() == {"weight": 3}


# ------------------------------------------------------------------ sent by runs
async def test_a_run_may_send_events_exactly_once_and_hooks_know_who_did() -> None:
    @workflow
    async def sends() -> str:
        await step.send_event("go", "from a run")
        await step.send_event("go", "again")
        return "sent"

    async with living(sends, several) as world:
        waiting = await world.app.trigger(several, 2)
        await world.reaches(waiting, "suspended")
        sender = await world.app.trigger(sends)

        assert await sender.result() == "sent"
        assert await waiting.result() == ["from a run", "again"]
        assert [fact.sender for fact in world.facts if isinstance(fact, EventSent)] == [sender.id] * 2


async def test_a_run_may_send_an_event_to_itself() -> None:
    @workflow
    async def talks_to_itself() -> Any:
        await step.send_event("go", "me")
        return await wait_for_event("go")

    async with living(talks_to_itself) as world:
        assert await (await world.app.trigger(talks_to_itself)).result(timeout="15s") == "me"


# ------------------------------------------------------------------ unrelated events
async def test_unrelated_events_do_not_run_a_step_again() -> None:
    """vercel/workflow #2780: an event replayed the run, and the body ran twice."""
    gate = asyncio.Event()
    bodies: list[int] = []

    @step
    async def long_one() -> str:
        bodies.append(1)
        await gate.wait()
        return "once"

    @workflow
    async def busy() -> list[Any]:
        async def wait() -> Any:
            return await wait_for_event("other")

        waiting = asyncio.create_task(wait(), name="wait")
        result = await long_one()
        return [result, await waiting]

    async with living(busy) as world:
        run = await world.app.trigger(busy)
        await until(lambda: len(bodies) == 1)
        for n in range(100):
            await world.app.notify(f"unrelated/{n}")
            await world.app.notify("other", n, id="one")
        await world.pass_time("10s")
        gate.set()

        assert await run.result() == ["once", 0]
        assert bodies == [1]


async def test_a_wait_that_new_code_does_not_have_any_more_keeps_nobody_busy() -> None:
    """Its registration is in the storage, and an event for it would wake the run for ever."""
    storage = MemoryStorage()

    def make(waits_for_old: bool) -> Any:
        @workflow(id="deployed")
        async def deployed() -> list[Any]:
            async with asyncio.TaskGroup() as group:
                if waits_for_old:
                    group.create_task(old(), name="old")
                new = group.create_task(current(), name="current")
            return [new.result()]

        return deployed

    async def old() -> Any:
        return await wait_for_event("old")

    async def current() -> Any:
        return await wait_for_event("current")

    before, after = make(True), make(False)
    async with living(before, storage=storage) as world:
        run = await world.app.trigger(before)
        await world.reaches(run, "suspended")
        clock = world.clock
    async with living(after, storage=storage, clock=clock) as later:
        await later.app.notify("old", "nobody asks")
        await settle(300)
        calls = later.storage.calls["claim_runs"]
        await settle(300)
        assert later.storage.calls["claim_runs"] <= calls + 1
        assert await later.app.handle(run.id).status() == "suspended"
        await later.app.notify("current", "this one")
        assert await later.app.handle(run.id).result() == ["this one"]
        assert worker_of(later).drivers == {}


@workflow
async def waits_and_goes_on() -> Any:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_for_event("go"))
        await asyncio.sleep(3)
    return waiting.result()


async def test_a_wait_that_was_registered_with_its_run_begins_at_the_run_s_own_place() -> None:
    async with living(waits_and_goes_on) as world:
        await world.app.notify("go", "too early")
        run = await world.app.trigger(waits_and_goes_on)
        await settle()
        await world.pass_time("3s")

        record = await world.reaches(run, "suspended")
        assert [wait.after for wait in record.waits] == [record.created_pos]
        assert (await world.kinds(run)).count("Claimed") == 1, "nothing woke it"
        await world.app.notify("go", "in time")
        assert await world.ends(run) == "in time"


@workflow
async def waits_again_for_the_same() -> list[Any]:
    async def second() -> Any:
        await wait_for_event("and")
        return await wait_for_event("go")

    return await asyncio.gather(wait_for_event("go"), second())


async def test_an_event_that_came_while_nobody_waited_for_it_is_received_before_a_later_one() -> None:
    async with living(waits_again_for_the_same) as world:
        run = await world.app.trigger(waits_again_for_the_same)
        await world.reaches(run, "suspended")
        await world.app.pause(run.id)
        for event_id, payload in (("go", 1), ("go", 2), ("and", 0), ("go", 3)):
            await world.app.notify(event_id, payload)
        await world.app.resume(run.id)  # all four are read at once

        assert await world.ends(run) == [1, 2]
