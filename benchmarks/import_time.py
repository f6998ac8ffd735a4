"""Import: how long `import stepflow` takes in a fresh interpreter, then all of its names, and `import asyncio` beside it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

from benchmarks.measuring import main, percentile

_CODE = "import time; b = time.perf_counter(); {}; print((time.perf_counter() - b) * 1000)"
STATEMENTS = {
    "import": "import stepflow",
    "everything": "from stepflow import *",
    "asyncio": "import asyncio",
}


def milliseconds(statement: str) -> float:
    code = _CODE.format(statement)
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


async def workload(_url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, statement in STATEMENTS.items():
        times = [milliseconds(statement) for _ in range(arguments.rounds)]
        figures[f"{name}_p50_ms"] = round(percentile(times, 50), 1)
        figures[f"{name}_best_ms"] = round(min(times), 1)
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=10)


if __name__ == "__main__":
    main("import", workload, options)
