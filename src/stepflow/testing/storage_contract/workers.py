"""Workers: registered, renewed, released; asked for what they own."""

from __future__ import annotations

import asyncio

from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import Action, Request
from stepflow.testing.storage_contract.building import (
    LEASE,
    SECOND,
    T0,
    a_worker,
    claimed_ids,
    control,
    create,
    get,
    running,
    two_workers,
    write,
)
from stepflow.testing.storage_contract.running import Contract


class WorkersContract(Contract):
    """Registrations and leases."""

    async def test_a_worker_is_listed_as_it_registered(self, storage: Storage) -> None:
        worker = a_worker(name="pod-0", queues=("default", "slow"), host="hôst", pid=1)

        await storage.register_worker(worker)

        assert list(await storage.list_workers(now=T0)) == [worker]

    async def test_workers_are_listed_until_their_lease_passes(self, storage: Storage) -> None:
        await storage.register_worker(a_worker("w2", started_at=T0 + SECOND, lease_until=T0 + 2 * LEASE))
        await storage.register_worker(a_worker("w1"))

        assert [worker.id for worker in await storage.list_workers(now=T0)] == ["w1", "w2"]
        assert [worker.id for worker in await storage.list_workers(now=T0 + LEASE)] == ["w2"]

    async def test_registering_again_replaces_the_registration(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await storage.register_worker(a_worker(lease_until=T0 + 2 * LEASE))

        (worker,) = await storage.list_workers(now=T0)
        assert worker.lease_until == T0 + 2 * LEASE

    async def test_only_a_name_makes_a_successor(self, storage: Storage) -> None:
        await storage.register_worker(a_worker("w1"))
        await storage.register_worker(a_worker("w2"))
        await storage.register_worker(a_worker("w3", name="a"))
        await storage.register_worker(a_worker("w4", name="a"))

        assert [worker.id for worker in await storage.list_workers(now=T0)] == ["w1", "w2", "w4"]

    async def test_a_worker_owns_what_it_runs_and_nothing_else(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r2", first)
        await running(storage, "r1", first)
        await running(storage, "r3", second)

        assert list(await storage.owned_runs(first)) == ["r1", "r2"]
        assert list(await storage.owned_runs("nobody")) == []
        await storage.release_worker(first, now=T0)
        assert list(await storage.owned_runs(second)) == ["r3"]

    async def test_a_renewed_lease_keeps_the_runs(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r1", first)
        keeper = storage.lease_keeper(first)

        assert keeper.renew(T0 + SECOND, 2 * LEASE)

        assert await claimed_ids(storage, second, now=T0 + LEASE) == []
        assert await claimed_ids(storage, second, now=T0 + SECOND + 2 * LEASE) == ["r1"]
        keeper.close()
        keeper.close()

    async def test_a_lease_is_kept_from_a_thread_without_a_loop(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())

        def keep() -> bool:
            keeper = storage.lease_keeper("w1")
            try:
                return keeper.renew(T0, 2 * LEASE)
            finally:
                keeper.close()

        assert await asyncio.to_thread(keep)

        (worker,) = await storage.list_workers(now=T0)
        assert worker.lease_until == T0 + 2 * LEASE

    async def test_a_released_worker_s_lease_is_not_renewed(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await storage.release_worker("w1", now=T0)
        keeper = storage.lease_keeper("w1")

        assert not keeper.renew(T0, LEASE)
        assert await storage.list_workers(now=T0) == []
        keeper.close()

    async def test_releasing_a_worker_names_what_it_still_owned(self, storage: Storage) -> None:
        first, _ = await two_workers(storage)
        await running(storage, "r2", first)
        await running(storage, "r1", first)
        await write(storage, create("r3"))

        assert list(await storage.release_worker(first, now=T0)) == ["r1", "r2"]
        assert (await get(storage, "r1")).status is RunStatus.RUNNING

    async def test_requests_are_those_of_the_worker_s_running_runs(self, storage: Storage) -> None:
        await running(storage, "r1")
        await running(storage, "r2")
        await running(storage, "r3")
        await running(storage, "r4", "w2")
        await write(
            storage,
            control("r3", Action.PAUSE),
            control("r1", Action.CANCEL),
            control("r3", Action.CANCEL),
            control("r4", Action.CANCEL),
        )

        assert list(await storage.read_requests("w1")) == [
            Request(run_id="r1", cancel=True, pause=False),
            Request(run_id="r3", cancel=True, pause=True),
        ]
        await write(storage, control("r1", Action.FORCE_CANCEL))
        assert [request.run_id for request in await storage.read_requests("w1")] == ["r3"]
        assert await storage.read_requests("never") == []
