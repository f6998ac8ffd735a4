"""Scaling: a backlog of runs of 10 steps, worked off by one, two and four worker processes on one server."""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from benchmarks.measuring import main, worker_process
from benchmarks.w1_throughput import STEPS, ten_steps
from stepflow import Stepflow
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage

_POLL = 0.05


def make_app(url: str, *, worker: bool = True) -> Stepflow:
    return Stepflow(url, workflows=[ten_steps], worker=worker, concurrency=500)


async def completed(storage: Storage) -> int:
    return (await storage.info(now=datetime.now(UTC))).runs.get("completed", 0)


async def drain(url: str, runs: int, workers: int) -> float:
    """Steps a second, counted between the first twentieth of a backlog and the last: without the start of processes."""
    async with open_storage(url) as storage:
        done = await completed(storage)
        async with make_app(url, worker=False) as app:
            for first in range(0, runs, 500):
                lot = range(first, min(runs, first + 500))
                await asyncio.gather(*(app.trigger(ten_steps, 0) for _ in lot))
        async with AsyncExitStack() as stack:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(stack.enter_async_context(worker_process("benchmarks.scaling", url)))
            begin, counted = await _reached(storage, done + runs // 20)
            end, there = await _reached(storage, done + runs - runs // 20)
            await _reached(storage, done + runs)
    return (there - counted) * STEPS / max(end - begin, _POLL)


async def _reached(storage: Storage, amount: int) -> tuple[float, int]:
    """When so many runs had completed, and how many had by then."""
    while (there := await completed(storage)) < amount:
        await asyncio.sleep(_POLL)
    return time.perf_counter(), there


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {"runs": arguments.runs}
    for workers in arguments.workers:
        figures[f"steps_per_s_{workers}"] = round(await drain(url, arguments.runs, workers))
    first = max(
        1, figures[f"steps_per_s_{arguments.workers[0]}"]
    )  # a tiny backlog is gone before it is counted
    for workers in arguments.workers[1:]:
        figures[f"growth_{workers}"] = round(figures[f"steps_per_s_{workers}"] / first, 2)
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(store="postgres")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--runs", type=int, default=6000)


if __name__ == "__main__":
    main("scaling", workload, options)
