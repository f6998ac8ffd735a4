"""Polling: the one place of the tests that sleeps, for what tells nobody: another process, a server's own numbers, time itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

_PAUSE = 0.01


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds; the test's own deadline is the limit."""
    while True:
        answer = condition()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        await asyncio.sleep(_PAUSE)


async def for_as_long_as(seconds: float) -> None:
    """The length of an outage, which is a fault and not a way to wait for something."""
    await asyncio.sleep(seconds)
