"""The short form of `make soak`: what is counted stays as it is. (A slope needs longer to be told from what comes and goes.)"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from random import Random

import pytest

from tests.chaos.ground import STORES, need
from tests.crash.forking import ROOT
from tests.soak.measuring import Sample, growing, slope, take
from tests.soak.soak import FEWEST, Plan, Report

A_SAMPLE = Sample(
    at=0, runs=0, memory=50_000_000, blocks=250_000, tasks=20, descriptors=18, connections=2, threads=9
)
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


def report_of(
    bytes_an_hour: float, blocks_a_run: float, *, seconds: int = 3_600, warm_up: int = 600
) -> Report:
    """What a soak sees of a process that grows by so much, and holds now more and now less."""
    random = Random(11)
    report = Report(Plan(store="sqlite", seconds=seconds))
    for at in range(warm_up, seconds + 1, 15):
        runs = at * 40
        report.samples.append(
            replace(
                A_SAMPLE,
                at=at,
                runs=runs,
                memory=int(50e6 + bytes_an_hour * at / 3_600 + random.gauss(0, 300_000)),
                blocks=int(250_000 + blocks_a_run * runs + random.gauss(0, 1_500)),
            )
        )
    return report


def test_memory_that_certainly_grows_by_more_than_a_megabyte_an_hour_is_wrong() -> None:
    grows = report_of(2e6, 0)

    assert grows.memory.rise == pytest.approx(2e6, abs=grows.memory.error)
    assert grows.memory.can_tell(1e6)
    assert [what[:15] for what in grows.wrong] == ["memory grows by"]
    assert report_of(0.5e6, 0).wrong == []
    assert report_of(-2e6, 0).wrong == []


def test_runs_that_leave_a_block_behind_are_wrong_however_little_that_is_of_the_memory() -> None:
    leaks = report_of(0, 0.2)

    assert leaks.blocks.rise == pytest.approx(0.2, abs=leaks.blocks.error)
    assert leaks.blocks.can_tell(0.1)
    assert [what[:16] for what in leaks.wrong] == ["every run leaves"]
    assert report_of(0, 0.05).wrong == []


def test_a_slope_that_too_little_was_seen_of_is_no_failure_and_does_not_pass_for_proven() -> None:
    short = report_of(2e6, 0, seconds=900)

    assert not short.memory.can_tell(1e6)
    assert short.wrong == []


def test_what_is_seen_before_caches_are_filled_is_not_judged() -> None:
    warming = report_of(200e6, 3, seconds=600, warm_up=300)

    assert warming.memory.exceeds(1e6)
    assert warming.wrong == []


def test_a_slope_s_error_holds_the_truth_19_times_in_20() -> None:
    random = Random(5)
    places = list(range(180))

    def misses() -> bool:
        found = slope(places, [3 * place + random.gauss(0, 50) for place in places])
        return not found.rise - found.error <= 3 <= found.rise + found.error

    assert sum(misses() for _ in range(1_000)) < 80


async def test_a_sample_counts_what_the_process_holds() -> None:
    before = take(0, 0)
    task = asyncio.create_task(asyncio.Event().wait())
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)

    after = take(1, 0)

    assert after.tasks == before.tasks + 1
    assert after.descriptors == before.descriptors + 1
    assert after.connections == before.connections + 1
    assert after.blocks > before.blocks
    server.close()
    task.cancel()
