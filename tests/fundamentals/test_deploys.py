"""Deploys in mid-run, one case each: steps and tasks that are added, removed, moved and renamed."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import pytest

from stepflow.model.journal import AttemptFailed, StepCompleted
from stepflow.model.states import RunStatus
from stepflow.primitives import step
from stepflow.retry import Retry
from tests.fundamentals.deploying import Main, after, deployed, detail, made, run
from tests.fundamentals.driving import World, drive, resume


# ------------------------------------------------------------------ steps
def test_a_renamed_step_runs_anew_and_the_old_one_is_reported() -> None:
    async def old() -> list[str]:
        return [await run("reserve"), await run("charge"), await run("ship")]

    async def new() -> list[str]:
        return [await run("reserve"), await run("pay"), await run("ship")]

    history = deployed(old, new, "charge")

    assert history.value == ["reserve", "pay", "ship"]
    assert history.world.bodies == ["pay", "ship"]
    assert len(history.left_over) == 1
    assert history.left_over[0].startswith("- charge: ")
    assert "not asked for any more" in history.left_over[0]


def test_a_step_put_before_recorded_ones_runs_and_they_do_not() -> None:
    async def old() -> list[str]:
        return [await run("charge"), await run("ship")]

    async def new() -> list[str]:
        return [await run("check"), await run("charge"), await run("ship")]

    history = deployed(old, new, "ship")

    assert history.value == ["check", "charge", "ship"]
    assert history.world.bodies == ["check"]
    assert history.left_over == ()


def test_recorded_steps_in_another_order_are_delivered_as_they_are_asked_for() -> None:
    async def old() -> list[str]:
        return [await run("a"), await run("b"), await run("c"), await run("end")]

    async def new() -> list[str]:
        return [await run("c"), await run("b"), await run("a"), await run("end")]

    history = deployed(old, new, "c")

    assert history.value == ["c", "b", "a", "end"]
    assert history.world.bodies == ["end"]


def test_a_step_that_is_recorded_with_its_failed_attempts_may_move_too() -> None:
    attempts: list[int] = []

    async def moody() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return "at last"

    options = step(retry=Retry(attempts=5, delay="1s", jitter=False))

    async def old() -> list[str]:
        return [await options.run("moody", moody), await run("end")]

    async def new() -> list[str]:
        return [await run("first"), await options.run("moody", moody), await run("end")]

    history = drive(old)
    assert [type(entry) for entry in history.entries].count(AttemptFailed) == 2

    resumed = resume(history, after(history, "moody"), main=new)

    assert resumed.value == ["first", "at last", "end"]
    assert len(attempts) == 3


def test_steps_removed_from_the_end_let_the_run_end_and_are_reported() -> None:
    async def old() -> list[str]:
        return [await run("a"), await run("b"), await run("c"), await run("d")]

    async def new() -> list[str]:
        return [await run("a")]

    history = deployed(old, new, "c", slices=2)

    assert history.value == ["a"]
    assert [line.split(":")[0] for line in history.left_over] == ["- b", "- c"]


def test_of_a_repeated_name_the_ordinal_is_the_position() -> None:
    async def old() -> list[str]:
        return [await run("mail", "to ann"), await run("mail", "to bob"), await run("end")]

    async def new() -> list[str]:
        return [
            await run("mail", "to zoe"),
            await run("mail", "to ann"),
            await run("mail", "to bob"),
            await run("end"),
        ]

    history = deployed(old, new, "mail:2")

    assert history.value == ["to ann", "to bob", "to bob", "end"]
    assert history.world.bodies == ["mail:3", "end"]


def test_with_keys_repeated_steps_may_change_places() -> None:
    mail = step(key=lambda to: to)

    async def old() -> list[str]:
        return [await mail.run("mail", made, to) for to in ("ann", "bob")] + [await run("end")]

    async def new() -> list[str]:
        return [await mail.run("mail", made, to) for to in ("zoe", "bob", "ann")] + [await run("end")]

    history = deployed(old, new, "mail[bob]")

    assert history.value == ["zoe", "bob", "ann", "end"]
    assert history.world.bodies == ["mail[zoe]", "end"]


def test_a_recorded_result_that_the_code_now_gives_up_on_is_reported_and_not_delivered() -> None:
    async def slow() -> Any:
        return await run("slow")

    async def old() -> str:
        task = asyncio.create_task(slow(), name="side")
        await run("quick")
        return await task

    async def new() -> str:
        task = asyncio.create_task(slow(), name="side")
        await run("quick")
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return await run("instead")

    world = World(takes=lambda command: 5 if command.name == "slow" else 1)
    history = deployed(old, new, "side/slow", world=world)

    assert history.value == "instead"
    assert history.world.bodies == ["instead"]
    assert [line.split(":")[0] for line in history.left_over] == ["- side/slow"]


def test_a_function_that_moved_to_another_module_is_the_same() -> None:
    moved = types.FunctionType(made.__code__, made.__globals__, made.__name__)
    moved.__module__ = "shop.elsewhere"

    async def old() -> list[str]:
        return [await run("charge"), await run("end")]

    async def new() -> list[str]:
        return [await step.run("charge", moved, "charge"), await run("end")]

    history = deployed(old, new, "charge")

    assert history.value == ["charge", "end"]
    assert history.world.bodies == ["end"]


def test_a_recorded_result_that_comes_too_late_is_not_given_to_another_task() -> None:
    async def side() -> Any:
        return await run("slow", "of the task")

    async def old() -> list[str]:
        task = asyncio.create_task(run("slow"))
        return [await run("quick"), await task, await run("end")]

    async def new() -> list[str]:
        given_up = asyncio.create_task(run("slow"))
        quick = await run("quick")
        given_up.cancel()
        return [quick, await asyncio.create_task(side(), name="side"), await run("end")]

    world = World(takes=lambda command: 5 if command.name == "slow" else 1)
    history = deployed(old, new, "slow", world=world)

    assert history.value == ["quick", "of the task", "end"]
    assert history.world.bodies == ["side/slow", "end"]
    assert [line.split(":")[0] for line in history.left_over] == ["- slow"]


# ------------------------------------------------------------------ scopes
def in_task(name: str, *steps: str) -> Main:
    """A workflow with one named task that runs these steps, and a step after it."""

    async def side() -> list[str]:
        return [await run(each) for each in steps]

    async def main() -> list[str]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(side(), name=name)
        return [*task.result(), await run("end")]

    return main


@pytest.mark.parametrize("slices", [1, 3, 100])
def test_a_renamed_task_takes_over_what_was_recorded_in_it(slices: int) -> None:
    old, new = in_task("billing", "charge", "mail"), in_task("payments", "charge", "mail")

    history = deployed(old, new, "billing/mail", slices=slices)

    assert history.value == ["charge", "mail", "end"]
    assert history.world.bodies == ["end"]
    assert history.left_over == ()


def test_a_step_in_flight_when_its_task_was_renamed_runs_once_more_and_no_other_does() -> None:
    history = deployed(
        in_task("billing", "charge", "mail"), in_task("payments", "charge", "mail"), "billing/charge"
    )

    assert history.world.bodies == ["payments/mail", "end"]


def test_a_child_that_was_started_in_a_renamed_task_keeps_its_id() -> None:
    async def side() -> Any:
        return await step.invoke("bill", None)

    def main(name: str) -> Main:
        async def workflow() -> Any:
            return await asyncio.create_task(side(), name=name)

        return workflow

    world = World(children={"bill": (RunStatus.COMPLETED, 5)})

    history = deployed(main("billing"), main("payments"), "billing/bill", world=world)

    assert history.value == 5
    assert len(history.world.started) == 1


def test_failed_attempts_count_on_in_a_renamed_task() -> None:
    attempts: list[int] = []

    async def moody() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return "at last"

    async def side() -> Any:
        return await step(retry=Retry(attempts=3, delay="1s", jitter=False)).run("moody", moody)

    def main(name: str) -> Main:
        async def workflow() -> str:
            return await asyncio.create_task(side(), name=name)

        return workflow

    history = drive(main("old"))
    failed = 1 + next(
        index for index, entry in enumerate(history.entries) if isinstance(entry, AttemptFailed)
    )
    attempts[:] = [1]
    resumed = resume(history, failed, main=main("new"))

    assert resumed.value == "at last"
    assert [entry.attempts for entry in resumed.entries if isinstance(entry, StepCompleted)] == [3]


async def charge(name: str) -> Any:
    return await run("charge", name)


def two_tasks(*names: str) -> Main:
    async def main() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(charge(name), name=name) for name in names]
        return [task.result() for task in tasks]

    return main


def test_what_may_belong_to_two_tasks_is_never_guessed() -> None:
    world = World(takes=lambda command: 9 if command.args[0] == "bob" else 1)

    history = deployed(two_tasks("ann", "bob"), two_tasks("zoe", "eve"), "ann/charge", world=world)

    assert detail(history).startswith("ambiguous: ")
    assert all(key in detail(history) for key in ("'ann/charge'", "'zoe/charge'", "'eve/charge'"))
    assert history.world.bodies == []


def test_an_ambiguous_run_goes_on_once_the_names_are_restored() -> None:
    world = World(takes=lambda command: {"ann": 1, "bob": 9}[command.args[0]])
    old = two_tasks("ann", "bob")
    history = deployed(old, two_tasks("zoe", "eve"), "ann/charge", world=world)

    mended = resume(history, len(history.entries), main=old)

    assert mended.value == ["ann", "bob"]
    assert mended.world.bodies == ["bob/charge"]


@pytest.mark.parametrize("slices", [1, 100])
def test_of_two_candidates_one_with_an_entry_of_its_own_is_none(slices: int) -> None:
    world = World(takes=lambda command: {"ann": 1, "bob": 2, "zoe": 1, "end": 5}[command.args[0]])

    def main(*names: str) -> Main:
        async def workflow() -> list[str]:
            return [*(await two_tasks(*names)()), await run("end")]

        return workflow

    history = deployed(main("ann", "bob"), main("zoe", "bob"), "bob/charge", world=world, slices=slices)

    assert history.value == ["ann", "bob", "end"]
    assert history.world.bodies == ["end"]


def test_of_two_candidates_one_with_an_entry_set_aside_is_none() -> None:
    async def side() -> None:
        await asyncio.sleep(2)

    async def old() -> str:
        await asyncio.sleep(2)
        await asyncio.create_task(side(), name="side")
        return await run("end")

    async def new() -> str:
        await run("first")
        task = asyncio.create_task(side(), name="side")
        await asyncio.sleep(30)
        await task
        return await run("end")

    history = deployed(old, new, "side/@timer")

    assert history.value == "end"
    assert [line.split(":")[0] for line in history.left_over] == ["- @timer"]


def test_a_renamed_task_that_took_over_is_not_mistaken_for_another() -> None:
    attempts: list[str] = []

    async def moody(what: str) -> str:
        attempts.append(what)
        if attempts.count(what) == 1:
            raise ValueError("not yet")
        return what

    async def side(what: str) -> Any:
        return await step(retry=Retry(attempts=3, delay="5s", jitter=False)).run("moody", moody, what)

    async def old() -> list[str]:
        task = asyncio.create_task(side("one"), name="ann")
        return [await run("other"), await task, await run("end")]

    async def new() -> list[str]:
        first = asyncio.create_task(side("one"), name="zoe")
        other = await run("other")
        second = asyncio.create_task(side("two"), name="eve")
        return [other, await first, await second, await run("end")]

    world = World(takes=lambda command: 2 if command.name == "other" else 1)
    history = deployed(old, new, "ann/moody", world=world)

    assert history.value == ["other", "one", "two", "end"]
    assert attempts.count("one") == 2


def side_by_side(left: Main, right: Main) -> Main:
    async def main() -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(left(), name="left"), group.create_task(right(), name="right")]
        return [task.result() for task in tasks]

    return main


def test_a_step_put_before_a_recorded_one_does_not_give_it_to_another_task_in_flight() -> None:
    async def left() -> str:
        return await run("charge", "left")

    async def left_edited() -> list[str]:
        return [await run("check"), await run("charge", "left")]

    async def right() -> str:
        return await run("charge", "right")

    world = World(takes=lambda command: 9 if command.args[0] == "right" else 1)
    history = deployed(
        side_by_side(left, right), side_by_side(left_edited, right), "left/charge", world=world
    )

    assert history.value == [["check", "left"], "right"]
    assert sorted(history.world.bodies) == ["left/check", "right/charge"]


def test_a_step_removed_from_a_task_is_not_given_to_another_task_in_flight() -> None:
    async def left() -> list[str]:
        return [await run("weigh"), await run("charge", "left")]

    async def left_edited() -> list[str]:
        return [await run("weigh")]

    async def right() -> str:
        return await run("charge", "right")

    world = World(takes=lambda command: 9 if command.args[0] == "right" else 1)
    history = deployed(
        side_by_side(left, right), side_by_side(left_edited, right), "left/charge", world=world
    )

    assert history.value == [["weigh"], "right"]
    assert history.world.bodies == ["right/charge"]
    assert [line.split(":")[0] for line in history.left_over] == ["- left/charge"]


def test_a_step_moved_from_main_into_a_task_keeps_its_result() -> None:
    async def old() -> list[str]:
        return [await run("charge"), await run("end")]

    history = deployed(old, in_task("billing", "charge"), "charge")

    assert history.value == ["charge", "end"]
    assert history.world.bodies == ["end"]
