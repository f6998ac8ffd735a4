"""Leases: renewed over a connection of their own, by a thread of their own, so that nothing in the process delays them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime, timedelta
from typing import Any, TypeVar

from stepflow.errors import StorageError, StorageUnavailableError
from stepflow.storage._sql.rows import micros
from stepflow.storage.postgres.driver import ERRORS
from stepflow.storage.postgres.errors import translate
from stepflow.storage.postgres.link import Link, open_link
from stepflow.storage.postgres.operations import workers
from stepflow.storage.postgres.options import PostgresOptions, place_of
from stepflow.types import WorkerId

Result = TypeVar("Result")

_CLOSING = 2.0


class LeaseThread:
    """A thread with an event loop and one connection, for all keepers of a storage; started by the first renewal."""

    def __init__(self, options: PostgresOptions) -> None:
        self._options = options
        self._place = place_of(options.server)
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._link: Link | None = None

    def renew(self, worker: WorkerId, until: int) -> bool:
        """Extend the lease; False if the worker is not registered any more. Blocking."""
        if os.getpid() != self._process:
            raise StorageError("a lease keeper does not work across a fork; make another one")
        return self._call(self._renew(worker, until), self._longest)

    @property
    def _longest(self) -> float:
        return self._options.statement_timeout + 2 * self._options.connect_timeout

    def _call(self, work: Coroutine[Any, Any, Result], limit: float) -> Result:
        with self._lock:
            loop = self._loop or self._start()
            future: Future[Result] = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result(limit)
        except FutureTimeoutError as error:
            future.cancel()
            raise StorageUnavailableError(f"PostgreSQL at {self._place} did not answer in time") from error

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stepflow-lease", daemon=True)
        self._thread.start()
        return self._loop

    async def _renew(self, worker: WorkerId, until: int) -> bool:
        link, self._link = self._link, None
        if link is not None and not link.usable:
            link.drop()
            link = None
        kept = link is not None
        try:
            async with asyncio.timeout(self._options.statement_timeout + self._options.connect_timeout):
                link = link or await open_link(self._options)
                renewed = await workers.renew(link, worker, until)
        except ERRORS as error:
            if link is not None:
                link.drop()
            if kept:  # it may have been cut while idle
                return await self._renew(worker, until)
            raise translate(error, self._place) from error
        self._link = link
        return renewed

    def close(self) -> None:
        """Close the connection and end the thread. Blocking; safe to repeat. After a fork it is the parent's."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or os.getpid() != self._process:
            return
        asyncio.run_coroutine_threadsafe(self._disconnect(), loop).result(_CLOSING * 2)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close(_CLOSING)


class PostgresLeaseKeeper:
    """Renews one worker's lease, from whatever thread calls."""

    def __init__(self, thread: LeaseThread, worker: WorkerId) -> None:
        self._thread = thread
        self._worker = worker

    def renew(self, now: datetime, lease: timedelta) -> bool:
        return self._thread.renew(self._worker, micros(now + lease))

    def close(self) -> None:
        """The thread ends with the storage; there is nothing of the keeper's own."""
