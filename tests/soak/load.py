"""Load: a little of everything that runs do, at a steady pace, in one process with its worker."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any, Final

from stepflow import (
    ChildFailedError,
    Retry,
    RunCancelledError,
    RunFailedError,
    Stepflow,
    continue_as,
    current_run,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from tests.servers.polling import for_as_long_as, until

AT_ONCE: Final = 20
"""Users who start a run, wait for its end, and start the next one."""
THREADS: Final = 32
_ALL_THREADS: Final = threading.Barrier(THREADS)


# ------------------------------------------------------------------ what runs do
@step(timeout="1h")
async def add(a: int, b: int) -> int:
    return a + b


@step
def multiply(a: int, b: int) -> int:
    return a * b


@step(retry=Retry(attempts=3, delay="5ms", jitter=False))
async def second_time_lucky() -> str:
    if current_run().step.attempt < 2:
        raise ValueError("not yet")
    return "lucky"


@workflow(id="soak-sums")
async def sums(number: int) -> int:
    first, second = await asyncio.gather(add(number, 1), multiply(number, 2))
    async with asyncio.timeout(86_400):
        await sleep("nap", "10ms")
    return await step.run(f"add-{number}", add, first, second)


@workflow(id="soak-parent")
async def parent(number: int) -> list[Any]:
    results: list[Any] = [await second_time_lucky(), await step.invoke(sums, number)]
    with suppress(ChildFailedError):
        await step.invoke(doomed, None)
    return [*results, *await step.map("square", multiply_by_itself, range(5))]


def multiply_by_itself(number: int) -> int:
    return number * number


@workflow(id="soak-doomed")
async def doomed() -> None:
    await add(1, 1)
    raise ValueError("as it should")


@workflow(id="soak-listener")
async def listener(name: str) -> list[int]:
    return [await wait_for_event(name, type=int, timeout="30d") for _ in range(2)]


@workflow(id="soak-sleeper")
async def sleeper() -> str:
    await sleep("long", "7s")
    return "rested"


@workflow(id="soak-counter")
async def counter(number: int) -> int:
    await add(number, 1)
    if number < 3:
        continue_as(number + 1)
    return number


@workflow(id="soak-filler")
async def filler() -> None:
    await step.map("meet", meet, range(THREADS))


def meet(_: int) -> None:
    _ALL_THREADS.wait(60)


WORKFLOWS: Final = (filler, sums, parent, doomed, listener, sleeper, counter)


# ------------------------------------------------------------------ who asks for it
class Load:
    """Users at a steady pace, who can be made to pause. ``runs`` counts what they started."""

    def __init__(self, app: Stepflow, pace: float) -> None:
        self.runs = 0
        self._app = app
        self._pace = pace
        self._busy = 0
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._numbers = count(1)

    async def fill_pools(self) -> None:
        """Let steps have all the threads that they may: by itself the pool would start one now and then, for hours."""
        await (await self._app.trigger(filler)).result()

    async def go_on(self) -> None:
        """For ever; cancelled when it is enough."""
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(self._user(Random(number)))

    async def rest(self) -> None:
        """Nobody starts anything any more, and what was started, but for those that sleep long, has ended."""
        self._goes_on.clear()
        await until(lambda: self._busy == 0 and not self._executes())

    def resume(self) -> None:
        self._goes_on.set()

    def _executes(self) -> bool:
        opened = self._app._opened
        assert opened is not None and opened.worker is not None
        return bool(opened.worker.drivers)

    async def _user(self, random: Random) -> None:
        while True:
            await for_as_long_as(random.expovariate(self._pace / AT_ONCE))
            await self._goes_on.wait()
            self._busy += 1
            try:
                await self._ask(random)
            finally:
                self._busy -= 1

    async def _ask(self, random: Random) -> None:
        number = next(self._numbers)
        self.runs += 1
        match random.choice(
            ("sums", "sums", "parent", "listener", "sleeper", "counter", "doomed", "cancelled")
        ):
            case "sums":
                await (await self._app.trigger(sums, number, idempotency_key=f"sums-{number}")).result()
            case "parent":
                await (await self._app.trigger(parent, number)).result()
            case "counter":
                await (await self._app.trigger(counter, 1)).result()
            case "sleeper":
                await self._app.trigger(sleeper, id=f"sleeper-{number}", tags={"number": str(number)})
            case "listener":
                await self._tell(number)
            case "doomed":
                with suppress(RunFailedError):
                    await (await self._app.trigger(doomed)).result()
            case _:
                run = await self._app.trigger(listener, f"never/{number}")
                await run.cancel()
                with suppress(RunCancelledError):
                    await run.result()

    async def _tell(self, number: int) -> None:
        """A run that waits, a reader who follows it, and two events."""
        run = await self._app.trigger(listener, f"soak/{number}")
        for payload in (1, 2):
            await self._app.notify(f"soak/{number}", payload)
        async for _ in run.events():
            pass
        await run.result()
