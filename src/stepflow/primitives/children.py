"""Children: workflows started by a workflow, each exactly once, and what comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Generic, TypeVar

from stepflow._engine.commands import AwaitChild, StartChild
from stepflow._engine.current import require_execution
from stepflow._engine.definition import positive_duration
from stepflow._engine.execution import Execution
from stepflow._engine.keys import end_key
from stepflow.errors import (
    ChildCancelledError,
    ChildFailedError,
    DefinitionError,
    InputError,
    NotDurableError,
)
from stepflow.model.failures import Failure
from stepflow.model.ids import check_id, check_name
from stepflow.model.payloads import Payload
from stepflow.model.states import RunStatus
from stepflow.primitives.steps import named
from stepflow.types import Duration, RunId, StepKey
from stepflow.workflows import Workflow

Out_co = TypeVar("Out_co", covariant=True)
DEEPEST = 100
"""Generations of runs below the one that was triggered."""


class ChildHandle(Generic[Out_co]):
    """A child run that was started. Made by ``step.start``; of use in the workflow that started it."""

    def __init__(self, execution: Execution, command: StartChild, child_id: RunId, result_type: Any) -> None:
        self._execution = execution
        self._started = command
        self._id = child_id
        self._result_type = result_type
        self._asked: AwaitChild | None = None
        self._waiters = 0

    @property
    def id(self) -> RunId:
        """The child's run id."""
        return self._id

    async def result(self) -> Out_co:
        """What the child returned, waited for. ``ChildFailedError`` or ``ChildCancelledError`` if it did not return.

        Giving up waiting does not cancel the child.
        """
        require_execution("ChildHandle.result")
        if self._started.detached:
            raise NotDurableError(
                "a detached child does not tell its parent how it ends; start it without detached=True, "
                "or let it send an event"
            )
        ended = self._execution.ended_children.get(self._id)
        if ended is None:
            ended = await self._end()
        result: Out_co = read_end(self._execution, self._id, ended, self._result_type)
        return result

    async def cancel(self) -> None:
        """Ask for the child's cancellation; safe to repeat. ``result()`` then raises ``ChildCancelledError``, unless it ended otherwise."""
        require_execution("ChildHandle.cancel")
        self._execution.cancel_child(self._id)

    async def _end(self) -> Any:
        """How the child ended. However many wait here, it is asked for once: it has one key in the journal."""
        asked = self._asked
        if asked is None or asked.future is None or asked.future.done():
            asked = self._asked = await_child(self._started, self._id, self._result_type)
            future = self._execution.ask(asked)
        else:
            future = asked.future
        self._waiters += 1
        try:
            return await asyncio.shield(future)
        finally:
            self._waiters -= 1
            if self._waiters == 0 and not future.done():
                self._execution.withdraw(asked)
                future.cancel()

    def __repr__(self) -> str:
        return f"<child {self._id!r} of workflow {self._started.workflow_id!r}>"


def start(
    workflow: Any, input: Any, *, name: str | None, detached: bool
) -> Coroutine[Any, Any, ChildHandle[Any]]:
    """``step.start``; the key is taken now."""
    execution = require_execution("step.start")
    command, result_type = _ask_to_start(execution, workflow, input, name, detached)

    async def started() -> ChildHandle[Any]:
        return ChildHandle(execution, command, await execution.perform(command), result_type)

    return named(started(), command.name)


def invoke(
    workflow: Any, input: Any, *, name: str | None, timeout: Duration | None, result_type: Any
) -> Coroutine[Any, Any, Any]:
    """``step.invoke``; the key is taken now."""
    execution = require_execution("step.invoke")
    limit = positive_duration("timeout", timeout)
    command, declared = _ask_to_start(execution, workflow, input, name, detached=False)
    return named(
        _invoke(execution, command, declared if result_type is None else result_type, limit), command.name
    )


async def _invoke(
    execution: Execution, command: StartChild, result_type: Any, limit: timedelta | None
) -> Any:
    async with asyncio.timeout(None if limit is None else limit.total_seconds()):
        child_id = await execution.perform(command)
        try:
            ended = await execution.perform(await_child(command, child_id, result_type))
        except asyncio.CancelledError:
            execution.cancel_child(child_id)
            raise
    return read_end(execution, child_id, ended, result_type)


def _ask_to_start(
    execution: Execution, workflow: Any, input: Any, name: str | None, detached: bool
) -> tuple[StartChild, Any]:
    """The command, and the type of what the child returns."""
    if execution.facts.depth >= DEEPEST:
        raise InputError(
            f"runs are nested {DEEPEST} deep here: does a workflow start itself without an end? "
            "A loop is better written with continue_as()"
        )
    queue = None
    if isinstance(workflow, Workflow):
        definition = workflow.definition
        workflow_id, queue = definition.id, definition.queue
        payload = definition.encode_input(input, execution.encode, execution.decode)
        result_type = definition.types.output
    elif isinstance(workflow, str):
        workflow_id = check_id("workflow id", workflow)
        payload = execution.encode(input, f"the input of workflow {workflow_id!r}")
        result_type = Any
    else:
        raise DefinitionError(
            f"{workflow!r:.200} is not a workflow; pass a @workflow function or the id of one "
            "(a plain function is run by step.run)"
        )
    if not execution.replaying:
        execution.check_workflow(workflow_id)
    name = check_name("child", workflow_id if name is None else name)
    key: StepKey = execution.scope.key(name)
    command = StartChild(
        key=key,
        name=name,
        workflow_id=workflow_id,
        input=payload,
        detached=detached,
        queue=queue,
        child_id=execution.child_id(key),
    )
    return command, result_type


def await_child(started: StartChild, child_id: RunId, result_type: Any) -> AwaitChild:
    return AwaitChild(
        key=end_key(started.key),
        name=started.name,
        child_id=child_id,
        workflow_id=started.workflow_id,
        start_key=started.key,
        result_type=result_type,
    )


def read_end(
    execution: Execution,
    child_id: RunId,
    ended: tuple[RunStatus, Payload | None, Failure | None],
    result_type: Any,
) -> Any:
    """The child's result; raises if it has none."""
    status, value, failure = ended
    if status is RunStatus.COMPLETED:
        return None if value is None else execution.decode(value, result_type)
    if failure is None or status is RunStatus.CANCELLED:
        raise ChildCancelledError(child_id)
    raise ChildFailedError(failure.message, child_id=child_id, type=failure.type, traceback=failure.traceback)
