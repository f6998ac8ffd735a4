"""SQLite in bad company: locked, full, corrupt, replaced, forked; each said clearly, with nothing acknowledged lost."""

# ruff: noqa: ASYNC240 - a test may wait for a local file
from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from stepflow.errors import (
    NotOpenError,
    SchemaError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from stepflow.model.runs import RunFilter
from stepflow.storage.opening import open_storage
from stepflow.storage.sqlite.errors import translate
from stepflow.storage.sqlite.storage import SqliteStorage
from stepflow.storage.writes import Committed, Created
from stepflow.testing.storage_contract.building import (
    T0,
    a_step,
    claim,
    commit,
    create,
    get,
    running,
    write,
    write_one,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


def storage_at(path: Path, options: str = "") -> SqliteStorage:
    return cast("SqliteStorage", open_storage(f"sqlite:///{path}{options}"))


def on_writer(storage: SqliteStorage, sql: str) -> Any:
    """Execute something on the connection that writes."""
    session = storage._session
    assert session is not None
    return session.write_now(lambda connection: connection.execute(sql).fetchall())


@contextmanager
def another_process_writing(path: Path) -> Iterator[Callable[[], None]]:
    """Another connection that holds the write lock until the function given is called."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield lambda: connection.execute("COMMIT") and None
    finally:
        connection.close()


# ------------------------------------------------------------------ locked
async def test_a_lock_held_too_long_is_an_error_that_invites_another_try(path: Path) -> None:
    async with storage_at(path, "?busy_timeout=30") as storage:
        with another_process_writing(path), pytest.raises(StorageUnavailableError, match="another process"):
            await write(storage, create())

        await write_one(storage, create(), Created)


async def test_a_write_waits_for_the_lock_while_the_event_loop_goes_on(path: Path) -> None:
    async with storage_at(path) as storage:
        with another_process_writing(path) as done:
            writing = asyncio.create_task(write(storage, create()))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not writing.done()
            assert await storage.get_run("r1") is None
            done()
            (outcome,) = await writing

        assert isinstance(outcome, Created)


async def test_other_writes_queue_up_behind_one_that_waits(path: Path) -> None:
    async with storage_at(path) as storage:
        with another_process_writing(path) as done:
            writes = [asyncio.create_task(write(storage, create(f"r{n}"))) for n in range(5)]
            await asyncio.sleep(0)
            done()
            await asyncio.gather(*writes)

        assert len((await storage.list_runs(RunFilter())).items) == 5


async def test_a_claim_and_a_lease_wait_for_the_lock_too(path: Path) -> None:
    async with storage_at(path, "?busy_timeout=30") as storage:
        await running(storage)
        keeper = storage.lease_keeper("w1")
        with another_process_writing(path):
            with pytest.raises(StorageUnavailableError):
                keeper.renew(T0, T0 - T0)
            assert await claim(storage) == []
        assert not keeper.renew(T0, T0 - T0)
        keeper.close()


# ------------------------------------------------------------------ full
async def test_a_full_disk_loses_nothing_that_was_acknowledged(path: Path) -> None:
    async with storage_at(path) as storage:
        await running(storage)
        pages = on_writer(storage, "PRAGMA page_count")[0][0]
        on_writer(storage, f"PRAGMA max_page_count = {pages + 20}")
        acknowledged = 1

        with pytest.raises(StorageFullError, match="free some space"):
            while True:
                large = commit(seq=acknowledged + 1, entries=[a_step(json='"' + "x" * 9_000 + '"')])
                await write_one(storage, large, Committed)
                acknowledged += 1

        assert 1 < acknowledged == (await get(storage)).seq
        on_writer(storage, f"PRAGMA max_page_count = {pages + 200}")
        await write_one(storage, commit(seq=acknowledged + 1), Committed)


# ------------------------------------------------------------------ the wrong file
@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_went_away_is_not_written_to_as_a_ghost(path: Path, how: str) -> None:
    async with storage_at(path) as storage:
        await running(storage)
        path.unlink()
        if how == "replaced":
            path.write_bytes(b"")

        with pytest.raises(StorageError, match="deleted or replaced"):
            await write(storage, commit())
        with pytest.raises(StorageError, match="deleted or replaced"):
            await storage.get_run("r1")


async def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_text("Dear diary, " * 1000, encoding="utf-8")

    with pytest.raises(StorageError, match="give the URL of another file"):
        await storage_at(path).__aenter__()

    assert path.read_text(encoding="utf-8").startswith("Dear diary")


async def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="directory must exist"):
        await storage_at(tmp_path / "no" / "app.db").__aenter__()


async def test_a_corrupt_page_is_an_error_and_no_answer(path: Path) -> None:
    async with storage_at(path) as storage:
        await write(storage, *(create(f"r{n:04}") for n in range(500)))
    data = bytearray(path.read_bytes())
    data[8192:] = bytes(byte ^ 0xFF for byte in data[8192:])
    path.write_bytes(data)

    with pytest.raises(StorageError, match="restore a backup"):
        async with storage_at(path) as storage:
            await storage.list_runs(RunFilter())


# ------------------------------------------------------------------ the wrong process, the wrong moment
async def test_use_after_a_fork_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with storage_at(path) as storage:
        keeper = storage.lease_keeper("w1")
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: 1)

            with pytest.raises(StorageError, match="fork"):
                await storage.get_run("r1")
            with pytest.raises(StorageError, match="fork"):
                await write(storage, create())
            with pytest.raises(StorageError, match="fork"):
                keeper.renew(T0, T0 - T0)


async def test_a_storage_that_is_not_open_says_so(path: Path) -> None:
    storage = storage_at(path)

    with pytest.raises(NotOpenError, match="async with"):
        await storage.get_run("r1")
    async with storage:
        pass
    with pytest.raises(NotOpenError, match="async with"):
        await write(storage, create())


async def test_a_storage_entered_twice_closes_with_the_last(path: Path) -> None:
    storage = storage_at(path)

    async with storage:
        async with storage:
            await write(storage, create())
        assert await storage.get_run("r1") is not None

    async with storage:
        assert await storage.get_run("r1") is not None


async def test_a_database_moved_while_closed_is_just_opened(path: Path, tmp_path: Path) -> None:
    async with storage_at(path) as storage:
        await write(storage, create())
    moved = shutil.move(path, tmp_path / "moved.db")

    async with storage_at(moved) as storage:
        assert await storage.get_run("r1") is not None


# ------------------------------------------------------------------ schema
async def test_a_newer_schema_is_refused_and_untouched(path: Path) -> None:
    async with storage_at(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO stepflow_schema VALUES (999, 'later', 'x', 0)")
    connection.close()

    with pytest.raises(SchemaError, match="upgrade stepflow"):
        await storage_at(path).__aenter__()


async def test_a_schema_of_another_build_is_refused(path: Path) -> None:
    async with storage_at(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE stepflow_schema SET checksum = 'x'")
    connection.close()

    with pytest.raises(SchemaError, match="another build"):
        await storage_at(path).__aenter__()


async def test_tables_that_were_dropped_by_hand_are_reported(path: Path) -> None:
    async with storage_at(path) as storage:
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE stepflow_inputs")
        connection.close()

        with pytest.raises(SchemaError, match="changed by hand"):
            await write(storage, create())


async def test_a_database_with_tables_of_its_own_is_shared(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (mine)")
    connection.close()

    async with storage_at(path) as storage:
        await write_one(storage, create(), Created)


# ------------------------------------------------------------------ literal paths, settings
@pytest.mark.parametrize("name", ["with space.db", "ünï€.db", "file:x.db", "a&b=c.db", "100%.db", "#.db"])
async def test_a_name_is_taken_literally(tmp_path: Path, name: str) -> None:
    async with storage_at(tmp_path / name) as storage:
        await write(storage, create())
        again = open_storage(storage.url)

    assert (tmp_path / name).is_file()
    async with again:
        assert await again.get_run("r1") is not None


async def test_a_question_mark_in_a_name_is_written_with_a_percent(tmp_path: Path) -> None:
    async with storage_at(tmp_path / "odd%3Fmode=ro") as storage:
        assert storage.url.endswith("/odd%3Fmode=ro")

    assert (tmp_path / "odd?mode=ro").is_file()


async def test_a_relative_path_stays_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("sqlite:///app.db")
    monkeypatch.chdir("/")

    async with storage:
        await write(storage, create())

    assert (tmp_path / "app.db").is_file()


@pytest.mark.parametrize(
    ("options", "level", "said"), [("", 2, "full"), ("?synchronous=normal", 1, "normal")]
)
async def test_the_promise_of_durability_is_kept_and_told(
    path: Path, options: str, level: int, said: str
) -> None:
    async with storage_at(path, options) as storage:
        assert on_writer(storage, "PRAGMA synchronous") == [(level,)]
        assert on_writer(storage, "PRAGMA journal_mode") == [("wal",)]
        assert f"synchronous={said}" in (await storage.info(now=T0)).durability


async def test_private_databases_are_private() -> None:
    async with open_storage("sqlite:///:memory:") as one, open_storage("sqlite:///:memory:") as two:
        await write(one, create())

        assert await two.get_run("r1") is None
        assert (one.durable, one.url) == (False, "sqlite:///:memory:")


async def test_values_can_be_read_with_the_database_s_own_tools(path: Path) -> None:
    async with storage_at(path) as storage:
        await running(storage)

        with sqlite3.connect(path) as connection:
            (text,) = connection.execute(
                "SELECT json_extract(entries, '$[0].worker') FROM stepflow_journal"
            ).fetchone()
            (order,) = connection.execute(
                "SELECT json_extract(input, '$.order') FROM stepflow_inputs"
            ).fetchone()
        connection.close()

    assert (text, order) == ("w1", 7)


# ------------------------------------------------------------------ SQLite's codes
@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageUnavailableError, "repeated"),
        (sqlite3.SQLITE_LOCKED, StorageUnavailableError, "repeated"),
        (sqlite3.SQLITE_FULL, StorageFullError, "space"),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageUnavailableError, "check the disk"),
        (sqlite3.SQLITE_READONLY_DBMOVED, StorageError, "writable"),
        (sqlite3.SQLITE_CORRUPT, StorageError, "backup"),
        (sqlite3.SQLITE_NOTADB, StorageError, "another file"),
        (sqlite3.SQLITE_TOOBIG, StorageError, "app.db"),
    ],
)
def test_a_code_becomes_an_error_that_says_what_to_do(
    code: int, kind: type[StorageError], advice: str
) -> None:
    error = sqlite3.OperationalError("it went wrong")
    error.sqlite_errorcode = code

    ours = translate(error, "app.db")

    assert type(ours) is kind
    assert "it went wrong" in str(ours)
    assert advice in str(ours)


def test_an_error_that_is_not_sqlite_s_own_is_passed_on_with_its_text() -> None:
    ours = translate(sqlite3.ProgrammingError("Cannot operate on a closed database."), "app.db")

    assert type(ours) is StorageError
    assert "closed" in str(ours)
