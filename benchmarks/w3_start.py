"""W3: trigger → result of a one-step run on an idle system, in one process and across two."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.measuring import main, percentile, worker_process
from stepflow import Stepflow, step, workflow


@step
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def one_step(name: str) -> str:
    return await greet(name)


def make_app(url: str, *, worker: bool = True) -> Stepflow:
    return Stepflow(url, workflows=[one_step], worker=worker)


async def measure(url: str, rounds: int, *, worker: bool) -> list[float]:
    times: list[float] = []
    async with make_app(url, worker=worker) as app:
        for number in range(rounds + 5):
            begin = time.perf_counter()
            run = await app.trigger(one_step, "you")
            await run.result()
            if number >= 5:
                times.append(time.perf_counter() - begin)
    return times


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    here = await measure(url, arguments.rounds, worker=True)
    figures = {
        "p50_ms": round(percentile(here, 50) * 1000, 3),
        "p99_ms": round(percentile(here, 99) * 1000, 3),
    }
    if arguments.store != "memory":
        async with worker_process("benchmarks.w3_start", url):
            across = await measure(url, arguments.rounds, worker=False)
        figures["across_p50_ms"] = round(percentile(across, 50) * 1000, 3)
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=100)


if __name__ == "__main__":
    main("W3", workload, options)
