"""The rules of concurrency on PostgreSQL: each of these tests fails without the rule that its name tells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from stepflow.model.events import Wait
from stepflow.model.runs import ParentLink
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.storage.postgres.link import Link
from stepflow.storage.writes import (
    Action,
    Anything,
    Cancel,
    CommitRun,
    Committed,
    Complete,
    Created,
    CreateRun,
    Existing,
    Fenced,
    QueueReady,
    Sent,
    Suspend,
)
from stepflow.testing.storage_contract.building import (
    LEASE,
    LONG,
    T0,
    a_child,
    a_run,
    a_worker,
    claim,
    claimed_ids,
    commit,
    control,
    create,
    get,
    running,
    send,
    start,
    status_of,
    suspended,
    value,
    write,
    write_one,
)
from tests.servers.postgres import connected, emptied, execute_here, held

SCHEMA = "rules"


@pytest.fixture
def url() -> str:
    return emptied(SCHEMA)


@asynccontextmanager
async def views(url: str, count: int = 2) -> AsyncIterator[list[Storage]]:
    """The same schema opened several times, as several processes would."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_storage(url)) for _ in range(count)]


async def until_blocked(url: str, count: int = 1) -> None:
    """Wait until so many statements on our tables wait for a lock."""
    async with connected(url) as connection:
        while True:
            blocked = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
                f"%{SCHEMA}.%",
            )
            if blocked >= count:
                return
            await asyncio.sleep(0)


# ------------------------------------------------------------------ waits and sends
async def test_a_wait_registered_while_a_send_commits_is_not_lost(url: str) -> None:
    async with views(url) as (here, there):
        await running(here)
        stream = f"INSERT INTO {SCHEMA}.streams VALUES ('paid') ON CONFLICT (event_id) DO UPDATE SET event_id = excluded.event_id"
        async with held(url, stream):
            # Both have decided to go on before either has looked: whoever comes second must see the first.
            sending = asyncio.create_task(write_one(there, send("paid"), Sent))
            await until_blocked(url)
            waiting = asyncio.create_task(
                write_one(
                    here, commit(waits=(Wait(event_id="paid", after=0),), transition=Suspend()), Committed
                )
            )
            await until_blocked(url, 2)
        sent, committed = await sending, await waiting

        assert committed.events_ready or sent.woken == ("r1",)
        assert await status_of(here) is RunStatus.QUEUED


async def test_a_lone_send_that_waited_for_its_stream_sees_who_began_to_wait_meanwhile(url: str) -> None:
    async with views(url, 1) as (storage,):
        await running(storage)
        registering = f"""
            INSERT INTO {SCHEMA}.streams (event_id, turn) VALUES ('paid', 1)
                ON CONFLICT (event_id) DO UPDATE SET turn = streams.turn + 1;
            INSERT INTO {SCHEMA}.waits VALUES ('paid', 'r1', 0, '', NULL);
            UPDATE {SCHEMA}.runs SET status = 'suspended', worker = NULL WHERE id = 'r1'
        """
        async with held(url, registering):
            sending = asyncio.create_task(write_one(storage, send("paid"), Sent))
            await until_blocked(url)

        assert (await sending).woken == ("r1",)
        assert await status_of(storage) is RunStatus.QUEUED


async def test_who_begins_to_wait_counts_the_turn_of_the_stream(url: str) -> None:
    async with views(url, 1) as (storage,):
        await running(storage)
        turns: list[int] = []
        for seq in (2, 3):
            await write(storage, commit(seq=seq, waits=(Wait(event_id="paid", after=0),)))
            turns += [row[0] for row in await execute_here(url, f"SELECT turn FROM {SCHEMA}.streams")]

        assert turns == [1, 2]


@pytest.mark.deadline(60)
async def test_waits_and_sends_that_race_all_meet(url: str) -> None:
    async with views(url) as (here, there):
        for round_ in range(40):
            run_id, event_id = f"r{round_}", f"paid/{round_ % 5}"
            await running(here, run_id)
            run = await get(here, run_id)
            wait = Wait(event_id=event_id, after=run.created_pos)

            await asyncio.gather(
                write_one(here, commit(run_id, waits=(wait,), transition=Suspend()), Committed),
                write_one(there, send(event_id), Sent),
            )

            assert await status_of(here, run_id) is RunStatus.QUEUED, f"round {round_}"


async def test_a_suspend_that_meets_a_send_sees_it(url: str) -> None:
    async with views(url) as (here, there):
        await running(here)
        await write(here, commit(waits=(Wait(event_id="paid", after=0),)))
        async with held(url, f"SELECT id FROM {SCHEMA}.runs WHERE id = 'r1' FOR UPDATE"):
            sending = asyncio.create_task(write_one(there, send("paid"), Sent))
            await until_blocked(url)
            suspending = asyncio.create_task(write_one(here, commit(seq=3, transition=Suspend()), Committed))
            await until_blocked(url, 2)
        await asyncio.gather(sending, suspending)

        assert await status_of(here) is RunStatus.QUEUED


async def test_events_of_one_id_have_their_positions_in_commit_order(url: str) -> None:
    async with views(url, 3) as (here, there, reader):
        seen: list[int] = []

        async def read_on() -> None:
            """What a run does: takes what is there after the last one it had. One that commits late must not be behind."""
            while len(seen) < 60:
                (events,) = await reader.read_events(
                    [("r1", Wait(event_id="paid", after=seen[-1] if seen else 0))]
                )
                seen.extend(event.pos for event in events)

        async def send_many(storage: Storage, sender: str) -> None:
            for number in range(30):
                await write(storage, send("paid", dedup_id=f"{sender}{number}"))

        async with asyncio.timeout(15):
            await asyncio.gather(read_on(), send_many(here, "a"), send_many(there, "b"))

        (events,) = await here.read_events([("r1", Wait(event_id="paid", after=0))])
        assert seen == [event.pos for event in events]


async def test_streams_are_locked_in_the_order_of_their_ids(url: str) -> None:
    async with views(url, 1) as (storage,):
        ids = [f"e{number}" for number in range(6)]
        await write(storage, *map(send, ids))
        async with held(url, f"SELECT 1 FROM {SCHEMA}.streams WHERE event_id = 'e3' FOR UPDATE"):
            writing = asyncio.create_task(write(storage, *(send(event_id) for event_id in reversed(ids))))
            await until_blocked(url)

            free = await execute_here(
                url, f"SELECT event_id FROM {SCHEMA}.streams ORDER BY 1 FOR UPDATE SKIP LOCKED"
            )
            assert [row[0] for row in free] == ["e4", "e5"]
        await writing


@pytest.mark.parametrize("family", [False, True])
async def test_runs_are_locked_in_the_order_of_their_ids(url: str, *, family: bool) -> None:
    async with views(url, 1) as (storage,):
        ids = [f"r{number}" for number in range(6)]
        for run_id in reversed(ids):  # so that they lie in another order than that of their ids
            await running(storage, run_id, parent=ParentLink(run_id="r5", key="k") if family else None)
        actions = [Action.FORCE_CANCEL] if family else [Action.CANCEL]
        named = ["r5"] if family else ids[::-1]
        async with held(url, f"SELECT 1 FROM {SCHEMA}.runs WHERE id = 'r3' FOR UPDATE"):
            writing = asyncio.create_task(
                write(storage, *(control(run_id, action) for run_id in named for action in actions))
            )
            await until_blocked(url)

            free = await execute_here(url, f"SELECT id FROM {SCHEMA}.runs ORDER BY 1 FOR UPDATE SKIP LOCKED")
            assert [row[0] for row in free] == ["r4", "r5"]
        await writing


async def test_quick_ends_lock_their_runs_in_the_order_of_their_ids_before_anything_is_inserted(
    url: str,
) -> None:
    async with views(url, 1) as (storage,):
        ids = [f"r{number}" for number in range(6)]
        for run_id in reversed(ids):
            await running(storage, run_id)
        ends = [commit(run_id, transition=Cancel()) for run_id in reversed(ids)]
        async with held(url, f"SELECT 1 FROM {SCHEMA}.runs WHERE id = 'r3' FOR UPDATE"):
            writing = asyncio.create_task(write(storage, *ends))
            await until_blocked(url)

            free = await execute_here(url, f"SELECT id FROM {SCHEMA}.runs ORDER BY 1 FOR UPDATE SKIP LOCKED")
            assert [row[0] for row in free] == ["r4", "r5"]
            # Nobody would be able to insert this row if the end of r0 had been journaled already.
            await execute_here(
                url, f"SET lock_timeout = '2s'; INSERT INTO {SCHEMA}.journal VALUES ('r0', 2, 'x', 'x', '[]')"
            )
        outcomes = await writing

        assert [type(outcome).__name__ for outcome in outcomes] == ["Committed"] * 5 + ["Fenced"]


@pytest.mark.deadline(60)
async def test_batches_that_name_the_same_events_in_opposite_order_do_not_deadlock(url: str) -> None:
    async with views(url) as (here, there), connected(url) as beside:
        ids = [f"e{number}" for number in range(12)]
        waiting = [f"r{number}" for number in range(12)]
        for run_id, event_id in zip(waiting, reversed(ids), strict=True):
            await running(here, run_id)
            await write(here, commit(run_id, waits=(Wait(event_id=event_id, after=0),)))
        before = await beside.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )

        async def send_all(storage: Storage, order: list[str]) -> None:
            for _ in range(15):
                outcomes = await write(storage, *(send(event_id) for event_id in order))
                assert all(isinstance(outcome, Sent) for outcome in outcomes)

        # A deadlock would be raised as StorageUnavailableError.
        await asyncio.gather(send_all(here, ids), send_all(there, ids[::-1]))

        after = await beside.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        assert after == before


async def test_parents_and_children_that_end_at_once_do_not_deadlock(url: str) -> None:
    async with views(url) as (here, there):
        for number in range(20):
            # The child's id comes before the parent's in one round, after it in the next.
            parent, child = (f"a{number}", f"b{number}") if number % 2 else (f"b{number}", f"a{number}")
            await write_one(here, start(a_run(parent), "w1"), Created)
            await write_one(there, start(a_child(child, parent), "w2"), Created)

            await asyncio.gather(
                write_one(here, commit(parent, transition=Complete(output=value("1"))), Committed),
                write_one(
                    there, commit(child, worker="w2", transition=Complete(output=value("2"))), Committed
                ),
            )

            assert await status_of(here, parent) is RunStatus.COMPLETED


# ------------------------------------------------------------------ round trips
async def test_a_lone_notify_a_claim_and_an_end_take_few_round_trips(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[str] = []
    fetch, transaction = Link.fetch, Link.transaction

    async def counted(link: Link, statement: str, *arguments: object) -> Any:
        trips.append(" ".join(statement.split())[:40])
        return await fetch(link, statement, *arguments)

    def counted_transaction(link: Link) -> Any:
        trips.extend(("BEGIN", "COMMIT"))
        return transaction(link)

    async with views(url, 1) as (storage,):
        await storage.register_worker(a_worker())
        await running(storage)
        waiting = commit(waits=(Wait(event_id="paid", after=0),), transition=Suspend())
        await write_one(storage, waiting, Committed)
        monkeypatch.setattr(Link, "fetch", counted)
        monkeypatch.setattr(Link, "transaction", counted_transaction)

        async def trips_of(call: Any) -> int:
            trips.clear()
            await call
            return len([trip for trip in trips if "pg_notify" not in trip])

        assert await trips_of(write_one(storage, send("paid"), Sent)) == 1
        assert await trips_of(claim(storage, known={"r1": 1})) == 3, (
            "the row that a worker wants to see again comes along"
        )
        end = commit(seq=4, unwaits=("paid",), transition=Complete(output=value("1")))
        assert await trips_of(write(storage, end)) == 1
        assert await status_of(storage) is RunStatus.COMPLETED


# ------------------------------------------------------------------ the fence
async def test_a_due_run_whose_journal_goes_on_while_it_is_taken_is_not_taken(url: str) -> None:
    async with views(url, 1) as (storage,):
        await storage.register_worker(a_worker())
        await write(storage, create())
        async with held(url, f"INSERT INTO {SCHEMA}.journal VALUES ('r1', 1, 'x', 'x', '[]')"):
            taking = asyncio.create_task(claimed_ids(storage))
            await until_blocked(url)

        assert await taking == []
        assert await status_of(storage) is RunStatus.QUEUED
        (taken,) = await claim(storage)
        assert taken.run.seq == 2


async def test_an_owner_that_lost_its_run_in_flight_is_fenced(url: str) -> None:
    async with views(url) as (here, there):
        await here.register_worker(a_worker("w1"))
        await there.register_worker(a_worker("w2", lease_until=T0 + LONG))
        await running(here, "r1")
        place = f"INSERT INTO {SCHEMA}.journal VALUES ('r1', 2, 'x', 'x', '[]')"

        async with connected(url) as connection:
            blocker = connection.transaction()
            await blocker.start()
            await connection.execute(place)
            late = asyncio.create_task(here.write([commit("r1", 2)], now=T0))
            await until_blocked(url)
            taking = asyncio.create_task(claimed_ids(there, "w2", now=T0 + LEASE))
            await until_blocked(url, 2)
            await blocker.rollback()
        (outcome,), taken = await late, await taking

        rows = await here.read_journal("r1")
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert rows[-1].writer == "w2" if taken else isinstance(outcome, Committed)
        assert isinstance(outcome, Committed) == (rows[1].writer == "w1")


async def test_a_control_that_meets_the_owner_s_commit_is_decided_again_after_it(url: str) -> None:
    async with views(url, 1) as (storage,):
        await running(storage)
        place = f"INSERT INTO {SCHEMA}.journal VALUES ('r1', 2, 'w1', 'mine', '[]')"

        async with held(url, place):
            cancelling = asyncio.create_task(write(storage, control("r1", Action.FORCE_CANCEL)))
            await until_blocked(url)
        await cancelling

        assert [(row.seq, row.writer) for row in await storage.read_journal("r1")] == [
            (1, "w1"),
            (2, "w1"),
            (3, "control"),
        ]
        assert await status_of(storage) is RunStatus.CANCELLED


@pytest.mark.parametrize("transition", [None, Complete(output=value("1")), Suspend(), Cancel()])
async def test_every_kind_of_quick_commit_of_a_former_owner_is_fenced(url: str, transition: Any) -> None:
    async with views(url) as (here, there):
        await here.register_worker(a_worker("w1"))
        await there.register_worker(a_worker("w2", lease_until=T0 + LONG))
        await running(here, "r1")
        await claim(there, "w2", now=T0 + LEASE)

        for seq in (2, 3, 4):
            await write_one(here, commit("r1", seq, transition=transition), Fenced)

        run = await get(here)
        assert (run.status, run.worker, run.seq) == (RunStatus.RUNNING, "w2", 2)


async def test_a_refused_quick_write_spoils_none_of_its_neighbours(url: str) -> None:
    async with views(url, 1) as (storage,):
        for number in range(12):
            await running(storage, f"r{number:02}")
        await write(storage, commit("r05", transition=Cancel()))
        taken = CreateRun(run=a_run("r07", workflow_id="other"))

        batch = [commit(f"r{number:02}", write_id="mine") for number in range(12)]
        outcomes = await write(storage, *batch, taken, start(a_run("new")), create("later"))

        kinds = [type(outcome).__name__ for outcome in outcomes]
        assert kinds == ["Committed"] * 5 + ["Fenced"] + ["Committed"] * 6 + [
            "Conflict",
            "Created",
            "Created",
        ]


async def test_a_batch_sent_again_is_answered_as_the_first_time(url: str) -> None:
    async with views(url, 1) as (storage,):
        batch = [start(a_run(f"r{number:02}")) for number in range(10)]
        await write(storage, *batch)
        ends: list[CommitRun] = [
            commit(f"r{number:02}", transition=Complete(output=value("1")) if number % 2 else None)
            for number in range(10)
        ]
        await write(storage, *ends)

        again = [*await write(storage, *batch), *await write(storage, *ends)]

        assert all(isinstance(outcome, Created | Committed) for outcome in again)
        assert [len(await storage.read_journal(f"r{number:02}")) for number in range(10)] == [2] * 10


async def test_two_processes_that_create_the_same_run_make_one(url: str) -> None:
    async with views(url) as (here, there):
        for number in range(20):
            key = {"idempotency_key": f"k{number}"}
            outcomes = await asyncio.gather(
                here.write([create(f"a{number}", **key)], now=T0),
                there.write([create(f"b{number}", **key)], now=T0),
            )

            kinds = sorted(type(outcome).__name__ for (outcome,) in outcomes)
            assert kinds == ["Created", "Existing"]
            (existing,) = (outcome for (outcome,) in outcomes if isinstance(outcome, Existing))
            (created,) = (outcome for (outcome,) in outcomes if isinstance(outcome, Created))
            assert existing.run.id == created.run_id


# ------------------------------------------------------------------ claims
async def test_a_run_that_another_is_claiming_is_passed_over_and_not_waited_for(url: str) -> None:
    async with views(url, 1) as (storage,):
        await storage.register_worker(a_worker())
        await write(storage, create("r1"), create("r2"))

        async with held(url, f"SELECT id FROM {SCHEMA}.runs WHERE id = 'r1' FOR UPDATE"):
            assert await claimed_ids(storage) == ["r2"]
        assert await claimed_ids(storage) == ["r1"]


async def test_a_run_cancelled_while_it_is_claimed_is_not_claimed(url: str) -> None:
    async with views(url, 1) as (storage,):
        await storage.register_worker(a_worker())
        await write(storage, create("r1"))
        async with held(url, f"SELECT id FROM {SCHEMA}.runs WHERE id = 'r1' FOR UPDATE"):
            cancelling = asyncio.create_task(write(storage, control("r1", Action.CANCEL)))
            await until_blocked(url)
            assert await claimed_ids(storage) == []
        await cancelling

        assert await claimed_ids(storage) == []
        assert await status_of(storage) is RunStatus.CANCELLED


# ------------------------------------------------------------------ hints
@contextlib.asynccontextmanager
async def hearing(storage: Storage) -> AsyncGenerator[asyncio.Queue[Any]]:
    """What the storage hints at, once it hears other processes."""
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def listen() -> None:
        async for hint in storage.wakeups():
            heard.put_nowait(hint)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0)  # it has begun to listen then
    try:
        messenger = storage._opened.messenger  # type: ignore[attr-defined]
        await messenger.hears.wait()
        messenger._hub.tell([QueueReady(queue="from here")])
        while await heard.get() != QueueReady(queue="from here"):
            pass
        yield heard
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def test_another_process_hears_which_queue_and_run_to_look_at(url: str) -> None:
    async with views(url) as (here, there), hearing(there) as heard:
        await suspended(here, waits=[Wait(event_id="paid", after=0)])
        await write(here, send("paid"))

        async with asyncio.timeout(5):
            hints = {await heard.get()}
            while QueueReady(queue="default") not in hints:
                hints.add(await heard.get())


async def test_a_process_does_not_hear_itself_twice(url: str) -> None:
    async with views(url) as (here, there), hearing(here) as heard, hearing(there) as other:
        await write(here, create("r1"))
        async with asyncio.timeout(5):
            assert await heard.get() == QueueReady(queue="default")
            await other.get()
            await write(there, create("r2", queue="end"))

            assert await heard.get() == QueueReady(queue="end")


async def test_a_plain_step_tells_nobody(url: str) -> None:
    async with views(url) as (here, there):
        await running(here)
        async with hearing(there) as heard:
            await write(here, commit())
            await write(here, create("r2", queue="end"))

            async with asyncio.timeout(5):
                assert await heard.get() == QueueReady(queue="end")


async def test_a_lost_hint_connection_is_made_again(url: str) -> None:
    async with views(url) as (here, there), hearing(there) as heard:
        messenger = there._opened.messenger  # type: ignore[attr-defined]
        await execute_here(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND (query LIKE 'LISTEN%' OR query LIKE '%pg_notify%')",
        )
        async with asyncio.timeout(10):
            while await heard.get() != Anything():
                pass
            await messenger.hears.wait()
            await write(here, create("r1"))

            while await heard.get() != QueueReady(queue="default"):
                pass
