"""The whole demo, on a third of its data: it ends well, and its numbers are those that plain code computes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo import flights, ledger, sources

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_demo_survives_its_own_kill_and_accounts_for_every_step(tmp_path: Path) -> None:
    folder = tmp_path / "demo"

    done = subprocess.run(
        [sys.executable, "-m", "demo", "--months", "4", "--folder", str(folder)],
        check=False,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"kill -9 \d+", done.stdout)
    assert "none of them ran again" in done.stdout
    bodies = [entry.step for entry in ledger.read(str(folder))]
    assert bodies.count("find_sources") == bodies.count("publish") == 1
    assert {step for step in bodies if step.startswith("tally")} == {
        f"tally[2013-0{month}]" for month in range(1, 5)
    }
    assert 4 <= sum(step.startswith("tally") for step in bodies) <= 6, "at most two were in flight"
    assert expected_first_sentence(tmp_path) in (folder / "report.md").read_text(encoding="utf-8")
    assert (folder / "delays-by-month.svg").read_text(encoding="utf-8").startswith("<svg")


def expected_first_sentence(folder: Path) -> str:
    """The same sums, made without any workflow."""
    found = sources.find()
    parts = sources.split_by_month(found.path("flights.csv.zip"), folder / "oracle", 4)
    total = flights.total(flights.tally(Path(part), found.path("weather.csv")) for part in parts).total
    return f"{total.flights:,} flights, {total.cancelled:,} of them cancelled"
