"""PostgreSQL that fails: cut connections, lost answers, restarts, timeouts, wrong URLs. Nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from random import random
from typing import Any

import pytest

from stepflow._runtime.committer import Committer
from stepflow.clock import SystemClock
from stepflow.errors import (
    NotOpenError,
    SchemaError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnknownStorageError,
)
from stepflow.model.states import RunStatus
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.storage.postgres.errors import translate
from stepflow.storage.postgres.schema import MIGRATIONS
from stepflow.storage.writes import Committed, Complete, Created, Sent, Write
from stepflow.testing.storage_contract.building import (
    LEASE,
    T0,
    a_run,
    a_worker,
    commit,
    create,
    get,
    running,
    send,
    start,
    status_of,
    value,
    write,
    write_one,
)
from tests.servers.postgres import (
    PostgresServer,
    another_server,
    at_port,
    dropped,
    emptied,
    execute,
    execute_here,
    held,
    port_of,
    postgres_url,
)
from tests.servers.proxy import Cut, FaultProxy

SCHEMA = "failures"
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stepflow'"


@pytest.fixture
def url() -> str:
    return emptied(SCHEMA)


@asynccontextmanager
async def through_proxy(url: str, options: str = "") -> AsyncGenerator[tuple[Storage, FaultProxy]]:
    """The storage, reached through a proxy that makes faults."""
    async with FaultProxy(port_of(url)) as proxy, open_storage(at_port(url, proxy.port) + options) as storage:
        await storage._opened.messenger.hears.wait()  # type: ignore[attr-defined]
        yield storage, proxy


async def persistently(storage: Storage, batch: list[Write]) -> Any:
    """Write as the committer does: the same batch again, until it is answered."""
    committer = Committer(storage, SystemClock(), random=random)
    return await committer._write(batch)


# ------------------------------------------------------------------ ambiguous ends
async def test_hints_go_another_way_than_writes(url: str) -> None:
    async with through_proxy(url) as (storage, proxy):
        proxy.cut(Cut.BEFORE, b"pg_notify")

        await write_one(storage, create(), Created)
        async with asyncio.timeout(5):
            await proxy.until(lambda: proxy.struck == 1)

        assert await status_of(storage) is RunStatus.QUEUED


@pytest.mark.parametrize("cut", list(Cut))
async def test_a_read_over_a_connection_that_was_cut_while_idle_is_made_again(url: str, cut: Cut) -> None:
    async with through_proxy(url) as (storage, proxy):
        await running(storage)
        proxy.cut(cut, b"r1")

        assert (await get(storage)).seq == 1
        assert proxy.struck == 1


async def test_reads_do_not_notice_that_the_server_ended_idle_connections(url: str) -> None:
    async with open_storage(url) as storage:
        await running(storage)

        await execute_here(url, TERMINATE)

        assert (await get(storage)).seq == 1


async def test_a_server_process_that_is_terminated_is_replaced(url: str) -> None:
    async with open_storage(url) as storage:
        await running(storage)
        for seq in range(2, 8):
            await execute_here(url, TERMINATE)

            (outcome,) = await persistently(storage, [commit(seq=seq)])

            assert isinstance(outcome, Committed)


async def test_an_outage_is_said_and_ends(url: str) -> None:
    async with through_proxy(url) as (storage, proxy):
        await running(storage)
        proxy.refuse()
        with pytest.raises(StorageUnavailableError, match=r"reached|lost"):
            await write(storage, commit())
        writing = asyncio.create_task(persistently(storage, [commit()]))
        before = proxy.accepted
        await proxy.until(lambda: proxy.accepted >= before + 3)
        proxy.heal()

        (outcome,) = await writing
        assert isinstance(outcome, Committed)


async def test_a_call_over_a_silent_network_ends_by_its_timeout(url: str) -> None:
    async with through_proxy(url, "&statement_timeout=200ms&connect_timeout=200ms") as (storage, proxy):
        await running(storage)
        keeper = storage.lease_keeper("w1")
        proxy.go_silent()

        for call in (write(storage, commit()), storage.get_run("r1"), storage.next_due(["default"], now=T0)):
            with pytest.raises(StorageUnavailableError, match="in time"):
                await call
        with pytest.raises(StorageUnavailableError):
            await asyncio.to_thread(keeper.renew, T0, LEASE)
        proxy.heal()

        assert isinstance((await persistently(storage, [commit()]))[0], Committed)


async def test_a_statement_that_waits_too_long_is_given_up(url: str) -> None:
    async with open_storage(f"{url}&statement_timeout=100ms") as storage:
        await running(storage)
        async with held(url, f"SELECT 1 FROM {SCHEMA}.runs FOR UPDATE"):
            with pytest.raises(StorageUnavailableError, match="statement_timeout"):
                await write(storage, commit(transition=Complete(output=value("1"))))

        await write_one(storage, commit(transition=Complete(output=value("1"))), Committed)


# ------------------------------------------------------------------ a server that dies
@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    server = another_server()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.deadline(90)
async def test_restarts_under_load_lose_nothing_that_was_acknowledged(own_server: PostgresServer) -> None:
    async with open_storage(own_server.url) as storage:
        ids = [f"r{number:02}" for number in range(20)]
        await write(storage, *(start(a_run(run_id)) for run_id in ids))
        done = dict.fromkeys(ids, 1)
        over = asyncio.Event()
        progress = asyncio.Semaphore(0)

        async def work(run_id: str) -> None:
            while not over.is_set():
                (outcome,) = await persistently(storage, [commit(run_id, done[run_id] + 1)])
                assert isinstance(outcome, Committed), outcome
                done[run_id] += 1
                progress.release()

        async def restart() -> None:
            for _ in range(4):
                await asyncio.to_thread(own_server.restart)
                for _ in range(100):
                    await progress.acquire()
            over.set()

        async with asyncio.timeout(80):
            await asyncio.gather(restart(), *map(work, ids))

        for run_id, seq in done.items():
            assert [row.seq for row in await storage.read_journal(run_id)] == list(range(1, seq + 1))


# ------------------------------------------------------------------ leases
async def test_a_lease_is_renewed_from_a_thread_over_a_connection_of_its_own(url: str) -> None:
    async with open_storage(f"{url}&pool_size=2") as storage:
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


@pytest.mark.parametrize("cut", list(Cut))
async def test_a_lease_is_renewed_after_its_connection_was_cut(url: str, cut: Cut) -> None:
    async with through_proxy(url) as (storage, proxy):
        await storage.register_worker(a_worker())
        keeper = storage.lease_keeper("w1")
        assert await asyncio.to_thread(keeper.renew, T0, LEASE)
        proxy.cut(cut, b"w1")

        assert await asyncio.to_thread(keeper.renew, T0, 2 * LEASE)

        assert proxy.struck == 1
        (worker,) = await storage.list_workers(now=T0)
        assert worker.lease_until == T0 + 2 * LEASE


# ------------------------------------------------------------------ opening
async def refused(url: str) -> str:
    """What opening says; in one line, without the password."""
    with pytest.raises(StorageError) as raised:
        async with open_storage(url):
            pass
    said = str(raised.value)
    assert "\n" not in said
    assert "s3cret" not in said
    return said


async def test_a_wrong_password_is_said_to_be_one() -> None:
    error = type("InvalidPassword", (Exception,), {"sqlstate": "28P01"})(
        'password authentication failed for user "x"'
    )

    assert "check user and password" in str(translate(error, "host:5432/db"))


async def test_a_server_that_is_not_there_is_said_not_to_be() -> None:
    async with FaultProxy(1) as proxy:
        port = proxy.port

    said = await refused(f"postgresql://me:s3cret@127.0.0.1:{port}/shop")

    assert "can't be reached" in said
    assert f"127.0.0.1:{port}/shop" in said


async def test_a_database_that_is_not_there_is_said_not_to_be() -> None:
    base = postgres_url()

    assert "CREATE DATABASE" in await refused(base.rpartition("/")[0] + "/nowhere")


async def test_a_newer_schema_is_refused_and_left_alone() -> None:
    url = dropped_url = await asyncio.to_thread(dropped, "newer")
    async with open_storage(url):
        pass
    await execute_here(url, "INSERT INTO newer.schema_steps VALUES (99, 'future', 'x', 0)")

    said = await refused(dropped_url)

    assert "upgrade stepflow" in said


async def test_a_schema_made_by_other_files_is_refused() -> None:
    url = await asyncio.to_thread(dropped, "other")
    async with open_storage(url):
        pass
    await execute_here(url, "UPDATE other.schema_steps SET checksum = 'x' WHERE number = 1")

    assert "another build" in await refused(url)


async def test_a_user_without_the_right_to_create_is_told_what_to_ask_for() -> None:
    url = await asyncio.to_thread(dropped, "forbidden")
    await execute_here(
        url, "DROP ROLE IF EXISTS stepflow_guest", "CREATE ROLE stepflow_guest LOGIN PASSWORD 's3cret'"
    )
    guest = url.replace("postgres@", "stepflow_guest:s3cret@", 1)
    if guest == url:
        pytest.skip("the server's user is another one")

    assert "CREATE SCHEMA forbidden AUTHORIZATION" in await refused(guest)


async def test_many_processes_open_a_new_schema_at_once() -> None:
    url = await asyncio.to_thread(dropped, "together")

    async def use() -> int:
        async with open_storage(url) as storage:
            return (await storage.info(now=T0)).schema_version

    assert await asyncio.gather(*(use() for _ in range(6))) == [len(MIGRATIONS)] * 6


@pytest.mark.parametrize(
    ("query", "advice"),
    [
        ("scheme=x", "did you mean 'schema'"),
        ("schema=Upper", "lower-case"),
        ("schema=a;drop", "lower-case"),
        ("pool_size=many", "2 to 1000"),
        ("statement_timeout=10", "with its unit"),
        ("statement_timeout=1h", "50ms to 60s"),
        ("pooler=session", "transaction"),
        ("listen=localhost", "directly"),
    ],
)
def test_an_option_that_is_wrong_is_named(query: str, advice: str) -> None:
    with pytest.raises(UnknownStorageError) as raised:
        open_storage(f"postgresql://me:s3cret@host/db?{query}")

    assert advice in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_the_url_is_shown_without_passwords() -> None:
    listen = "postgresql%3A%2F%2Fme%3As3cret%40direct%2Fdb"
    storage = open_storage(
        f"postgres://me:s3cret@host:6432/db?schema=shop&pooler=transaction&sslmode=require&listen={listen}&statement_timeout=2s"
    )

    assert "s3cret" not in storage.url
    assert open_storage(storage.url).url == storage.url
    for part in (
        "me@host:6432/db",
        "schema=shop",
        "pooler=transaction",
        "sslmode=require",
        "2000ms",
        "direct",
    ):
        assert part in storage.url


async def test_a_storage_that_is_not_open_says_so() -> None:
    with pytest.raises(NotOpenError):
        await open_storage("postgresql://localhost/db").get_run("r1")


# ------------------------------------------------------------------ the server's codes
@pytest.mark.parametrize(
    ("state", "kind", "advice"),
    [
        ("40001", StorageUnavailableError, "repeated"),
        ("40P01", StorageUnavailableError, "repeated"),
        ("57P01", StorageUnavailableError, "repeated"),
        ("25006", StorageUnavailableError, "standby"),
        ("53300", StorageUnavailableError, "max_connections"),
        ("08006", StorageUnavailableError, "reached"),
        ("26000", StorageUnavailableError, "pooler=transaction"),
        ("53100", StorageFullError, "space"),
        ("42P01", SchemaError, "backup"),
        ("42501", StorageError, "grant"),
        ("XX000", StorageError, "it went wrong"),
    ],
)
def test_a_code_becomes_an_error_that_says_what_to_do(
    state: str, kind: type[StorageError], advice: str
) -> None:
    error = type("ServerError", (Exception,), {"sqlstate": state})("it went\nwrong")

    ours = translate(error, "host/db")

    assert type(ours) is kind
    assert "it went wrong" in str(ours)
    assert advice in str(ours)


def test_values_can_be_read_with_psql(url: str) -> None:
    async def fill() -> None:
        async with open_storage(url) as storage:
            await running(storage)
            await write_one(storage, send("paid", '{"amount": 3}'), Sent)

    asyncio.run(fill())

    (row,) = execute(
        url,
        f"SELECT r.input ->> 'order', r.created_at, j.entries -> 0 ->> 'worker', e.payload ->> 'amount' "
        f"FROM {SCHEMA}.readable_runs r, {SCHEMA}.journal j, {SCHEMA}.events e WHERE r.id = 'r1' AND j.run_id = 'r1'",
    )
    assert (row[0], row[1], row[2], row[3]) == ("7", T0, "w1", "3")


async def test_through_a_pooler_without_a_direct_way_one_warning_is_given(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="stepflow.postgres"):
        async with open_storage(f"{url}&pooler=transaction") as storage:
            await write_one(storage, create(), Created)

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "listen=URL" in caplog.text
