"""Foreign links: our statements on a connection of the caller's own, within the transaction that is open on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from stepflow.errors import InputError, NotTransactionalError
from stepflow.storage._sql.foreign import driver_connection, unknown_connection
from stepflow.storage.postgres.driver import Connection, Row
from stepflow.storage.postgres.link import Link, Rollback

_WANTED = "a connection of asyncpg or psycopg (3.2 or newer), or SQLAlchemy's AsyncSession, AsyncConnection, Session or Connection on one of them"
_NO_TRANSACTION = (
    "connection= has no open transaction: begin one first (async with connection.transaction():)"
)


async def foreign_link(connection: Any, schema: str) -> Link:
    """A link over it; ``InputError`` for what is no connection of a known driver, or has no open transaction."""
    own = await driver_connection(connection)
    package = type(own).__module__.partition(".")[0]
    if package == "asyncpg":
        # One that came from asyncpg's own pool is a proxy with the same methods.
        if not own.is_in_transaction():
            raise InputError(_NO_TRANSACTION)
        return ForeignLink(own, schema, "", {})
    if package == "psycopg":
        return ForeignLink(cast("Connection", _Psycopg(own)), schema, "", {})
    raise unknown_connection(own, wanted=_WANTED)


class ForeignLink(Link):
    """Its transactions are savepoints in the caller's."""

    __slots__ = ()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        await self._connection.execute("SAVEPOINT stepflow")
        try:
            yield
        except Rollback:
            await self._connection.execute("ROLLBACK TO SAVEPOINT stepflow")
        except Exception:
            if not self._connection.is_closed():
                await self._connection.execute("ROLLBACK TO SAVEPOINT stepflow")
            raise
        else:
            await self._connection.execute("RELEASE SAVEPOINT stepflow")


class _Psycopg:
    """What is used of asyncpg's connections, on one of psycopg's, asynchronous or blocking."""

    def __init__(self, connection: Any) -> None:
        import psycopg  # noqa: PLC0415 - the caller's own driver, not ours
        from psycopg.rows import tuple_row  # noqa: PLC0415

        idle = psycopg.pq.TransactionStatus.IDLE
        if not hasattr(psycopg, "RawCursor"):
            raise NotTransactionalError(
                f"connection= is of psycopg {psycopg.__version__}; this needs 3.2 or newer"
            )
        if connection.autocommit and connection.info.transaction_status == idle:
            raise InputError(_NO_TRANSACTION.replace("async with", "with"))
        self._connection = connection
        self._blocks = isinstance(connection, psycopg.Connection)
        self._cursor: Any = psycopg.RawCursor if self._blocks else psycopg.AsyncRawCursor
        self._tuples = tuple_row

    async def fetch(self, query: str, *arguments: object) -> Sequence[Row]:
        if self._blocks:
            with self._cursor(self._connection, row_factory=self._tuples) as cursor:
                cursor.execute(query, arguments)
                return cursor.fetchall() if cursor.description else []
        async with self._cursor(self._connection, row_factory=self._tuples) as cursor:
            await cursor.execute(query, arguments)
            return await cursor.fetchall() if cursor.description else []

    async def execute(self, query: str) -> None:
        await self.fetch(query)

    def is_closed(self) -> bool:
        closed: bool = self._connection.closed
        return closed
