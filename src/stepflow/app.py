"""Stepflow: the app. It puts storage, workflows and worker together; everything public hangs on it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime
from functools import cached_property, partial
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from msgspec.structs import replace

from stepflow._engine.current import current_execution
from stepflow._engine.definition import Defined, WorkflowDefinition
from stepflow._engine.registry import Registry
from stepflow.auth.tokens import RunTokens, checked_lifetime, kept_run_tokens
from stepflow.clock import Clock, SystemClock
from stepflow.codecs.base import Codec
from stepflow.codecs.failures import ErrorRegistry
from stepflow.codecs.json import Values
from stepflow.durations import parse_duration
from stepflow.errors import (
    DefinitionError,
    InputError,
    NotDurableError,
    NotOpenError,
    SerializationError,
)
from stepflow.handles import RunHandle
from stepflow.hooks import Hook, Hooks
from stepflow.model.ids import check_id
from stepflow.model.pages import Page
from stepflow.model.runs import RunFilter
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run
from stepflow.primitives.waiting import EventAddress, event_address
from stepflow.settings import OpenOptions, StartOptions
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.storage.reopening import ReopenableStorage
from stepflow.storage.writes import Action
from stepflow.types import Duration
from stepflow.workflows import Workflow

if TYPE_CHECKING:
    from stepflow._runtime.surroundings import Surroundings
    from stepflow.opened import Opened
    from stepflow.service import Service
    from stepflow.sync import SyncStepflow

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

_DURABLE_VERBS = {
    "trigger": "await step.invoke(workflow, input), or step.start(...)",
    "notify": "await step.send_event(event_id, payload)",
    "result": "await step.invoke(workflow, input)",
    "cancel": "the ChildHandle that step.start(...) returns",
}


class Stepflow:
    """The workflows of an application, and the storage their runs live in.

    ``storage`` is a URL (``sqlite:///path``, ``memory://``) or a ``Storage``. ``workflows`` are definitions, or modules to collect
    them from. ``worker``: whether opening it starts a worker here; None is what ``STEPFLOW_WORKER`` says, else True. ``worker_name`` (or
    ``STEPFLOW_WORKER_NAME``) stays the same over restarts: a new worker of that name takes its predecessor's runs over at once.
    ``concurrency`` counts the runs in memory, ``threads`` the plain ``def`` steps at once. ``queues``: those the worker serves, or
    name → slots; None is every queue that its workflows name. ``codec`` wraps stored values (encryption, compression). ``errors`` are
    further exception classes that may be raised again as themselves. Ended runs are deleted after ``retention`` (None keeps them), events after
    ``event_retention``. ``lease`` is how long a lost worker's runs wait, ``grace`` how long a shutdown waits for running steps.
    ``hooks`` are called with every fact (``stepflow.hooks``).
    """

    def __init__(
        self,
        storage: str | Storage,
        *,
        workflows: Iterable[Defined | ModuleType] = (),
        worker: bool | None = None,
        worker_name: str | None = None,
        concurrency: int = 1000,
        queues: Sequence[str] | Mapping[str, int] | None = None,
        threads: int = 32,
        codec: Codec | Sequence[Codec] | None = None,
        errors: Iterable[type[Exception]] = (),
        retention: Duration | None = "30d",
        event_retention: Duration | None = "7d",
        lease: Duration = "30s",
        grace: Duration = "30s",
        hooks: Iterable[Hook] = (),
        clock: Clock | None = None,
    ) -> None:
        self._registry = Registry(workflows)
        self._storage: str | Storage = storage
        if isinstance(storage, str):
            first = open_storage(
                storage
            )  # an unknown scheme or a missing extra is told now, not when it opens
            if not first.durable:
                self._storage = first  # one memory for this app, however often it is opened
        self._values = Values(codec)
        self._errors = ErrorRegistry(self._registry.error_modules(), tuple(errors))
        self._hooks = Hooks(hooks)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._wants_worker = _wants_worker(worker)
        if concurrency < 1 or threads < 1:
            raise InputError("concurrency= and threads= must be at least 1")
        name = worker_name if worker_name is not None else os.environ.get("STEPFLOW_WORKER_NAME")
        self._options = OpenOptions(
            worker_name=None if name is None else check_id("worker name", name),
            queues=_queues(self._registry, queues, concurrency),
            concurrency=concurrency,
            threads=threads,
            retention=None if retention is None else parse_duration(retention),
            event_retention=None if event_retention is None else parse_duration(event_retention),
            lease=parse_duration(lease),
            grace=parse_duration(grace),
        )
        self._opened: Opened | None = None
        self._surroundings: Surroundings | None = None
        """Set by the simulator, before the app opens; None is the real machine."""

    # ================================================================ life
    async def __aenter__(self) -> Self:
        await self._open(worker=self._wants_worker)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        await self._close()

    def _serve_only(self, queues: Mapping[str, int] | None, concurrency: int | None) -> None:
        """Work on these queues (name → slots; all of the app's if None) with so many runs at once, as its process was told."""
        most = self._options.concurrency if concurrency is None else concurrency
        served = self._options.queues if queues is None else _queues(self._registry, queues, most)
        if served is not None:
            served = {name: min(slots, most) for name, slots in served.items()}
        self._options = replace(self._options, queues=served, concurrency=most)

    async def _open(self, *, worker: bool) -> None:
        from stepflow.opened import Opened  # noqa: PLC0415 - the runtime is loaded when an app opens, not with the library

        if self._opened is not None:
            raise NotOpenError("this app is open already; open it once, and pass it on")
        storage = open_storage(self._storage) if isinstance(self._storage, str) else self._storage
        options = self._options
        if not worker:
            options = replace(options, queues=None)
        opened = Opened(
            storage,
            self._registry,
            options,
            values=self._values,
            errors=self._errors,
            hooks=self._hooks,
            clock=self._clock,
            surroundings=self._surroundings,
        )
        await opened.open()
        self._opened = opened

    async def _close(self, *, now: bool = False) -> None:
        opened = self._opened
        if opened is not None:
            try:
                await opened.close(now=now)
            finally:
                self._opened = None

    def _shadow(self) -> Stepflow:
        """The same app, not open: for the thread behind ``app.sync``."""
        shadow = copy(self)
        shadow.__dict__.pop("sync", None)
        shadow._opened = None
        storage = self._storage
        if not isinstance(storage, str) and storage.durable:
            # A connection belongs to one event loop; and a URL that is shown has no password.
            shadow._storage = storage.reopened() if isinstance(storage, ReopenableStorage) else storage.url
        return shadow

    async def serve_forever(self) -> None:
        """Work until SIGTERM or SIGINT, then return: leaving ``async with app`` shuts down. A second signal ends steps at once."""
        self._service("serve_forever")
        opened = self._opened
        assert opened is not None
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def stop() -> None:
            if told.is_set():
                opened.hurry()
            told.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
            opened.at_close(
                partial(loop.remove_signal_handler, number)
            )  # not before: the second signal may come
        await told.wait()

    def _service(self, verb: str) -> Service:
        if current_execution() is not None:
            hint = _DURABLE_VERBS.get(verb, "a step that calls it")
            raise NotDurableError(f"app.{verb}() would not be replayed inside a workflow; use {hint} there")
        if self._opened is None:
            raise NotOpenError(
                f"app.{verb}() was called while the app is not open; use it inside `async with app:`"
            )
        return self._opened.service

    # ================================================================ starting
    @overload
    async def trigger(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
        connection: Any = None,
    ) -> RunHandle[Out]: ...
    @overload
    async def trigger(
        self,
        workflow: Workflow[In, Out],
        input: In,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
        connection: Any = None,
    ) -> RunHandle[Out]: ...
    @overload
    async def trigger(
        self,
        workflow: str,
        input: object = None,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
        connection: Any = None,
    ) -> RunHandle[Any]: ...
    async def trigger(
        self,
        workflow: Any,
        input: Any = None,
        /,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
        connection: Any = None,
    ) -> RunHandle[Any]:
        """Start a run; returns once it is durable.

        The same ``id`` or ``idempotency_key`` again gives the same run (``run.created`` is False);
        ``RunConflictError`` if it belongs to another workflow or input. ``delay`` or ``at`` start it later; among those that wait in a ``queue``,
        a higher ``priority`` goes first. ``InputError`` if the input does not fit the workflow: then nothing was stored.

        ``connection``: write it in the transaction that is open on this connection of yours to the same database (asyncpg, psycopg,
        SQLAlchemy; sqlite3 on SQLite): the run is there once you commit, and never if you roll back.
        """
        service = self._service("trigger")
        definition = self._definition(workflow)
        started = await service.start(
            definition,
            input,
            StartOptions(
                id=id,
                idempotency_key=idempotency_key,
                delay=None if delay is None else parse_duration(delay),
                at=at,
                tags=tags,
                priority=priority,
                queue=queue,
            ),
            connection=connection,
        )
        if started.created and connection is None and self._opened is not None:
            self._opened.check_queue(definition.queue if queue is None else queue)
        return RunHandle(self._service, started.run_id, definition.types.output, created=started.created)

    def _definition(self, workflow: Any) -> WorkflowDefinition:
        if isinstance(workflow, Defined):
            definition = workflow.definition
            if self._registry.find(definition.id) is not definition:
                self._registry.get(definition.id)  # unknown: says so
                raise DefinitionError(
                    f"another workflow is registered as {definition.id!r}; give one of them another id"
                )
            return definition
        return self._registry.get(workflow)

    @overload
    def handle(self, run_id: str, workflow: Workflow[Any, Out], /) -> RunHandle[Out]: ...
    @overload
    def handle(self, run_id: str, /) -> RunHandle[Any]: ...
    def handle(self, run_id: str, workflow: Any = None, /) -> RunHandle[Any]:
        """A handle for a run that was started anywhere; no I/O."""
        type_ = Any if workflow is None else workflow.definition.types.output
        return RunHandle(self._service, check_id("run id", run_id), type_)

    # ================================================================ events
    async def notify(
        self,
        event: str | EventAddress[T],
        payload: object = None,
        /,
        *,
        run_id: str | None = None,
        id: str | None = None,
        once: bool = False,
        connection: Any = None,
    ) -> int:
        """Send an event; durable when it returns. Returns how many runs are waiting for it now.

        It reaches every run that was triggered before it and waits for it now or later; with ``run_id``, that run only. The
        same ``id`` twice is once. ``once``: the first one wins, a later one raises ``EventConflictError``.

        ``connection``: send it with the transaction that is open on this connection of yours, as for ``trigger``. On PostgreSQL it gets its
        place in the order of events after your commit; until then nobody knows whom it concerns, so it returns 0, and an event that
        turns out to be second, or addressed to a run that is gone, is dropped with a warning in the log.
        """
        service = self._service("notify")
        event_id, type_ = event_address(event)
        if type_ is not None:
            self._check_payload(event_id, payload, type_)
        return await service.notify(event_id, payload, run_id=run_id, id=id, once=once, connection=connection)

    def _check_payload(self, event_id: str, payload: object, type_: Any) -> None:
        try:
            encoded = self._values.encode(payload, what=f"the payload of event {event_id!r}")
            self._values.decode(encoded, type_)
        except SerializationError:
            raise
        except ValueError as error:
            raise InputError(f"the payload of event {event_id!r} does not fit: {error}") from error

    # ================================================================ operations
    async def get_run(self, run_id: str, /) -> Run:
        """The run with its steps; ``RunNotFoundError``."""
        return await self._service("get_run").get_run(run_id)

    async def list_runs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        workflow: str | Workflow[Any, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        queue: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Run]:
        """Runs, newest first, without their steps. ``cursor`` is the former page's ``next_cursor``."""
        if not 1 <= limit <= 500:
            raise InputError(f"limit={limit}: 1 to 500")
        where = RunFilter(
            statuses=_statuses(status),
            workflow_id=workflow.id if isinstance(workflow, Workflow) else workflow,
            tags=dict(tags or {}),
            created_after=created_after,
            created_before=created_before,
            queue=queue,
        )
        return await self._service("list_runs").list_runs(where, cursor=cursor, limit=limit)

    async def cancel(self, run_id: str, /, *, force: bool = False) -> None:
        """Ask the run to end: ``CancelledError`` is raised in it. ``force``: it is ended in the storage, at once."""
        action = Action.FORCE_CANCEL if force else Action.CANCEL
        await self._service("cancel").control(run_id, action)

    async def pause(self, run_id: str, /) -> None:
        """Nothing new starts in the run; steps that run are recorded. Events and timers are kept."""
        await self._service("pause").control(run_id, Action.PAUSE)

    async def resume(self, run_id: str, /) -> None:
        """A paused run goes on."""
        await self._service("resume").control(run_id, Action.RESUME)

    async def retry(self, run_id: str, /) -> None:
        """A failed or cancelled run begins again from the top; what succeeded in it is not done again."""
        await self._service("retry").control(run_id, Action.RETRY)

    async def delete(self, run_id: str, /) -> None:
        """Forget an ended or paused run."""
        await self._service("delete").control(run_id, Action.DELETE)

    async def create_run_token(
        self,
        run_id: str,
        /,
        *,
        expires: Duration = "24h",
        notify: Iterable[str | EventAddress[Any]] = (),
        secret: str | bytes | Sequence[str | bytes] | None = None,
    ) -> str:
        """A token for a page: the right to read and follow this run over HTTP, and to send it the events named in ``notify``.

        It is valid for ``expires``, at most a week. Servers that read the same storage accept it; ``secret`` is the ``run_token_secret=``
        that they were given, if they were. ``RunNotFoundError``, ``InputError``.
        """
        service = self._service("create_run_token")
        lifetime = checked_lifetime("expires", expires)
        record = await service.record(check_id("run id", run_id))
        tokens = await kept_run_tokens(service.storage) if secret is None else RunTokens(secret)
        events = [event_address(event)[0] for event in notify]
        token, _ = tokens.issue(record.id, service.clock.now(), events=events, lifetime=lifetime)
        return token

    @cached_property
    def sync(self) -> SyncStepflow:
        """The same methods, blocking: for Flask views, Django and scripts. Never starts a worker."""
        from stepflow.sync import SyncStepflow  # noqa: PLC0415 - it builds on this module

        return SyncStepflow(self)

    @property
    def workflows(self) -> Sequence[str]:
        """The ids of the registered workflows."""
        return sorted(definition.id for definition in self._registry)


def _wants_worker(worker: bool | None) -> bool:
    if worker is not None:
        return worker
    said = os.environ.get("STEPFLOW_WORKER", "").strip().lower()
    if said in ("", "1", "true", "yes", "on"):
        return True
    if said in ("0", "false", "no", "off"):
        return False
    raise InputError(f"STEPFLOW_WORKER={said!r}: 1 or 0")


def _queues(
    registry: Registry, queues: Sequence[str] | Mapping[str, int] | None, concurrency: int
) -> Mapping[str, int]:
    if queues is None:
        return dict.fromkeys(sorted(registry.queues | {"default"}), concurrency)
    if isinstance(queues, str):
        raise InputError(f"queues={queues!r}: a list of names, or name → slots")
    slots = dict(queues) if isinstance(queues, Mapping) else dict.fromkeys(queues, concurrency)
    for name, count in slots.items():
        check_id("queue", name)
        if count < 1:
            raise InputError(f"queues={{{name!r}: {count}}}: a queue has at least one slot")
    return slots


def _statuses(status: str | Iterable[str] | None) -> frozenset[RunStatus]:
    if status is None:
        return frozenset()
    names = [status] if isinstance(status, str) else list(status)
    try:
        return frozenset(RunStatus(name) for name in names)
    except ValueError:
        raise InputError(f"status={status!r}: of {', '.join(RunStatus)}") from None
