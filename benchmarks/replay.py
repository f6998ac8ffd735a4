"""Replay: a run with a long journal, resumed from the storage alone; the cost of a step must not grow with it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.measuring import main
from stepflow import Stepflow, step, wait_for_event, workflow


@step
async def increment(value: int) -> int:
    return value + 1


@workflow
async def long_run(steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await increment(value)
    await wait_for_event("go-on")
    return value


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for steps in (arguments.steps // 10, arguments.steps):
        async with Stepflow(url, workflows=[long_run]) as app:
            run = await app.trigger(long_run, steps, id=f"long-{steps}")
            while await run.status() != "suspended":
                await app.handle(run.id).status()
        async with Stepflow(url, workflows=[long_run]) as app:  # nothing of the run is in memory now
            begin = time.perf_counter()
            await app.notify("go-on", run_id=run.id)
            assert await app.handle(run.id, long_run).result() == steps
            seconds = time.perf_counter() - begin
        figures[f"resume_{steps}_steps_s"] = round(seconds, 3)
        figures[f"us_per_step_{steps}"] = round(seconds / steps * 1e6, 1)
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=10_000)


if __name__ == "__main__":
    main("replay", workload, options)
