"""The schema: brought forward on opening, by one process while the others wait."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from stepflow.errors import SchemaError
from stepflow.failpoints import failpoint
from stepflow.storage._sql.migrations import Migration, load_migrations, pending
from stepflow.storage._sql.rows import Micros
from stepflow.storage.sqlite.connection import patiently, transaction
from stepflow.storage.sqlite.errors import code_of

MIGRATIONS: Final = load_migrations("stepflow.storage.sqlite")

BOOKS: Final = """
CREATE TABLE IF NOT EXISTS stepflow_schema (
    number      INTEGER NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    checksum    TEXT NOT NULL,
    applied_at  INTEGER NOT NULL
)
"""


def migrate(
    connection: sqlite3.Connection,
    *,
    where: str,
    now: Micros,
    patience: float,
    migrations: Sequence[Migration] = MIGRATIONS,
) -> None:
    """Apply what is missing, each migration in a transaction with its entry in the books.

    Broken off anywhere, it goes on from there the next time. ``SchemaError`` if the schema is ahead of this release.
    """
    while True:
        missing = patiently(lambda: pending(migrations, applied(connection), where=where), patience)
        if not missing:
            return
        apply = partial(_apply, connection, missing[0], where, now)
        patiently(partial(transaction, connection, apply), patience)


def applied(connection: sqlite3.Connection) -> dict[int, str]:
    """The numbers and checksums of the migrations that this database has had."""
    exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'stepflow_schema'").fetchone()
    if exists is None:
        return {}
    return dict(connection.execute("SELECT number, checksum FROM stepflow_schema"))


def _apply(connection: sqlite3.Connection, step: Migration, where: str, now: Micros) -> None:
    """One migration, unless another process was faster. Called within a write transaction."""
    connection.execute(BOOKS)
    if step.number in applied(connection):
        return
    for statement in statements_of(step.text):
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_ERROR:
                raise  # the disk's or another process's fault, not the schema's
            raise SchemaError(
                f"{where}: schema step {step.number} ({step.name}) failed: {error}; nothing of it was kept"
            ) from error
    connection.execute(
        "INSERT INTO stepflow_schema (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
        (step.number, step.name, step.checksum, now),
    )
    failpoint("migrate.before_commit")


def statements_of(text: str) -> Iterator[str]:
    """The statements of a file one by one: ``executescript`` would commit before it begins."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
