"""SQLAlchemy's sessions and connections over one connection of asyncpg that is in a transaction of ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.pool import StaticPool

from stepflow.errors import InputError


def hand_out(connection: Any, kind: type[Any]) -> AbstractAsyncContextManager[Any]:
    """The connection as a ``kind``. What SQLAlchemy takes for a transaction is a savepoint in ours."""
    if issubclass(kind, AsyncSession):
        return _session(connection, kind)
    if issubclass(kind, AsyncConnection):
        return _connection(connection)
    raise InputError(
        f"transaction({kind.__name__}): of SQLAlchemy's, AsyncSession and AsyncConnection can be had"
    )


@asynccontextmanager
async def _connection(connection: Any) -> AsyncGenerator[AsyncConnection]:
    async def give(*_: Any, **__: Any) -> Any:
        return connection

    # The static pool never closes what it was given, and `close=False` forgets it without a goodbye.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=give, poolclass=StaticPool)
    try:
        async with engine.connect() as handed:
            yield handed
            await handed.commit()
    finally:
        engine.sync_engine.dispose(close=False)


@asynccontextmanager
async def _session(connection: Any, kind: type[AsyncSession]) -> AsyncGenerator[AsyncSession]:
    async with (
        _connection(connection) as handed,
        kind(handed, expire_on_commit=False, join_transaction_mode="create_savepoint") as session,
    ):
        yield session
        await session.commit()
