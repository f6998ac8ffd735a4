"""Servers end with the tests that started them, also when those are killed; and so do the workers of the crash tests."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.running import START

ROOT = Path(__file__).parents[2]

A_SERVER = """
import sys, threading
from pathlib import Path
from tests.servers.running import Server
server = Server([sys.executable, "-c", "import threading; threading.Event().wait()"], log=Path(sys.argv[1]), ready=lambda: True)
server.start()
print(server.pid, flush=True)
threading.Event().wait()
"""
A_WORKER = """
import sys, threading
from pathlib import Path
from tests.crash.forking import ForkServer
server = ForkServer()
print(server.start("tests.servers.test_guarding:wait", Path(sys.argv[1])).pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="only Linux tells when somebody else's process ends"
)
@pytest.mark.parametrize("code", [A_SERVER, A_WORKER])
def test_what_killed_tests_have_started_ends(code: str, tmp_path: Path) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
    )
    assert tests.stdout is not None
    with tests.stdout as told:
        descriptor = os.pidfd_open(int(told.readline()))
    try:
        tests.send_signal(signal.SIGKILL)
        tests.wait()

        assert select.select([descriptor], [], [], START)[0], "it outlives its tests"
    finally:
        os.close(descriptor)


def wait() -> None:
    """What a worker does that nobody ends."""
    signal.pause()
