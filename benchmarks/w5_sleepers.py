"""W5: sleepers due at one instant: how late they go on, how fast they are started, what each costs in memory."""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.measuring import main, percentile
from stepflow import Stepflow, sleep_until, step, workflow

late: list[float] = []

ASLEEP = 6
"""Seconds: a run that sleeps for less keeps its place in memory, and would say nothing about the store."""


@step
async def wake_up(due: datetime) -> None:
    late.append((datetime.now(UTC) - due).total_seconds())


@workflow
async def sleeper(due: datetime) -> None:
    await sleep_until("nap", due)
    await wake_up(due)


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    count: int = arguments.sleepers
    async with Stepflow(url, workflows=[sleeper]) as app:
        for _ in range(arguments.alone):
            due = datetime.now(UTC) + timedelta(seconds=ASLEEP)
            await (await app.trigger(sleeper, due)).result()
        alone = percentile(late, 50) if late else 0.0
        late.clear()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        due = datetime.now(UTC) + timedelta(seconds=arguments.lead)
        for first in range(0, count, 500):
            runs = range(first, min(count, first + 500))
            await asyncio.gather(*(app.trigger(sleeper, due, id=f"s{number}") for number in runs))
        starting = time.perf_counter() - begin
        assert datetime.now(UTC) < due, "the sleepers were not all asleep in time: raise --lead"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        while len(late) < count:
            await asyncio.sleep(0.05)
    return {
        "sleepers": count,
        "alone_late_ms": round(alone * 1000, 1),
        "starts_per_s": round(count / starting),
        "kb_per_sleeper": round(grown / count, 2),
        "late_p50_s": round(percentile(late, 50), 3),
        "late_p99_s": round(percentile(late, 99), 3),
        "wake_ups_per_s": round(count / max(late)),
    }


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sleepers", type=int, default=5000)
    parser.add_argument("--lead", type=float, default=15.0, help="seconds until all are due")
    parser.add_argument("--alone", type=int, default=2, help="sleepers one after the other before that")


if __name__ == "__main__":
    main("W5", workload, options)
