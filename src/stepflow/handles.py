"""RunHandle: one run, as the process that started it (or any other) sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stepflow.durations import parse_duration
from stepflow.model.steps import RunEvent
from stepflow.storage.writes import Action
from stepflow.types import Duration, RunId

if TYPE_CHECKING:
    from stepflow.service import Service

Out_co = TypeVar("Out_co", covariant=True)


class RunHandle(Generic[Out_co]):
    """A run's id together with the app that can ask about it; making one does no I/O."""

    def __init__(
        self, service: Callable[[str], Service], run_id: RunId, type: Any, *, created: bool = False
    ) -> None:
        self._service = service
        self._type = type
        self._id = run_id
        self._created = created

    @property
    def id(self) -> RunId:
        return self._id

    @property
    def created(self) -> bool:
        """True if this call started the run; False if the same id or key had been used before."""
        return self._created

    async def result(self, *, timeout: Duration | None = None) -> Out_co:
        """Wait for the run's result, whoever executes it. ``timeout=0`` asks whether it is there.

        Raises ``RunFailedError``, ``RunCancelledError``, ``RunPausedError`` (it never waits for a paused run),
        ``ResultTimeoutError`` (the run goes on), ``RunNotFoundError``.
        """
        limit = None if timeout is None else parse_duration(timeout)
        result: Out_co = await self._service("result").result(self._id, self._type, timeout=limit)
        return result

    async def status(self) -> str:
        """One of queued, running, suspended, paused, completed, failed, cancelled."""
        return (await self._service("status").record(self._id)).status.value

    def events(self, *, after: str | None = None) -> AsyncIterator[RunEvent]:
        """The run's journal as it grows, without gap or duplicate, until it ends. ``after``: the id to go on from."""
        return self._service("events").events(self._id, after=after)

    async def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end: ``CancelledError`` is raised in it. ``force``: end it in the storage, at once."""
        await self._service("cancel").control(self._id, Action.FORCE_CANCEL if force else Action.CANCEL)

    def __repr__(self) -> str:
        return f"RunHandle({self._id!r})"
