"""Fifty workers of five processes claim one run at the same instant: one of them gets it, each time.

Some rounds of it run always; ``STEPFLOW_FULL=1`` runs the thousand that the project promises.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.testing.storage_contract.building import LEASE, LONG, T0, a_worker, claim, create, get, write
from tests.servers.stores import FULL, Stores, stores

__all__ = ["stores"]

ROUNDS = {"sqlite": 40, "postgres": 20, "redis": 30, "redis-cluster": 10, "libsql": 5}
CLAIMERS = 50
PROCESSES = 5


@pytest.fixture(params=ROUNDS)
def rounds(request: pytest.FixtureRequest) -> tuple[str, int]:
    """A store, and how often they race there."""
    return request.param, 1_000 if FULL else ROUNDS[request.param]


@pytest.fixture
def url(rounds: tuple[str, int], stores: Stores) -> str:
    return stores.fresh(rounds[0])


async def race(workers: list[tuple[str, Storage]], run_id: str, *, late: bool = False) -> str:
    """The one worker that gets the run; nobody gets anything else."""
    begin = asyncio.Event()

    async def one(worker: str, storage: Storage) -> list[tuple[str, str]]:
        await begin.wait()
        taken = await claim(storage, worker, now=T0 + LEASE if late else T0)
        return [(worker, found.run.id) for found in taken]

    racing = [asyncio.ensure_future(one(*worker)) for worker in workers]
    await asyncio.sleep(0)  # all stand at the barrier
    begin.set()
    won = [one for found in await asyncio.gather(*racing) for one in found]
    assert [taken for _, taken in won] == [run_id], won
    return won[0][0]


@pytest.mark.timeout(1_800 if FULL else 60)
@pytest.mark.deadline(1_800 if FULL else 60)
async def test_one_of_fifty_claimers_gets_the_run(url: str, rounds: tuple[str, int]) -> None:
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(open_storage(url)) for _ in range(PROCESSES)]
        workers = [(f"w{n:02}", processes[n % PROCESSES]) for n in range(CLAIMERS)]
        for worker, storage in workers:
            await storage.register_worker(a_worker(worker, lease_until=T0 + LONG))
        for number in range(rounds[1]):
            run_id = f"r{number}"
            await write(processes[0], create(run_id))

            winner = await race(workers, run_id)

            run = await get(processes[1], run_id)
            assert (run.worker, run.seq) == (winner, 1)


@pytest.mark.timeout(1_800 if FULL else 60)
@pytest.mark.deadline(1_800 if FULL else 60)
async def test_one_of_fifty_claimers_takes_over_what_a_lost_worker_had(
    url: str, rounds: tuple[str, int]
) -> None:
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(open_storage(url)) for _ in range(PROCESSES)]
        workers = [(f"w{n:02}", processes[n % PROCESSES]) for n in range(CLAIMERS)]
        for worker, storage in workers:
            await storage.register_worker(a_worker(worker, lease_until=T0 + LONG))
        for number in range(rounds[1] // 5):
            run_id, lost = f"r{number}", f"lost-{number}"
            await processes[0].register_worker(a_worker(lost))
            await write(processes[0], create(run_id))
            assert [found.run.id for found in await claim(processes[0], lost)] == [run_id]

            winner = await race(workers, run_id, late=True)

            run = await get(processes[1], run_id)
            assert (run.worker, run.seq) == (winner, 2)
