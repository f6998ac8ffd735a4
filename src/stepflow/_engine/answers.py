"""Answers: what a journal entry does to the command it belongs to."""

from __future__ import annotations

from typing import Any, assert_never

from stepflow._engine.asking import Asking
from stepflow._engine.commands import AwaitChild, Command, RunStep, StartTimer, WaitForEvent
from stepflow._engine.divergence import KeyedEntry
from stepflow._engine.mailbox import child_event
from stepflow.errors import EventTimeoutError, StepInterruptedError
from stepflow.model.journal import (
    AttemptFailed,
    ChildEnded,
    ChildStarted,
    EventReceived,
    EventSent,
    EventTimedOut,
    StepCompleted,
    StepFailed,
    StepIntended,
    StepInterrupted,
    TimerFired,
)


def answer(run: Asking, entry: KeyedEntry, command: Command) -> None:
    """Deliver ``entry`` to ``command``, which it agrees with; raises ``DeserializationError``, then nothing was delivered."""
    match entry:
        case StepCompleted():
            assert isinstance(command, RunStep)
            value = run.decode(entry.value, command.result_type)
            run.move(entry.at)
            _resolve(run, command, value)
        case StepFailed():
            error = run.rebuild(entry.failure)
            run.move(entry.at)
            _reject(run, command, error)
        case StepInterrupted():
            run.move(entry.at)
            _reject(
                run,
                command,
                StepInterruptedError(
                    f"step {command.name!r} was interrupted and is at_most_once: it may or may not have taken effect"
                ),
            )
        case AttemptFailed():
            assert isinstance(command, RunStep)
            command.attempts = entry.attempt
            command.retry_at = entry.retry_at
        case StepIntended():
            assert isinstance(command, RunStep)
            command.intended = True
        case TimerFired():
            assert isinstance(command, StartTimer)
            run.move(entry.at)
            if command.handle is None:
                _resolve(run, command, None)
            else:
                run.lookup.answered(command)
                run.timer_fired(command)
        case EventReceived():
            assert isinstance(command, WaitForEvent)
            value = run.decode(entry.payload, command.result_type)
            run.move(entry.at)
            run.mailbox.received(entry.event_id, entry.pos)
            run.mailbox.remove(command)
            _resolve(run, command, value)
        case EventTimedOut():
            assert isinstance(command, WaitForEvent)
            assert command.timeout is not None
            run.move(entry.at)
            run.mailbox.remove(command)
            _reject(run, command, EventTimeoutError(command.event_id, command.timeout.total_seconds()))
        case ChildStarted():
            run.move(entry.at)
            _resolve(run, command, entry.child_id)
        case EventSent():
            run.move(entry.at)
            _resolve(run, command, None)
        case ChildEnded():
            _child_ended(run, entry)
            run.move(entry.at)
        case never:
            assert_never(never)


def note_unasked(run: Asking, entry: KeyedEntry) -> None:
    """An entry is set aside: an event that it consumed stays consumed."""
    if isinstance(entry, EventReceived):
        run.mailbox.received(entry.event_id, entry.pos)
    elif isinstance(entry, ChildEnded):
        run.mailbox.received(child_event(entry.child_id), entry.pos)


def _child_ended(run: Asking, entry: ChildEnded) -> None:
    """All who wait for the child hear it at once, and whoever asks later too: its end is told once only."""
    waiters = [waiter for waiter in run.mailbox.awaiting(entry.child_id) if isinstance(waiter, AwaitChild)]
    if entry.value is not None:
        for waiter in waiters:
            run.decode(
                entry.value, waiter.result_type
            )  # if one can't, the run is paused and nobody has heard
    result = (entry.status, entry.value, entry.failure)
    run.ended_children[entry.child_id] = result
    run.mailbox.received(child_event(entry.child_id), entry.pos)
    for waiter in waiters:
        run.mailbox.remove(waiter)
        _resolve(run, waiter, result)


def _resolve(run: Asking, command: Command, value: Any) -> None:
    run.lookup.answered(command)
    future = command.future
    assert future is not None
    if not future.done():  # else whoever asked cancelled it, and did not say so
        future.set_result(value)


def _reject(run: Asking, command: Command, error: BaseException) -> None:
    run.lookup.answered(command)
    future = command.future
    assert future is not None
    if not future.done():
        future.set_exception(error)
