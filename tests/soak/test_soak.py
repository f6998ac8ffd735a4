"""The short form of `make soak`: what is counted stays as it is. (A slope needs longer to be told from what comes and goes.)"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.chaos.ground import STORES, need
from tests.crash.forking import ROOT
from tests.soak.measuring import Sample, growing, slope, take
from tests.soak.soak import FEWEST, Plan, Report

A_SAMPLE = Sample(at=0, memory=50_000_000, tasks=20, descriptors=18, connections=2, threads=9)
_PATIENCE = 150


@pytest.mark.slow
@pytest.mark.timeout(_PATIENCE + 20)
@pytest.mark.parametrize("store", STORES)
def test_a_process_under_a_steady_load_holds_no_more_than_before(store: str) -> None:
    """A process of its own, as in the long form: this one also holds what other tests left."""
    need(store)

    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--store", store, "--minutes", "0.2", "--every", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["growing"] == []
    assert figures["samples"] >= FEWEST
    assert figures["runs"] > 50


def test_a_count_that_is_higher_at_every_look_in_the_end_is_growth() -> None:
    samples = [replace(A_SAMPLE, at=n, tasks=20 + n // 5, descriptors=18 + n % 2) for n in range(20)]

    assert growing(samples) == {"tasks": (20, 23)}


def test_memory_that_grows_by_more_than_a_megabyte_an_hour_is_wrong_once_there_is_enough_to_judge() -> None:
    def grows(by: float, seconds: int) -> Report:
        report = Report(Plan(store="sqlite", seconds=seconds))
        for at in range(0, seconds + 1, 15):
            report.samples.append(
                replace(A_SAMPLE, at=at, memory=int(50e6 + at / 3_600 * by + at % 2 * 300_000))
            )
        return report

    assert slope(grows(2e6, 3_600).samples) == pytest.approx(2e6, rel=0.05)
    assert grows(2e6, 3_600).wrong == ["memory grows by 2.00 MB an hour"]
    assert grows(0.5e6, 3_600).wrong == []
    assert grows(2e6, 600).wrong == [], "too short to judge"


async def test_a_sample_counts_what_the_process_holds() -> None:
    before = take(0)
    task = asyncio.create_task(asyncio.Event().wait())
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)

    after = take(1)

    assert after.tasks == before.tasks + 1
    assert after.descriptors == before.descriptors + 1
    assert after.connections == before.connections + 1
    server.close()
    task.cancel()
