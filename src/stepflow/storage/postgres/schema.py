"""The schema: brought forward on opening, by one process while the others wait for a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stepflow.errors import SchemaError, StorageError
from stepflow.failpoints import failpoint
from stepflow.storage._sql.migrations import Migration, load_migrations, pending
from stepflow.storage._sql.rows import Micros
from stepflow.storage.postgres.driver import SERVER_ERROR, state_of
from stepflow.storage.postgres.link import Link

MIGRATIONS: Final = load_migrations("stepflow.storage.postgres")

_BOOKS = """
CREATE TABLE IF NOT EXISTS @.schema_steps (
    number      bigint NOT NULL PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL,
    applied_at  bigint NOT NULL
)
"""
_KNOWS_BOOKS = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'schema_steps'"
_KNOWS_SCHEMA = "SELECT 1 FROM pg_namespace WHERE nspname = $1"
_APPLIED = "SELECT number, checksum FROM @.schema_steps WHERE number > 0"
# Row 0 is the lock: a row's lock is something that every database with this dialect has.
_LOCK_ROW = "INSERT INTO @.schema_steps VALUES (0, 'lock', '', $1) ON CONFLICT DO NOTHING"
_LOCK = "SELECT number FROM @.schema_steps WHERE number = 0 FOR UPDATE"
_NOTE = "INSERT INTO @.schema_steps (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)"
_MADE_MEANWHILE = frozenset({"23505", "42P07", "42P06"})
"""What ``IF NOT EXISTS`` still raises when two do it at once."""


async def migrate(
    link: Link, schema: str, *, where: str, now: Micros, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Apply what is missing, all of it in one transaction with its entries in the books.

    ``SchemaError`` if the schema is ahead of this release. A user who may not create anything can open a schema that is up to date.
    """
    if not pending(migrations, await _applied(link, schema), where=where):
        return
    await _make_books(link, schema, where=where, now=now)
    try:
        async with link.transaction():
            await link.fetch(_LOCK)
            for step in pending(migrations, dict(await _pairs(link)), where=where):
                await link.run_script(step.text)
                await link.fetch(_NOTE, step.number, step.name, step.checksum, now)
                failpoint("migrate.before_commit")
    except SERVER_ERROR as error:
        if state_of(error)[:2] not in ("42", "0A"):
            raise  # the server's or another process's fault, not the schema's
        if state_of(error) == "42501":
            raise StorageError(f"{where}: {error}; {_advice(schema)}") from error
        raise SchemaError(
            f"{where}: the schema could not be brought forward: {error}; nothing of it was kept"
        ) from error


async def _applied(link: Link, schema: str) -> dict[int, str]:
    """The numbers and checksums of the migrations that this schema has had."""
    if not await link.fetch(_KNOWS_BOOKS, schema):
        return {}
    return dict(await _pairs(link))


async def _pairs(link: Link) -> list[tuple[int, str]]:
    return [(row[0], row[1]) for row in await link.fetch(_APPLIED)]


async def _make_books(link: Link, schema: str, *, where: str, now: Micros) -> None:
    if not await link.fetch(_KNOWS_SCHEMA, schema):
        await _make(link, "CREATE SCHEMA IF NOT EXISTS @", schema, where=where)
    await _make(link, _BOOKS, schema, where=where)
    await link.fetch(_LOCK_ROW, now)


async def _make(link: Link, statement: str, schema: str, *, where: str) -> None:
    try:
        await link.run_script(statement)
    except SERVER_ERROR as error:
        if state_of(error) == "42501":
            raise StorageError(f"{where}: {error}; {_advice(schema)}") from error
        if state_of(error) not in _MADE_MEANWHILE:
            raise


def _advice(schema: str) -> str:
    return f"as an owner of the database run: CREATE SCHEMA {schema} AUTHORIZATION <user of the URL>"
