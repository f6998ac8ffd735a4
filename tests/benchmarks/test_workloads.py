"""The benchmarks still run: every workload at a tiny size. What they measure here says nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import stores
from benchmarks.__main__ import rows
from benchmarks.measuring import measure

TINY = {
    "w1_throughput": "--in-flight 5 --runs 10",
    "w2_latency": "--rounds 1",
    "w3_start": "--rounds 1",
    "w4_notify": "--rounds 1",
    "w5_sleepers": "--sleepers 5 --lead 3 --alone 0",
    "w6_recovery": "--runs 5",
    "replay": "--steps 20",
    "crowded": "--ended 20 --sleeping 5 --rounds 2",
    "http": "--rounds 1 --triggers 10 --at-once 2",
    "scaling": "--workers 1 --runs 20",
}
IN_MEMORY = ("w1_throughput", "w2_latency", "w3_start", "w4_notify", "http")
"""Those that open the store once, or do without a second process where there can be none."""


@pytest.fixture(autouse=True)
def few_raw_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "RAW_COMMITS", 3)


@pytest.mark.parametrize(
    ("store", "name"), [*(("memory", name) for name in IN_MEMORY), *(("sqlite", name) for name in TINY)]
)
def test_every_workload_runs(store: str, name: str) -> None:
    module = import_module(f"benchmarks.{name}")

    figures = measure(name, module.workload, module.options, ["--store", store, *TINY[name].split()])

    assert figures["store"] == store
    assert figures.get("lost", 0) == 0
    json.dumps(figures)


def test_the_table_s_figures_are_those_that_the_workloads_print() -> None:
    module = import_module("benchmarks.w2_latency")
    figures = measure("W2", module.workload, module.options, ["--store", "sqlite", "--rounds", "1"])
    (row,) = [row for row in rows("sqlite") if row.name.startswith("W2")]

    assert f"{figures['ms_per_commit']} ms" in row.says(figures)
    assert row.met is not None
    assert row.met(figures | {"raw_commits": 1.0})
    assert not row.met(figures | {"raw_commits": 9.0})


@pytest.mark.parametrize(
    ("workload", "figure"), [("W1", "steps_per_s"), ("W2", "ms_per_step"), ("W4", "p50_ms")]
)
def test_our_side_of_the_comparison_with_peers_runs(tmp_path: Path, workload: str, figure: str) -> None:
    url = f"sqlite:///{tmp_path / 'bench.db'}"
    words = [workload, "--url", url, "--in-flight", "3", "--seconds", "0.2", "--rounds", "1"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.stepflow", *words],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[figure] > 0
