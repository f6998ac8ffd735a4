"""All workloads on one store as one table: what was measured, what the design asks for, and whether it is met.

python -m benchmarks [--store sqlite] [--quick] [--only W1 W2 …] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.stores import STORES

Figures = dict[str, Any]
SLOW = ("redis-always", "libsql")
"""Stores that take a round trip or a sync for each commit: fewer runs tell as much."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a command, the figure to quote, the target, and whether the figure meets it."""

    name: str
    command: str
    quick: str
    says: Callable[[Figures], str]
    target: str = ""
    met: Callable[[Figures], bool] | None = None
    slow: str = ""
    """Options on a slow store."""
    stores: tuple[str, ...] = STORES


def _throughput(name: str, in_flight: int, targets: dict[str, int], store: str) -> Row:
    asked = targets.get(store)
    return Row(
        name,
        f"w1_throughput --in-flight {in_flight} --runs {max(2000, 5 * in_flight)} --process worker",
        f"--runs {max(600, 2 * in_flight)}",
        lambda f: f"{f['steps_per_s']:,} steps/s ({f['cpu_us_per_step']} µs of CPU each)",
        f"{asked:,} steps/s" if asked else "",
        None if asked is None else lambda f: f["steps_per_s"] >= asked,
        slow=f"--runs {max(600, in_flight)}",
    )


def _latency(name: str, module: str, commits: int) -> Row:
    """p50 in raw commits and milliseconds: ``commits`` and 1.5 in one process, 3 and 3 across two."""

    def met(figures: Figures) -> bool:
        raw = float(figures["raw_commit_ms"])
        across = figures.get("across_p50_ms", 0)
        return bool(figures["p50_ms"] <= commits * raw + 1.5 and across <= 3 * raw + 3)

    def says(figures: Figures) -> str:
        across = figures.get("across_p50_ms")
        return f"p50 {figures['p50_ms']} ms" + (f", across processes {across} ms" if across else "")

    target = f"{commits} raw commits + 1.5 ms; 3 + 3 ms across"
    return Row(name, module, "--rounds 30", says, target, met)


def rows(store: str) -> list[Row]:
    """What is measured on a store."""
    ratio = {"sqlite": 1.35, "postgres": 1.8}.get(store)
    return [
        _throughput(
            "W1, 1,000 in flight",
            1000,
            {"sqlite": 10_000, "postgres": 10_000, "redis": 8_000, "memory": 20_000},
            store,
        ),
        _throughput("W1, 100 in flight", 100, {"sqlite": 5_000, "postgres": 5_000}, store),
        Row(
            "W2, 101 commits in a row",
            "w2_latency",
            "--rounds 5",
            lambda f: (
                f"{f['ms_per_commit']} ms each"
                + (f", {f['raw_commits']} raw commits" if "raw_commits" in f else "")
            ),
            f"{ratio} raw commits" if ratio else "",
            None if ratio is None else lambda f: f["raw_commits"] <= ratio,
        ),
        _latency("W3, trigger → result", "w3_start", 2),
        _latency("W4, notify → the run ends", "w4_notify", 3),
        Row(
            "W5, sleepers due at once",
            "w5_sleepers",
            "--sleepers 1000",
            lambda f: (
                f"{f['sleepers']:,}: p99 {f['late_p99_s']} s late, alone {f['alone_late_ms']} ms, "
                f"{f['starts_per_s']:,} starts/s"
            ),
            "p99 1.3 s, alone 50 ms, 4,000 starts/s",
            lambda f: f["late_p99_s"] <= 1.3 and f["alone_late_ms"] <= 50 and f["starts_per_s"] >= 4_000,
            slow="--sleepers 1000",
        ),
        Row(
            "W6, kill -9 in the middle of 500 runs",
            "w6_recovery",
            "--runs 200",
            lambda f: (
                f"{f['lost']} lost, {f['steps_run_twice']} of {f['runs'] * 10:,} steps twice, "
                f"first step after {f['first_step_after_s']} s"
            ),
            "0 lost, first step within 1 s",
            lambda f: f["lost"] == 0 and f["first_step_after_s"] <= 1,
            slow="--runs 200",
            stores=tuple(name for name in STORES if name != "memory"),
        ),
        Row(
            "HTTP beside in-process",
            "http",
            "--rounds 20 --triggers 200",
            lambda f: (
                f"{f['http_triggers_per_s']:,} triggers/s ({f['triggers_per_s']:,} in process), first event after "
                f"{f['http_first_event_p50_ms']} ms ({f['first_event_p50_ms']} in process)"
            ),
            slow="--triggers 200",
        ),
        Row(
            "replay of 10,000 steps",
            "replay",
            "--steps 2000",
            lambda f: ", ".join(
                f"{name.removeprefix('us_per_step_')}: {value} µs/step"
                for name, value in f.items()
                if name.startswith("us_per_step")
            ),
            "10,000 steps within 1 s, cost per step constant",
            lambda f: max(value for name, value in f.items() if name.startswith("resume_")) < 1,
            stores=("sqlite", "postgres", "redis", "libsql"),
            slow="--steps 2000",
        ),
        Row(
            "import stepflow",
            "import_time",
            "--rounds 3",
            lambda f: (
                f"{f['import_best_ms']} ms; all names {f['everything_best_ms']} ms "
                f"(`import asyncio` {f['asyncio_best_ms']})"
            ),
            "100 ms",
            lambda f: f["import_best_ms"] < 100,
            stores=("sqlite",),
        ),
    ]


def measure(row: Row, store: str, *, quick: bool) -> Figures:
    """Run one workload in a process of its own."""
    words = [*row.command.split(), "--store", store]
    words += row.slow.split() if store in SLOW else []
    words += row.quick.split() if quick else []
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{words[0]}", *words[1:]],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, coarser figures")
    parser.add_argument("--only", nargs="*", default=[], help="rows whose names begin with one of these")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    arguments = parser.parse_args()
    store: str = arguments.store
    console = Console()
    console = Console(width=max(console.width, 130))
    table = Table("workload", "measured", "raw commit", "target", "", title=store)
    everything: dict[str, Figures] = {}
    for row in rows(store):
        chosen = not arguments.only or row.name.startswith(tuple(arguments.only))
        if store not in row.stores or not chosen:
            continue
        with console.status(row.name):
            figures = everything[row.name] = measure(row, store, quick=arguments.quick)
        raw = figures["raw_commit_ms"]
        verdict = ""
        if row.met is not None:
            verdict = "[green]met[/]" if row.met(figures) else "[red]missed[/]"
        table.add_row(row.name, row.says(figures), f"{raw} ms" if raw else "", row.target, verdict)
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({store: everything}, indent=2))


if __name__ == "__main__":
    main()
