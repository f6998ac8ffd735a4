"""Polling: how a process notices that another one wrote to the file."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stepflow.clock import SystemClock

_EAGER = 0.002
_EAGER_FOR = 1.0
_SLOWER = 1.5


class VersionPoller:
    """A thread that watches a version number, eagerly for a second after anything happened, and only while asked to.

    While processes answer each other, it looks most closely right after anything happened, every ``closest`` seconds at
    first: what passes between two processes waits for two looks. A process that is alone never pays for that.
    """

    def __init__(
        self,
        version: Callable[[], int | None],
        on_change: Callable[[], None],
        *,
        idle: float,
        on_begin: Callable[[], None],
        closest: float = _EAGER,
    ) -> None:
        self._version = version
        self._on_begin = on_begin
        self._on_change = on_change
        self._idle = idle
        self._eager = min(_EAGER, idle)
        self._closest = min(closest, self._eager)
        self._pause = self._eager
        self._clock = SystemClock()
        self._eager_until = self._answered_until = 0.0
        self._guard = threading.Lock()
        self._stopping: threading.Event | None = None

    def follow(self, listeners: int) -> None:
        """Watch while there are listeners. Callable from any thread."""
        with self._guard:
            if listeners and self._stopping is None:
                self._stopping = threading.Event()
                threading.Thread(
                    target=self._watch, args=(self._stopping,), name="stepflow-sqlite-poll", daemon=True
                ).start()
            elif not listeners and self._stopping is not None:
                self._stopping.set()
                self._stopping = None

    def stir(self) -> None:
        """Something happened here: others may soon answer."""
        now = self._clock.monotonic()
        self._eager_until = now + _EAGER_FOR
        if now < self._answered_until:
            self._pause = self._closest

    def _watch(self, stopping: threading.Event) -> None:
        seen = self._version()
        self._on_begin()
        while not stopping.wait(self._next_pause()):
            version = self._version()
            if version is None or version == seen:
                continue
            if seen is not None:
                self._answered_until = self._clock.monotonic() + _EAGER_FOR
                self.stir()
                self._on_change()
            seen = version

    def _next_pause(self) -> float:
        if self._clock.monotonic() >= self._eager_until:
            return self._idle
        pause = self._pause
        self._pause = min(pause * _SLOWER, self._eager)
        return pause
