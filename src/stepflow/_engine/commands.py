"""Commands: what workflow code asks of the world, and how each one matches what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec

from stepflow.model.payloads import Payload
from stepflow.retry import Retry
from stepflow.types import EventId, RunId, StepKey


class StepOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a step is run. ``executor`` is "thread", "process", "inline" or an Executor; for coroutines unused."""

    retry: Retry = msgspec.field(default_factory=Retry)
    timeout: timedelta | None = None
    at_most_once: bool = False
    executor: Any = "thread"


class _Asked(msgspec.Struct, kw_only=True, eq=False):
    """Common to all: ``order`` counts the commands of a run as they were asked; ``handed`` once given out."""

    key: StepKey
    name: str
    order: int = 0
    handed: bool = False
    future: asyncio.Future[Any] | None = None


class RunStep(_Asked, kw_only=True, eq=False):
    """Run a step's body. ``function`` is ``module:qualname``; ``body`` may return an awaitable.

    ``encode`` and ``decode`` turn its result into a payload and back; ``rebuild`` a failure into what is raised.
    ``attempts`` are the failed ones recorded so far, ``retry_at`` when the next may begin; ``intended``: an
    at-most-once step's intent is recorded.
    """

    function: str
    body: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    options: StepOptions
    result_type: Any = Any
    attempts: int = 0
    retry_at: datetime | None = None
    intended: bool = False


class StartTimer(_Asked, kw_only=True, eq=False):
    """Fire at ``deadline``. ``delay`` is what was asked for, in microseconds; ``sleep``: a durable sleep."""

    deadline: datetime
    delay: int
    sleep: bool
    handle: asyncio.TimerHandle | None = None


class WaitForEvent(_Asked, kw_only=True, eq=False):
    """Wait for the first event after ``after`` and the run's cursor; ``deadline`` None is for ever."""

    event_id: EventId
    after: int
    timeout: timedelta | None
    deadline: datetime | None
    result_type: Any = Any


class StartChild(_Asked, kw_only=True, eq=False):
    """Create a child run; resolved with its id."""

    workflow_id: str
    input: Payload
    detached: bool
    queue: str | None = None
    child_id: RunId = ""


class AwaitChild(_Asked, kw_only=True, eq=False):
    """Wait for the end of an attached child; resolved with ``(status, value, failure)``."""

    child_id: RunId
    workflow_id: str
    start_key: StepKey
    result_type: Any = Any


class SendEvent(_Asked, kw_only=True, eq=False):
    """Send an event, exactly once."""

    event_id: EventId
    payload: Payload
    run_id: RunId | None


Command: TypeAlias = RunStep | StartTimer | WaitForEvent | StartChild | AwaitChild | SendEvent


# ------------------------------------------------------------------ how an execution may end
class ContinueSignal(BaseException):
    """Unwinds the workflow for ``continue_as``; nothing that says ``except Exception`` can swallow it."""

    def __init__(self, input: Payload) -> None:
        super().__init__()
        self.input = input


class Returned(msgspec.Struct, frozen=True):
    """Main returned ``value``."""

    value: Any


class Raised(msgspec.Struct, frozen=True):
    """Main raised ``error``."""

    error: BaseException


class WasCancelled(msgspec.Struct, frozen=True):
    """A cancel was requested, and ``CancelledError`` escaped main."""


class TimedOut(msgspec.Struct, frozen=True):
    """The run's timeout passed, and main has ended since."""


class ContinueAs(msgspec.Struct, frozen=True):
    """Main asked for a fresh journal with this input."""

    input: Payload


class Diverged(msgspec.Struct, frozen=True):
    """Code and journal disagree: the run can't go on until somebody mends it."""

    detail: str


class Undecodable(msgspec.Struct, frozen=True):
    """A recorded value or failure can't be turned into what the code asks for."""

    detail: str


Outcome: TypeAlias = Returned | Raised | WasCancelled | TimedOut | ContinueAs | Diverged | Undecodable
