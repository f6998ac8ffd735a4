"""Our own engine, set up as its documentation says; the collector's settings are Python's, as the peers have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.peers.driving import main, marks
from stepflow import Stepflow, step, wait_for_event, workflow


@dataclass(frozen=True)
class Order:
    key: str
    steps: int


@step
async def increment(key: str, value: int) -> int:
    marks.step(key)
    return value + 1


@workflow
async def some_steps(order: Order) -> int:
    value = 0
    for _ in range(order.steps):
        value = await increment(order.key, value)
    marks.ended(order.key)
    return value


@workflow
async def waiting(key: str) -> int:
    marks.waiting(key)
    payload: int = await wait_for_event(key, type=int)
    marks.ended(key)
    return payload


class Ours:
    def __init__(self, app: Stepflow) -> None:
        self._app = app

    async def start(self, steps: int, key: str) -> None:
        await self._app.trigger(some_steps, Order(key, steps))

    async def start_waiting(self, key: str) -> None:
        await self._app.trigger(waiting, key)

    async def notify(self, key: str) -> None:
        await self._app.notify(key, 1)


@asynccontextmanager
async def use(url: str, in_flight: int) -> AsyncIterator[Ours]:
    async with Stepflow(url, workflows=[some_steps, waiting], concurrency=max(100, in_flight)) as app:
        yield Ours(app)


if __name__ == "__main__":
    main(use)
