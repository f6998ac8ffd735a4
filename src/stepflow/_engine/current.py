"""Current: how code finds the run, and the step, that it is part of."""

from __future__ import annotations

import asyncio.events
import logging
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import msgspec

from stepflow._engine.commands import RunStep
from stepflow._engine.execution import Execution
from stepflow._engine.loop import ReplayLoop
from stepflow.errors import NotInRunError
from stepflow.types import RunId, StepKey

RUN_LOG = logging.getLogger("stepflow.run")
"""Where everything goes that runs and steps log."""

_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def current_execution() -> Execution | None:
    """The execution whose workflow code is running on this thread right now; None in a step and elsewhere."""
    loop = asyncio.events._get_running_loop()
    if isinstance(loop, ReplayLoop) and loop.active and isinstance(loop.owner, Execution):
        return loop.owner
    return None


def require_execution(verb: str) -> Execution:
    """``current_execution()``, or ``NotInRunError`` that names ``verb``."""
    execution = current_execution()
    if execution is None:
        raise NotInRunError(verb)
    return execution


class StepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a step, as its body may see it. ``input`` decodes the run's input; ``digest`` makes stable ids.

    ``transaction`` joins the transaction that the step's result is written in; None where there is no store.
    """

    run_id: RunId
    workflow_id: str
    run_attempt: int
    started_at: datetime
    input: Callable[[], Any]
    digest: Callable[..., str]
    name: str
    key: StepKey
    attempt: int
    transaction: Callable[[type[Any] | None], AbstractAsyncContextManager[Any]] | None = None

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step in this run, and for no other step."""
        return self.digest("step", self.key)


_step: ContextVar[StepRun | Callable[[], StepRun] | None] = ContextVar("stepflow_step", default=None)


def current_step() -> StepRun | None:
    """The step whose body this code is part of; None in a workflow and outside a run.

    It is found in threads too, if the context was copied to them, as ``asyncio.to_thread`` does.
    """
    step = _step.get()
    return step if step is None or isinstance(step, StepRun) else step()


@contextmanager
def in_step(step: StepRun) -> Generator[None]:
    """Inside, ``current_step()`` is ``step``: for a step's body, and for whatever it starts."""
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)


_alone: ContextVar[bool] = ContextVar("stepflow_alone", default=False)


def keep_others_out() -> None:
    """From now on, in this context, a transaction is open that no other write of the storage gets past."""
    _alone.set(True)


def let_others_in() -> None:
    """It has ended."""
    _alone.set(False)


def others_are_kept_out() -> bool:
    """Whether a write that is made here would wait for the end of the transaction that this code is in."""
    return _alone.get()


def step_run_of(
    execution: Execution,
    command: RunStep,
    attempt: int,
    transaction: Callable[[type[Any] | None], AbstractAsyncContextManager[Any]] | None = None,
) -> StepRun:
    """What the body of ``command`` may know of itself, on its ``attempt``-th attempt (from 1)."""
    started_at = execution.started_at
    assert started_at is not None, "a step can't run before its run was claimed"
    payload = execution.input
    return StepRun(
        run_id=execution.facts.run_id,
        workflow_id=execution.facts.workflow_id,
        run_attempt=execution.facts.attempt,
        started_at=started_at,
        input=lambda: execution.decode(payload, execution.facts.input_type),
        digest=execution.digest,
        name=command.name,
        key=command.key,
        attempt=attempt,
        transaction=transaction,
    )


def emit(
    run_id: RunId,
    level: int,
    message: str,
    args: tuple[Any, ...],
    extra: dict[str, Any] | None = None,
    *,
    step: str | None = None,
) -> None:
    """Write a line of a run to the log. ``extra`` become attributes of the record; reserved ones get a ``_`` behind them."""
    fields: dict[str, Any] = {"run_id": run_id}
    if step is not None:
        fields["step"] = step
    exc_info: Any = None
    for name, value in (extra or {}).items():
        if name == "exc_info":
            exc_info = value
        else:
            fields[f"{name}_" if name in _RESERVED or name in fields else name] = value
    RUN_LOG.log(level, message, *args, extra=fields, exc_info=exc_info)


def with_exception(extra: dict[str, Any]) -> dict[str, Any] | None:
    """``extra`` with ``exc_info=True`` replaced by the exception that is handled now: the line is written later."""
    if extra.get("exc_info") is True:
        return {**extra, "exc_info": sys.exc_info()}
    return extra or None


def enter_step(step: Callable[[], StepRun]) -> None:
    """From now on, in this context, ``current_step()`` is what ``step`` makes: most bodies never ask."""
    _step.set(step)
