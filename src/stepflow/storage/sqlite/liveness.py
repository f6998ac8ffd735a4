"""Liveness: a worker's process holds a lock on a file of its own, so that its death shows at once.

POSIX record locks: the system drops them when the process ends, however it ends, and a forked child does not inherit
them. They say nothing within one process (and closing *any* descriptor of the file drops them), so a
process never probes the files of its own workers: it has a list of them.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from stepflow.types import WorkerId

if sys.platform != "win32":
    import fcntl

_SUFFIX = ".lock"
_HELD: Final[dict[Path, int]] = {}
"""The files that workers of this process hold, and the process that noted it (a forked child is another)."""
_GUARD: Final = threading.Lock()


class Liveness:
    """The lock files beside one database. Where there are no POSIX locks (Windows), leases alone decide."""

    def __init__(self, database: Path) -> None:
        real = database.resolve()
        self._directory = real.with_name(f"{real.name}-workers")
        self._files: dict[WorkerId, int] = {}

    def hold(self, worker: WorkerId) -> None:
        """Take the worker's lock, until ``drop``, ``close`` or the end of the process."""
        if sys.platform == "win32" or worker in self._files:
            return
        path = self._path(worker)
        self._directory.mkdir(exist_ok=True)
        with _GUARD:
            _HELD[path] = os.getpid()
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
            if _is_same_file(descriptor, path):
                break
            os.close(descriptor)  # somebody swept the file away before it was locked
        self._files[worker] = descriptor

    def drop(self, worker: WorkerId) -> None:
        """Give the worker's lock back, and remove its file."""
        descriptor = self._files.pop(worker, None)
        if descriptor is None:
            return
        path = self._path(worker)
        path.unlink(missing_ok=True)
        os.close(descriptor)
        with _GUARD:
            _HELD.pop(path, None)

    def close(self) -> None:
        """Give all locks back. Workers that are still registered are seen to be dead from now on.

        Their files stay: a file that nobody locks is what tells.
        """
        for worker, descriptor in self._files.items():
            os.close(descriptor)
            with _GUARD:
                _HELD.pop(self._path(worker), None)
        self._files.clear()

    def dead(self, workers: Iterable[WorkerId]) -> frozenset[WorkerId]:
        """Those of the workers whose process is gone for certain. A worker without a file is not."""
        return frozenset(worker for worker in workers if _is_abandoned(self._path(worker)))

    def bury(self, workers: Iterable[WorkerId]) -> None:
        """Remove the files of dead workers, once the database has forgotten them."""
        for worker in workers:
            self._path(worker).unlink(missing_ok=True)

    def sweep(self, registered: Iterable[WorkerId]) -> None:
        """Remove the files that nobody holds and no registered worker has."""
        kept = {self._path(worker) for worker in registered}
        if not self._directory.is_dir():
            return
        for path in self._directory.glob(f"*{_SUFFIX}"):
            if path not in kept and _is_abandoned(path):
                path.unlink(missing_ok=True)

    def _path(self, worker: WorkerId) -> Path:
        return self._directory / f"{quote(worker, safe='')}{_SUFFIX}"


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_abandoned(path: Path) -> bool:
    """Whether the file is there and its lock is free."""
    if sys.platform == "win32":
        return False
    with _GUARD:
        if _HELD.get(path) == os.getpid():
            return False
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # held: that worker lives
    else:
        return True
    finally:
        os.close(descriptor)
