"""Polling: how a process notices that another one wrote to the file."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stepflow.clock import SystemClock

_EAGER = 0.002
_EAGER_FOR = 1.0


class VersionPoller:
    """A thread that watches a version number, eagerly for a second after anything happened, and only while asked to."""

    def __init__(
        self,
        version: Callable[[], int | None],
        on_change: Callable[[], None],
        *,
        idle: float,
        on_begin: Callable[[], None],
    ) -> None:
        self._version = version
        self._on_begin = on_begin
        self._on_change = on_change
        self._idle = idle
        self._eager = min(_EAGER, idle)
        self._clock = SystemClock()
        self._eager_until = 0.0
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
        self._eager_until = self._clock.monotonic() + _EAGER_FOR

    def _watch(self, stopping: threading.Event) -> None:
        seen = self._version()
        self._on_begin()
        while not stopping.wait(self._eager if self._clock.monotonic() < self._eager_until else self._idle):
            version = self._version()
            if version is None or version == seen:
                continue
            if seen is not None:
                self.stir()
                self._on_change()
            seen = version
