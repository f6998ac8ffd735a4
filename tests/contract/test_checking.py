"""``Check``: a store that was used is clean, and whatever is damaged in one is found, on every store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import pytest

from stepflow import Retry, Stepflow, continue_as, sleep, step, wait_for_event, workflow
from stepflow.clock import SystemClock
from stepflow.model.journal import Ended, Suspended
from stepflow.model.runs import RunFilter
from stepflow.model.states import RunStatus
from stepflow.storage._checking.walking import Check
from stepflow.storage.base import Storage
from stepflow.storage.checking import Finding
from stepflow.storage.opening import open_storage
from stepflow.storage.redis.calls import command, on_store
from stepflow.storage.redis.fields import lane_of, place_of, read_run
from stepflow.storage.redis.storage import RedisStorage
from stepflow.testing.storage_contract.building import T0, a_worker, create, running
from tests.servers import postgres, sqld
from tests.servers.stores import ALL, LASTING, Stores, stores

__all__ = ["stores"]

TABLES = ("sqlite", "postgres", "libsql")
DICTIONARIES = ("redis", "redis-cluster")
Found = set[tuple[str, str | None]]


# ------------------------------------------------------------------ what is stored
@step
async def add_one(number: int) -> int:
    return number + 1


@workflow
async def adds(number: int) -> int:
    for _ in range(3):
        number = await add_one(number)
    return number


@workflow
async def waits(number: int) -> int:
    await add_one(number)
    return await wait_for_event(f"go/{number}", type=int)


@workflow
async def sleeps(number: int) -> None:
    await add_one(number)
    await sleep("90d")


@workflow
async def asks(number: int) -> int:
    return await step.invoke(adds, number)


@workflow
async def asks_who_waits(number: int) -> int:
    return await step.invoke(waits, number)


@workflow(retry=Retry(attempts=2, delay="1ms"))
async def fails(number: int) -> None:
    await add_one(number)
    raise ValueError("no luck")


@workflow
async def loops(number: int) -> int:
    if await add_one(number) < 5:
        continue_as(number + 1)
    return number


WORKFLOWS = (adds, waits, sleeps, asks, asks_who_waits, fails, loops)
ENDING = {"adds": adds, "asks": asks, "fails": fails, "loops": loops}
STAYING = {"waits": waits, "sleeps": sleeps, "parent": asks_who_waits}


async def live(storage: Storage | str, *, ended: int = 6, staying: int = 6) -> None:
    """Let an app do everything that an app does, and close."""
    app = Stepflow(storage, workflows=WORKFLOWS, lease="5s")
    async with app:
        runs = [
            await app.trigger(flow, n, id=f"{name}-{n}")
            for name, flow in ENDING.items()
            for n in range(ended)
        ]
        kept = [
            await app.trigger(flow, n, id=f"{name}-{n}")
            for name, flow in STAYING.items()
            for n in range(staying)
        ]
        for n in range(staying):
            await app.trigger(adds, n, id=f"later-{n}", delay="1d")
            await app.trigger(adds, n, idempotency_key=f"key-{n}", delay="1d")
        for run in runs:
            await _over(run)
        await app.notify("go/1", 1, id="once")
        await _over(app.handle("waits-1", waits))
        for run in kept:
            await _stands(run)
        await app.pause("waits-2")
        await app.cancel("sleeps-1")
        await _over(app.handle("sleeps-1"))
        await app.retry("fails-0")
        await _over(app.handle("fails-0"))
        await app.delete("adds-0")


async def _over(run: Any) -> None:
    async for _ in run.events():
        pass
    assert RunStatus(await run.status()).ended


async def _stands(run: Any) -> None:
    async for event in run.events():
        if isinstance(event.entry, Suspended | Ended):
            return


async def checked(storage: Storage, run_id: str | None = None) -> list[Finding]:
    """What a check of the whole store says, or of one run."""
    async with storage:
        check = Check(storage, now=SystemClock().now(), between=0.01)
        return [finding async for finding in (check.all() if run_id is None else check.one(run_id))]


def places(findings: Sequence[Finding]) -> Found:
    return {(finding.what.value, finding.run_id) for finding in findings}


# ------------------------------------------------------------------ clean
@pytest.fixture
def url(stores: Stores, name: str) -> str:
    return stores.fresh(name)


@pytest.fixture
def store(url: str) -> Storage:
    return open_storage(url)


@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", ALL)
async def test_a_store_that_was_used_is_clean(store: Storage) -> None:
    async with store:
        await live(store)

        found = await checked(store)

    assert found == []


@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", ALL)
async def test_a_run_whose_worker_is_gone_is_told_but_no_damage(store: Storage) -> None:
    async with store:
        await store.register_worker(a_worker("w1"))
        await running(store, "r1")

        alive = await checked_at_the_beginning(store)
        gone = await checked(store)

    assert alive == []
    assert places(gone) == {("owner-gone", "r1")}
    assert not gone[0].damage


async def checked_at_the_beginning(storage: Storage) -> list[Finding]:
    check = Check(storage, now=T0, between=0.01)
    return [finding async for finding in check.all()]


@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", LASTING)
async def test_a_check_beside_workers_takes_nothing_that_they_do_for_damage(url: str) -> None:
    async with open_storage(url) as storage:
        done = asyncio.Event()
        found: list[Finding] = []

        async def look() -> None:
            while not done.is_set():
                found.extend(await checked(storage))

        async with asyncio.TaskGroup() as group:
            group.create_task(look())
            await live(url)
            done.set()

    assert [finding for finding in found if finding.damage] == []


# ------------------------------------------------------------------ damaged tables
TABLE_DAMAGE: Mapping[str, tuple[str, Found]] = {
    "a row of a journal": (
        "DELETE FROM stepflow_journal WHERE run_id = 'adds-1' AND seq = 2",
        {("journal-gap", "adds-1")},
    ),
    "the text of a row": (
        """UPDATE stepflow_journal SET entries = '[{"kind":"nonsense"}]' WHERE run_id = 'adds-2' AND seq = 2""",
        {("journal-unreadable", "adds-2")},
    ),
    "a row twice": (
        """INSERT INTO stepflow_journal (run_id, seq, writer, write_id, entries)
        SELECT run_id, seq + 100, writer, 'again', entries FROM stepflow_journal
        WHERE run_id = 'waits-0' AND CAST(entries AS text) LIKE '%step-completed%'""",
        {("journal-repeats", "waits-0"), ("journal-gap", "waits-0")},
    ),
    "the status of an ended run": (
        "UPDATE stepflow_runs SET status = 'cancelled', output = NULL WHERE id = 'adds-3'",
        {("status-mismatch", "adds-3")},
    ),
    "an owner for an ended run": (
        "UPDATE stepflow_runs SET worker = 'ghost' WHERE id = 'adds-4'",
        {("owner-mismatch", "adds-4")},
    ),
    "the output": (
        "UPDATE stepflow_runs SET output = NULL WHERE id = 'adds-5'",
        {("end-mismatch", "adds-5")},
    ),
    "the attempt": (
        "UPDATE stepflow_runs SET attempt = 7 WHERE id = 'fails-1'",
        {("attempt-mismatch", "fails-1")},
    ),
    "when a queued run is due": (
        "UPDATE stepflow_runs SET due_at = NULL WHERE id = 'later-0'",
        {("due-mismatch", "later-0")},
    ),
    "when a sleeper is due": (
        "UPDATE stepflow_runs SET due_at = due_at + 1 WHERE id = 'sleeps-0'",
        {("due-mismatch", "sleeps-0")},
    ),
    "a wait": (
        "DELETE FROM stepflow_waits WHERE run_id = 'waits-3'",
        {("wait-mismatch", "waits-3"), ("due-mismatch", "waits-3")},
    ),
    "a wait of an ended run": (
        "INSERT INTO stepflow_waits (event_id, run_id, after_pos, name) VALUES ('never', 'loops-0', 0, '')",
        {("wait-mismatch", "loops-0")},
    ),
    "a wait of nobody": (
        "INSERT INTO stepflow_waits (event_id, run_id, after_pos, name) VALUES ('never', 'nobody-1', 0, '')",
        {("wait-mismatch", "nobody-1")},
    ),
    "a row of no run": (
        """INSERT INTO stepflow_journal (run_id, seq, writer, write_id, entries)
        VALUES ('nobody-2', 1, 'w', 'x', '[]')""",
        {("left-over", "nobody-2")},
    ),
    "an input of no run": (
        "INSERT INTO stepflow_inputs (run_id, codec, input) VALUES ('nobody-3', 'json', '1')",
        {("left-over", "nobody-3")},
    ),
    "an event for nobody": (
        """INSERT INTO stepflow_events (pos, event_id, run_id, at, codec, payload)
        VALUES (-5, 'never', 'nobody-4', 0, 'json', '1')""",
        {("left-over", "nobody-4")},
    ),
    "an event at a run's position": (
        """INSERT INTO stepflow_events (pos, event_id, at, codec, payload)
        SELECT created_pos, 'never', 0, 'json', '1' FROM stepflow_runs WHERE id = 'later-1'""",
        {("position-clash", None)},
    ),
    "an event past the sequence": (
        """INSERT INTO stepflow_events (pos, event_id, at, codec, payload)
        VALUES (9000000, 'never', 0, 'json', '1')""",
        {("position-behind", None)},
    ),
    "a parent's child": (
        "DELETE FROM stepflow_runs WHERE parent_id = 'parent-0'",
        {("child-missing", "parent-0"), ("left-over", "child-0"), ("wait-mismatch", "child-0")},
    ),
    "whose a child is": (
        "UPDATE stepflow_runs SET parent_id = 'loops-1' WHERE parent_id = 'parent-3'",
        {("child-mismatch", "parent-3"), ("child-abandoned", "child-3")},
    ),
}  # fmt: skip

UNREADABLE = "UPDATE stepflow_runs SET status = 'sideways' WHERE id = 'loops-2'"
WITHOUT_INPUT = "DELETE FROM stepflow_inputs WHERE run_id = 'later-2'"


async def plant(storage: Storage, url: str, name: str, statements: Sequence[str]) -> None:
    """Change the tables behind the store's back."""
    match name:
        case "sqlite":
            with closing(sqlite3.connect(url.removeprefix("sqlite:///").partition("?")[0])) as database:
                for statement in statements:
                    assert database.execute(statement).rowcount > 0, statement
                database.commit()
        case "postgres":
            await postgres.execute_here(url, *(text.replace("stepflow_", "proofs.") for text in statements))
        case _:
            sqld.execute(url, *statements)


async def children(storage: Storage) -> dict[str, str]:
    """Ids of children → what the expectations call them."""
    names: dict[str, str] = {}
    for n in (0, 3):
        page = await storage.list_runs(RunFilter(parent_id=f"parent-{n}"))
        names[page.items[0].id] = f"child-{n}"
    return names


def named(found: Found, names: Mapping[str, str]) -> Found:
    return {(what, names.get(run_id, run_id) if run_id else None) for what, run_id in found}


@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", TABLES)
async def test_whatever_is_damaged_in_tables_is_found_and_nothing_else(
    stores: Stores, name: str, url: str
) -> None:
    wanted: Found = set().union(*(found for _, found in TABLE_DAMAGE.values()))
    async with open_storage(url) as storage:
        await live(storage)
        names = await children(storage)

        await plant(storage, url, name, [damage for damage, _ in TABLE_DAMAGE.values()])
        found = named(places(await checked(storage)), names)
        of_one = places(await checked(storage, "adds-1"))
        of_a_well_one = await checked(storage, "asks-1")

        await plant(storage, url, name, [UNREADABLE, WITHOUT_INPUT])
        now_found = named(places(await checked(storage)), names)

    assert found == wanted
    assert of_one == {("journal-gap", "adds-1")}
    assert of_a_well_one == []
    assert {("record-unreadable", "loops-2"), ("input-missing", "later-2")} <= now_found - found
    assert found - now_found == set()


@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", ["sqlite"])
async def test_an_index_that_does_not_fit_its_table_is_found(url: str, name: str) -> None:
    async with open_storage(url) as storage:
        await storage.write([create("r1")], now=T0)
        before = await checked(storage)
    path = url.removeprefix("sqlite:///").partition("?")[0]
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = 1")
        database.execute(
            "UPDATE sqlite_master SET sql = replace(sql, '(created_at, id)', '(id, created_at)') "
            "WHERE name = 'stepflow_runs_created'"
        )
        database.commit()

    async with open_storage(url) as storage:
        found = await checked(storage)

    assert before == []
    assert ("database-damaged", None) in places(found)


# ------------------------------------------------------------------ damaged Redis
class Keyring:
    """Redis commands on a store's own keys."""

    def __init__(self, storage: RedisStorage) -> None:
        self._session = storage._open()
        self.keys = self._session.keys

    async def __call__(self, of: str, verb: str, key: Any, *arguments: Any) -> Any:
        """A command on a key in the partition of a run's or an event's id."""
        here = self.keys.of(of)
        name = key(here) if callable(key) else key
        [reply] = await self._session.network.perform([command(here.tag, verb, name, *arguments)])
        return reply

    async def elsewhere(self, name: str) -> None:
        """A key in a slot that is no partition's."""
        key = self.keys.prefix + b"{nowhere}:" + name.encode()
        await self._session.network.perform([command(b"nowhere", "SET", key, "x")])

    async def set_position(self, pos: int) -> None:
        await self._session.network.perform([on_store("SET", self.keys.pos, pos)])

    async def run(self, run_id: str) -> Any:
        flat = await self(run_id, "HGETALL", lambda here: here.run(run_id))
        return read_run(
            {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
        )


async def spoil_runs(redis: Keyring) -> Found:
    """What the port sees as well."""
    await redis("adds-1", "RPOP", lambda here: here.journal("adds-1"))
    await redis("adds-2", "LSET", lambda here: here.journal("adds-2"), 1, "nonsense")
    await redis("adds-3", "HSET", lambda here: here.run("adds-3"), "attempt", "7")
    await redis("adds-4", "HDEL", lambda here: here.run("adds-4"), "output")
    await redis("sleeps-0", "HINCRBY", lambda here: here.run("sleeps-0"), "due_at", "1")
    return {
        ("journal-gap", "adds-1"),
        ("status-mismatch", "adds-1"),
        ("journal-unreadable", "adds-2"),
        ("attempt-mismatch", "adds-3"),
        ("end-mismatch", "adds-4"),
        ("due-mismatch", "sleeps-0"),
        ("index-mismatch", "sleeps-0"),
    }


async def spoil_indexes(redis: Keyring) -> Found:
    """What only a look at the keys shows."""
    later, waiting = await redis.run("later-0"), await redis.run("later-1")
    await redis("later-0", "ZREM", lambda here: here.due(lane_of(later)), place_of(later))
    await redis("waits-0", "ZADD", lambda here: here.due(lane_of(waiting)), 1, "0000000000000001|waits-0")
    await redis("adds-5", "ZREM", lambda here: here.ended, "adds-5")
    await redis("loops-0", "ZADD", lambda here: here.unfinished, 1, "loops-0")
    await redis("waits-3", "ZADD", lambda here: here.created, 1, "waits-3")
    await redis("loops-1", "HSET", lambda here: here.owned("ghost"), "loops-1", "1|x")
    await redis("nobody-1", "ZADD", lambda here: here.created, 1, "nobody-1")
    await redis("nobody-2", "RPUSH", lambda here: here.journal("nobody-2"), "x")
    await redis("go/4", "HDEL", lambda here: here.waiting("go/4"), "waits-4")
    return {
        ("index-mismatch", "later-0"),
        ("index-mismatch", "waits-0"),
        ("index-mismatch", "adds-5"),
        ("index-mismatch", "loops-0"),
        ("index-mismatch", "waits-3"),
        ("index-mismatch", "loops-1"),
        ("left-over", "nobody-1"),
        ("left-over", "nobody-2"),
        ("wait-mismatch", "waits-4"),
        ("count-mismatch", None),
    }


async def spoil_families(redis: Keyring, child: str) -> Found:
    await redis("parent-0", "DEL", lambda here: here.children_of("parent-0"))
    here = redis.keys.of("key-0")
    [value] = await redis._session.network.perform([command(here.tag, "GET", here.key("key-0"))])
    run_id = value.decode().split('"')[3]
    await redis("key-0", "DEL", lambda here: here.key("key-0"))
    return {("child-mismatch", child), ("index-mismatch", run_id)}


@pytest.mark.deadline(60)
@pytest.mark.parametrize("name", DICTIONARIES)
async def test_whatever_is_damaged_in_redis_is_found_and_nothing_else(url: str, name: str) -> None:
    storage = open_storage(url)
    assert isinstance(storage, RedisStorage)
    async with storage:
        await live(storage)
        redis = Keyring(storage)
        child = (await storage.list_runs(RunFilter(parent_id="parent-0"))).items[0].id

        wanted = await spoil_runs(redis) | await spoil_indexes(redis) | await spoil_families(redis, child)
        found = places(await checked(storage))
        of_one = places(await checked(storage, "waits-4"))

        await redis("loops-2", "HSET", lambda here: here.run("loops-2"), "status", "sideways")
        await redis.elsewhere("run:lost")
        await redis.set_position(1)
        now_found = places(await checked(storage))

    assert found == wanted
    assert of_one == {("wait-mismatch", "waits-4")}
    assert {
        ("record-unreadable", "loops-2"),
        ("misplaced", None),
        ("position-behind", None),
    } == now_found - found
    assert found - now_found == set()
