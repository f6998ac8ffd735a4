"""The short form of `make chaos`, on every store; it notices a bug that is planted, and leaves nothing behind when it is stopped.

Each play is a process of its own: it changes what the simulator's workflows do, and the tests beside it play those, too.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ground import STORES, need
from tests.crash.forking import ROOT
from tests.servers.polling import until

FULL = os.environ.get("STEPFLOW_FULL") == "1"
SECONDS = 120.0 if FULL else 40.0
"""On each store: two minutes on all three."""
PATIENCE = 600 if FULL else 300
"""Seconds: healing takes as long as it takes on a busy machine."""
_log = logging.getLogger(__name__)
_MARK = "STEPFLOW_CHAOS_TEST"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE + 20)]


def begin(store: str, *options: str, mark: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", _MARK: mark}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--store", store, *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def play(store: str, seconds: float, *options: str) -> tuple[int, str, dict[str, Any]]:
    """One play: its exit code, all it said, and the figures of its last line."""
    with begin(store, "--minutes", str(seconds / 60), *options) as process:
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
            pytest.fail(f"it did not end within {PATIENCE} s:\n{said}")
    _log.info("%s", said)
    return process.returncode, said, json.loads(said.splitlines()[-1])


@pytest.mark.parametrize("store", STORES)
def test_whatever_befalls_the_workers_and_the_store_no_run_is_lost_and_none_has_two_outcomes(
    store: str,
) -> None:
    need(store)

    code, said, figures = play(store, SECONDS, "--starts", "30")

    assert (figures["lost"], figures["second_outcomes"], figures["wrong"]) == (0, 0, 0), said
    assert code == 0, said
    assert figures["kills"] >= 3
    assert figures["runs"] >= 50


def test_a_bug_that_is_planted_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("sqlite")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a play that fails keeps its logs

    code, said, figures = play("sqlite", 5, "--starts", "30", "--mutant", "skip_the_next_event")

    assert code == 1, said
    assert figures["second_outcomes"] > 0, said
    assert "repeat it: python -m tests.chaos --store sqlite --seed" in said


def with_mark(mark: str) -> list[str]:
    """What processes of a play are still there."""
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended as it was looked at, or is somebody else's
    return found


async def test_ctrl_c_ends_it_at_once_and_leaves_no_process_behind() -> None:
    need("redis")
    mark = secrets.token_hex(8)
    with begin("redis", "--minutes", "5", mark=mark) as process:
        assert process.stdout is not None
        while "runs" not in process.stdout.readline():
            assert process.poll() is None

        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)

    assert process.returncode == 130, said
    await until(lambda: not with_mark(mark))
