"""Divergence: what pauses a run after a deploy, how it says so, and what only looks like it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow.model.journal import CancelRequested, Entry
from stepflow.primitives import sleep, step, wait_for_event
from tests.fundamentals.deploying import Main, after, deployed, detail, made, otherwise, run
from tests.fundamentals.driving import History, World, drive, resume


# ------------------------------------------------------------------ contradictions
async def a_step() -> Any:
    return await step.run("what", made, "step")


async def another_function() -> Any:
    return await step.run("what", otherwise, "step")


async def a_sleep() -> Any:
    return await sleep("what", "5s")


async def an_event() -> Any:
    return await wait_for_event("paid", name="what", timeout="5s", default=None)


async def another_event() -> Any:
    return await wait_for_event("seen", name="what", timeout="5s", default=None)


async def a_send() -> Any:
    return await step.send_event("paid", 1, name="what")


async def another_send() -> Any:
    return await step.send_event("seen", 1, name="what")


async def a_child() -> Any:
    return await step.invoke("bill", None, name="what")


async def another_child() -> Any:
    return await step.invoke("pack", None, name="what")


KINDS = {
    "step": a_step,
    "function": another_function,
    "sleep": a_sleep,
    "event": an_event,
    "other event": another_event,
    "send": a_send,
    "other send": another_send,
    "child": a_child,
    "other child": another_child,
}


def then_end(first: Main) -> Main:
    async def main() -> list[Any]:
        return [await first(), await run("end")]

    return main


@pytest.mark.parametrize("was", KINDS)
@pytest.mark.parametrize("now", KINDS)
def test_another_kind_under_a_recorded_key_pauses_the_run(was: str, now: str) -> None:
    old, new = then_end(KINDS[was]), then_end(KINDS[now])
    world = World(events=[(1, "paid", "paid"), (1, "seen", "seen")])

    history = deployed(old, new, "what", world=world)

    if was == now:
        assert history.world.bodies == ["end"]
    else:
        assert "'what'" in detail(history)
        assert "resume the run, or cancel it" in detail(history)
        assert history.world.bodies == []


def test_another_kind_under_the_key_of_a_result_set_aside_pauses_the_run() -> None:
    async def old() -> list[Any]:
        return [await run("what"), await run("end")]

    async def new() -> list[Any]:
        return [await run("first"), await sleep("what", "5s"), await run("end")]

    history = deployed(old, new, "what")

    assert "'what'" in detail(history)
    assert history.world.bodies == ["first"]


def test_a_diverged_run_goes_on_once_the_code_is_mended() -> None:
    history = drive(then_end(a_step))
    broken = resume(history, after(history, "what"), main=then_end(a_sleep))
    history.world.bodies.clear()

    mended = resume(broken, len(broken.entries), main=then_end(a_step))

    assert mended.value == ["step", "end"]
    assert mended.world.bodies == ["end"]


def test_after_it_diverged_an_execution_takes_no_more_entries() -> None:
    history = drive(then_end(a_step))

    broken = resume(history, len(history.entries), main=then_end(a_sleep), slices=len(history.entries))

    assert "'what'" in detail(broken)


# ------------------------------------------------------------------ timers, events, cancels
def test_a_plain_timer_with_another_delay_is_another_timer() -> None:
    def main(seconds: float) -> Main:
        async def workflow() -> str:
            await asyncio.sleep(seconds)
            return await run("end")

        return workflow

    history = deployed(main(2), main(30), "@timer")

    assert history.value == "end"
    assert [entry.at.second for entry in history.entries if getattr(entry, "key", "") == "@timer"] == [2, 30]
    assert [line.split(":")[0] for line in history.left_over] == ["- @timer"]


def test_a_plain_timer_that_is_asked_for_later_with_another_delay_is_another_timer() -> None:
    async def old() -> str:
        await asyncio.sleep(2)
        return await run("end")

    async def new() -> str:
        await run("first")
        await asyncio.sleep(30)
        return await run("end")

    history = deployed(old, new, "@timer")

    assert history.value == "end"
    assert history.entries[-1].at.second == 32
    assert [line.split(":")[0] for line in history.left_over] == ["- @timer"]


def test_a_recorded_result_whose_step_is_given_up_as_soon_as_it_is_asked_for_waits_in_vain() -> None:
    async def old() -> list[str]:
        return [await run("slow"), await run("end")]

    async def new() -> str:
        await run("first")
        task = asyncio.create_task(run("slow"))
        await asyncio.sleep(0)
        task.cancel()
        return await run("end")

    history = deployed(old, new, "slow")

    assert history.value == "end"
    assert [line.split(":")[0] for line in history.left_over] == ["- slow"]


def test_a_timer_of_a_renamed_task_is_taken_over_too() -> None:
    def main(name: str) -> Main:
        async def side() -> None:
            await asyncio.sleep(2)
            await asyncio.sleep(3)

        async def workflow() -> str:
            await asyncio.create_task(side(), name=name)
            return await run("end")

        return workflow

    history = deployed(main("old"), main("new"), "old/@timer")

    assert history.value == "end"
    assert history.entries[-1].at.second == 5


def test_an_event_that_is_not_waited_for_any_more_stays_consumed() -> None:
    async def old() -> list[Any]:
        return [await wait_for_event("paid", name="first"), await run("end")]

    async def new() -> list[Any]:
        return [await run("check"), await wait_for_event("paid", name="second")]

    world = World(events=[(1, "paid", "one"), (2, "paid", "two")])

    history = deployed(old, new, "first", world=world)

    assert history.value == ["check", "two"]


def test_a_childs_end_that_is_not_waited_for_any_more_is_reported() -> None:
    async def old() -> list[Any]:
        return [await step.invoke("bill", None), await run("end")]

    async def new() -> list[Any]:
        return [await run("end")]

    history = deployed(old, new, "bill~end")

    assert history.value == ["end"]
    assert [line.split(": ")[0] for line in history.left_over] == ["- bill", "- bill~end"]


def test_the_end_of_a_child_that_is_asked_for_later_is_not_lost() -> None:
    async def old() -> list[Any]:
        return [await step.invoke("bill", None), await run("end")]

    async def new() -> list[Any]:
        handle = await step.start("bill", None)
        return [await run("check"), await handle.result(), await run("end")]

    history = deployed(old, new, "bill~end")

    assert history.value == ["check", None, "end"]
    assert len(history.world.started) == 1


def test_a_cancel_reaches_edited_code_where_it_stands() -> None:
    async def old() -> str:
        try:
            return await run("slow")
        except asyncio.CancelledError:
            return await run("undo")

    async def new() -> str:
        try:
            return await run("check") + await run("slow")
        except asyncio.CancelledError:
            return await run("undo")

    def entries(history: History) -> list[Entry]:
        return [entry for entry in history.entries if isinstance(entry, CancelRequested)]

    history = drive(
        old, world=World(takes=lambda command: 1 if command.name == "undo" else 9, cancel_after=3)
    )
    history.world.bodies.clear()
    resumed = resume(history, after(history, "undo"), main=new)

    assert resumed.value == "undo"
    assert resumed.world.bodies == []
    assert len(entries(resumed)) == 1
