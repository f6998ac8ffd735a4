"""Isolation: runs beside each other know nothing of one another, and the world outside stays outside."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from stepflow import (
    NotDurableError,
    RunFailedError,
    current_run,
    now,
    random,
    step,
    uuid4,
    wait_for_event,
    workflow,
)
from stepflow.storage.memory import MemoryStorage
from tests.runtime.living import living, settle, until, worker_of

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
effects: list[Any] = []


@pytest.fixture(autouse=True)
def clean() -> None:
    effects.clear()


@step
async def asks() -> str:
    before = who.get()
    who.set(current_run().id)
    await asyncio.sleep(0)
    return before


@workflow
async def sets(name: str) -> list[str]:
    seen = [who.get()]
    who.set(name)
    seen.append(await asks())
    seen.append(await wait_for_event(f"go/{name}"))
    seen.append(who.get())
    return seen


async def test_context_variables_of_a_hundred_runs_stay_apart() -> None:
    who.set("the test")
    async with living(sets) as world:
        runs = [await world.app.trigger(sets, f"run {n}", id=f"run-{n}") for n in range(100)]
        for n in range(100):
            await world.app.notify(f"go/run {n}", "went")
        results = await asyncio.gather(*(run.result() for run in runs))

    for n, seen in enumerate(results):
        assert seen[0] == "nobody", "a workflow begins in a fresh context, also where it was triggered"
        assert seen[2:] == ["went", f"run {n}"]
    assert who.get() == "the test"


async def test_every_run_has_its_own_time_dice_and_ids_and_replays_them() -> None:
    @workflow
    async def draws() -> list[Any]:
        values = [random().random(), str(uuid4()), now().isoformat(), current_run().id]
        effects.append(values)
        await wait_for_event("go")
        return values

    storage = MemoryStorage()
    async with living(draws, storage=storage) as world:
        runs = [await world.app.trigger(draws) for _ in range(20)]
        for run in runs:
            await world.reaches(run, "suspended")
        clock = world.clock
    async with living(draws, storage=storage, clock=clock) as later:
        await later.pass_time("3d")
        await later.app.notify("go")
        results = await asyncio.gather(*(later.app.handle(run.id).result() for run in runs))

    assert effects[:20] == effects[20:] == results
    assert len({value[0] for value in results}) == 20
    assert len({value[1] for value in results}) == 20


# ------------------------------------------------------------------ what is not durable
@pytest.mark.parametrize(
    ("verb", "hint"),
    [
        ("trigger", "step.invoke"),
        ("notify", "step.send_event"),
        ("result", "step.invoke"),
        ("cancel", "ChildHandle"),
        ("get_run", "a step that calls it"),
        ("list_runs", "a step that calls it"),
        ("handle.status", "a step that calls it"),
    ],
)
async def test_the_app_refuses_to_be_used_inside_a_workflow_and_names_what_to_use(
    verb: str, hint: str
) -> None:
    @workflow
    async def reaches_out() -> None:
        app = world.app
        handle = app.handle("somebody")
        await {
            "trigger": lambda: app.trigger(reaches_out),
            "notify": lambda: app.notify("go"),
            "result": handle.result,
            "cancel": handle.cancel,
            "get_run": lambda: app.get_run("somebody"),
            "list_runs": app.list_runs,
            "handle.status": handle.status,
        }[verb]()

    async with living(reaches_out) as world:
        with pytest.raises(RunFailedError) as caught:
            await (await world.app.trigger(reaches_out)).result(timeout="15s")

    assert caught.value.type.endswith(NotDurableError.__name__)
    assert hint in caught.value.message


async def test_the_app_may_be_used_inside_a_step() -> None:
    @step
    async def tells() -> int:
        return await world.app.notify("elsewhere")

    @workflow
    async def steps_out() -> int:
        return await tells()

    async with living(steps_out) as world:
        assert await (await world.app.trigger(steps_out)).result() == 0


async def test_something_shared_between_runs_is_refused_and_harms_neither_the_other_nor_the_loop() -> None:
    lock = asyncio.Lock()

    @step
    async def slow() -> None:
        effects.append("slow")
        await gate.wait()

    @workflow
    async def locks(n: int) -> str:
        async with lock:
            await slow()
        return "done"

    gate = asyncio.Event()
    async with living(locks) as world:
        first = await world.app.trigger(locks, 1)
        await until(lambda: effects == ["slow"])
        second = await world.app.trigger(locks, 2)
        await settle()
        gate.set()
        outcomes = await asyncio.gather(
            first.result(timeout="15s"), second.result(timeout="15s"), return_exceptions=True
        )

    assert any(isinstance(outcome, Exception) for outcome in outcomes)


async def test_system_exit_in_a_workflow_fails_the_run_and_not_the_process() -> None:
    @workflow
    async def exits() -> None:
        raise SystemExit(3)

    @workflow
    async def fine() -> str:
        return "fine"

    async with living(exits, fine) as world:
        with pytest.raises(RunFailedError, match="3"):
            await (await world.app.trigger(exits)).result(timeout="15s")
        assert await (await world.app.trigger(fine)).result() == "fine"


async def test_the_first_completed_wins_and_the_slow_sibling_runs_once() -> None:
    """inngest #4897: race-mode parallel steps executed twice."""
    gate = asyncio.Event()

    @step
    async def fast() -> str:
        effects.append("fast")
        return "fast"

    @step
    async def slow() -> str:
        effects.append("slow")
        await gate.wait()
        return "slow"

    @workflow
    async def races() -> str:
        tasks = [asyncio.create_task(fast(), name="fast"), asyncio.create_task(slow(), name="slow")]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner: str = done.pop().result()
        await wait_for_event("go")
        for task in pending:
            task.cancel()
        return winner

    storage = MemoryStorage()
    async with living(races, storage=storage) as world:
        run = await world.app.trigger(races)
        await until(lambda: len(effects) == 2)
        for n in range(10):
            await world.app.notify(f"unrelated/{n}")
        await world.app.notify("go")

        assert await run.result() == "fast"
        await settle()
        assert worker_of(world).bodies.count == 0
    assert sorted(effects) == ["fast", "slow"]
