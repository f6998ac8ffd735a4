"""Operations: what both clients do, apart from their types: each method is one call, or a few."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from stepflow.client import calls
from stepflow.client.core import Core
from stepflow.client.workflows import Addressed, workflow_id
from stepflow.types import Duration
from stepflow.wire.records import Health, Run, RunPage, RunState, RunToken, StepPage, WorkflowInfo


class Operations:
    """See ``AsyncStepflowClient``."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def close(self) -> None:
        """Disconnect. Streams that are open end with an error."""
        await self._core.close()

    # ------------------------------------------------------------------ events
    async def notify(
        self,
        event: str | Addressed,
        payload: object = None,
        /,
        *,
        run_id: str | None = None,
        id: str | None = None,
        once: bool = False,
    ) -> int:
        """Send an event; durable when it returns. Returns how many runs are waiting for it now.

        Safe to repeat, and repeated when its answer is lost: without an ``id`` it gets a random one. (Then the count is that of the
        last attempt: 0, if an earlier one had arrived.) ``once``: the first event of this name wins, a later one raises
        ``EventConflictError``. ``RunNotFoundError`` and ``OperationRefusedError`` (it has ended) with ``run_id``.
        """
        event_id = event if isinstance(event, str) else event.id
        body = self._core.encoded(payload, f"the payload of event {event_id!r}")
        dedup_id = id if id is not None else self._core.new_id("evt_")
        sent = await self._core.send(calls.notify(event_id, body, id=dedup_id, run_id=run_id, once=once))
        return sent.woken

    # ------------------------------------------------------------------ reading
    async def get_run(self, run_id: str, /, *, full: bool = False) -> Run:
        """The run with its last steps; ``RunNotFoundError``. ``full``: its input and output, however large they are."""
        return await self._core.send(calls.get_run(run_id, full=full))

    async def list_steps(
        self, run_id: str, /, *, cursor: str | None = None, limit: int | None = None
    ) -> StepPage:
        """All steps of a run, some at a time. ``cursor`` is the former page's ``next_cursor``."""
        return await self._core.send(calls.list_steps(run_id, cursor=cursor, limit=limit))

    async def list_runs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        workflow: Any = None,
        tags: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        queue: str | None = None,
        parent_id: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> RunPage:
        """Runs, newest first, without input, output and steps. ``cursor`` is the former page's ``next_cursor``."""
        return await self._core.send(
            calls.list_runs(
                status=status,
                workflow_id=None if workflow is None else workflow_id(workflow),
                tags=tags,
                created_after=created_after,
                created_before=created_before,
                queue=queue,
                parent_id=parent_id,
                cursor=cursor,
                limit=limit,
            )
        )

    async def workflows(self) -> Sequence[WorkflowInfo]:
        """What the server's app registered, sorted by id, with the JSON Schema of what each takes and gives."""
        return (await self._core.send(calls.list_workflows())).items

    async def health(self) -> Health:
        """How the server is now: ``status`` is ``ok``, or else it can't do its work. Asked once; ``ServerUnavailableError`` without an answer."""
        return await self._core.send(calls.health())

    # ------------------------------------------------------------------ waiting
    async def wait(self, run_id: str, /, *, timeout: Duration | None = None) -> Run:
        """The run once it has ended or is paused, whatever became of it. ``timeout=0`` asks whether it has.

        ``ResultTimeoutError`` (the run goes on), ``RunNotFoundError``.
        """
        return await self._core.standing(run_id, timeout, lambda wait: calls.get_run(run_id, wait=wait))

    # ------------------------------------------------------------------ operations
    async def cancel(self, run_id: str, /, *, force: bool = False) -> RunState:
        """Ask the run to end: ``CancelledError`` is raised in it. ``force``: it is ended in the storage, at once."""
        return await self._core.send(calls.cancel(run_id, force=force))

    async def pause(self, run_id: str, /) -> RunState:
        """Nothing new starts in the run; steps that run are recorded. Events and timers are kept."""
        return await self._core.send(calls.pause(run_id))

    async def resume(self, run_id: str, /) -> RunState:
        """A paused run goes on."""
        return await self._core.send(calls.resume(run_id))

    async def retry(self, run_id: str, /) -> RunState:
        """A failed or cancelled run begins again from the top; what succeeded in it is not done again."""
        return await self._core.send(calls.retry(run_id))

    async def delete(self, run_id: str, /) -> RunState:
        """Forget an ended or paused run."""
        return await self._core.send(calls.delete(run_id))

    async def new_token(
        self, run_id: str, /, *, events: Iterable[str] = (), lifetime: Duration | None = None
    ) -> RunToken:
        """A fresh run token: for its ``lifetime`` (24 h unless given) the right to watch this run, and to send it these events."""
        return await self._core.send(calls.new_token(run_id, events=events, lifetime=lifetime))
