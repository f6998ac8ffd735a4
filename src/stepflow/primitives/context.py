"""Context: what code may know of the run, and of the step, that it is part of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec

from stepflow._engine.current import (
    StepRun,
    current_execution,
    current_step,
    emit,
    in_step,
    with_exception,
)
from stepflow._engine.execution import Execution
from stepflow.clock import SystemClock
from stepflow.errors import NotInRunError, NotInStepError
from stepflow.model.ids import stable_digest
from stepflow.types import RunId

_clock = SystemClock()


class StepContext(msgspec.Struct, frozen=True, kw_only=True):
    """The step whose body is running: its name and which attempt (from 1) this is.

    ``idempotency_key`` is the same for every attempt of this step in this run, and for no other step of any run: hand it to
    services that take one, and a repeated request does nothing twice.
    """

    name: str
    attempt: int
    idempotency_key: str


class RunLog:
    """Logs for the run, to the logger ``stepflow.run``: in a workflow silent during replay, so each line appears once.

    ``args`` are put into ``message`` with ``%``; ``extra`` become attributes of the log record, beside ``run_id`` and, in a step, ``step``.
    """

    __slots__ = ("_write",)

    def __init__(self, write: Callable[[int, str, tuple[Any, ...], dict[str, Any]], None]) -> None:
        self._write = write

    def debug(self, message: str, *args: Any, **extra: Any) -> None:
        self._write(logging.DEBUG, message, args, extra)

    def info(self, message: str, *args: Any, **extra: Any) -> None:
        self._write(logging.INFO, message, args, extra)

    def warning(self, message: str, *args: Any, **extra: Any) -> None:
        self._write(logging.WARNING, message, args, extra)

    def error(self, message: str, *args: Any, **extra: Any) -> None:
        self._write(logging.ERROR, message, args, extra)


class RunContext:
    """The run that this code is part of. ``attempt`` counts from 1 how often the workflow function was begun anew."""

    __slots__ = ("_input", "_step", "attempt", "id", "log", "started_at", "workflow_id")

    def __init__(
        self,
        *,
        id: RunId,
        workflow_id: str,
        attempt: int,
        started_at: datetime,
        input: Callable[[], Any],
        log: RunLog,
        step: StepContext | None,
    ) -> None:
        self.id = id
        self.workflow_id = workflow_id
        self.attempt = attempt
        self.started_at = started_at
        self.log = log
        self._input = input
        self._step = step

    @property
    def input(self) -> Any:
        """The run's input, as decoded JSON; a new object each time."""
        return self._input()

    @property
    def step(self) -> StepContext:
        """The step whose body is running; ``NotInStepError`` in workflow code."""
        if self._step is None:
            raise NotInStepError("current_run().step is there in the body of a step only, not in a workflow")
        return self._step

    def __repr__(self) -> str:
        return f"<run {self.id!r} of {self.workflow_id!r}, attempt {self.attempt}>"


def current_run() -> RunContext:
    """The run that this code is part of: in a workflow, in a step, and in a thread that a step runs on.

    In a ``@step`` called outside of any run it is a stand-in with an id of its own (``local-…``). ``NotInRunError`` elsewhere.
    """
    execution = current_execution()
    if execution is not None:
        return _of_workflow(execution)
    step = current_step()
    if step is None:
        raise NotInRunError("current_run")
    return _of_step(step)


def _of_workflow(execution: Execution) -> RunContext:
    facts = execution.facts
    payload = execution.input
    started_at = execution.started_at
    assert started_at is not None, "workflow code runs after the first claim"
    return RunContext(
        id=facts.run_id,
        workflow_id=facts.workflow_id,
        attempt=facts.attempt,
        started_at=started_at,
        input=lambda: execution.decode(payload, execution.facts.input_type),
        log=RunLog(
            lambda level, message, args, extra: execution.log(level, message, args, with_exception(extra))
        ),
        step=None,
    )


def _of_step(step: StepRun) -> RunContext:
    def write(level: int, message: str, args: tuple[Any, ...], extra: dict[str, Any]) -> None:
        emit(step.run_id, level, message, args, extra, step=step.name)

    return RunContext(
        id=step.run_id,
        workflow_id=step.workflow_id,
        attempt=step.run_attempt,
        started_at=step.started_at,
        input=step.input,
        log=RunLog(write),
        step=StepContext(name=step.name, attempt=step.attempt, idempotency_key=step.idempotency_key),
    )


def detached_step(name: str) -> AbstractContextManager[None]:
    """Inside, code is the body of a step that belongs to no run."""
    run_id = f"local-{uuid4().hex}"
    return in_step(
        StepRun(
            run_id=run_id,
            workflow_id="local",
            run_attempt=1,
            started_at=_clock.now(),
            input=lambda: None,
            digest=lambda *parts: stable_digest(run_id, *parts),
            name=name,
            key=name,
            attempt=1,
        )
    )
