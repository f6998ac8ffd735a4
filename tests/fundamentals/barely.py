"""Barely: the least of a workflow, and executions that are driven by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from stepflow._engine.execution import Execution, RunFacts
from stepflow.model.failures import Failure
from stepflow.model.journal import (
    Claimed,
    Entry,
    StepCompleted,
)
from stepflow.primitives import step
from tests.fundamentals.driving import (
    RUN_ID,
    T0,
    decode,
    encode,
    rebuild,
)

Main = Callable[..., Awaitable[Any]]


async def body() -> str:
    return "done"


def run(name: str) -> Any:
    return step.run(name, body)


async def charge() -> Any:
    return await run("x")


def execution_of(main: Main, **facts: Any) -> Execution:
    return Execution(
        RunFacts(run_id=RUN_ID, workflow_id="w", **facts),
        lambda payload: main(),  # type: ignore[arg-type,return-value]
        encode=encode,
        decode=decode,
        rebuild=rebuild,
    )


def completed(execution: Execution, key: str, after: float = 1) -> Entry:
    (command,) = [command for command in execution.pending() if command.key == key]
    return StepCompleted(
        key=key,
        at=execution.at(T0 + timedelta(seconds=after)),
        function=command.function,
        value=encode("done"),
    )


CLAIMED = Claimed(at=T0, worker="w")
FAILURE = Failure(type="ValueError", message="not yet")
