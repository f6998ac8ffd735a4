"""Measuring: what the workloads share. A fresh store, worker processes beside it, one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.stores import STORES, fresh_store
from benchmarks.stores import percentile as percentile
from stepflow._runtime import interpreter


@asynccontextmanager
async def worker_process(module: str, url: str) -> AsyncIterator[None]:
    """Another process that opens ``module.make_app(url)`` with a worker, for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.measuring", module, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()  # it says when it is ready
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def serve(module: str, url: str) -> None:
    """What that process does."""
    async with importlib.import_module(module).make_app(url) as app:
        print("ready", flush=True)
        await app.serve_forever()


Workload = Callable[[str, argparse.Namespace], Coroutine[Any, Any, dict[str, Any]]]
Options = Callable[[argparse.ArgumentParser], None]


def main(name: str, workload: Workload, options: Options = lambda parser: None) -> None:
    """Measure as the command line says, and print the figures as one JSON line."""
    print(json.dumps(measure(name, workload, options, sys.argv[1:])))


def measure(name: str, workload: Workload, options: Options, words: Sequence[str]) -> dict[str, Any]:
    """The figures of ``workload(url, arguments)`` on a fresh store."""
    parser = argparse.ArgumentParser(description=sys.modules[workload.__module__].__doc__)
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument(
        "--process", choices=("embedded", "worker"), default="embedded", help="worker: as `stepflow worker`"
    )
    options(parser)
    arguments = parser.parse_args(words)
    if arguments.process == "worker":
        interpreter.settle()
    with fresh_store(arguments.store) as (url, raw_ms):
        raw = raw_ms()
        figures = asyncio.run(workload(url, arguments))
        # Once more after the workload, so that a drift of the machine is seen on both sides.
        raw = (raw + raw_ms()) / 2
    if raw and "ms_per_commit" in figures:
        figures["raw_commits"] = round(figures["ms_per_commit"] / raw, 2)
    return {"workload": name, "store": arguments.store, "raw_commit_ms": round(raw, 3)} | figures


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
