"""W1: runs of 10 trivial steps, many in flight; starts and ends included."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from benchmarks.measuring import main
from stepflow import Stepflow, step, workflow

STEPS = 10


@step
async def increment(value: int) -> int:
    return value + 1


@workflow
async def ten_steps(value: int) -> int:
    for _ in range(STEPS):
        value = await increment(value)
    return value


async def one_lane(app: Stepflow, runs: int) -> None:
    for _ in range(runs):
        run = await app.trigger(ten_steps, 0)
        assert await run.result() == STEPS


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    lanes = arguments.in_flight
    per_lane = max(1, arguments.runs // lanes)
    # A worker with slots to spare takes a new run in the commit that starts it; one that is full claims it later from the queue.
    app = Stepflow(url, workflows=[ten_steps], concurrency=arguments.slots or max(1000, lanes))
    async with app:
        await asyncio.gather(*(one_lane(app, 1) for _ in range(min(lanes, 100))))
        begin, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one_lane(app, per_lane) for _ in range(lanes)))
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    steps = lanes * per_lane * STEPS
    return {
        "in_flight": lanes,
        "runs": lanes * per_lane,
        "steps_per_s": round(steps / seconds),
        "cpu_us_per_step": round(cpu / steps * 1e6, 1),
        "runs_per_s": round(steps / STEPS / seconds),
    }


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--in-flight", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--slots", type=int, help="of the worker: 1,000, or as many as are in flight")


if __name__ == "__main__":
    main("W1", workload, options)
