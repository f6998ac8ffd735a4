"""Recorded against asked: do an entry and a command mean the same thing, and how to say that they don't."""

from __future__ import annotations

from typing import TypeAlias, assert_never

from stepflow._engine.commands import (
    AwaitChild,
    Command,
    RunStep,
    SendEvent,
    StartChild,
    StartTimer,
    WaitForEvent,
)
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

StepEntry: TypeAlias = StepCompleted | StepFailed | AttemptFailed | StepIntended | StepInterrupted
KeyedEntry: TypeAlias = (
    StepEntry | TimerFired | EventReceived | EventTimedOut | EventSent | ChildStarted | ChildEnded
)
KEYED = (
    StepCompleted,
    StepFailed,
    AttemptFailed,
    StepIntended,
    StepInterrupted,
    TimerFired,
    EventReceived,
    EventTimedOut,
    EventSent,
    ChildStarted,
    ChildEnded,
)
_STEP_ENTRIES = (StepCompleted, StepFailed, AttemptFailed, StepIntended, StepInterrupted)


def kind_of_entry(entry: KeyedEntry) -> tuple[str, str]:
    """What the entry is about: its kind, and what tells two of one kind apart."""
    match entry:
        case StepCompleted() | StepFailed() | AttemptFailed() | StepIntended() | StepInterrupted():
            return "step", _qualname(entry.function)
        case TimerFired():
            return ("sleep", "") if entry.sleep else ("timer", str(entry.delay))
        case EventReceived() | EventTimedOut():
            return "event", entry.event_id
        case EventSent():
            return "send", entry.event_id
        case ChildStarted():
            return "child", entry.workflow_id
        case ChildEnded():
            return "child-end", entry.workflow_id
        case never:
            assert_never(never)


def kind_of_command(command: Command) -> tuple[str, str]:
    """The same for what the code asks now."""
    match command:
        case RunStep():
            return "step", _qualname(command.function)
        case StartTimer():
            return ("sleep", "") if command.sleep else ("timer", str(command.delay))
        case WaitForEvent():
            return "event", command.event_id
        case SendEvent():
            return "send", command.event_id
        case StartChild():
            return "child", command.workflow_id
        case AwaitChild():
            return "child-end", command.workflow_id
        case never:
            assert_never(never)


def _qualname(function: str) -> str:
    """Without its module: a program that is run as ``__main__`` here is imported there, and functions move."""
    return function.rpartition(":")[2]


def agrees(entry: KeyedEntry, command: Command) -> bool:
    """Whether the entry can answer the command (their keys apart)."""
    if isinstance(command, RunStep):  # the hot path
        if not isinstance(entry, _STEP_ENTRIES):
            return False
        recorded, asked = entry.function, command.function
        return recorded == asked or _qualname(recorded) == _qualname(asked)
    return kind_of_entry(entry) == kind_of_command(command)


def is_other_timer(entry: KeyedEntry, command: Command) -> bool:
    """A plain asyncio timer with another delay is another timer, not a contradiction."""
    return (
        isinstance(entry, TimerFired)
        and isinstance(command, StartTimer)
        and not entry.sleep
        and not command.sleep
    )


_KINDS = {
    "step": "the step function",
    "sleep": "a sleep",
    "timer": "an asyncio timer of µs",
    "event": "a wait for the event",
    "send": "a send of the event",
    "child": "a start of the workflow",
    "child-end": "a wait for the end of a child of the workflow",
}


def _describe(kind: tuple[str, str]) -> str:
    return f"{_KINDS[kind[0]]} {kind[1]}".strip()


def contradiction(entry: KeyedEntry, command: Command) -> str:
    """Why the entry can't answer the command of the same key."""
    return (
        f"at {entry.key!r} the journal has {_describe(kind_of_entry(entry))}, "
        f"but the code now asks for {_describe(kind_of_command(command))}. "
        "Give the new one another name (or restore the old code) and resume the run, or cancel it"
    )


def ambiguity(entry: KeyedEntry, candidates: list[Command]) -> str:
    """Why a recorded entry can't be given to any of several commands of its kind and name."""
    asked = ", ".join(repr(command.key) for command in candidates)
    return (
        f"ambiguous: the journal has {_describe(kind_of_entry(entry))} at {entry.key!r}, where the code asks for "
        f"nothing now, and it could belong to any of {asked}. Restore the task names or give key=, and resume the run"
    )


def left_over(entries: list[KeyedEntry]) -> tuple[str, ...]:
    """One line for each recorded entry that the code did not ask for any more."""
    return tuple(
        f"- {entry.key}: {_describe(kind_of_entry(entry))}, recorded but not asked for any more"
        for entry in entries
    )


def may_be_renamed(entry: KeyedEntry, command: Command) -> bool:
    """The same in another scope, ordinal and member included: what a renamed or moved task leaves behind."""
    return entry.key.rpartition("/")[2] == command.key.rpartition("/")[2] and agrees(entry, command)
