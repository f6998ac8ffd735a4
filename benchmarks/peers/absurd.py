"""Absurd on PostgreSQL: its asynchronous SDK, one worker and one client with a connection each; its schema comes from ``absurdctl``.

Its default poll (0.25 s) is kept: its documentation gives no other advice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from absurd_sdk import AsyncAbsurd

from benchmarks.peers.driving import main, marks


async def some_steps(params: Any, context: Any) -> int:
    key: str = params["key"]
    value = 0

    async def increment() -> int:
        marks.step(key)
        return value + 1

    for number in range(params["steps"]):
        value = await context.step(f"increment-{number}", increment)
    marks.ended(key)
    return value


async def waiting(params: Any, context: Any) -> Any:
    key: str = params["key"]
    marks.waiting(key)
    payload = await context.await_event(key)
    marks.ended(key)
    return payload


class Absurd:
    def __init__(self, client: AsyncAbsurd) -> None:
        self._client = client

    async def start(self, steps: int, key: str) -> None:
        await self._client.spawn("some-steps", {"key": key, "steps": steps})

    async def start_waiting(self, key: str) -> None:
        await self._client.spawn("waiting", {"key": key})

    async def notify(self, key: str) -> None:
        await self._client.emit_event(key, 1)


@asynccontextmanager
async def use(url: str, in_flight: int) -> AsyncIterator[Absurd]:
    client, worker = AsyncAbsurd(url), AsyncAbsurd(url)
    for app in (client, worker):
        app.register_task("some-steps")(some_steps)
        app.register_task("waiting")(waiting)
    await client.create_queue()
    working = asyncio.create_task(worker.start_worker(concurrency=in_flight))
    try:
        yield Absurd(client)
    finally:
        working.cancel()


if __name__ == "__main__":
    main(use)
