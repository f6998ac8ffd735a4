"""Service: the use cases. What the app, the command line, HTTP and tests call; no wiring, no framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from stepflow._engine.current import others_are_kept_out
from stepflow._engine.definition import WorkflowDefinition
from stepflow._engine.registry import Registry
from stepflow._runtime.attention import Attention
from stepflow._runtime.committer import Committer
from stepflow._runtime.following import End, Follower
from stepflow._runtime.journal_stream import parse_cursor, stream_journal
from stepflow.clock import Clock
from stepflow.codecs.json import Values
from stepflow.errors import (
    EventConflictError,
    InputError,
    NotTransactionalError,
    OperationRefusedError,
    ResultTimeoutError,
    RunCancelledError,
    RunConflictError,
    RunFailedError,
    RunNotFoundError,
    RunPausedError,
    WouldDeadlockError,
)
from stepflow.failpoints import failpoint
from stepflow.hooks import EventSent, Hooks, RunCreated
from stepflow.model.events import NewEvent
from stepflow.model.folding import fold_steps
from stepflow.model.ids import IdMaker, check_event_id, check_id, check_run_id, is_text
from stepflow.model.journal import Entry
from stepflow.model.pages import Page
from stepflow.model.runs import NewRun, RunFilter, RunRecord
from stepflow.model.states import RunStatus
from stepflow.model.steps import Run, RunEvent
from stepflow.settings import StartOptions, checked_key, checked_priority, checked_tags, due_at
from stepflow.storage import writes
from stepflow.storage.base import Storage
from stepflow.storage.transactions import TransactionalStorage
from stepflow.storage.writes import Action, Outcome
from stepflow.types import EventId, RunId


class Starter(Protocol):
    """A worker in this process, which may begin a new run at once."""

    def can_start(self, workflow_id: str, queue: str) -> bool: ...
    def start_here(self, run: NewRun) -> asyncio.Future[Outcome]: ...

    def ending(self, run_id: RunId) -> Callable[[], None]:
        """What to call when the run has been ended in the storage, whatever it does here now. If it comes here anew meanwhile, it goes on."""
        ...


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """``created`` is False if the same id or idempotency key had been used for the same thing before."""

    run_id: RunId
    created: bool


class Service:
    """Every method is durable when it returns, and safe to call from any process that opens the storage."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        *,
        clock: Clock,
        values: Values,
        committer: Committer,
        follower: Follower,
        attention: Attention,
        ids: IdMaker,
        hooks: Hooks,
        starter: Callable[[], Starter | None],
        written_within: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._registry = registry
        self._clock = clock
        self._values = values
        self._committer = committer
        self._follower = follower
        self._attention = attention
        self._ids = ids
        self._hooks = hooks
        self._starter = starter
        self._written_within = written_within

    # ================================================================ starting
    async def start(
        self, definition: WorkflowDefinition, input: Any, options: StartOptions, *, connection: Any = None
    ) -> Started:
        """Start a run. ``RunConflictError`` if its id or key belongs to another workflow or input.

        ``connection``: one of the caller's own, whose transaction it takes part in.
        """
        run = self._new_run(definition, input, options)
        if options.id is not None:
            self._follower.forget(run.id)  # another run may have had this id, and been deleted somewhere else
        if connection is None:
            outcome = await self._create(run)
        else:
            outcome = await self._write_within(connection, writes.CreateRun(run=run))
        failpoint("start.after_write")
        match outcome:
            case writes.Created():
                return Started(run_id=run.id, created=True)
            case writes.Existing(run=existing):
                return Started(run_id=existing.id, created=False)
            case writes.Conflict(run=existing) if self._same_start(existing, run):
                return Started(run_id=existing.id, created=False)
            case writes.Conflict(run=existing, reason=reason):
                raise RunConflictError(existing.id, reason)
            case _:
                raise AssertionError(f"{outcome!r} is no outcome of a creation")

    def _same_start(self, existing: RunRecord, run: NewRun) -> bool:
        """Whether a conflict is none: an encrypting codec never gives the same bytes twice."""
        return existing.workflow_id == run.workflow_id and self._values.same(existing.input, run.input)

    async def _write_within(self, connection: Any, write: writes.CreateRun | writes.SendEvent) -> Outcome:
        storage = self._storage
        if not isinstance(storage, TransactionalStorage):
            raise NotTransactionalError(
                f"connection= was given, but {storage.url} has no transactions of yours to join; sqlite:///FILE and postgresql://… have"
            )
        outcome = await storage.write_within(connection, write, now=self._clock.now())
        self._written_within()
        return outcome

    async def _create(self, run: NewRun) -> Outcome:
        _check_not_kept_out("trigger")
        starter = self._starter()
        if (
            starter is not None
            and run.due_at <= run.created_at
            and starter.can_start(run.workflow_id, run.queue)
        ):
            return await starter.start_here(run)
        outcome = await self._committer.write(writes.CreateRun(run=run))
        if self._hooks and isinstance(outcome, writes.Created):
            self._hooks.tell(
                RunCreated(at=run.created_at, run_id=run.id, workflow_id=run.workflow_id, queue=run.queue)
            )
        return outcome

    def _new_run(self, definition: WorkflowDefinition, input: Any, options: StartOptions) -> NewRun:
        if options.id is not None and options.idempotency_key is not None:
            raise InputError("give id= or idempotency_key=, not both")
        now = self._clock.now()
        return NewRun(
            id=self._new_id(now) if options.id is None else check_id("run id", options.id),
            workflow_id=definition.id,
            input=definition.encode_input(input, self._encode, self._values.decode),
            created_at=now,
            due_at=due_at(options, now),
            queue=definition.queue if options.queue is None else check_id("queue", options.queue),
            priority=checked_priority(options.priority),
            tags=checked_tags(options.tags or {}),
            idempotency_key=checked_key(options.idempotency_key),
            version=definition.version,
        )

    def _new_id(self, now: datetime) -> RunId:
        return self._ids.next("run_", int(now.timestamp() * 1000))

    def _encode(self, value: Any, what: str) -> Any:
        return self._values.encode(value, what=what)

    # ================================================================ reading
    async def record(self, run_id: RunId) -> RunRecord:
        """The run as it is stored; ``RunNotFoundError``."""
        # An embedded store answers without waiting; whoever asks again and again must not hold up what he asks about.
        await asyncio.sleep(0)
        run = await self._storage.get_run(check_run_id(run_id))
        if run is None:
            raise RunNotFoundError(run_id)
        return run

    async def get_run(self, run_id: RunId) -> Run:
        """The run with its steps."""
        record = await self.record(run_id)
        entries = [
            entry
            for row in await self._storage.read_journal(run_id, after=record.first_seq - 1)
            for entry in row.entries
        ]
        return self.view(record, entries)

    def view(self, record: RunRecord, entries: Sequence[Entry] = ()) -> Run:
        """The record as people look at it; without entries it has no steps."""
        return Run(
            id=record.id,
            workflow_id=record.workflow_id,
            status=record.status,
            input=self._values.json(record.input),
            output=None if record.output is None else self._values.json(record.output),
            error=record.failure,
            attempt=record.attempt,
            created_at=record.created_at,
            started_at=record.started_at,
            ended_at=record.ended_at,
            wake_at=record.due_at,
            waits=record.waits,
            queue=record.queue,
            priority=record.priority,
            version=record.version,
            parent=record.parent,
            pause_reason=record.pause_reason,
            pause_detail=record.pause_detail,
            seq=record.seq,
            tags=record.tags,
            steps=fold_steps(entries, record.waits),
        )

    async def list_runs(self, where: RunFilter, *, cursor: str | None = None, limit: int = 50) -> Page[Run]:
        """Newest first; the items have no steps."""
        page = await self._storage.list_runs(where, cursor=cursor, limit=limit)
        return Page(items=[self.view(record) for record in page.items], next_cursor=page.next_cursor)

    # ================================================================ results
    async def result(self, run_id: RunId, type_: Any, *, timeout: timedelta | None) -> Any:
        """The run's output, decoded as ``type_``, once it has one; see ``RunHandle.result`` for what it raises."""
        if timeout is None:
            end = await self._follower.wait(check_run_id(run_id))
        elif not timeout:
            end = await self._end_now(run_id)
        else:
            end = await self._end_within(run_id, timeout)
        return self._answer(run_id, end, type_)

    async def _end_within(self, run_id: RunId, timeout: timedelta) -> End:
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await self._follower.wait(check_run_id(run_id))
        except TimeoutError:
            raise ResultTimeoutError(run_id, timeout.total_seconds()) from None

    async def _end_now(self, run_id: RunId) -> End:
        run = await self.record(run_id)
        if not run.status.ended and run.status is not RunStatus.PAUSED:
            raise ResultTimeoutError(run_id, 0)
        return End(run.status, output=run.output, failure=run.failure, detail=run.pause_detail)

    def _answer(self, run_id: RunId, end: End, type_: Any) -> Any:
        match end.status:
            case RunStatus.COMPLETED:
                assert end.output is not None
                return self._values.decode(end.output, type_)
            case RunStatus.FAILED:
                assert end.failure is not None
                raise RunFailedError(
                    run_id,
                    type=end.failure.type,
                    message=end.failure.message,
                    traceback=end.failure.traceback,
                )
            case RunStatus.CANCELLED:
                raise RunCancelledError(run_id)
            case _:
                raise RunPausedError(run_id, end.detail)

    def events(self, run_id: RunId, *, after: str | None = None) -> AsyncIterator[RunEvent]:
        """The run's journal as it grows, without gap, until the run has ended."""
        return stream_journal(self._storage, self._follower, run_id, parse_cursor(after), record=self.record)

    # ================================================================ events
    async def notify(
        self,
        event_id: EventId,
        payload: Any = None,
        *,
        run_id: RunId | None = None,
        id: str | None = None,
        once: bool = False,
        connection: Any = None,
    ) -> int:
        """Send an event; returns how many runs wait for it now. The same ``id`` twice is once."""
        now = self._clock.now()
        dedup_id = id if id is not None else self._ids.next("evt_", int(now.timestamp() * 1000))
        if id is not None and not is_text(id, 200):
            raise InputError("the id of an event must be 1 to 200 characters long")
        if run_id is not None:
            check_run_id(run_id)
        event = NewEvent(
            event_id=check_event_id(event_id),
            payload=self._values.encode(payload, what=f"the payload of event {event_id!r}"),
            run_id=run_id,
            dedup_id=dedup_id,
            once=once,
        )
        failpoint("event.before_write")
        if connection is None:
            _check_not_kept_out("notify")
            outcome = await self._committer.write(writes.SendEvent(event=event))
        else:
            outcome = await self._write_within(connection, writes.SendEvent(event=event))
        failpoint("event.after_write")
        match outcome:
            case writes.Sent(woken=woken):
                if self._hooks and connection is None:
                    self._hooks.tell(EventSent(at=now, event_id=event_id, run_id=run_id))
                return len(woken)
            case writes.Duplicate(event=first, once_lost=lost):
                if lost:
                    raise EventConflictError(event_id, self._values.json(first.payload))
                return 0
            case writes.Undeliverable(status=status):
                assert run_id is not None
                if status is None:
                    raise RunNotFoundError(run_id)
                raise OperationRefusedError(run_id, "notify", status.value)
            case _:
                raise AssertionError(f"{outcome!r} is no outcome of an event")

    # ================================================================ operations
    async def control(self, run_id: RunId, action: Action) -> RunStatus:
        """Do ``action``, or ask the run's owner for it; returns the run's status now."""
        check_run_id(run_id)
        _check_not_kept_out(action.value)
        starter = self._starter()
        ended = starter.ending(run_id) if action is Action.FORCE_CANCEL and starter is not None else None
        outcome = await self._committer.write(writes.ControlRun(run_id=run_id, action=action))
        match outcome:
            case writes.Controlled(status=status):
                if action in (Action.DELETE, Action.RETRY):
                    self._follower.forget(run_id)
                if ended is not None:
                    ended()
                self._follower.hint(run_id)
                return status
            case writes.Refused(status=status, reason=reason):
                raise OperationRefusedError(run_id, action.value, status.value, reason)
            case writes.Gone():
                raise RunNotFoundError(run_id)
            case _:
                raise AssertionError(f"{outcome!r} is no outcome of an operation")

    @property
    def registry(self) -> Registry:
        return self._registry

    # ================================================================ what HTTP is made of
    @property
    def storage(self) -> Storage:
        return self._storage

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def values(self) -> Values:
        return self._values

    @property
    def follower(self) -> Follower:
        return self._follower

    @property
    def attention(self) -> Attention:
        return self._attention

    def new_event_id(self) -> str:
        """An ``id`` for ``notify`` that nobody has used."""
        return self._ids.next("evt_", int(self._clock.now().timestamp() * 1000))


def _check_not_kept_out(verb: str) -> None:
    if others_are_kept_out():
        raise WouldDeadlockError(
            f"app.{verb}() inside transaction() would wait for the end of that very transaction: it has the file's only writer. "
            "Give trigger and notify connection=…, what `async with transaction()` handed out; do anything else before or after the step"
        )
