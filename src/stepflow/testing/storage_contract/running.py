"""Running: contract tests are coroutines, and plain pytest runs them."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from stepflow.storage.base import Storage

_DEADLINE = 20.0


class Contract:
    """The base of every noun's contract.

    Subclasses write ``async def test_…(self, storage)``. Each becomes a plain test that opens the storage given by the
    ``storage`` fixture, runs the coroutine on a loop of its own and closes it: no plug-in is needed, none is in the way.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, member in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(member):
                setattr(cls, name, _plain(member))


def _plain(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(self: Contract, storage: Storage, **fixtures: Any) -> None:
        async def opened() -> None:
            async with asyncio.timeout(_DEADLINE), storage:
                await test(self, storage=storage, **fixtures)

        asyncio.run(opened())

    return run
