"""Runs that need everything: steps, steps side by side, an event, a short sleep and a child. What their bodies did is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from stepflow import RunHandle, Stepflow, current_run, sleep, step, wait_for_event, workflow

EXECUTED: Final[Counter[tuple[str, str]]] = Counter()
"""How often each step's body began, by run and key, in this process."""


def _count() -> None:
    EXECUTED[current_run().id, current_run().step.name] += 1


@step
async def add(one: int, other: int) -> int:
    _count()
    return one + other


@workflow(id="double")
async def double(number: int) -> int:
    return await add(number, number)


@workflow(id="errand-on-a-server")
async def errand(number: int) -> int:
    """Four steps, and by the number: an event, a sleep, or a child."""
    first = await add(number, 1)
    match number % 3:
        case 0:
            first += await wait_for_event(f"go/{current_run().id}", type=int)
        case 1:
            await sleep("20ms")
        case _:
            first += await step.invoke(double, number)
    one, two = await asyncio.gather(step.run("left", add, first, 1), step.run("right", add, first, 2))
    return await step.run("last", add, one, two)


WORKFLOWS: Final = [errand, double]


def result_of(number: int) -> int:
    first = number + 1 + (number if number % 3 == 0 else 0 if number % 3 == 1 else 2 * number)
    return 2 * first + 3


async def begin(app: Stepflow, numbers: range, *, name: str = "errand") -> dict[int, RunHandle[int]]:
    """Start them, and send the events that they wait for."""

    async def one(number: int) -> RunHandle[int]:
        run = await app.trigger(errand, number, id=f"{name}-{number}")
        if number % 3 == 0:
            await app.notify(f"go/{run.id}", number, run_id=run.id, id="go")
        return run

    return dict(zip(numbers, await asyncio.gather(*map(one, numbers)), strict=True))


async def finish(runs: dict[int, RunHandle[int]]) -> None:
    """Wait for all of them: each ends with what it should."""
    results = await asyncio.gather(*(run.result() for run in runs.values()))
    assert results == [result_of(number) for number in runs]
