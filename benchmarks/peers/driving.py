"""Driving: the workloads, told to an engine in its own terms. Standard library only: it runs in every engine's environment.

Whatever an engine does, time is taken at the same places: by whoever asks (a start, an event), and inside the workflow's and the
step's own code. So no engine pays for how a caller learns of a result, which some of them poll for.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

TEN = 10
HUNDRED = 100
_WARM_UP = 20.0
"""Seconds that all lanes may take to reach their first step before counting begins anyway."""


class Engine(Protocol):
    """An engine that is up, with a worker in this process. ``key`` names a run to ``marks``."""

    async def start(self, steps: int, key: str) -> None:
        """Start a run of so many steps, one after the other: each calls ``marks.step(key)``, the body ``marks.ended(key)``."""
        ...

    async def start_waiting(self, key: str) -> None:
        """Start a run that calls ``marks.waiting(key)``, waits for its event, then calls ``marks.ended(key)``."""
        ...

    async def notify(self, key: str) -> None:
        """Send that event."""
        ...


class Marks:
    """What was seen inside of workflows and steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.times: dict[str, list[float]] = {}
        self._events: dict[tuple[str, str], asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self) -> None:
        self._loop = asyncio.get_running_loop()

    def step(self, key: str) -> None:
        self.steps += 1
        self.times.setdefault(key, []).append(time.perf_counter())
        self._tell("step", key)

    def waiting(self, key: str) -> None:
        self._tell("waiting", key)

    def ended(self, key: str) -> None:
        self.times.setdefault(key, []).append(time.perf_counter())
        self._tell("ended", key)

    def seen(self, what: str, key: str) -> asyncio.Event:
        return self._events.setdefault((what, key), asyncio.Event())

    def forget(self, key: str) -> None:
        self.times.pop(key, None)
        for what in ("step", "waiting", "ended"):
            self._events.pop((what, key), None)

    def _tell(self, what: str, key: str) -> None:
        # Some engines call steps in threads, or on a loop of their own.
        assert self._loop is not None
        self._loop.call_soon_threadsafe(lambda: self.seen(what, key).set())


marks = Marks()
_numbers = itertools.count()
_random = random.Random(1)
Figures = dict[str, float]


def new_key() -> str:
    return f"{os.getpid()}-{next(_numbers)}"


async def throughput(engine: Engine, arguments: argparse.Namespace) -> Figures:
    """W1: steps in a second, with so many runs of 10 steps in flight all the time."""

    async def lane() -> None:
        while True:
            key = new_key()
            await engine.start(TEN, key)
            await marks.seen("ended", key).wait()
            marks.forget(key)

    lanes = [asyncio.create_task(lane()) for _ in range(arguments.in_flight)]
    limit = time.perf_counter() + _WARM_UP
    while marks.steps < 2 * arguments.in_flight and time.perf_counter() < limit:
        await _look_after(lanes, 0.02)
    steps, begin = marks.steps, time.perf_counter()
    while time.perf_counter() < begin + arguments.seconds:
        await _look_after(lanes, 0.1)
    return {"steps_per_s": round((marks.steps - steps) / (time.perf_counter() - begin), 1)}


async def _look_after(lanes: list[asyncio.Task[None]], seconds: float) -> None:
    """Wait, and raise what ended a lane: an engine that refuses runs is not slow, it is broken."""
    done, _ = await asyncio.wait(lanes, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for lane in done:
        lane.result()


async def latency(engine: Engine, arguments: argparse.Namespace) -> Figures:
    """W2: from one step to the next in a run of 100, alone."""
    medians: list[float] = []
    for number in range(arguments.rounds // 4 + 2):
        key = new_key()
        await engine.start(HUNDRED, key)
        await marks.seen("ended", key).wait()
        times = marks.times[key][:HUNDRED]
        if number:
            medians.append((times[-1] - times[0]) / (HUNDRED - 1))
    return {"ms_per_step": round(median(medians) * 1000, 3)}


async def starting(engine: Engine, arguments: argparse.Namespace) -> Figures:
    """W3: from the start of a run, on an idle system, to its first step."""
    times: list[float] = []
    for number in range(arguments.rounds + 3):
        key = new_key()
        begin = time.perf_counter()
        await engine.start(1, key)
        await marks.seen("ended", key).wait()
        if number >= 3:
            times.append(marks.times[key][0] - begin)
        await _pause()
    return {"p50_ms": round(median(times) * 1000, 3), "worst_ms": round(max(times) * 1000, 3)}


async def notifying(engine: Engine, arguments: argparse.Namespace) -> Figures:
    """W4: from an event to the code behind the wait for it."""
    keys = [new_key() for _ in range(arguments.rounds + 3)]
    for key in keys:
        await engine.start_waiting(key)
    for key in keys:
        await marks.seen("waiting", key).wait()
    await asyncio.sleep(1)  # no engine tells when a wait is registered
    times: list[float] = []
    for number, key in enumerate(keys):
        begin = time.perf_counter()
        await engine.notify(key)
        await marks.seen("ended", key).wait()
        if number >= 3:
            times.append(marks.times[key][-1] - begin)
        await _pause()
    return {"p50_ms": round(median(times) * 1000, 3), "worst_ms": round(max(times) * 1000, 3)}


async def _pause() -> None:
    """The system is idle again; and no engine that polls is asked in step with its poll."""
    await asyncio.sleep(_random.uniform(0.05, 0.4))


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


WORKLOADS = {"W1": throughput, "W2": latency, "W3": starting, "W4": notifying}


def main(use: Callable[[str, int], AbstractAsyncContextManager[Engine]]) -> None:
    """Run one workload on the engine that ``use(url, in_flight)`` brings up, and print its figures as one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--url", required=True)
    parser.add_argument("--in-flight", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()

    async def measure() -> None:
        marks.bind()
        async with use(arguments.url, arguments.in_flight) as engine:
            figures = await WORKLOADS[arguments.workload](engine, arguments)
            print(json.dumps(figures), flush=True)
            # What is still in flight would take as long again: the process ends as it is.
            sys.stdout.flush()
            os._exit(0)

    asyncio.run(measure())
