"""Driving: the blocking client performs the asynchronous one's coroutines, over a transport on which they never have to wait."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Inner_co = TypeVar("Inner_co", covariant=True)
Inner = TypeVar("Inner")


class Wraps(Protocol[Inner_co]):
    """What has an asynchronous object inside."""

    @property
    def _inner(self) -> Inner_co: ...


def finish(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's value, on this thread. It may not wait for anything: the transport blocks instead."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    work.close()
    raise AssertionError("a coroutine of the blocking client waited for an event loop")


def blocking(
    method: Callable[Concatenate[Inner, P], Coroutine[Any, Any, T]], /
) -> Callable[Concatenate[Wraps[Inner], P], T]:
    """The same method, blocking."""

    @functools.wraps(method)
    def call(self: Wraps[Inner], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return finish(method(self._inner, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]

    return call
