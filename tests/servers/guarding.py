"""Guarding: a process that outlives the tests by an instant, and ends what servers they left behind.

It hears of each server on its standard input (``+pid``, ``-pid``), which ends when the tests' process does, however that
went. It imports nothing of the project, so that it is there at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def guard() -> None:
    """Listen until nobody speaks any more; then kill whoever is left."""
    left: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            left.add(pid)
        else:
            left.discard(pid)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    guard()
