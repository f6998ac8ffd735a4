"""What a process holds does not depend on how many runs it has seen: what ended is let go of, whatever it had asked for."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from itertools import count
from typing import Any

from stepflow import (
    Retry,
    RunCancelledError,
    RunFailedError,
    RunHandle,
    Stepflow,
    continue_as,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from stepflow._engine.execution import Execution
from stepflow._runtime.following import End
from stepflow._runtime.timers import Alarm
from tests.runtime.living import World, living, settle, until, worker_of

KEPT = (End,)
"""Kinds of which a process keeps some thousands on purpose: the results of the runs that ended last."""


@step(timeout="1h")
async def add(a: int, b: int) -> int:
    return a + b


@step(retry=Retry(attempts=2, delay="0s"), timeout="7d")
async def fails(what: str) -> str:
    raise ValueError(what)


@workflow
async def counts(number: int) -> int:
    async with asyncio.timeout(86_400):
        found = await asyncio.gather(add(number, 1), step.run(f"named-{number}", add, number, 2))
    if number % 3 == 0:
        continue_as(number + 1)
    return sum(found)


@workflow(timeout="30d")
async def listens(topic: str) -> int:
    await step.invoke(counts, 1)
    first = await wait_for_event(topic, type=int, timeout="30d")
    return first + await wait_for_event(topic, type=int, timeout="30d")


@workflow
async def doomed(what: str) -> str:
    return await fails(what)


@workflow
async def sleeps(name: str) -> str:
    await sleep("long", "1h")
    return name


@workflow
async def naps() -> None:
    await sleep("short", "10s")


WORKFLOWS = (counts, listens, doomed, sleeps)


class Crowd:
    """Runs with ids, keys, tags, topics and step names of their own, a few of each kind at once; all of them end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._numbers = count()

    async def comes_and_goes(self, times: int) -> None:
        app = self._world.app
        for _ in range(times):
            number = next(self._numbers)
            counting = await app.trigger(counts, number, id=f"own-{number}")
            listening = await app.trigger(listens, f"topic/{number}", idempotency_key=f"key-{number}")
            failing = await app.trigger(doomed, f"no {number}", tags={"number": f"tag-{number}"})
            sleeping = await app.trigger(sleeps, f"sleeper {number}")
            await self._world.reaches(listening, "suspended")
            await self._world.reaches(sleeping, "suspended")
            await app.notify(f"topic/{number}", 1)
            await app.notify(f"topic/{number}", 2, run_id=listening.id)
            await sleeping.cancel()
            await all_end(counting, listening, failing, sleeping)
        await self._world.pass_time("3h")  # all is pruned
        await until(lambda: self._is_empty(app))

    async def _is_empty(self, app: Stepflow) -> bool:
        return not (await app.list_runs()).items


async def all_end(*runs: RunHandle[Any]) -> None:
    for run in runs:
        try:
            await run.result()
        except (RunFailedError, RunCancelledError):
            continue  # as it should


def held() -> Counter[type]:
    """How many objects of each kind the collector knows of, garbage left out."""
    gc.collect()
    return Counter(type(each) for each in gc.get_objects())


def alarms() -> int:
    return held()[Alarm]


async def test_nothing_is_held_of_runs_that_ended() -> None:
    async with living(*WORKFLOWS, retention="1h", event_retention="1h") as world:
        crowd = Crowd(world)
        await crowd.comes_and_goes(40)
        world.facts.clear()
        before = held()

        await crowd.comes_and_goes(200)

        world.facts.clear()
        after = held()
        most = 50  # a quarter of an object for each round of four runs, with their children
        grown = {kind: (before[kind], after[kind]) for kind in after if after[kind] - before[kind] > most}
        assert not {kind: numbers for kind, numbers in grown.items() if kind not in KEPT}


async def test_runs_that_sleep_a_little_leave_nothing_beside_one_that_sleeps_long() -> None:
    """After each of them the next one to wake is the same one again, in a month."""
    async with living(naps, listens, counts) as world:
        waiting = await world.app.trigger(listens, "never")
        await world.reaches(waiting, "suspended")
        before = alarms()

        for _ in range(300):
            nap = await world.app.trigger(naps)
            await world.sleep_over(nap)
            await nap.result()

        assert alarms() - before < 100


async def test_an_execution_whose_run_was_deleted_is_dropped_when_another_run_with_its_id_goes_to_sleep() -> (
    None
):
    before = held()[Execution]
    async with living(sleeps) as world:
        for _ in range(3):
            run = await world.app.trigger(sleeps, "again", id="mine")
            await world.reaches(run, "suspended")
            await settle()
            await run.cancel(force=True)
            await world.app.delete("mine")

        keeping = worker_of(world).keeping
        assert len(keeping) == 1
        assert held()[Execution] - before == 1
        keeping.take("mine").drop()
        assert keeping._bytes == 0
