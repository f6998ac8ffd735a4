"""PostgreSQL through PgBouncer in transaction mode, with fewer connections to the server than there are clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from urllib.parse import quote

import pytest

from stepflow import Stepflow, sleep, step, transaction, wait_for_event, workflow
from stepflow.storage.base import Storage
from stepflow.storage.memory import MemoryStorage
from stepflow.storage.opening import open_storage
from stepflow.storage.writes import Committed, QueueReady
from stepflow.testing.storage_contract.building import (
    LEASE,
    T0,
    a_run,
    commit,
    create,
    get,
    running,
    start,
    write,
)
from tests.contract.histories import History
from tests.servers.pgbouncer import pgbouncer_url
from tests.servers.postgres import emptied, execute_here, postgres_url

SCHEMA = "pooled"
_NOW_AND_LEASE = (T0, LEASE)


@pytest.fixture
def url() -> str:
    """By way of the pooler, hints too."""
    emptied(SCHEMA)
    return f"{pgbouncer_url()}?schema={SCHEMA}&pooler=transaction"


@pytest.fixture
def heard_directly(url: str) -> str:
    """By way of the pooler, but hints are heard directly."""
    return f"{url}&listen={quote(postgres_url(), safe='')}"


@asynccontextmanager
async def views(url: str, count: int) -> AsyncGenerator[list[Storage]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_storage(url)) for _ in range(count)]


@pytest.mark.deadline(60)
async def test_a_random_history_is_the_same_as_in_memory(url: str) -> None:
    async with MemoryStorage() as memory, open_storage(url) as pooled:
        history = History(Random(7), memory, pooled)
        await history.begin()

        for _ in range(40):
            await history.step()
        await history.compare()


async def test_more_clients_than_connections_write_side_by_side(url: str) -> None:
    async with views(url, 4) as storages:
        for number, storage in enumerate(storages):
            await write(storage, *(start(a_run(f"r{number}-{n}")) for n in range(5)))

        async def commits(storage: Storage, run_id: str) -> None:
            for seq in range(2, 12):
                (outcome,) = await write(storage, commit(run_id, seq))
                assert isinstance(outcome, Committed)

        await asyncio.gather(
            *(commits(storage, f"r{number}-{n}") for number, storage in enumerate(storages) for n in range(5))
        )

        assert [(await get(storages[0], f"r{number}-4")).seq for number in range(4)] == [11] * 4


async def test_hints_are_heard_over_the_direct_url(heard_directly: str) -> None:
    async with views(heard_directly, 2) as (here, there):
        await there._opened.messenger.hears.wait()  # type: ignore[attr-defined]
        hints = there.wakeups()
        heard = asyncio.ensure_future(anext(hints))
        await asyncio.sleep(0)  # it has begun to listen then

        await write(here, create(queue="slow"))

        async with asyncio.timeout(5):
            assert await heard == QueueReady(queue="slow")
        await hints.aclose()  # type: ignore[attr-defined]


async def test_a_lease_is_kept_through_the_pooler(url: str) -> None:
    async with open_storage(url) as storage:
        await running(storage)
        keeper = storage.lease_keeper("w1")

        renewed = [await asyncio.to_thread(keeper.renew, *_NOW_AND_LEASE) for _ in range(3)]

        assert renewed == [False] * 3  # it is not registered, and that is answered


@step
async def add(value: int) -> int:
    return value + 1


@workflow
async def order(value: int) -> int:
    value = await add(value)
    await sleep("nap", "10ms")
    return await add(await wait_for_event(f"more/{value}", type=int))


@pytest.fixture(params=["", "listen"])
def way(request: pytest.FixtureRequest, url: str) -> str:
    return f"{url}&listen={quote(postgres_url(), safe='')}" if request.param else url


@pytest.mark.deadline(30)
async def test_an_app_runs_workflows_timers_and_events(way: str) -> None:
    async with (
        Stepflow(way, workflows=[order]) as worker,
        Stepflow(way, workflows=[order], worker=False) as client,
    ):
        runs = [await client.trigger(order, 10 * number) for number in range(5)]
        for number in range(5):
            await client.notify(f"more/{10 * number + 1}", number)

        results = await asyncio.gather(*(run.result(timeout="20s") for run in runs))

        assert results == [1, 2, 3, 4, 5]
        assert (await worker.get_run(runs[0].id)).output == 1


@step
async def count_beside(number: int) -> int:
    async with transaction() as tx:
        await tx.execute("INSERT INTO pooled.counted (number) VALUES ($1)", number)
    return number


@workflow
async def counts(limit: int) -> list[int]:
    return await asyncio.gather(*(count_beside(number) for number in range(limit)))


async def test_steps_write_in_transactions_of_their_own_by_way_of_the_pooler(url: str) -> None:
    server = postgres_url()
    async with Stepflow(url, workflows=[counts]) as app:
        await execute_here(
            server, "DROP TABLE IF EXISTS pooled.counted; CREATE TABLE pooled.counted (number bigint)"
        )
        runs = [await app.trigger(counts, 5) for _ in range(4)]

        for run in runs:
            assert await run.result() == [0, 1, 2, 3, 4]
    rows = await execute_here(server, "SELECT number, count(*) FROM pooled.counted GROUP BY number")
    assert sorted(map(tuple, rows)) == [(number, 4) for number in range(5)]
