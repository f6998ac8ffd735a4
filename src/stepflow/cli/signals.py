"""Signals: the first Ctrl-C or SIGTERM asks to stop, the second to hurry, the third ends the process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LAST_CHANCE = 0.2
"""Seconds for an idle thread to notice that its pool is closed."""


class Interruption:
    """Whether a signal came. ``hurry`` is called by the second one."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.hurried = False
        self.hurry: Callable[[], None] | None = None
        self.first: Callable[[], None] | None = None

    def _signalled(self) -> None:
        if not self.told.is_set():
            self.told.set()
            if self.first is not None:
                self.first()
            return
        self.hurried = True
        _let_go()
        if self.hurry is not None:
            self.hurry()


@contextmanager
def interruption() -> Generator[Interruption]:
    """Take the signals over, on the running event loop, until the block is left."""
    caught = Interruption()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, caught._signalled)  # pyright: ignore[reportPrivateUsage]
    try:
        yield caught
    finally:
        _let_go()


def _let_go() -> None:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.remove_signal_handler(number)


def leave_stuck_steps(code: int) -> None:
    """End the process now if a step's thread or process goes on that nobody waits for: Python itself would wait for it.

    Everything is closed by then, and what the step does is not recorded any more: it runs again, or was given up by its timeout.
    """
    stuck = [thread for thread in threading.enumerate() if _is_of_a_step(thread)]
    for thread in stuck:
        thread.join(_LAST_CHANCE)
    if any(thread.is_alive() for thread in stuck):
        for process in multiprocessing.active_children():
            process.terminate()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _is_of_a_step(thread: threading.Thread) -> bool:
    return thread.name.startswith("stepflow-step") or type(thread).__name__ == "_ExecutorManagerThread"
