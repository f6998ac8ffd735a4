"""A worker in a process of its own, which can be killed the hard way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path


class Worker:
    """``python -m demo.worker FOLDER``, with the processes that it starts, as one group."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "worker.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "demo.worker", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise, with the end of its log, if the worker ended by itself."""
        if self._process.poll() is not None:
            log = self._log.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(
                f"the worker ended with {self._process.returncode}; its log ends:\n{log[-3000:]}"
            )

    def kill(self) -> datetime:
        """``kill -9``: no warning, no clean-up, no last words. Gives the instant at which it was dead."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return datetime.now(UTC)

    def stop(self) -> None:
        """Ask it to end, as a deploy would; kill it if it won't."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()
