"""Verbs: ``step`` itself, a decorator and the verbs ``run``, ``map``, ``parallel``, ``invoke``, ``start`` and ``send_event``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from stepflow._engine.current import current_execution
from stepflow.errors import DefinitionError
from stepflow.model.ids import check_name
from stepflow.primitives.children import ChildHandle, invoke, start
from stepflow.primitives.fanout import FanOut, Members, checked_concurrency, run_plain
from stepflow.primitives.steps import (
    NOTHING_GIVEN,
    ExecutorChoice,
    Given,
    KeyChoice,
    Plan,
    Step,
    Unset,
    named,
)
from stepflow.primitives.waiting import EventAddress, send_event
from stepflow.retry import Retry
from stepflow.types import Duration, RunId
from stepflow.workflows import Workflow

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
In = TypeVar("In")
Out = TypeVar("Out")
Item = TypeVar("Item")

Coro: TypeAlias = Coroutine[Any, Any, T]


class Verbs:
    """The verbs that options apply to: on ``step`` itself and on ``step(retry=...)``."""

    def __init__(self, given: Given) -> None:
        self._given = given

    @overload
    def run(
        self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coro[T]: ...
    @overload
    def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coro[T]: ...
    def run(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run any callable as a step called ``name``. A ``@step`` keeps its own options where none are given here."""
        return Plan.of(fn, self._given).call(check_name("step", name), args, kwargs)

    @overload
    def map(
        self,
        name: str,
        fn: Callable[[Item], Awaitable[T]],
        items: Iterable[Item],
        /,
        *,
        concurrency: int | None = None,
        key: Callable[[Item], str | int] | None = None,
        return_exceptions: Literal[False] = False,
    ) -> Coro[list[T]]: ...
    @overload
    def map(
        self,
        name: str,
        fn: Callable[[Item], Awaitable[T]],
        items: Iterable[Item],
        /,
        *,
        concurrency: int | None = None,
        key: Callable[[Item], str | int] | None = None,
        return_exceptions: Literal[True],
    ) -> Coro[list[T | Exception]]: ...
    @overload
    def map(
        self,
        name: str,
        fn: Callable[[Item], T],
        items: Iterable[Item],
        /,
        *,
        concurrency: int | None = None,
        key: Callable[[Item], str | int] | None = None,
        return_exceptions: Literal[False] = False,
    ) -> Coro[list[T]]: ...
    @overload
    def map(
        self,
        name: str,
        fn: Callable[[Item], T],
        items: Iterable[Item],
        /,
        *,
        concurrency: int | None = None,
        key: Callable[[Item], str | int] | None = None,
        return_exceptions: Literal[True],
    ) -> Coro[list[T | Exception]]: ...
    def map(
        self,
        name: str,
        fn: Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        concurrency: int | None = None,
        key: Callable[..., str | int] | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Run ``fn`` as a step for each item, at most ``concurrency`` (100) at a time; the results, in order of the items.

        Each member is checkpointed on its own, under ``key(item)`` if given, else under its index. The first failure cancels
        the others and is raised itself; with ``return_exceptions`` failures stand among the results instead. Items
        are taken from the iterable as members start. A second item with the same key raises ``DuplicateKeyError``.
        """
        plan = Plan.of(fn, self._given)
        own = plan.key
        if isinstance(own, str):
            raise DefinitionError(
                "step(key='text').map(...): every member needs a key of its own; give a function"
            )
        chosen = key if key is not None or isinstance(own, Unset) else own
        members = Members(check_name("step", name), iter(items), lambda item: (plan, (item,)), chosen)
        return _fan_out(members, concurrency, collect=return_exceptions)

    @overload
    def parallel(
        self, name: str, a: Callable[[], Awaitable[T1]], /, *, concurrency: int | None = None
    ) -> Coro[tuple[T1]]: ...
    @overload
    def parallel(
        self,
        name: str,
        a: Callable[[], Awaitable[T1]],
        b: Callable[[], Awaitable[T2]],
        /,
        *,
        concurrency: int | None = None,
    ) -> Coro[tuple[T1, T2]]: ...
    @overload
    def parallel(
        self,
        name: str,
        a: Callable[[], Awaitable[T1]],
        b: Callable[[], Awaitable[T2]],
        c: Callable[[], Awaitable[T3]],
        /,
        *,
        concurrency: int | None = None,
    ) -> Coro[tuple[T1, T2, T3]]: ...
    @overload
    def parallel(
        self, name: str, /, *thunks: Callable[[], Awaitable[T]], concurrency: int | None = None
    ) -> Coro[tuple[T, ...]]: ...
    @overload
    def parallel(
        self, name: str, /, *thunks: Callable[[], object], concurrency: int | None = None
    ) -> Coro[tuple[Any, ...]]: ...
    def parallel(self, name: str, /, *thunks: Callable[[], object], concurrency: int | None = None) -> Any:
        """Run functions without arguments as steps side by side; their results, in order. Failures as in ``map``."""
        plans = [Plan.of(thunk, self._given) for thunk in thunks]
        if any(not isinstance(plan.key, Unset) for plan in plans):
            raise DefinitionError(
                "step.parallel(...) keys its members by their place; use step.map with key="
            )
        members = Members(check_name("step", name), iter(plans), lambda plan: (plan, ()), None)

        async def as_tuple() -> tuple[Any, ...]:
            return tuple(await results)

        results = _fan_out(members, concurrency, collect=False)
        return named(as_tuple(), name)


def _fan_out(members: Members[Any], concurrency: int | None, *, collect: bool) -> Coro[list[Any]]:
    window = checked_concurrency(concurrency)
    execution = current_execution()
    if execution is None:
        return named(run_plain(members, window, collect), members.name)
    base = execution.scope.key(members.name)
    return named(FanOut(execution, base, members, window, collect).run(), members.name)


class StepOptions(Verbs):
    """``step(retry=...)``: a decorator, and the verbs with those options."""

    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]:
        return Step(fn, self._given)

    def __repr__(self) -> str:
        return f"<step options {self._given}>"


class _StepDecorator(Protocol):
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...


class StepVerbs(Verbs):
    """The type of ``step``."""

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        name: str,
        retry: Retry | int = ...,
        timeout: Duration | None = None,
        at_most_once: bool = False,
        executor: ExecutorChoice = "thread",
        key: KeyChoice = ...,
    ) -> _StepDecorator: ...
    @overload
    def __call__(
        self,
        *,
        retry: Retry | int = ...,
        timeout: Duration | None = None,
        at_most_once: bool = False,
        executor: ExecutorChoice = "thread",
        key: KeyChoice = ...,
    ) -> StepOptions: ...
    def __call__(self, *args: Any, **options: Any) -> Any:
        """Declare a step: ``@step``, or ``@step(name=, retry=, timeout=, at_most_once=, executor=, key=)``.

        Args:
            name: what it is checkpointed as; the function's name by default.
            retry: a ``Retry``, or a number of attempts; ``Retry()`` by default, which is three.
            timeout: how long one attempt may take.
            at_most_once: never run the body twice; after a crash in the middle, raise ``StepInterruptedError``.
            executor: where a plain ``def`` runs: ``"thread"``, ``"process"``, ``"inline"`` or an ``Executor``.
            key: a text, or a function of the arguments: what tells calls apart, instead of the order in which they are made.
        """
        chosen = StepOptions(Given.of(options))
        if args:
            return chosen(*args)
        return chosen.__call__ if "name" in options else chosen

    @overload
    def invoke(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        /,
        *,
        name: str | None = None,
        timeout: Duration | None = None,
    ) -> Coro[Out]: ...
    @overload
    def invoke(
        self,
        workflow: Workflow[In, Out],
        input: In,
        /,
        *,
        name: str | None = None,
        timeout: Duration | None = None,
    ) -> Coro[Out]: ...
    @overload
    def invoke(
        self,
        workflow: str,
        input: object = None,
        /,
        *,
        type: TypeForm[T],
        name: str | None = None,
        timeout: Duration | None = None,
    ) -> Coro[T]: ...
    @overload
    def invoke(
        self,
        workflow: str,
        input: object = None,
        /,
        *,
        name: str | None = None,
        timeout: Duration | None = None,
    ) -> Coro[Any]: ...
    def invoke(
        self,
        workflow: Any,
        input: Any = None,
        /,
        *,
        type: Any = None,
        name: str | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """Run another workflow as a child of this run, and wait for its result.

        It is started exactly once, whatever crashes. ``ChildFailedError`` if it fails, ``ChildCancelledError`` if somebody else cancels it,
        ``TimeoutError`` after ``timeout``. Cancelling the wait, and the timeout, cancel the child.
        """
        return invoke(workflow, input, name=name, timeout=timeout, result_type=type)

    @overload
    def start(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        /,
        *,
        name: str | None = None,
        detached: bool = False,
    ) -> Coro[ChildHandle[Out]]: ...
    @overload
    def start(
        self,
        workflow: Workflow[In, Out],
        input: In,
        /,
        *,
        name: str | None = None,
        detached: bool = False,
    ) -> Coro[ChildHandle[Out]]: ...
    @overload
    def start(
        self, workflow: str, input: object = None, /, *, name: str | None = None, detached: bool = False
    ) -> Coro[ChildHandle[Any]]: ...
    def start(
        self, workflow: Any, input: Any = None, /, *, name: str | None = None, detached: bool = False
    ) -> Any:
        """Start another workflow as a child of this run, and go on. It is started exactly once.

        A child is cancelled when this run ends first, unless it is ``detached``.
        """
        return start(workflow, input, name=name, detached=detached)

    def send_event(
        self,
        event: str | EventAddress[Any],
        payload: object = None,
        /,
        *,
        run_id: RunId | None = None,
        name: str | None = None,
    ) -> Coro[None]:
        """Send an event exactly once, to all who wait for it, or to one run."""
        return send_event(event, payload, run_id=run_id, name=name)


step = StepVerbs(NOTHING_GIVEN)
"""Decorator and verbs in one; see ``StepVerbs``."""
