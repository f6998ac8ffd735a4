"""Databases: a table of notes that belongs to a user, in the database that the runs are in."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.servers.postgres import connected, emptied, execute


class Database(Protocol):
    """One of them, as the tests use it."""

    url: str

    async def put(self, transaction: Any, text: str) -> None:
        """Write a note in a transaction that was handed out."""
        ...

    def notes(self) -> list[str]:
        """The notes that are durable, in order."""
        ...

    def begun(self) -> Any:
        """``async with``: a connection of the user's own in a transaction that commits at the end, or rolls back."""
        ...


class Sqlite:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "runs.db"
        self.url = f"sqlite:///{self.path}"
        with sqlite3.connect(self.path) as connection:
            connection.execute("CREATE TABLE notes (text TEXT NOT NULL)")
        connection.close()

    async def put(self, transaction: Any, text: str) -> None:
        transaction.execute("INSERT INTO notes VALUES (?)", (text,))

    def notes(self) -> list[str]:
        connection = sqlite3.connect(self.path)
        try:
            return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY rowid")]
        finally:
            connection.close()

    @asynccontextmanager
    async def begun(self) -> AsyncGenerator[Any]:
        connection = sqlite3.connect(self.path, timeout=0)
        try:
            with connection:
                yield connection
        finally:
            connection.close()


class Postgres:
    def __init__(self, schema: str) -> None:
        self.url = emptied(schema)
        self.server = self.url.partition("?")[0]
        self._table = f"{schema}_notes"
        execute(
            self.server,
            f"DROP TABLE IF EXISTS {self._table}; CREATE TABLE {self._table} (id bigserial, text text NOT NULL)",
        )

    async def put(self, transaction: Any, text: str) -> None:
        await transaction.execute(f"INSERT INTO {self._table} (text) VALUES ($1)", text)

    def notes(self) -> list[str]:
        return [row[0] for row in execute(self.server, f"SELECT text FROM {self._table} ORDER BY id")]

    @asynccontextmanager
    async def begun(self) -> AsyncGenerator[Any]:
        async with connected(self.server) as connection, connection.transaction():
            yield connection
