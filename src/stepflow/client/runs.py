"""Runs: one run on a server, as a client sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from stepflow.client import calls
from stepflow.client.core import Core
from stepflow.client.driving import finish
from stepflow.client.streams import AsyncEventStream, EventStream
from stepflow.types import Duration, RunId
from stepflow.wire.records import Triggered

Out_co = TypeVar("Out_co", covariant=True)


class AsyncRemoteRun(Generic[Out_co]):
    """A run's id together with the client that can ask about it; making one does no I/O."""

    def __init__(self, core: Core, run_id: RunId, type: Any, started: Triggered | None = None) -> None:
        self._core = core
        self._id = run_id
        self._type = type
        self._started = started

    @property
    def id(self) -> RunId:
        return self._id

    @property
    def created(self) -> bool:
        """True if this call started the run; False if the same id or key had been used before.

        (With an ``id`` of yours it is also False if it did, and its first answer was lost on the way.)
        """
        return self._started is not None and self._started.created

    @property
    def token(self) -> str | None:
        """A run token for browsers and the like, if the server gave one: the right to watch this run."""
        return None if self._started is None else self._started.public_access_token

    @property
    def token_expires_at(self) -> datetime | None:
        return None if self._started is None else self._started.expires_at

    async def result(self, *, timeout: Duration | None = None) -> Out_co:
        """Wait for the run's result. ``timeout=0`` asks whether it is there.

        Raises ``RunFailedError``, ``RunCancelledError``, ``RunPausedError`` (it never waits for a paused run),
        ``ResultTimeoutError`` (the run goes on), ``RunNotFoundError``, ``DeserializationError``.
        """
        found: Out_co = await self._core.result(self._id, self._type, timeout=timeout)
        return found

    async def status(self) -> str:
        """One of queued, running, suspended, paused, completed, failed, cancelled."""
        return (await self._core.send(calls.get_run(self._id))).status

    def stream(self, *, after: str | None = None) -> AsyncEventStream:
        """See ``AsyncStepflowClient.stream``."""
        return self._core.follow([self._id], several=False, after=after)

    async def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end: ``CancelledError`` is raised in it. ``force``: end it in the storage, at once."""
        await self._core.send(calls.cancel(self._id, force=force))

    def __repr__(self) -> str:
        return f"AsyncRemoteRun({self._id!r})"


class RemoteRun(Generic[Out_co]):
    """``AsyncRemoteRun``, blocking."""

    def __init__(self, inner: AsyncRemoteRun[Out_co]) -> None:
        self._inner = inner

    @property
    def id(self) -> RunId:
        return self._inner.id

    @property
    def created(self) -> bool:
        """See ``AsyncRemoteRun.created``."""
        return self._inner.created

    @property
    def token(self) -> str | None:
        """See ``AsyncRemoteRun.token``."""
        return self._inner.token

    @property
    def token_expires_at(self) -> datetime | None:
        return self._inner.token_expires_at

    def result(self, *, timeout: Duration | None = None) -> Out_co:
        """See ``AsyncRemoteRun.result``."""
        return finish(self._inner.result(timeout=timeout))

    def status(self) -> str:
        """See ``AsyncRemoteRun.status``."""
        return finish(self._inner.status())

    def stream(self, *, after: str | None = None) -> EventStream:
        """See ``StepflowClient.stream``."""
        return EventStream(self._inner.stream(after=after))

    def cancel(self, *, force: bool = False) -> None:
        """See ``AsyncRemoteRun.cancel``."""
        finish(self._inner.cancel(force=force))

    def __repr__(self) -> str:
        return f"RemoteRun({self.id!r})"
