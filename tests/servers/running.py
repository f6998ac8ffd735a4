"""Running: a server of the tests' own, from a package, on a free loopback port, gone when the tests are."""

from __future__ import annotations

import functools
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

START = 30.0
"""Seconds that a server may take to answer, on a busy machine."""


def unavailable(server: str, reason: str) -> NoReturn:
    """Skip what needs ``server``, and say why; where nothing may be missing (``CI`` is set), fail."""
    said = f"no {server}: {reason}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


def free_port(*, below: int = 65_536) -> int:
    """A loopback port that nobody listens on now."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < below:
            return port


def answers(port: int) -> bool:
    """Whether somebody accepts connections on the loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def unprivileged() -> Mapping[str, Any]:
    """What ``Popen`` needs so that a server which refuses to run as root does not; nothing if we are not."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}


class Server:
    """One server process, which belongs to the test session: it is started, killed, restarted and stopped here only."""

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, ready: Callable[[], bool], **options: Any
    ) -> None:
        """``ready`` says whether it answers; ``options`` are those of ``Popen``."""
        self._command = [str(part) for part in command]
        self._log = log
        self._ready = ready
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._options
            )
        _guard().begun(self._process.pid)
        deadline = time.monotonic() + START
        while not self._ready():
            if self._ends_within(0.02) or time.monotonic() > deadline:
                self.kill()
                said = self._log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"{self._command[0]} did not start:\n{said}")

    def _ends_within(self, seconds: float) -> bool:
        """Give it a moment; True if it ended instead of starting."""
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it with a signal, and wait until it has ended."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(timeout=START)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=START)
                raise
            finally:
                _guard().ended(process.pid)

    def stop(self) -> None:
        """End it in its own way."""
        self.kill(signal.SIGTERM)


# ------------------------------------------------------------------ the guard
class _Guard:
    """A process that ends every server of this one when this one is gone, however it went (``kill -9`` too)."""

    def __init__(self) -> None:
        read, self._pipe = os.pipe()
        self._owner = os.getpid()
        subprocess.Popen(
            [sys.executable, "-S", Path(__file__).with_name("guarding.py")],
            stdin=read,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # what ends the tests is not to end it
        ).returncode = 0  # nobody waits for it: it outlives this process, a little
        os.close(read)

    def begun(self, pid: int) -> None:
        self._tell(b"+", pid)

    def ended(self, pid: int) -> None:
        self._tell(b"-", pid)

    def _tell(self, sign: bytes, pid: int) -> None:
        if os.getpid() == self._owner:  # a fork has no servers of its own
            os.write(self._pipe, b"%b%d\n" % (sign, pid))


@functools.cache
def _guard() -> _Guard:
    return _Guard()
