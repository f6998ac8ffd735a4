"""The schema: SQLite's own, so that a file can move to a server and back, and the turn of writing."""

from __future__ import annotations

from collections.abc import Mapping

from stepflow.errors import SchemaError, StorageError
from stepflow.storage._sql.migrations import Migration, pending
from stepflow.storage._sql.rows import Micros
from stepflow.storage.libsql.connection import Connection
from stepflow.storage.libsql.errors import CONSTRAINT, translate
from stepflow.storage.libsql.hrana import Problem, Statement
from stepflow.storage.sqlite.schema import BOOKS, MIGRATIONS, statements_of

_TURN = """
CREATE TABLE IF NOT EXISTS stepflow_turn (
    only    INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    turn    INTEGER NOT NULL
)
"""
_FIRST_TURN = "INSERT OR IGNORE INTO stepflow_turn (only, turn) VALUES (1, 0)"
_TABLES = "SELECT name FROM sqlite_master WHERE name IN ('stepflow_schema', 'stepflow_turn')"
_APPLIED = "SELECT number, checksum FROM stepflow_schema"
_ENTER = "INSERT INTO stepflow_schema (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)"


async def migrate(connection: Connection, *, where: str, now: Micros) -> None:
    """Apply what is missing, each migration in a transaction with its entry in the books.

    Several processes may do it at once: of two that enter the same number, one is refused and looks again.
    """
    while True:
        (tables,) = await connection.ask([Statement(_TABLES)])
        names = {row[0] for row in tables.rows}
        applied: Mapping[int, str] = await _applied(connection) if "stepflow_schema" in names else {}
        missing = pending(MIGRATIONS, applied, where=where)
        if "stepflow_turn" not in names:
            await _apply(connection, [_TURN, _FIRST_TURN], where=where)
        if not missing:
            return
        await _migrate(connection, missing[0], where=where, now=now)


async def _applied(connection: Connection) -> Mapping[int, str]:
    """The numbers and checksums of the migrations that this database has had."""
    (answer,) = await connection.ask([Statement(_APPLIED)])
    return {int(str(number)): str(checksum) for number, checksum in answer.rows}


async def _migrate(connection: Connection, step: Migration, *, where: str, now: Micros) -> None:
    entry = Statement(_ENTER, (step.number, step.name, step.checksum, now), wants_rows=False)
    done = await connection.commit([Statement(BOOKS), entry, *map(Statement, statements_of(step.text))])
    if not isinstance(done, Problem) or _is_entered(done):
        return
    error = translate(done, where)
    if type(error) is StorageError:
        raise SchemaError(
            f"{where}: schema step {step.number} ({step.name}) failed: {done.message}; nothing of it was kept"
        )
    raise error


def _is_entered(problem: Problem) -> bool:
    """Whether another process was faster."""
    return (problem.code or "").startswith(CONSTRAINT)


async def _apply(connection: Connection, statements: list[str], *, where: str) -> None:
    done = await connection.commit([Statement(sql, wants_rows=False) for sql in statements])
    if isinstance(done, Problem):
        raise translate(done, where)
