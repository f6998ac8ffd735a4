"""Records: what an execution is told of its run, and what it reports back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from stepflow._engine.commands import Command, Outcome
from stepflow.model.journal import Entry
from stepflow.model.payloads import NULL, Payload
from stepflow.types import RunId


class RunFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an execution knows of its run beside the journal."""

    run_id: RunId
    workflow_id: str
    input: Payload = NULL
    attempt: int = 1
    created_pos: int = 0
    created_at: datetime | None = None
    depth: int = 0
    started_at: datetime | None = None
    timeout: timedelta | None = None
    input_type: Any = Any


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that workflow code logged, held back until what caused it is durable."""

    level: int
    message: str
    args: tuple[Any, ...]
    extra: dict[str, Any] | None = None


class Advance:
    """What came of delivering entries.

    ``accepted`` are those that were delivered (the rest are dropped and must not be journaled); ``commands`` what the code
    newly asks for; ``withdrawn`` what it gave up, of what was handed out before; ``cancels`` are child runs to cancel.
    Made for every entry of every run: what is mostly empty is no list until there is something in it.
    """

    __slots__ = ("accepted", "cancels", "commands", "logs", "outcome", "withdrawn")

    def __init__(self) -> None:
        self.accepted: list[Entry] = []
        self.commands: list[Command] = []
        self.withdrawn: Sequence[Command] = ()
        self.cancels: Sequence[RunId] = ()
        self.logs: Sequence[LogLine] = ()
        self.outcome: Outcome | None = None

    def __bool__(self) -> bool:
        rest = self.withdrawn or self.cancels or self.logs
        return bool(self.accepted or self.commands or rest or self.outcome is not None)

    def withdraw(self, command: Command) -> None:
        if not isinstance(self.withdrawn, list):
            self.withdrawn = []
        self.withdrawn.append(command)

    def cancel(self, child_id: RunId) -> None:
        if not isinstance(self.cancels, list):
            self.cancels = []
        self.cancels.append(child_id)

    def log(self, line: LogLine) -> None:
        if not isinstance(self.logs, list):
            self.logs = []
        self.logs.append(line)
