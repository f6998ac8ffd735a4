"""Joining: runs and events that are written in a user's own transaction exist when it commits, and only then."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from stepflow import (
    EventConflictError,
    InputError,
    NotTransactionalError,
    RunConflictError,
    RunNotFoundError,
    Stepflow,
    step,
    transaction,
    wait_for_event,
    workflow,
)
from stepflow.storage.opening import open_storage
from stepflow.storage.transactions import Forwarding
from tests.transactions.conftest import notes_of, until_suspended
from tests.transactions.databases import Database, Postgres, Sqlite


class Abandoned(Exception):
    """The user's transaction ends in this."""


@step
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def welcome(name: str) -> str:
    return await greet(name)


@workflow
async def patient() -> str:
    return str(await wait_for_event("go"))


ALL = [welcome, patient]


# ------------------------------------------------------------------ runs
async def test_a_run_begins_when_the_transaction_it_was_triggered_in_commits(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        async with database.begun() as mine:
            await database.put(mine, "an order") if isinstance(database, Postgres) else mine.execute(
                "INSERT INTO notes VALUES ('an order')"
            )
            run = await app.trigger(welcome, "ada", connection=mine)
            with pytest.raises(RunNotFoundError):
                await app.get_run(run.id)

        assert run.created
        assert await run.result() == "hello ada"
        assert await notes_of(database) == ["an order"]


async def test_a_run_whose_transaction_rolls_back_never_was(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        with pytest.raises(Abandoned):
            async with database.begun() as mine:
                run = await app.trigger(welcome, "ada", connection=mine)
                raise Abandoned

        with pytest.raises(RunNotFoundError):
            await app.get_run(run.id)


async def test_the_same_key_in_a_transaction_gives_the_same_run(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        first = await app.trigger(welcome, "ada", idempotency_key="order-1")
        await first.result()
        async with database.begun() as mine:
            again = await app.trigger(welcome, "ada", idempotency_key="order-1", connection=mine)
            with pytest.raises(RunConflictError):
                await app.trigger(welcome, "grace", idempotency_key="order-1", connection=mine)
            fresh = await app.trigger(welcome, "grace", id="order-2", connection=mine)
            same = await app.trigger(welcome, "grace", id="order-2", connection=mine)

    assert (again.id, again.created) == (first.id, False)
    assert (fresh.created, same.created) == (True, False)


async def test_a_delayed_run_waits_from_the_call_on(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        async with database.begun() as mine:
            run = await app.trigger(welcome, "ada", delay="1h", connection=mine)

        view = await app.get_run(run.id)
        assert view.status == "queued"
        assert view.wake_at is not None


# ------------------------------------------------------------------ events
async def test_an_event_is_sent_when_its_transaction_commits(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        run = await app.trigger(patient)
        async with database.begun() as mine:
            await app.notify("go", "now", connection=mine)

        assert await run.result() == "now"


async def test_an_event_whose_transaction_rolls_back_is_never_sent(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        run = await app.trigger(patient)
        with pytest.raises(Abandoned):
            async with database.begun() as mine:
                await app.notify("go", "never", connection=mine)
                raise Abandoned
        await app.notify("go", "later")

        assert await run.result() == "later"


async def test_events_of_one_transaction_keep_their_order(database: Database) -> None:
    async with Stepflow(database.url, workflows=[collects]) as app:
        run = await app.trigger(collects, 5)
        async with database.begun() as mine:
            for number in range(5):
                await app.notify("number", number, connection=mine)

        assert await run.result() == [0, 1, 2, 3, 4]


@workflow
async def collects(count: int) -> list[Any]:
    return [await wait_for_event("number") for _ in range(count)]


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_an_open_transaction_with_an_event_holds_up_no_other_sender(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        run = await app.trigger(patient)
        async with database.begun() as mine:
            await app.notify("go", "mine, uncommitted", connection=mine)
            await app.notify("go", "another's")

            assert await run.result() == "another's"


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_an_event_that_turns_out_to_be_second_is_dropped_with_a_warning(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        async with database.begun() as mine:
            await app.notify("go", "second", once=True, connection=mine)
            await app.notify("go", "to nobody", run_id="run_nobody", connection=mine)
            await app.notify("go", "first", once=True)
        async with open_storage(database.url) as storage:
            assert isinstance(storage, Forwarding)
            await storage.forward_events(now=datetime.now(UTC), limit=10)

        with pytest.raises(EventConflictError) as refused:
            await app.notify("go", "third", once=True)
    assert refused.value.first == "first"
    assert "another one came first" in caplog.text
    assert "run run_nobody does not exist" in caplog.text


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_an_event_is_forwarded_by_another_process_if_its_senders_died(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL, worker=False) as app:
        run = await app.trigger(patient)
        async with database.begun() as mine:
            await app.notify("go", "now", connection=mine)
            # The app closes before the commit: it is not the one that looks.
            await app.__aexit__(None, None, None)
        async with Stepflow(database.url, workflows=ALL) as other:
            assert await other.handle(run.id, patient).result() == "now"
        await app.__aenter__()


# ------------------------------------------------------------------ inside a transactional step
_app: Stepflow


@step
async def order(name: str) -> str:
    async with transaction() as tx:
        run = await _app.trigger(welcome, name, connection=tx)
        await _app.notify("go", name, connection=tx)
    return run.id


@workflow
async def orders(name: str) -> str:
    return await order(name)


async def test_a_transactional_step_triggers_and_notifies_with_its_own_transaction(
    database: Database,
) -> None:
    global _app
    async with Stepflow(database.url, workflows=[*ALL, orders]) as _app:
        listener = await _app.trigger(patient)
        started = await (await _app.trigger(orders, "ada")).result()

        assert await _app.handle(started, welcome).result() == "hello ada"
        assert await listener.result() == "ada"


# ------------------------------------------------------------------ drivers
Begun = Callable[[Database], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def by_psycopg(database: Database) -> AsyncGenerator[Any]:
    assert isinstance(database, Postgres)
    async with await psycopg.AsyncConnection.connect(database.server) as connection:
        yield connection


@asynccontextmanager
async def by_blocking_psycopg(database: Database) -> AsyncGenerator[Any]:
    assert isinstance(database, Postgres)
    with psycopg.connect(database.server) as connection:
        yield connection


@asynccontextmanager
async def by_session(database: Database) -> AsyncGenerator[Any]:
    assert isinstance(database, Postgres)
    engine = create_async_engine(database.server.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_connection(database: Database) -> AsyncGenerator[Any]:
    assert isinstance(database, Postgres)
    engine = create_async_engine(database.server.replace("postgresql://", "postgresql+psycopg://"))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_blocking_session(database: Database) -> AsyncGenerator[Any]:
    assert isinstance(database, Postgres)
    engine = create_engine(database.server.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with Session(engine) as session, session.begin():
            yield session
    finally:
        engine.dispose()


@asynccontextmanager
async def by_session_on_a_file(database: Database) -> AsyncGenerator[Any]:
    assert isinstance(database, Sqlite)
    engine = create_engine(f"sqlite:///{database.path}")
    try:
        with Session(engine) as session, session.begin():
            session.execute(text("INSERT INTO notes VALUES ('mine')"))
            yield session
    finally:
        engine.dispose()


DRIVERS = [
    pytest.param("postgres", by_psycopg, id="psycopg"),
    pytest.param("postgres", by_blocking_psycopg, id="psycopg, blocking"),
    pytest.param("postgres", by_session, id="SQLAlchemy's session on asyncpg"),
    pytest.param("postgres", by_connection, id="SQLAlchemy's connection on psycopg"),
    pytest.param("postgres", by_blocking_session, id="SQLAlchemy's blocking session"),
    pytest.param("sqlite", by_session_on_a_file, id="SQLAlchemy's session on SQLite"),
]


@pytest.mark.parametrize(("kind", "begun"), DRIVERS, indirect=["kind"])
async def test_every_driver_takes_part(database: Database, begun: Begun) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        # Nobody else may write while a blocking transaction is open on a file: the listener is there before.
        listener = await app.trigger(patient)
        await until_suspended(listener)
        with pytest.raises(Abandoned):
            async with begun(database) as mine:
                gone = await app.trigger(welcome, "nobody", connection=mine)
                await app.notify("go", "never", connection=mine)
                raise Abandoned
        async with begun(database) as mine:
            run = await app.trigger(welcome, "ada", id="order-1", connection=mine)
            again = await app.trigger(welcome, "ada", id="order-1", connection=mine)
            await app.notify("go", "now", connection=mine)

        assert not again.created
        assert await run.result() == "hello ada"
        assert await listener.result() == "now"
        with pytest.raises(RunNotFoundError):
            await app.get_run(gone.id)


def test_a_blocking_program_gives_its_own_connection_to_app_sync(database: Database) -> None:
    app = Stepflow(database.url, workflows=ALL)
    mine: Any = (
        psycopg.connect(database.server)
        if isinstance(database, Postgres)
        else sqlite3.connect(_path(database))
    )
    try:
        with mine:
            run = app.sync.trigger(welcome, "ada", connection=mine)
            app.sync.notify("go", 1, connection=mine)

        assert app.sync.get_run(run.id).status == "queued"
    finally:
        mine.close()
        app.sync.close()


def _path(database: Database) -> Path:
    assert isinstance(database, Sqlite)
    return database.path


# ------------------------------------------------------------------ what is refused
async def test_a_connection_without_a_transaction_is_refused(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        with pytest.raises(InputError, match="no open transaction"):
            if isinstance(database, Postgres):
                async with await psycopg.AsyncConnection.connect(database.server, autocommit=True) as mine:
                    await app.trigger(welcome, "ada", connection=mine)
            else:
                connection = sqlite3.connect(_path(database), isolation_level=None)
                try:
                    await app.trigger(welcome, "ada", connection=connection)
                finally:
                    connection.close()


async def test_what_is_no_connection_is_refused_by_name(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        with pytest.raises(InputError, match=r"pathlib's \w*Path; this storage takes"):
            await app.trigger(welcome, "ada", connection=Path())


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_a_connection_to_another_file_is_refused(database: Database, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    try:
        async with Stepflow(database.url, workflows=ALL) as app:
            with pytest.raises(InputError, match="must be one file"):
                await app.trigger(welcome, "ada", connection=other)
    finally:
        other.close()


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_a_storage_without_transactions_refuses_a_connection(database: Database) -> None:
    async with Stepflow("memory://", workflows=ALL) as app, database.begun() as mine:
        with pytest.raises(NotTransactionalError, match="no transactions of yours"):
            await app.trigger(welcome, "ada", connection=mine)
