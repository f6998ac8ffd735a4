"""Places: where a command finds its runs: in a storage, or on a server. The same verbs for both."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, assert_never

import msgspec
from msgspec import structs

from stepflow.cli.following import Display, follow
from stepflow.cli.opening import Session, Source, looking
from stepflow.cli.progress import Progress
from stepflow.cli.showing import read_entries
from stepflow.cli.translating import entries_of, run_of, step_of
from stepflow.clock import Clock, SystemClock
from stepflow.model.journal import Ended, Entry
from stepflow.model.pages import Page
from stepflow.model.payloads import Payload
from stepflow.model.runs import RunFilter
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run, RunEvent, StepView
from stepflow.storage.writes import Action
from stepflow.types import Json
from stepflow.wire.streams import RunPaused

if TYPE_CHECKING:
    from stepflow.client import AsyncStepflowClient


_ATTEMPTS = 3
"""Of a call: whoever waits at a terminal would rather know."""


class Place(Protocol):
    """What commands ask of the runs in one place."""

    @property
    def clock(self) -> Clock: ...

    def decode(self, payload: Payload) -> Json: ...

    async def list_runs(self, where: RunFilter, *, cursor: str | None, limit: int) -> Page[Run]: ...

    async def get_run(self, run_id: str, *, everything: bool = False) -> Run:
        """The run with its last steps at least; with ``everything``, all of them."""
        ...

    async def entries(self, run: Run) -> list[Entry]:
        """What is known of when things happened in it."""
        ...

    async def control(self, run_id: str, action: Action) -> RunStatus: ...

    async def notify(
        self, event_id: str, payload: Json, *, run_id: str | None, id: str | None, once: bool
    ) -> int: ...

    async def follow(self, run_id: str, display: Display) -> Run:
        """Show its progress until it ended or is paused; the run as it is then."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a command finds a server. Its credential is in the environment."""

    url: str

    @property
    def options(self) -> str:
        """What to add to another command, so that it looks in the same place: nothing, since it stands before the command."""
        return ""

    def connect(self) -> AsyncStepflowClient:
        # httpx is an extra, and takes its time to load: only a command that asks a server pays for it.
        from stepflow.client import AsyncStepflowClient  # noqa: PLC0415

        key = os.environ.get("STEPFLOW_API_KEY", "").split(",")[0].strip()
        token = os.environ.get("STEPFLOW_TOKEN", "").strip()
        if token:
            return AsyncStepflowClient(self.url, token=token, retry=_ATTEMPTS)
        return AsyncStepflowClient(self.url, api_key=key or None, retry=_ATTEMPTS)


Where: TypeAlias = Source | Server


@asynccontextmanager
async def looking_at(where: Where) -> AsyncGenerator[Place]:
    """The place, for as long as one command needs it."""
    if isinstance(where, Server):
        async with where.connect() as client:
            yield OnServer(client)
    else:
        async with looking(where) as session:
            yield InStorage(session)


class InStorage:
    """The runs of a storage that this process opens."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.clock = session.clock
        self.decode = session.decode

    async def list_runs(self, where: RunFilter, *, cursor: str | None, limit: int) -> Page[Run]:
        return await self._session.service.list_runs(where, cursor=cursor, limit=limit)

    async def get_run(self, run_id: str, *, everything: bool = False) -> Run:
        del everything
        return await self._session.service.get_run(run_id)

    async def entries(self, run: Run) -> list[Entry]:
        return await read_entries(self._session, run)

    async def control(self, run_id: str, action: Action) -> RunStatus:
        return await self._session.service.control(run_id, action)

    async def notify(
        self, event_id: str, payload: Json, *, run_id: str | None, id: str | None, once: bool
    ) -> int:
        return await self._session.service.notify(event_id, payload, run_id=run_id, id=id, once=once)

    async def follow(self, run_id: str, display: Display) -> Run:
        return await follow(self._session, run_id, display)


class OnServer:
    """The runs that a server tells of."""

    def __init__(self, client: AsyncStepflowClient) -> None:
        self._client = client
        self.clock: Clock = SystemClock()

    def decode(self, payload: Payload) -> Json:
        found: Json = msgspec.json.decode(payload.data)
        return found

    async def list_runs(self, where: RunFilter, *, cursor: str | None, limit: int) -> Page[Run]:
        page = await self._client.list_runs(
            status=sorted(where.statuses),
            workflow=where.workflow_id,
            tags=where.tags,
            created_after=where.created_after,
            created_before=where.created_before,
            queue=where.queue,
            cursor=cursor,
            limit=limit,
        )
        return Page(items=[run_of(item) for item in page.items], next_cursor=page.next_cursor)

    async def get_run(self, run_id: str, *, everything: bool = False) -> Run:
        found = await self._client.get_run(run_id, full=True)
        run = run_of(found)
        if not everything or not found.steps_omitted:
            return run
        steps: list[StepView] = []
        cursor: str | None = None
        while True:
            page = await self._client.list_steps(run_id, cursor=cursor)
            steps.extend(step_of(step) for step in page.items)
            cursor = page.next_cursor
            if cursor is None:
                return structs.replace(run, steps=steps)

    async def entries(self, run: Run) -> list[Entry]:
        return entries_of(run)

    async def control(self, run_id: str, action: Action) -> RunStatus:
        client = self._client
        match action:
            case Action.CANCEL | Action.FORCE_CANCEL:
                done = await client.cancel(run_id, force=action is Action.FORCE_CANCEL)
            case Action.PAUSE:
                done = await client.pause(run_id)
            case Action.RESUME:
                done = await client.resume(run_id)
            case Action.RETRY:
                done = await client.retry(run_id)
            case Action.DELETE:
                done = await client.delete(run_id)
            case never:
                assert_never(never)
        return RunStatus(done.status)

    async def notify(
        self, event_id: str, payload: Json, *, run_id: str | None, id: str | None, once: bool
    ) -> int:
        return await self._client.notify(event_id, payload, run_id=run_id, id=id, once=once)

    async def follow(self, run_id: str, display: Display) -> Run:
        progress = Progress(run_of(await self._client.get_run(run_id)))
        display.changed(progress.run)
        async with self._client.stream(run_id, after="0") as events:
            async for event in events:
                entry = progress.take(event)
                if isinstance(entry, Ended):
                    progress.run = await self.get_run(run_id)  # its line tells the result
                display.changed(progress.run)
                if entry is not None:
                    display.happened(RunEvent(id=events.cursor or "", run_id=run_id, entry=entry))
                if isinstance(event, RunPaused):
                    run = await self.get_run(run_id)
                    if run.status is RunStatus.PAUSED:  # still, and not only once upon a time
                        break
        run = await self.get_run(run_id)
        display.changed(run)
        return run
