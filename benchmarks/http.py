"""HTTP: triggers/s, and from a trigger to the run's first event: in one process, and with our client and a real server beside it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from benchmarks.measuring import main, percentile
from benchmarks.w3_start import make_app, one_step
from stepflow.cli.listening import Listener, bind
from stepflow.client import AsyncStepflowClient
from stepflow.http import allow_all, asgi_app

Trigger = Callable[[], Awaitable[Any]]


@asynccontextmanager
async def server_process(url: str) -> AsyncIterator[str]:
    """Another process that serves the API and works on the runs; its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.http", "serve", url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await process.stdout.readline()  # it says when it is ready
    try:
        yield line.decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def serve(url: str) -> None:
    """What that process does."""
    bound = bind("127.0.0.1", 0)
    application = asgi_app(make_app(url), worker=True, auth=allow_all())
    listener = Listener(application, bound, grace=timedelta(seconds=1))
    listening = asyncio.create_task(listener.listen())
    await listener.ready.wait()
    print(f"http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
    await listening


async def triggers_per_second(trigger: Trigger, count: int, at_once: int) -> float:
    """So many triggers, some of them under way at any time."""
    left = iter(range(count))

    async def some() -> None:
        for _ in left:
            await trigger()

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())
    return count / (time.perf_counter() - begin)


async def first_events(trigger: Trigger, first: Callable[[Any], Awaitable[None]], rounds: int) -> list[float]:
    """Seconds from each trigger to the first thing that happened in its run."""
    times: list[float] = []
    for number in range(rounds + 5):
        begin = time.perf_counter()
        await first(await trigger())
        if number >= 5:
            times.append(time.perf_counter() - begin)
    return times


async def in_process(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    async with make_app(url) as app:

        async def first(run: Any) -> None:
            events = run.events()
            await anext(events)
            await events.aclose()

        async def trigger() -> Any:
            return await app.trigger(one_step, "you")

        times = await first_events(trigger, first, arguments.rounds)
        rate = await triggers_per_second(trigger, arguments.triggers, arguments.at_once)
    return figures("", rate, times)


async def over_http(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    async with server_process(url) as address, AsyncStepflowClient(address) as client:

        async def first(run: Any) -> None:
            async with run.stream(after="0") as events:
                await anext(events)

        async def trigger() -> Any:
            return await client.trigger(one_step, "you")

        times = await first_events(trigger, first, arguments.rounds)
        rate = await triggers_per_second(trigger, arguments.triggers, arguments.at_once)
    return figures("http_", rate, times)


def figures(prefix: str, rate: float, times: list[float]) -> dict[str, Any]:
    return {
        f"{prefix}triggers_per_s": round(rate),
        f"{prefix}first_event_p50_ms": round(percentile(times, 50) * 1000, 3),
        f"{prefix}first_event_p99_ms": round(percentile(times, 99) * 1000, 3),
    }


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    return await in_process(url, arguments) | await over_http(url, arguments)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--triggers", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=32)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(sys.argv[2]))
    else:
        main("HTTP", workload, options)
