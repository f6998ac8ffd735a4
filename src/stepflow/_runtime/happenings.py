"""Happenings: what comes to a run by itself. Children to create, events to send and to take, timers that are due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime

from stepflow._engine.commands import AwaitChild, RunStep, SendEvent, StartChild
from stepflow._engine.execution import Execution
from stepflow.clock import Clock
from stepflow.failpoints import failpoint
from stepflow.model.children import read_ended
from stepflow.model.events import Event, NewEvent
from stepflow.model.journal import (
    ChildEnded,
    ChildStarted,
    Entry,
    EventReceived,
    EventSent,
    StepInterrupted,
)
from stepflow.model.runs import NewRun, ParentLink
from stepflow.types import EventId

ChildQueue = Callable[[str], tuple[str, str | None]]
"""Workflow id → the queue for a child of it, and its version."""


class Happenings:
    """Makes the next entry out of what waits, one at a time, and collects the runs and events that it creates."""

    __slots__ = (
        "_child_queue",
        "_clock",
        "_commands",
        "_creates",
        "_execution",
        "_held",
        "_inbox",
        "_interrupted",
        "_sends",
    )

    def __init__(self, execution: Execution, clock: Clock, child_queue: ChildQueue) -> None:
        self._execution = execution
        self._clock = clock
        self._child_queue = child_queue
        # Most runs have none of these, and there are many runs: what is empty is no deque until something is put in.
        self._commands: deque[StartChild | SendEvent] | None = None
        self._inbox: deque[Event] | None = None
        self._interrupted: deque[RunStep] | None = None
        self._held: dict[EventId, list[Event]] | None = None
        """Events that came when nobody waited for their id any more: whoever waits next gets them, before any later one."""
        self._creates: list[NewRun] | None = None
        self._sends: list[NewEvent] | None = None

    def __bool__(self) -> bool:
        return bool(self._commands or self._inbox or self._interrupted)

    def ask(self, command: StartChild | SendEvent) -> None:
        """The workflow asks for something that this very write can do."""
        if self._commands is None:
            self._commands = deque()
        self._commands.append(command)

    def interrupted(self, command: RunStep) -> None:
        """An at-most-once step whose intent is recorded and whose result is not."""
        if self._interrupted is None:
            self._interrupted = deque()
        self._interrupted.append(command)

    def arrived(self, events: Iterable[Event]) -> None:
        """Events that were read for this run's waits, by position."""
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.extend(events)

    def next_entry(self) -> Entry | None:
        """The next thing that happens; deliver it before asking again."""
        execution = self._execution
        if self._held:
            self._put_back(self._held)
        if not (
            self._commands
            or self._interrupted
            or self._inbox
            or execution.timers.armed
            or execution.deadline is not None
        ):
            return None
        while self._commands:
            command = self._commands.popleft()
            if self._execution.lookup.is_pending(command):
                if isinstance(command, SendEvent):
                    return self._send(command)
                return self._create(command)
        if self._interrupted:
            step = self._interrupted.popleft()
            return StepInterrupted(key=step.key, function=step.function, at=self._now())
        while self._inbox:
            entry = self._receive(self._inbox.popleft())
            if entry is not None:
                failpoint("event.received")
                return entry
        due = self._execution.due_entry(self._clock.now())
        if due is not None:
            failpoint("timer.fired")
        return due

    def _hold(self, event: Event) -> None:
        """Nobody waits for it now. A later one of its id may be in the inbox, and must not be received in its stead."""
        if self._held is None:
            self._held = {}
        held = self._held.setdefault(event.event_id, [])
        if not held or held[-1].pos < event.pos:
            held.append(event)

    def _put_back(self, held: dict[EventId, list[Event]]) -> None:
        """Somebody waits for what was held: it comes first."""
        for event_id in [event_id for event_id in held if event_id in self._execution.mailbox.waits()]:
            if self._inbox is None:
                self._inbox = deque()
            self._inbox.extendleft(reversed(held.pop(event_id)))

    def take_created(self) -> tuple[tuple[NewRun, ...], tuple[NewEvent, ...]]:
        """The runs and events for the next write."""
        creates, sends = self._creates, self._sends
        if creates is None and sends is None:
            return (), ()
        self._creates = self._sends = None
        return tuple(creates or ()), tuple(sends or ())

    def _now(self) -> datetime:
        return self._execution.at(self._clock.now())

    def _send(self, command: SendEvent) -> Entry:
        if self._sends is None:
            self._sends = []
        self._sends.append(
            NewEvent(
                event_id=command.event_id,
                payload=command.payload,
                run_id=command.run_id,
                dedup_id=self._execution.digest_of_this_life("event", command.key),
            )
        )
        return EventSent(key=command.key, at=self._now(), event_id=command.event_id)

    def _create(self, command: StartChild) -> Entry:
        failpoint("child.before_create")
        at = self._now()
        run = self._execution
        child_id = run.child_id(command.key)
        queue, version = self._child_queue(command.workflow_id)
        if self._creates is None:
            self._creates = []
        self._creates.append(
            NewRun(
                id=child_id,
                workflow_id=command.workflow_id,
                input=command.input,
                created_at=at,
                due_at=at,
                queue=command.queue or queue,
                version=version,
                parent=ParentLink(
                    run_id=run.facts.run_id,
                    key=command.key,
                    detached=command.detached,
                    depth=run.facts.depth + 1,
                ),
            )
        )
        return ChildStarted(
            key=command.key,
            at=at,
            child_id=child_id,
            workflow_id=command.workflow_id,
            detached=command.detached,
        )

    def _receive(self, event: Event) -> Entry | None:
        mailbox = self._execution.mailbox
        taker = mailbox.taker(event.event_id, event.pos)
        if taker is None:
            if event.event_id not in mailbox.waits() and event.pos > mailbox.cursors.get(event.event_id, 0):
                self._hold(event)
            return None
        if not isinstance(taker, AwaitChild):
            return EventReceived(
                key=taker.key,
                at=self._now(),
                event_id=event.event_id,
                pos=event.pos,
                payload=event.payload,
            )
        status, value, failure = read_ended(event.payload)
        return ChildEnded(
            key=taker.key,
            at=self._now(),
            child_id=taker.child_id,
            workflow_id=taker.workflow_id,
            pos=event.pos,
            status=status,
            value=value,
            failure=failure,
        )
