"""DBOS Transact, as its documentation sets it up: decorated async functions, direct starts, ``recv`` and ``send``; its default pool."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dbos import DBOS, SetWorkflowID

from benchmarks.peers.driving import main, marks


@DBOS.step()
async def increment(key: str, value: int) -> int:
    marks.step(key)
    return value + 1


@DBOS.workflow()
async def some_steps(key: str, steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await increment(key, value)
    marks.ended(key)
    return value


@DBOS.workflow()
async def waiting(key: str) -> int:
    marks.waiting(key)
    payload: int = await DBOS.recv_async("go", timeout_seconds=600)
    marks.ended(key)
    return payload


class Dbos:
    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    async def start(self, steps: int, key: str) -> None:
        await DBOS.start_workflow_async(some_steps, key, steps)

    async def start_waiting(self, key: str) -> None:
        self._ids[key] = str(uuid.uuid4())
        with SetWorkflowID(self._ids[key]):
            await DBOS.start_workflow_async(waiting, key)

    async def notify(self, key: str) -> None:
        await DBOS.send_async(self._ids[key], 1, topic="go")


@asynccontextmanager
async def use(url: str, in_flight: int) -> AsyncIterator[Dbos]:
    del in_flight  # direct starts have no limit
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    yield Dbos()


if __name__ == "__main__":
    main(use)
