"""Hooks: facts worth observing, as they happen in this process, and who is told of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

import msgspec

from stepflow.model.failures import Failure
from stepflow.model.states import PauseReason, RunStatus
from stepflow.types import EventId, RunId, StepKey, WorkerId

_log = logging.getLogger("stepflow.hooks")


class _Fact(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime


class _OfRun(_Fact, frozen=True, kw_only=True):
    run_id: RunId
    workflow_id: str


class _OfStep(_OfRun, frozen=True, kw_only=True):
    """``key`` is the step's place in its run, ``name`` what people call it; ``attempt`` counts from 1."""

    key: StepKey
    name: str
    attempt: int


# ------------------------------------------------------------------ runs
class RunCreated(_OfRun, frozen=True, kw_only=True):
    """The run is durable. Told where it was triggered, wherever it will execute."""

    queue: str = "default"


class RunStarted(_OfRun, frozen=True, kw_only=True):
    """The workflow function begins: the first time, or from the top again (``attempt`` over 1)."""

    attempt: int = 1


class RunResumed(_OfRun, frozen=True, kw_only=True):
    """The run goes on here after a suspension, or after it was taken over from a lost worker (``takeover``)."""

    takeover: bool = False


class RunSuspended(_OfRun, frozen=True, kw_only=True):
    """The run left its slot until ``wake_at``, or until one of the events ``waits_for`` comes."""

    wake_at: datetime | None = None
    waits_for: tuple[EventId, ...] = ()


class RunPaused(_OfRun, frozen=True, kw_only=True):
    """The run stands still until someone resumes or cancels it."""

    reason: PauseReason
    detail: str = ""


class RunRetried(_OfRun, frozen=True, kw_only=True):
    """The workflow function failed and will begin again at ``retry_at``; ``attempt`` is the one that failed."""

    attempt: int
    error: Failure
    retry_at: datetime


class RunEnded(_OfRun, frozen=True, kw_only=True):
    """The run completed, failed or was cancelled; ``duration`` is since its first start (None: it never started)."""

    status: RunStatus
    duration: timedelta | None = None
    error: Failure | None = None


# ------------------------------------------------------------------ steps
class StepStarted(_OfStep, frozen=True, kw_only=True):
    """An attempt's body begins. Never told for what is replayed from the journal."""


class StepFinished(_OfStep, frozen=True, kw_only=True):
    """The step is over and its outcome durable: ``error`` is None if it succeeded. ``duration`` is the last attempt's."""

    duration: timedelta
    error: Failure | None = None


class StepRetried(_OfStep, frozen=True, kw_only=True):
    """An attempt failed, and another one follows at ``retry_at``."""

    duration: timedelta
    error: Failure
    retry_at: datetime


# ------------------------------------------------------------------ events and workers
class EventSent(_Fact, frozen=True, kw_only=True):
    """An event is durable. ``run_id`` is the run it is addressed to, ``sender`` the run that sent it, if any."""

    event_id: EventId
    run_id: RunId | None = None
    sender: RunId | None = None


class WorkerStarted(_Fact, frozen=True, kw_only=True):
    """A worker registered and begins to claim runs."""

    worker_id: WorkerId
    name: str | None = None
    queues: tuple[str, ...] = ()


class WorkerStopped(_Fact, frozen=True, kw_only=True):
    """A worker gave its runs back and left. ``clean``: no step of its was cut off."""

    worker_id: WorkerId
    name: str | None = None
    clean: bool = True


StepFact: TypeAlias = StepStarted | StepFinished | StepRetried
RunFact: TypeAlias = RunCreated | RunStarted | RunResumed | RunSuspended | RunPaused | RunRetried | RunEnded
Fact: TypeAlias = RunFact | StepFact | EventSent | WorkerStarted | WorkerStopped


class Hook(Protocol):
    """Anything that can be called with a fact, a plain function too.

    It is called on the event loop, in the order in which things happen, so it must be quick and must not block: put into a queue what takes
    time. A fact may be told again after a crash, and one that happened right before a crash not at all: count on the journal, not on hooks.
    """

    def __call__(self, fact: Fact, /) -> None: ...


class Hooks:
    """Tells every hook every fact. A hook that raises is logged once, with its name, and disturbs nobody.

    An empty one is false, so that the hot path need not even make the fact: ``if hooks: hooks.tell(StepStarted(...))``.
    """

    __slots__ = ("_complained", "_hooks")

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._hooks = tuple(hooks)
        self._complained: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def add(self, hook: Hook) -> Callable[[], None]:
        """Tell this hook, too, from now on; what is returned takes it away again. Runs that are executed already may not notice."""
        self._hooks = (*self._hooks, hook)

        def remove() -> None:
            self._hooks = tuple(known for known in self._hooks if known is not hook)

        return remove

    def tell(self, fact: Fact) -> None:
        """Call every hook, in the order in which they were given. Never raises an ``Exception``."""
        for hook in self._hooks:
            try:
                hook(fact)
            except Exception:  # noqa: BLE001 - it is logged right below, with its traceback
                if id(hook) not in self._complained:
                    self._complained.add(id(hook))
                    _log.exception(
                        "the hook %s failed on %s; it goes on being called, and this is not logged again",
                        _name_of(hook),
                        type(fact).__name__,
                    )


def _name_of(hook: Hook) -> str:
    named = hook if hasattr(hook, "__qualname__") else type(hook)
    return f"{getattr(named, '__module__', '?')}.{getattr(named, '__qualname__', '?')}"
