"""Opening: a storage or an app, for as long as one command needs it. The only place here that knows an app's inside."""

# An app's own life cycle starts its worker by its settings; a command decides that itself, and has to read what the
# app's codecs wrote. So this one module reaches into Stepflow, and all others take a Session.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stepflow._engine.definition import WorkflowDefinition
from stepflow._runtime.worker import Worker
from stepflow.app import Stepflow
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.loading import load_app
from stepflow.clock import Clock
from stepflow.codecs.json import Values
from stepflow.errors import DeserializationError, UnknownWorkflowError
from stepflow.handles import RunHandle
from stepflow.hooks import Hook, Hooks
from stepflow.model.payloads import Payload
from stepflow.service import Service
from stepflow.storage.base import Storage
from stepflow.storage.sqlite.options import read_url
from stepflow.types import Json

T = TypeVar("T")
DEFAULT_STORAGE = "sqlite:///stepflow.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An open app, as the commands see it. ``worker`` is the one that works in this process, if any."""

    app: Stepflow
    service: Service
    storage: Storage
    clock: Clock
    worker: Worker | None

    def handle(self, run_id: str) -> RunHandle[Any]:
        return self.app.handle(run_id)

    async def close_now(self) -> None:
        """Close it without waiting for running steps: they run again elsewhere."""
        await self.app._close(now=True)

    def decode(self, payload: Payload) -> Json:
        """The value for people. One that an unknown codec wrote is named, so that the rest can still be shown."""
        try:
            return self.app._values.json(payload)
        except DeserializationError:
            return {"unreadable": payload.codec, "bytes": payload.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a command that needs no code finds its storage: a URL, or an app that knows it (and its codecs)."""

    url: str
    app_target: str | None = None

    @property
    def options(self) -> str:
        """What to add to another command, so that it looks in the same place. Never a password."""
        if self.app_target is not None:
            return f" --app {self.app_target}"
        if self.url == DEFAULT_STORAGE:
            return ""
        return f" --storage {self.url}" if "@" not in self.url else " --storage …"

    def make_app(self) -> Stepflow:
        if self.app_target is not None:
            return load_app(self.app_target).value
        return Stepflow(self.url, worker=False)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Perform a command's coroutine on an event loop of its own."""
    return asyncio.run(work)


@asynccontextmanager
async def opened(app: Stepflow, *, worker: bool, hooks: Iterable[Hook] = ()) -> AsyncGenerator[Session]:
    """The app, open, with or without a worker whatever its own settings say; ``hooks`` are told beside its own."""
    added = tuple(hooks)
    if added:
        app._hooks = Hooks((app._hooks.tell, *added))
    await app._open(worker=worker)
    inside = app._opened
    assert inside is not None
    try:
        yield Session(
            app=app, service=inside.service, storage=inside.storage, clock=inside.clock, worker=inside.worker
        )
    finally:
        await app._close()


@asynccontextmanager
async def looking(source: Source, *, create: bool = False) -> AsyncGenerator[Session]:
    """A storage to look into. Unless ``create``, one that is not there yet is an error, not an empty database."""
    app = source.make_app()
    url = storage_url(app)
    refuse_memory(url)
    if not create:
        refuse_missing(url)
    async with opened(app, worker=False) as session:
        yield session


def serve_only(app: Stepflow, queues: dict[str, int] | None, concurrency: int | None) -> None:
    """Let the app's worker serve these queues (all if None), with so many runs at once (as the app says if None)."""
    app._serve_only(queues, concurrency)


def storage_url(app: Stepflow) -> str:
    """The URL of the app's storage, as it was given; it may hold a password."""
    return app._storage if isinstance(app._storage, str) else app._storage.url


def values_of(session: Session) -> Values:
    """The app's codecs, which read what it wrote."""
    return session.app._values


def definitions_of(app: Stepflow) -> Iterable[WorkflowDefinition]:
    """All that the app has registered."""
    return app._registry


def definition_of(app: Stepflow, workflow_id: str) -> WorkflowDefinition:
    """The app's workflow of that id. An unknown one is told before anything is opened, with those that there are."""
    try:
        return app._registry.get(workflow_id)
    except UnknownWorkflowError as error:
        known = ", ".join(app.workflows) or "none"
        raise Stop(ExitCode.REFUSED, str(error), hint=f"the app's workflows: {known}") from error


def refuse_memory(url: str) -> None:
    """A storage in this process's memory holds nothing that another command put there."""
    if url.lower().startswith("memory:") or url.lower().startswith("sqlite:///:memory:"):
        raise Stop(
            ExitCode.USAGE,
            f"{url} lives in the memory of one process: there is nothing in it for another command",
            hint="give a durable storage, like --storage sqlite:///stepflow.db",
        )


def missing_database(url: str) -> Path | None:
    """The file that a ``sqlite:///`` URL names, if it does not exist."""
    if not url.lower().startswith("sqlite://"):
        return None
    path = read_url(f"sqlite{url[6:]}").path
    return path if path is not None and not path.exists() else None


def refuse_missing(url: str) -> None:
    missing = missing_database(url)
    if missing is not None:
        raise Stop(
            ExitCode.STORAGE,
            f"there is no database {missing}",
            hint="go to the folder that has it, or name it: --storage sqlite:///path/to.db (STEPFLOW_STORAGE)",
        )
