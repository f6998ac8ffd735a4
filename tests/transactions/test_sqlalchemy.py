"""SQLAlchemy: a transactional step works with its sessions and connections, and what they write goes with the step's result."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import Pool

from stepflow import Retry, RunFailedError, Stepflow, step, transaction, workflow
from tests.transactions.conftest import notes_of
from tests.transactions.databases import Database

pytestmark = pytest.mark.parametrize("kind", ["postgres"], indirect=True)
TABLE = "transactions_notes"


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = TABLE
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


_fails: list[Exception] = []


@step(retry=Retry(attempts=2, delay="1ms"))
async def note_with_a_session(words: list[str]) -> int:
    async with transaction(AsyncSession) as session:
        for word in words:
            session.add(Note(text=word))
        await session.flush()
        await session.commit()  # its own idea of a commit: a savepoint's
        session.add(Note(text="after its commit"))
    if _fails:
        raise _fails.pop()
    return len(words)


@step
async def note_with_a_connection(word: str) -> str:
    async with transaction(AsyncConnection) as connection:
        await connection.execute(text(f"INSERT INTO {TABLE} (text) VALUES (:word)"), {"word": word})
        try:
            async with connection.begin_nested():
                await connection.execute(text("SELECT 1 / 0"))
        except Exception as error:  # noqa: BLE001 - what the server says of it is SQLAlchemy's business
            return type(error).__name__
    return "no error"


@step(retry=Retry(attempts=1))
async def note_with_a_pool() -> None:
    async with transaction(Pool):
        pass


@workflow
async def with_a_session(words: list[str]) -> int:
    return await note_with_a_session(words)


@workflow
async def with_a_connection(word: str) -> str:
    return await note_with_a_connection(word)


@workflow
async def with_a_pool() -> None:
    await note_with_a_pool()


ALL = [with_a_session, with_a_connection, with_a_pool]


async def test_what_a_session_writes_is_recorded_with_the_step(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        for _ in range(3):
            assert await (await app.trigger(with_a_session, ["a", "b"])).result() == 2

        assert await notes_of(database) == ["a", "b", "after its commit"] * 3


async def test_what_a_session_committed_is_rolled_back_with_the_step(database: Database) -> None:
    _fails.append(ValueError("after the block"))
    async with Stepflow(database.url, workflows=ALL) as app:
        assert await (await app.trigger(with_a_session, ["a"])).result() == 1

        assert await notes_of(database) == ["a", "after its commit"], "once: of the second attempt"


async def test_a_connection_may_use_savepoints_of_its_own(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        assert await (await app.trigger(with_a_connection, "a")).result() == "DBAPIError"

        assert await notes_of(database) == ["a"]


async def test_another_class_of_sqlalchemy_is_refused(database: Database) -> None:
    async with Stepflow(database.url, workflows=ALL) as app:
        with pytest.raises(RunFailedError, match="AsyncSession and AsyncConnection can be had"):
            await (await app.trigger(with_a_pool)).result()
