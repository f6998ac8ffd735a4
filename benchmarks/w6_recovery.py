"""W6: kill -9 in the middle of 500 runs, restart: what is lost (nothing), what runs twice, how soon it goes on."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.measuring import main
from stepflow import Stepflow, current_run, step, workflow

STEPS = 10
LEDGER = "STEPFLOW_BENCH_LEDGER"


@step
async def noted(number: int) -> int:
    await asyncio.sleep(0.02)
    line = f"{current_run().id} {number}\n".encode()
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, line)
    os.close(ledger)
    return number


@workflow
async def ten_noted(first: int) -> int:
    total = 0
    for number in range(STEPS):
        total += await noted(first + number)
    return total


def make_app(url: str, *, worker: bool = True) -> Stepflow:
    # By its name the worker that is started again takes over at once, on a store whose server can't see that it died.
    return Stepflow(url, workflows=[ten_noted], worker=worker, worker_name="bench" if worker else None)


def ledger_lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    runs: int = arguments.runs
    with tempfile.TemporaryDirectory() as folder:
        return await kill_and_restart(url, runs, Path(folder) / "ledger")


async def kill_and_restart(url: str, runs: int, path: Path) -> dict[str, Any]:
    os.environ[LEDGER] = str(path)
    async with make_app(url, worker=False) as app:
        await asyncio.gather(*(app.trigger(ten_noted, 0, id=f"r{number}") for number in range(runs)))
        first = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.measuring", "benchmarks.w6_recovery", url
        )
        while len(ledger_lines(path)) < runs * STEPS / 2:
            await asyncio.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
        at_kill = len(ledger_lines(path))
        begin = time.perf_counter()
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.measuring", "benchmarks.w6_recovery", url
        )
        while len(ledger_lines(path)) == at_kill:
            await asyncio.sleep(0.005)
        first_step = time.perf_counter() - begin
        results = [await app.handle(f"r{number}").result() for number in range(runs)]
        second.terminate()
        await second.wait()
    counts = Counter(ledger_lines(path))
    return {
        "runs": runs,
        "lost": runs - sum(result == sum(range(STEPS)) for result in results),
        "steps_run_twice": sum(count == 2 for count in counts.values()),
        "steps_run_more_often": sum(count > 2 for count in counts.values()),
        "in_flight_at_most": runs,
        "first_step_after_s": round(first_step, 2),
    }


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=500)


if __name__ == "__main__":
    main("W6", workload, options)
