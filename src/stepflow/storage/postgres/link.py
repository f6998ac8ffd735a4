"""A link: one connection to the server, with our tables' schema written into its statements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from stepflow.storage.postgres.driver import SERVER_ERROR, Connection, Row, Transaction, connect
from stepflow.storage.postgres.options import PostgresOptions

_SETTINGS: Final = {
    "application_name": "stepflow",
    "default_transaction_isolation": "read committed",
}
_OUR_SETTINGS: Final = {
    # A plan that was made for small tables and kept would read whole tables once they are large. Everything here is found by index.
    "enable_seqscan": "off",
    # And so one plan fits all: planning anew for each batch took longer than executing it.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_CONFIGURE = (
    "SELECT set_config(s.name, s.value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)"
)
_CONFIGURE_KNOWN = """
SELECT set_config(s.name, s.value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)
WHERE s.name IN (SELECT name FROM pg_settings)
"""


class Link:
    """One connection. ``@`` in a statement is the schema."""

    __slots__ = ("_begin", "_connection", "_schema", "_texts", "used")

    def __init__(self, connection: Connection, schema: str, begin: str, texts: dict[str, str]) -> None:
        self._connection = connection
        self._schema = schema
        self._begin = begin
        self._texts = texts
        self.used = False

    async def fetch(self, statement: str, *arguments: object) -> list[Row]:
        """The rows of one statement."""
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = statement.replace("@", self._schema)
        return await self._connection.fetch(text, *arguments)

    async def run_script(self, text: str) -> None:
        """Run statements without arguments, all in one round trip."""
        await self._connection.execute(text.replace("@", self._schema))

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """All or nothing, at READ COMMITTED. ``Rollback`` raised within ends it without an error."""
        await self._connection.execute(self._begin)
        try:
            yield
        except Rollback:
            await self._connection.execute("ROLLBACK")
        except Exception:
            if not self._connection.is_closed():
                await self._connection.execute("ROLLBACK")
            raise
        else:
            await self._connection.execute("COMMIT")

    async def begin(self) -> Transaction:
        """Begin a transaction that outlives the call, in the driver's own way: what a user begins within it is a savepoint."""
        begun = self._connection.transaction()
        await begun.start()
        _, _, limits = self._begin.partition("; ")
        if limits:
            await self._connection.execute(limits)
        return begun

    @property
    def usable(self) -> bool:
        """Whether the next caller may have it."""
        return not self._connection.is_closed() and not self._connection.is_in_transaction()

    @property
    def connection(self) -> Connection:
        return self._connection

    def drop(self) -> None:
        """Close it at once, whatever goes on in it."""
        self._connection.terminate()

    async def close(self, patience: float) -> None:
        """Close it in an orderly way, or at once if that takes too long."""
        try:
            async with asyncio.timeout(patience):
                await self._connection.close()
        except (OSError, TimeoutError):
            self._connection.terminate()


class Rollback(Exception):
    """Ends ``Link.transaction`` without keeping anything."""


async def open_link(
    options: PostgresOptions, *, url: str | None = None, pooled: bool | None = None, plain: bool = False
) -> Link:
    """Connect and set up the session; ``plain``: for statements that are not ours. Raises the driver's errors."""
    behind = options.pooler == "transaction" if pooled is None else pooled
    connection = await connect(url or options.server, patience=options.connect_timeout, prepares=not behind)
    limit = f"{round(options.statement_timeout * 1000)}ms"
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    if behind:
        # Nothing that is set for a session stays with us: another transaction may run elsewhere.
        begin = f"{begin}; SET LOCAL statement_timeout = '{limit}'; SET LOCAL idle_in_transaction_session_timeout = '{limit}'"
    else:
        settings = (
            _SETTINGS
            | ({} if plain else _OUR_SETTINGS)
            | {"statement_timeout": limit, "idle_in_transaction_session_timeout": limit}
        )
        try:
            async with asyncio.timeout(options.connect_timeout):
                await _configure(connection, settings)
        except BaseException:
            connection.terminate()
            raise
    return Link(connection, options.schema, begin, {})


async def _configure(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set what is set for the session; a database of this dialect that lacks some of it is asked first what it knows."""
    arguments = list(settings), list(settings.values())
    try:
        await connection.fetch(_CONFIGURE, *arguments)
    except SERVER_ERROR:
        await connection.fetch(_CONFIGURE_KNOWN, *arguments)
