"""Harness: the same for plain test functions. Derived from ``AsyncHarness``, whose methods it runs on an event loop of its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from types import ModuleType, TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from stepflow._engine.definition import Defined
from stepflow.app import Stepflow
from stepflow.errors import BlockingCallError
from stepflow.primitives.waiting import EventAddress
from stepflow.testing.harness.asynchronous import START, AsyncHarness
from stepflow.testing.harness.looking import Looking
from stepflow.testing.harness.runs import HarnessRun
from stepflow.types import Duration
from stepflow.workflows import Workflow

P = ParamSpec("P")
T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


def _blocking(
    method: Callable[Concatenate[AsyncHarness, P], Coroutine[Any, Any, T]], /
) -> Callable[Concatenate[Harness, P], T]:
    @functools.wraps(method)
    def call(self: Harness, /, *args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        return self._perform(method, *args, **kwargs)

    return call


class Harness(Looking):
    """``with Harness(checkout) as harness:`` is ``AsyncHarness`` for test functions that are not coroutines; the arguments are the same."""

    def __init__(
        self,
        *workflows: Stepflow | Defined | ModuleType,
        start: datetime = START,
        replay: bool = True,
        patience: Duration = "10s",
    ) -> None:
        self._inner = AsyncHarness(*workflows, start=start, replay=replay, patience=patience)
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        _refuse_on_a_loop()
        self._runner = asyncio.Runner()
        self._runner.run(self._inner.__aenter__())
        self._world = self._inner._world  # pyright: ignore[reportPrivateUsage]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        runner, self._runner = self._runner, None
        assert runner is not None
        with runner:
            runner.run(self._inner.__aexit__(kind, error, trace))

    def _perform(self, method: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        __tracebackhide__ = True
        _refuse_on_a_loop()
        if self._runner is None:
            raise BlockingCallError("the harness is not open: use it inside `with Harness(...) as harness:`")
        return self._runner.run(method(self._inner, *args, **kwargs))

    @overload
    def start(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> HarnessRun[Out]: ...
    @overload
    def start(
        self,
        workflow: Workflow[In, Out],
        input: In,
        /,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> HarnessRun[Out]: ...
    def start(self, workflow: Any, input: Any = None, /, **options: Any) -> HarnessRun[Any]:
        """See ``AsyncHarness.start``."""
        __tracebackhide__ = True
        return self._perform(AsyncHarness.start, workflow, input, **options)

    @overload
    def run(self, workflow: Workflow[None, Out], input: None = None, /) -> Out: ...
    @overload
    def run(self, workflow: Workflow[In, Out], input: In, /) -> Out: ...
    def run(self, workflow: Any, input: Any = None, /) -> Any:
        """See ``AsyncHarness.run``."""
        __tracebackhide__ = True
        return self._perform(AsyncHarness.run, workflow, input)

    def result(self, run: HarnessRun[Out], /, *, limit: Duration = "3650d") -> Out:
        """See ``AsyncHarness.result``."""
        __tracebackhide__ = True
        result: Out = self._perform(AsyncHarness.result, run, limit=limit)
        return result

    def notify(
        self,
        event: str | EventAddress[T],
        payload: object = None,
        /,
        *,
        run_id: str | None = None,
        id: str | None = None,
        once: bool = False,
    ) -> int:
        """See ``AsyncHarness.notify``."""
        __tracebackhide__ = True
        return self._perform(AsyncHarness.notify, event, payload, run_id=run_id, id=id, once=once)

    settle = _blocking(AsyncHarness.settle)
    advance = _blocking(AsyncHarness.advance)
    run_until = _blocking(AsyncHarness.run_until)
    cancel = _blocking(AsyncHarness.cancel)
    pause = _blocking(AsyncHarness.pause)
    resume = _blocking(AsyncHarness.resume)
    retry = _blocking(AsyncHarness.retry)
    crash = _blocking(AsyncHarness.crash)


def _refuse_on_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BlockingCallError(
        "Harness would block the event loop that runs here: in a coroutine, use `async with AsyncHarness(...) as harness:`"
    )
