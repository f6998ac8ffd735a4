"""Foreign: connections that are the caller's own, and what is under them."""

from __future__ import annotations

import inspect
from typing import Any

from stepflow.errors import InputError


async def driver_connection(connection: Any) -> Any:
    """The driver's connection under a session or connection of SQLAlchemy, whose transaction has begun; any other as it is."""
    if not _comes_from(connection, "sqlalchemy"):
        return connection
    if hasattr(connection, "get_bind"):  # a Session, an AsyncSession
        connection = connection.connection()
        if inspect.isawaitable(connection):
            connection = await connection
    if hasattr(connection, "get_raw_connection"):  # an AsyncConnection
        # It begins its transaction with the first statement.
        await connection.exec_driver_sql("SELECT 1")
        return (await connection.get_raw_connection()).driver_connection
    return connection.connection.driver_connection


def _comes_from(thing: object, package: str) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(thing).__mro__)


def name_of(connection: object) -> str:
    """What kind of connection it is, for a message."""
    kind = type(connection)
    return (
        f"{kind.__module__.partition('.')[0]}'s {kind.__name__}"
        if kind.__module__ != "builtins"
        else repr(kind)
    )


def unknown_connection(connection: object, *, wanted: str) -> InputError:
    """For a connection of another driver."""
    return InputError(f"connection= is {name_of(connection)}; this storage takes {wanted}")
