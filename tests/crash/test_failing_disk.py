"""A failing disk: writes and syncs that end with an error at times. What was acknowledged is there, and everything ends.

The faults are real ones to SQLite: a small library, compiled here and preloaded, lets some of the process's own system calls fail.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.crash.conftest import Scene
from tests.crash.forking import ROOT
from tests.crash.invariants import check_finished, check_standing
from tests.crash.pipes import News
from tests.crash.test_power_loss import check_kept
from tests.crash.workers import read_acknowledged
from tests.servers.faulty_disk import faulty_disk

__all__ = ["faulty_disk"]

PERCENT = 2
"""Of the calls that fail: a commit makes a handful of them."""


@contextmanager
def writer(scene: Scene, library: Path, control: Path, **arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process on the disk that fails while ``control`` exists."""
    given = {"url": scene.url, "ledger": str(scene.ledger), "phase": "writer", **arguments}
    code = f"from tests.crash.forking import call; call('tests.crash.workers:write_on', {given!r})"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "LD_PRELOAD": str(library),
        "STEPFLOW_FAULTY_DISK": str(control),
    }
    with (scene.directory / "writer.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["input/output error", "no space"])
def test_what_was_acknowledged_on_a_failing_disk_is_there_and_every_run_ends(
    scene: Scene, faulty_disk: Path, error: int
) -> None:
    scene.durable = True
    control, told = scene.directory / "control", scene.directory / "told"
    with (
        closing(News(scene.directory / "news")) as news,
        writer(scene, faulty_disk, control, told=str(told), news=str(news.path)) as process,
    ):
        for _ in range(20):
            news.next()
        control.write_text(f"{PERCENT} {error}")
        for _ in range(200):
            news.next()
        process.send_signal(signal.SIGKILL)
        process.wait()
    log = (scene.directory / "writer.log").read_text()

    assert "the storage does not take writes" in log, "no fault met a commit: the test shows nothing"
    check_standing(scene.database)
    acknowledged = read_acknowledged(told)
    check_kept(scene.database, acknowledged)
    finisher = scene.start("workers:finish_errands", phase="finisher", known=sorted(acknowledged))
    finisher.must_succeed()
    check_finished(scene.database)


def test_a_disk_that_takes_nothing_for_a_while_ends_no_run_and_no_process(
    scene: Scene, faulty_disk: Path
) -> None:
    scene.durable = True
    control, told = scene.directory / "control", scene.directory / "told"
    with (
        closing(News(scene.directory / "news")) as news,
        writer(scene, faulty_disk, control, told=str(told), news=str(news.path)) as process,
    ):
        for _ in range(20):
            news.next()
        control.write_text(f"100 {errno.EIO}")
        log = scene.directory / "writer.log"
        while "the storage does not take writes" not in log.read_text():
            assert process.poll() is None, log.read_text()
        before = len(read_acknowledged(told))
        control.unlink()
        for _ in range(100):
            news.next()

        assert process.poll() is None, log.read_text()
        assert len(read_acknowledged(told)) > before
        assert "the storage takes writes again" in log.read_text()
