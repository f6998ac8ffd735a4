"""Workflows: ``@workflow`` turns a coroutine function into one that an app can run durably."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, overload

from stepflow._engine.definition import Defined, WorkflowDefinition, define_workflow
from stepflow.retry import Retry
from stepflow.types import Duration

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)

Coro: TypeAlias = Coroutine[Any, Any, T]


class Workflow(Defined, Generic[In_contra, Out_co]):
    """What ``@workflow`` makes of a function: pass it to ``Stepflow(workflows=[...])``, ``app.trigger`` and ``step.invoke``.

    Called directly, also in another workflow, it is the plain function: its steps belong to whoever calls it.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Coroutine[Any, Any, Any]]

    def __init__(self, definition: WorkflowDefinition) -> None:
        functools.update_wrapper(self, definition.function)
        self._definition = definition

    @property
    def definition(self) -> WorkflowDefinition:
        """What Stepflow knows of it; for Stepflow's own use."""
        return self._definition

    @property
    def id(self) -> str:
        """The name under which runs of it are stored: never change it while runs are unfinished."""
        return self._definition.id

    @overload
    def __call__(self: Workflow[None, Out], /) -> Coro[Out]: ...
    @overload
    def __call__(self: Workflow[In, Out], input: In, /) -> Coro[Out]: ...
    def __call__(self, *args: Any) -> Any:
        return self._definition.function(*args)

    def __repr__(self) -> str:
        return f"<workflow {self.id!r} {self._definition.reference}>"


class _OptionalInput(Protocol[In_contra, Out_co]):
    def __call__(self, input: In_contra = ..., /) -> Coro[Out_co]: ...


class _WorkflowDecorator(Protocol):
    @overload
    def __call__(self, fn: _OptionalInput[In, Out], /) -> Workflow[In | None, Out]: ...
    @overload
    def __call__(self, fn: Callable[[In], Coro[Out]], /) -> Workflow[In, Out]: ...
    @overload
    def __call__(self, fn: Callable[[], Coro[Out]], /) -> Workflow[None, Out]: ...


@overload
def workflow(fn: _OptionalInput[In, Out], /) -> Workflow[In | None, Out]: ...
@overload
def workflow(fn: Callable[[In], Coro[Out]], /) -> Workflow[In, Out]: ...
@overload
def workflow(fn: Callable[[], Coro[Out]], /) -> Workflow[None, Out]: ...
@overload
def workflow(
    *,
    id: str | None = None,
    retry: Retry | int = 1,
    timeout: Duration | None = None,
    version: str | None = None,
    queue: str = "default",
) -> _WorkflowDecorator: ...
def workflow(*args: Any, **options: Any) -> Any:
    """Declare a workflow: an ``async def`` function at module level, with no input or one.

    Args:
        id: its name in the storage; the function's name in kebab-case by default.
        retry: how often the whole function is run anew when it fails (a ``Retry``, or a number of attempts). Steps that have
            succeeded are not run again. By default it fails with its first failure.
        timeout: how long a run may take in all, since its first start. Then it is cancelled, and fails with
            ``RunTimeoutError``.
        version: recorded with each run and shown.
        queue: which workers run it.

    ``DefinitionError`` for two inputs (put them in a dataclass), keyword-only ones, methods, generators and plain ``def``.
    Annotations are resolved when the app is built, so they may name what comes later in the module. A function inside
    another function may be a workflow too, which is handy in tests; its annotations are resolved among the globals of its module.
    """

    def declare(function: Any) -> Workflow[Any, Any]:
        return Workflow(define_workflow(function, **options))

    return declare(*args) if args else declare
