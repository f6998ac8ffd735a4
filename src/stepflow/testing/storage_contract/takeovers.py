"""Takeovers: the runs of a worker that was lost, and what becomes of its late writes."""

from __future__ import annotations

from stepflow.model.journal import Claimed
from stepflow.storage.base import Storage
from stepflow.storage.writes import (
    Action,
    Committed,
    Fenced,
)
from stepflow.testing.storage_contract.building import (
    LEASE,
    SECOND,
    T0,
    a_worker,
    claim,
    claimed_ids,
    commit,
    control,
    create,
    running,
    suspended,
    two_workers,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract


class TakeoverContract(Contract):
    """Runs whose worker was lost."""

    async def test_an_expired_lease_passes_the_run_to_another_worker(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await write(storage, create())
        await claim(storage, first)

        assert await claim(storage, second, now=T0 + LEASE - SECOND) == []
        (taken,) = await claim(storage, second, now=T0 + LEASE)

        assert (taken.run.worker, taken.takeover, taken.run.seq) == (second, True, 2)
        (entry,) = taken.rows[-1].entries
        assert isinstance(entry, Claimed)
        assert entry.takeover

    async def test_the_former_owner_is_fenced(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r1", first)
        await claim(storage, second, now=T0 + LEASE)

        await write_one(storage, commit(seq=2, worker=first), Fenced)
        await write_one(storage, commit(seq=3, worker=first), Fenced)
        await write_one(storage, commit(seq=3, worker=second), Committed)

    async def test_a_write_that_reached_the_journal_before_the_takeover_stays(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r1", first)
        await write(storage, commit(seq=2, worker=first))
        await claim(storage, second, now=T0 + LEASE)

        await write_one(storage, commit(seq=2, worker=first), Committed)

    async def test_a_released_worker_s_runs_are_claimable_at_once(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r1", first)
        await suspended(storage, "r2")

        assert list(await storage.release_worker(first, now=T0)) == ["r1"]
        (taken,) = await claim(storage, second)

        assert (taken.run.id, taken.takeover) == ("r1", True)
        assert list(await storage.release_worker(first, now=T0)) == []

    async def test_a_successor_of_the_same_name_takes_over_at_once(self, storage: Storage) -> None:
        await storage.register_worker(a_worker("w1", name="pod-0"))
        await storage.register_worker(a_worker("other", name="pod-1"))
        await running(storage, "r1", "w1")
        await running(storage, "r2", "other")

        await storage.register_worker(a_worker("w2", name="pod-0"))

        assert await claimed_ids(storage, "w2") == ["r1"]

    async def test_a_worker_does_not_take_its_own_runs_from_itself(self, storage: Storage) -> None:
        await storage.register_worker(a_worker())
        await running(storage)

        assert await claimed_ids(storage, now=T0 + 2 * LEASE) == []

    async def test_a_worker_whose_runs_were_taken_learns_it_from_its_lease(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r1", first)
        await claim(storage, second, now=T0 + LEASE)
        keeper = storage.lease_keeper(first)

        assert not keeper.renew(T0 + LEASE + SECOND, LEASE)
        assert await claimed_ids(storage, first, now=T0 + LEASE) == []
        keeper.close()

    async def test_lost_runs_go_before_due_ones_of_the_same_priority_only(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await write(storage, create("due", due_at=T0 - SECOND), create("urgent", priority=1))
        await running(storage, "lost", first)
        await storage.release_worker(first, now=T0)

        assert await claimed_ids(storage, second) == ["urgent", "lost", "due"]

    async def test_lost_runs_respect_queues_and_room(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r1", first)
        await running(storage, "r2", first)
        await running(storage, "r3", first, queue="other")
        await storage.release_worker(first, now=T0)

        assert await claimed_ids(storage, second, queues={"default": 1}) == ["r1"]
        assert await claimed_ids(storage, second, queues={"default": 9}, limit=9) == ["r2"]
        assert await claimed_ids(storage, second, queues={"other": 9}) == ["r3"]

    async def test_a_request_survives_its_owner(self, storage: Storage) -> None:
        first, second = await two_workers(storage)
        await running(storage, "r1", first)
        await write(storage, control("r1", Action.CANCEL), control("r1", Action.PAUSE))

        (taken,) = await claim(storage, second, now=T0 + LEASE)

        assert (taken.run.cancel_requested, taken.run.pause_requested) == (True, True)
