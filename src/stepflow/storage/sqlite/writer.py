"""The writer: one connection that writes, used by one thread at a time, in the order of the calls."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from stepflow.clock import SystemClock
from stepflow.errors import StorageError
from stepflow.storage.sqlite.connection import patiently
from stepflow.storage.sqlite.errors import is_locked, translate

Result = TypeVar("Result")

_SLOW_COMMIT = 0.005
"""Seconds. A disk that needs longer than this for a commit is not waited for on the event loop."""


@dataclass(eq=False, slots=True)
class _Job:
    """Work for the thread, and whom to tell of its end."""

    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Hand the outcome to the loop that waits, if it still does."""
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)


class Writer:
    """Runs transactions one after the other.

    A thread does them, so that no commit blocks the event loop; but a lone small one, while the thread has nothing
    to do and commits are fast here, runs where it was called: two thread switches cost more than its commit.
    """

    def __init__(self, connection: sqlite3.Connection, path: str, *, patience: float, threaded: bool) -> None:
        self._connection = connection
        self._path = path
        self._patience = patience
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._unfinished = 0
        self._usual = 0.0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        if threaded:
            self._thread = threading.Thread(target=self._serve, name="stepflow-sqlite", daemon=True)
            self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], Result], *, small: bool) -> Result:
        """Do the work with the connection; ``small`` says that it may be done here and now.

        Raises ``StorageUnavailableError`` if other processes hold the lock for longer than the patience.
        """
        if self._thread is None:
            return self.run_now(work)
        if small and self._unfinished == 0 and self._usual < _SLOW_COMMIT:
            try:
                return self._run_here(work)
            except sqlite3.OperationalError as error:
                # Somebody else writes right now: waiting for that is the thread's business.
                if not is_locked(error):
                    raise translate(error, self._path) from error
            except sqlite3.Error as error:
                raise translate(error, self._path) from error
        job = _Job(work, asyncio.get_running_loop())
        with self._counting:
            self._unfinished += 1
        self._jobs.put(job)
        result: Result = await job.done
        return result

    def run_now(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do the work on the calling thread, which waits for its turn."""
        with self._lock, self._translated():
            return work(self._connection)

    def foreign_version(self) -> int | None:
        """A number that changes when another connection has written; None while ours is busy."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            row: tuple[int] = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None  # the next write will say what is wrong
        else:
            return row[0]
        finally:
            self._lock.release()

    def close(self) -> None:
        """Finish what was begun, then close the connection. Blocking."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
        with self._lock:
            self._connection.close()

    def _run_here(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._lock:
            begun = self._clock.monotonic()
            result = work(self._connection)
            self._learn(self._clock.monotonic() - begun)
            return result

    def _serve(self) -> None:
        """The thread: one job after the other until the end."""
        while (job := self._jobs.get()) is not None:
            result, error = None, None
            try:
                with self._translated():
                    begun = self._clock.monotonic()
                    result = patiently(partial(self._locked, job.work), self._patience)
                    self._learn(self._clock.monotonic() - begun)
            except BaseException as raised:  # noqa: BLE001 - it is the caller's, not the thread's
                error = raised
            with self._counting:
                self._unfinished -= 1
            job.finish(result, error)

    def _locked(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._lock:
            return work(self._connection)

    def _learn(self, seconds: float) -> None:
        """Remember what a transaction costs on this disk, the last ones counting most."""
        self._usual += (min(seconds, 1.0) - self._usual) / 8

    @contextlib.contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        except OverflowError as error:
            raise StorageError(f"SQLite database {self._path}: a number is over 64 bits") from error
