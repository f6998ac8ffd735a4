"""Unhinged on SQLite: its asynchronous worker, its defaults (every commit is synced, a poll of 0.25 s)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from unhinged.aio import AsyncUnhinged

from benchmarks.peers.driving import main, marks


async def some_steps(params: Any, context: Any) -> int:
    key: str = params["key"]
    value = 0

    def increment() -> int:
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


class Peer:
    def __init__(self, app: AsyncUnhinged) -> None:
        self._app = app

    async def start(self, steps: int, key: str) -> None:
        self._app.spawn("some-steps", {"key": key, "steps": steps})
        await asyncio.sleep(0)  # its client blocks: others get their turn

    async def start_waiting(self, key: str) -> None:
        self._app.spawn("waiting", {"key": key})

    async def notify(self, key: str) -> None:
        self._app.emit_event(key, 1)


@asynccontextmanager
async def use(url: str, in_flight: int) -> AsyncIterator[Peer]:
    app = AsyncUnhinged(url.removeprefix("sqlite:///"))
    app.register_task("some-steps")(some_steps)
    app.register_task("waiting")(waiting)
    app.create_queue()
    working = asyncio.create_task(app.start_worker(concurrency=in_flight))
    try:
        yield Peer(app)
    finally:
        working.cancel()


if __name__ == "__main__":
    main(use)
