"""W4: notify → the waiting run ends, in one process and across two."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from benchmarks.measuring import main, percentile, worker_process
from stepflow import Stepflow, wait_for_event, workflow


@workflow
async def waits(event_id: str) -> int:
    payload: int = await wait_for_event(event_id, type=int)
    return payload


def make_app(url: str, *, worker: bool = True) -> Stepflow:
    return Stepflow(url, workflows=[waits], worker=worker)


async def measure(url: str, rounds: int, *, worker: bool, prefix: str) -> list[float]:
    times: list[float] = []
    async with make_app(url, worker=worker) as app:
        runs = [await app.trigger(waits, f"{prefix}/{number}") for number in range(rounds + 5)]
        for run in runs:
            while await run.status() != "suspended":
                await asyncio.sleep(0.01)
        for number, run in enumerate(runs):
            begin = time.perf_counter()
            await app.notify(f"{prefix}/{number}", number)
            assert await run.result() == number
            if number >= 5:
                times.append(time.perf_counter() - begin)
    return times


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    here = await measure(url, arguments.rounds, worker=True, prefix="here")
    figures = {
        "p50_ms": round(percentile(here, 50) * 1000, 3),
        "p99_ms": round(percentile(here, 99) * 1000, 3),
    }
    if arguments.store != "memory":
        async with worker_process("benchmarks.w4_notify", url):
            across = await measure(url, arguments.rounds, worker=False, prefix="across")
        figures["across_p50_ms"] = round(percentile(across, 50) * 1000, 3)
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=100)


if __name__ == "__main__":
    main("W4", workload, options)
