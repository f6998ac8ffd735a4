"""Hints that get lost: whatever one process tells another is swallowed, and everything still goes on, a poll later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from stepflow import Stepflow
from stepflow.model.runs import RunFilter
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.storage.redis import wakeups
from stepflow.testing.storage_contract.building import create, write
from tests.contract.working import WORKFLOWS, errand, result_of
from tests.servers.polling import until
from tests.servers.proxy import FaultProxy
from tests.servers.stores import Stores, by_way_of, port_of, stores

__all__ = ["stores"]

ASKS = {"postgres": b"LISTEN", "redis": b"SUBSCRIBE"}
"""What a process says that wants to be told. The other stores tell nobody: there a process has to look."""

NEVER = "poll=3600000"


@asynccontextmanager
async def deaf(name: str, url: str) -> AsyncIterator[tuple[str, FaultProxy | None]]:
    """The URL of a store, and a way to it on which no hint comes through."""
    if name not in ASKS:
        yield f"{url}{'&' if '?' in url else '?'}{NEVER}", None
        return
    async with FaultProxy(port_of(url)) as proxy:
        proxy.deafen(ASKS[name])
        yield by_way_of(url, proxy.port), proxy


@pytest.fixture(params=["sqlite", "postgres", "redis", "libsql"])
def place(request: pytest.FixtureRequest, stores: Stores) -> tuple[str, str]:
    return request.param, stores.fresh(request.param)


@pytest.mark.deadline(55)
async def test_everything_goes_on_a_poll_later(place: tuple[str, str]) -> None:
    async with (
        deaf(*place) as (url, proxy),
        Stepflow(url, workflows=WORKFLOWS, worker=True),
        Stepflow(url, workflows=WORKFLOWS, worker=False) as client,
    ):
        if proxy is not None:
            await proxy.until(lambda: proxy.deafened >= 2)
        runs = {number: await client.trigger(errand, number) for number in range(9)}
        waiting = [run.id for number, run in runs.items() if number % 3 == 0]
        async with open_storage(place[1]) as storage:
            await until_asleep(storage, waiting)
        for number in range(0, 9, 3):
            await client.notify(f"go/{runs[number].id}", number)

        results = await asyncio.gather(*(run.result() for run in runs.values()))

        assert results == [result_of(number) for number in runs]


async def until_asleep(storage: Storage, run_ids: list[str]) -> None:
    """Until those runs are suspended."""
    asleep = RunFilter(statuses=frozenset({RunStatus.SUSPENDED}))

    async def all_are() -> bool:
        return set(run_ids) <= {run.id for run in (await storage.list_runs(asleep)).items}

    await until(all_are)


@pytest.mark.parametrize("place", ASKS, indirect=True)
async def test_the_hints_are_really_lost_on_that_way(place: tuple[str, str]) -> None:
    url = place[1]
    async with (
        deaf(*place) as (way, proxy),
        open_storage(way) as deafened,
        open_storage(url) as hears,
        open_storage(url) as tells,
    ):
        assert proxy is not None
        ears = [Ear(deafened), Ear(hears)]
        await proxy.until(lambda: proxy.deafened >= 1)
        numbers = count()

        async def tells_who_listens() -> bool:
            await write(tells, create(f"r{next(numbers)}", queue="told"))
            return bool(ears[1].heard)

        await until(tells_who_listens)

        assert ears[0].heard == []
        for ear in ears:
            await ear.close()


class Ear:
    """Hears of the queue ``told``."""

    def __init__(self, storage: Storage) -> None:
        self.heard: list[object] = []
        self._listening = asyncio.ensure_future(self._listen(storage))

    async def _listen(self, storage: Storage) -> None:
        async for hint in storage.wakeups():
            if "told" in str(hint):
                self.heard.append(hint)

    async def close(self) -> None:
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening


async def test_a_subscription_that_falls_silent_is_made_again(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = stores.fresh("redis")
    monkeypatch.setattr(wakeups, "PING_EVERY", 0.05)
    monkeypatch.setattr(wakeups, "PONG_WITHIN", 0.2)
    async with (
        FaultProxy(port_of(url)) as proxy,
        open_storage(by_way_of(url, proxy.port)) as far,
        open_storage(url) as tells,
    ):
        ear = Ear(far)
        numbers = count()

        async def hears() -> bool:
            await write(tells, create(f"r{next(numbers)}", queue="told"))
            return bool(ear.heard)

        await until(hears)
        proxy.go_silent()
        tries = proxy.accepted
        await proxy.until(lambda: proxy.accepted > tries)
        proxy.heal()
        ear.heard.clear()
        await until(hears)
        await ear.close()
