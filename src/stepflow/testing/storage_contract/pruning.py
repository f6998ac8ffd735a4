"""Pruning: what is old enough goes, in small batches, and nothing that somebody may still ask for."""

from __future__ import annotations

from stepflow.model.events import Wait
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.writes import Action, Complete, Gone
from stepflow.testing.storage_contract.building import (
    SECOND,
    T0,
    a_child,
    commit,
    control,
    create,
    ended,
    running,
    send,
    start,
    suspended,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.running import Contract

LATER = T0 + SECOND
LONG_AGO = T0 - 99 * SECOND


async def there(storage: Storage, *run_ids: str) -> list[str]:
    """Which of the runs exist."""
    return [run_id for run_id in run_ids if await storage.get_run(run_id) is not None]


async def prune_runs(storage: Storage, limit: int = 100) -> int:
    return await storage.prune(ended_before=LATER, events_before=None, limit=limit)


async def prune_events(storage: Storage, limit: int = 100) -> int:
    return await storage.prune(ended_before=None, events_before=LATER, limit=limit)


class PruningContract(Contract):
    """Forgetting."""

    async def test_ended_runs_go_with_all_that_is_theirs(self, storage: Storage) -> None:
        await running(storage, "r1", idempotency_key="k")
        await write(
            storage, send("paid", run_id="r1"), commit("r1", 2, transition=Complete(output=value("1")))
        )
        await suspended(storage, "r2", waits=[Wait(event_id="paid", after=0)])

        assert await prune_runs(storage) == 1

        assert await there(storage, "r1", "r2") == ["r2"]
        assert await storage.read_journal("r1") == []
        assert await storage.find_run("k") is None
        info = await storage.info(now=T0)
        assert (info.events, info.journal_rows) == (0, 2)
        await write_one(storage, commit("r1", 3), Gone)

    async def test_only_runs_that_ended_before_the_instant_go(self, storage: Storage) -> None:
        await ended(storage, "r1")
        await write(storage, create("r2"), control("r2", Action.CANCEL), now=LATER)
        await suspended(storage, "r3")
        await write(storage, create("r4"))

        await prune_runs(storage)

        assert await there(storage, "r1", "r2", "r3", "r4") == ["r2", "r3", "r4"]

    async def test_the_longest_ended_go_first_and_no_more_than_asked(self, storage: Storage) -> None:
        for n in (3, 1, 2, 0):
            await running(storage, f"r{n}")
            await write(
                storage, commit(f"r{n}", transition=Complete(output=value("1"))), now=LONG_AGO + n * SECOND
            )

        assert await prune_runs(storage, limit=3) == 3
        assert await there(storage, "r0", "r1", "r2", "r3") == ["r3"]
        assert await prune_runs(storage, limit=3) == 1
        assert await prune_runs(storage, limit=3) == 0

    async def test_a_child_stays_while_its_parent_may_ask_for_it(self, storage: Storage) -> None:
        await running(storage, "r1")
        for child in (
            a_child("attached", "r1"),
            a_child("detached", "r1", detached=True),
            a_child("orphan", "gone"),
        ):
            await write(storage, start(child), commit(child.id, transition=Complete(output=value("1"))))

        await prune_runs(storage)
        assert await there(storage, "attached", "detached", "orphan") == ["attached"]
        await write(storage, commit("r1", transition=Complete(output=value("1"))))
        await prune_runs(storage)

        assert await there(storage, "r1", "attached") == []

    async def test_events_stay_while_a_run_may_ask_for_them(self, storage: Storage) -> None:
        await write(
            storage, send("paid", "1"), create("r1"), send("paid", "2"), create("r2"), send("paid", "3")
        )

        assert await prune_events(storage) == 1
        assert (await storage.info(now=T0)).events_pinned_by == "r1"
        await write(storage, control("r1", Action.CANCEL))
        assert await prune_events(storage) == 1
        assert (await storage.info(now=T0)).events_pinned_by == "r2"
        await write(storage, control("r2", Action.CANCEL))
        assert await prune_events(storage) == 1

        assert (await storage.info(now=T0)).events == 0
        assert (await storage.info(now=T0)).events_pinned_by is None

    async def test_events_go_by_age_and_no_more_than_asked(self, storage: Storage) -> None:
        await write(storage, *(send("paid", str(n)) for n in range(5)))
        await write(storage, send("paid", '"young"'), now=LATER)

        assert await prune_events(storage, limit=2) == 2
        (events,) = await storage.read_events([("r1", Wait(event_id="paid", after=0))])
        assert [bytes(event.payload.data) for event in events] == [b"2", b"3", b"4", b'"young"']
        assert await prune_events(storage) == 3
        assert await prune_events(storage) == 0

    async def test_a_pruned_event_s_dedup_id_is_forgotten_with_it(self, storage: Storage) -> None:
        await write(storage, send("paid", dedup_id="d"))
        await prune_events(storage)

        (outcome,) = await write(storage, send("paid", dedup_id="d"))

        assert type(outcome).__name__ == "Sent"

    async def test_positions_are_not_used_again(self, storage: Storage) -> None:
        await write(storage, send("paid"), send("paid"))
        (before,) = await storage.read_events([("r1", Wait(event_id="paid", after=0))])
        await prune_events(storage)

        await write(storage, send("paid"))

        (after,) = await storage.read_events([("r1", Wait(event_id="paid", after=0))])
        assert after[0].pos > before[-1].pos

    async def test_without_an_instant_nothing_goes(self, storage: Storage) -> None:
        await ended(storage, "r1", RunStatus.FAILED)
        await write(storage, send("paid"))

        assert await storage.prune(ended_before=None, events_before=None, limit=100) == 0
        assert await there(storage, "r1") == ["r1"]
