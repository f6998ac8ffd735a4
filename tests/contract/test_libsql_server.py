"""What is particular to libSQL: opening a server, answers larger than it sends at once, hints from other processes."""

from __future__ import annotations

import asyncio

import pytest

from stepflow.errors import (
    MissingExtraError,
    NotOpenError,
    SchemaError,
    StorageError,
    StorageUnavailableError,
)
from stepflow.model.events import Wait
from stepflow.model.runs import RunFilter
from stepflow.storage.libsql.storage import LibsqlStorage
from stepflow.storage.opening import open_storage
from stepflow.storage.sqlite.schema import MIGRATIONS
from stepflow.storage.writes import (
    Action,
    Anything,
    Complete,
    Controlled,
    Created,
    Duplicate,
    Gone,
    QueueReady,
    Sent,
)
from stepflow.testing.storage_contract.building import (
    T0,
    a_run,
    a_step,
    a_worker,
    claim,
    commit,
    control,
    create,
    get,
    send,
    start,
    value,
    write,
    write_one,
)
from stepflow.testing.storage_contract.wakeups import listening
from tests.servers.sqld import Sqld, execute, libsql_server, libsql_url, own_sqld, sqld_binary

__all__ = ["libsql_server", "libsql_url", "own_sqld", "sqld_binary"]

LARGE = f'"{"x" * 60_000}"'
"""As large as a value may be that travels beside others: 300 of them are more than a server sends at once."""


# ------------------------------------------------------------------ opening
async def test_processes_that_open_a_new_database_at_once_migrate_it_once(own_sqld: Sqld) -> None:
    storages = [open_storage(own_sqld.url) for _ in range(5)]

    await asyncio.gather(*(storage.__aenter__() for storage in storages))
    for number, storage in enumerate(storages):
        await write_one(storage, create(f"r{number}"), Created)
        await storage.__aexit__(None, None, None)

    (applied,) = execute(own_sqld.url, "SELECT number FROM stepflow_schema")
    assert [int(number) for (number,) in applied] == [step.number for step in MIGRATIONS]


async def test_a_newer_schema_is_left_alone(own_sqld: Sqld) -> None:
    async with open_storage(own_sqld.url):
        pass
    execute(own_sqld.url, "INSERT INTO stepflow_schema VALUES (99, 'future', 'x', 0)")

    with pytest.raises(SchemaError, match="upgrade stepflow here") as refused:
        async with open_storage(own_sqld.url):
            pass

    assert "\n" not in str(refused.value)


async def test_a_database_that_is_only_a_sqlite_file_of_ours_gets_what_it_lacks(own_sqld: Sqld) -> None:
    async with open_storage(own_sqld.url) as storage:
        await write_one(storage, create(), Created)
    execute(own_sqld.url, "DROP TABLE stepflow_turn")

    async with open_storage(own_sqld.url) as storage:
        assert (await get(storage)).id == "r1"
        await write_one(storage, create("r2"), Created)


async def test_a_table_that_somebody_dropped_is_an_error_of_the_schema(own_sqld: Sqld) -> None:
    async with open_storage(own_sqld.url) as storage:
        execute(own_sqld.url, "DROP TABLE stepflow_waits")

        with pytest.raises(SchemaError, match="changed by hand"):
            await write(storage, create())


async def test_something_else_that_answers_is_no_libsql_server() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]

        with pytest.raises(StorageError, match="did not answer as a libSQL server"):
            async with open_storage(f"libsql://127.0.0.1:{port}?tls=0"):
                pass


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("stepflow.storage.libsql")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx", None)

    with pytest.raises(MissingExtraError, match=r"stepflow\[turso\]"):
        open_storage("libsql://host")


async def test_it_closes_with_the_last_that_entered_and_says_when_it_is_not_open(libsql_url: str) -> None:
    storage = open_storage(libsql_url)
    async with storage:
        async with storage:
            pass
        await write(storage, create())

    with pytest.raises(NotOpenError, match="async with"):
        await storage.get_run("r1")


def test_it_may_be_used_from_several_event_loops_at_once(libsql_url: str) -> None:
    storage = open_storage(libsql_url)

    async def in_another_loop() -> None:
        async with storage:
            await write(storage, create("r2"))

    async def in_this_loop() -> None:
        async with storage:
            await write(storage, create("r1"))
            await asyncio.to_thread(asyncio.run, in_another_loop())
            assert (await get(storage, "r2")).created_pos == 2

    asyncio.run(in_this_loop())


async def test_it_tells_what_a_power_loss_may_take(libsql_url: str) -> None:
    async with open_storage(libsql_url) as storage:
        info = await storage.info(now=T0)

    assert info.backend == "libsql"
    assert "synchronous=normal" in info.durability
    assert (info.size_bytes or 0) > 0


async def test_the_server_tells_the_time(libsql_url: str) -> None:
    async with open_storage(libsql_url) as storage:
        first = await storage.server_time()
        second = await storage.server_time()

    assert first is not None
    assert second is not None
    assert first <= second
    assert first.tzinfo is not None


# ------------------------------------------------------------------ one batch
async def test_what_is_deleted_is_gone_for_the_next_write_of_the_batch(libsql_url: str) -> None:
    async with open_storage(libsql_url) as storage:
        last = commit(transition=Complete(output=value("1")))
        await write(storage, start(a_run(idempotency_key="k")), last, send("told", run_id=None))

        deleted, again, new, sent = await write(
            storage,
            control("r1", Action.DELETE),
            last,
            create("r2", idempotency_key="k"),
            send("told", once=True),
        )

        assert isinstance(deleted, Controlled)
        assert isinstance(again, Gone)
        assert isinstance(new, Created)
        assert isinstance(sent, Duplicate)


# ------------------------------------------------------------------ more than the server sends at once
async def test_many_large_runs_are_listed_claimed_and_ended_in_parts(libsql_url: str) -> None:
    ids = [f"r{number:03}" for number in range(300)]
    async with open_storage(libsql_url) as storage:
        await storage.register_worker(a_worker())
        for begin in range(0, 300, 50):
            await write(storage, *(create(run_id, input=value(LARGE)) for run_id in ids[begin : begin + 50]))

        taken = await claim(storage, limit=300)
        while len(taken) < 300:
            taken = [*taken, *await claim(storage, limit=300)]
        for begin in range(0, 300, 50):
            ends = [
                commit(run_id, transition=Complete(output=value(LARGE))) for run_id in ids[begin : begin + 50]
            ]
            await write(storage, *ends)
        again = await write(storage, *(create(run_id, input=value(LARGE)) for run_id in ids))
        page = await storage.list_runs(RunFilter(), limit=300)

    assert sorted(found.run.id for found in taken) == ids
    assert all(bytes(found.run.input.data) == LARGE.encode() for found in taken)
    assert len(again) == 300
    assert sorted(run.id for run in page.items) == ids
    assert all(run.output is not None and bytes(run.output.data) == LARGE.encode() for run in page.items)


@pytest.mark.deadline(60)
async def test_a_long_journal_of_large_rows_is_read_whole(libsql_url: str) -> None:
    large = f'"{"y" * 1_500_000}"'
    async with open_storage(libsql_url) as storage:
        await write(storage, start(a_run()))
        for seq in range(2, 14):
            await write(storage, commit(seq=seq, entries=[a_step(json=large)]))

        rows = await storage.read_journal("r1")
        some = await storage.read_journal("r1", after=3, limit=4)

    assert [row.seq for row in rows] == list(range(1, 14))
    assert [row.seq for row in some] == [4, 5, 6, 7]


async def test_large_events_come_in_parts(libsql_url: str) -> None:
    large = f'"{"z" * 2_000_000}"'
    async with open_storage(libsql_url) as storage:
        for _ in range(8):
            await write_one(storage, send(json=large), Sent)

        (found,) = await storage.read_events([("r1", Wait(event_id="paid", after=1))], limit=6)

    assert [event.pos for event in found] == [2, 3, 4, 5, 6, 7]


# ------------------------------------------------------------------ hints
async def test_what_another_process_writes_is_hinted_within_the_poll(libsql_url: str) -> None:
    async with (
        open_storage(f"{libsql_url}&poll=20") as here,
        open_storage(libsql_url) as there,
        listening(here) as hears,
    ):
        await write(there, create(queue="slow"))

        assert await hears(Anything())


async def test_what_this_process_writes_is_hinted_by_name_and_not_as_anything(libsql_url: str) -> None:
    storage = open_storage(f"{libsql_url}&poll=1")
    assert isinstance(storage, LibsqlStorage)
    async with storage:
        heard = storage.wakeups()
        first = asyncio.ensure_future(anext(heard))  # type: ignore[arg-type]
        await asyncio.sleep(0)

        await write(storage, create(queue="slow"))

        assert await first == QueueReady(queue="slow")
        await heard.aclose()  # type: ignore[attr-defined]


async def test_a_value_that_the_server_does_not_take_is_refused_and_said_so(libsql_url: str) -> None:
    async with open_storage(libsql_url) as storage:
        await write(storage, start(a_run()), create("r2"))

        with pytest.raises(StorageError, match="5,000,000 bytes") as refused:
            await write(storage, commit(entries=[a_step(json=f'"{"x" * 5_000_000}"')]))

        assert not isinstance(refused.value, StorageUnavailableError)
        assert (await get(storage)).seq == 1
