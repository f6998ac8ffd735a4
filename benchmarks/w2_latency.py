"""W2: one run of 100 sequential steps, 101 commits; its ratio to the database's own one-row commit."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.measuring import main, percentile
from stepflow import Stepflow, step, workflow

STEPS = 100


@step
async def increment(value: int) -> int:
    return value + 1


@workflow
async def hundred_steps(value: int) -> int:
    for _ in range(STEPS):
        value = await increment(value)
    return value


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    times: list[float] = []
    async with Stepflow(url, workflows=[hundred_steps]) as app:
        for _ in range(arguments.rounds):
            begin = time.perf_counter()
            run = await app.trigger(hundred_steps, 0)
            assert await run.result() == STEPS
            times.append(time.perf_counter() - begin)
    return {"commits": STEPS + 1, "ms_per_commit": round(percentile(times, 50) / (STEPS + 1) * 1000, 3)}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=15)


if __name__ == "__main__":
    main("W2", workload, options)
