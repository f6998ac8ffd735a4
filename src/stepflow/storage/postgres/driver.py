"""The driver: the one place that imports asyncpg, and the part of it that is used here, with types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, cast

import asyncpg  # type: ignore[import-untyped]  # it ships no types  # pyright: ignore[reportMissingTypeStubs]

Row = Sequence[Any]
Listener = Callable[[Any, int, str, object], None]


class Transaction(Protocol):
    async def start(self) -> None: ...
    async def commit(self) -> None: ...
    async def rollback(self) -> None: ...


class Connection(Protocol):
    """What is used of an ``asyncpg.Connection``. Every call is one round trip, once its statement is prepared."""

    async def fetch(self, query: str, *arguments: object) -> list[Row]: ...
    async def execute(self, query: str) -> str: ...
    async def add_listener(self, channel: str, callback: Listener) -> None: ...
    def add_termination_listener(self, callback: Callable[[Any], None]) -> None: ...
    def transaction(self) -> Transaction: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def terminate(self) -> None: ...
    async def close(self) -> None: ...


class _Driver(Protocol):
    """What is used of the module."""

    def connect(
        self, dsn: str, *, timeout: float, statement_cache_size: int, max_cached_statement_lifetime: int
    ) -> Awaitable[Connection]: ...


_driver: Final = cast("_Driver", asyncpg)
SERVER_ERROR: Final = cast("type[Exception]", asyncpg.PostgresError)
"""What the server says; has a ``sqlstate``."""
STALE_PLAN: Final = cast("type[Exception]", asyncpg.InvalidCachedStatementError)
"""What a prepared statement meets after the schema changed: one of the two meanings of 0A000."""
DRIVER_ERRORS: Final = cast(
    "tuple[type[Exception], ...]", (asyncpg.InterfaceError, asyncpg.InternalClientError)
)
"""What the driver says, mostly that a connection is closed; or that it is confused, by a goodbye that came while it was idle."""
ERRORS: Final[tuple[type[Exception], ...]] = (SERVER_ERROR, *DRIVER_ERRORS, OSError, TimeoutError, EOFError)
"""All that can go wrong with a call."""


async def connect(url: str, *, patience: float, prepares: bool) -> Connection:
    """A connection. Without ``prepares`` it keeps no statement, so that a pooler may hand it another server process."""
    return await _driver.connect(
        url,
        timeout=patience,
        statement_cache_size=200 if prepares else 0,
        max_cached_statement_lifetime=0,
    )


def state_of(error: BaseException) -> str:
    """The server's five-letter code for an error; empty if it is not the server's."""
    state: str | None = getattr(error, "sqlstate", None)
    return state or ""
