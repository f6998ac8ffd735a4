"""Migrations: what is still to apply, and how SQLite applies it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from stepflow.errors import SchemaError
from stepflow.storage._sql.migrations import Migration, load_migrations, pending
from stepflow.storage.sqlite.schema import MIGRATIONS, applied, migrate

ONE = Migration(number=1, name="one", text="CREATE TABLE a (x);\nCREATE TABLE b (x);\n")
TWO = Migration(number=2, name="two", text="-- a ; in a comment\nINSERT INTO a VALUES ('; ');\n")
BROKEN = Migration(number=2, name="broken", text="CREATE TABLE c (x);\nCREATE TABLE a (x);\n")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def bring_forward(connection: sqlite3.Connection, *migrations: Migration) -> None:
    migrate(connection, where="app.db", now=7, patience=0, migrations=migrations)


def tables(connection: sqlite3.Connection) -> set[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in found} - {"stepflow_schema"}


def test_a_new_database_needs_all() -> None:
    assert pending([ONE, TWO], {}, where="app.db") == [ONE, TWO]


def test_an_older_one_needs_the_rest() -> None:
    assert pending([ONE, TWO], {1: ONE.checksum}, where="app.db") == [TWO]
    assert pending([ONE, TWO], {1: ONE.checksum, 2: TWO.checksum}, where="app.db") == []


def test_a_newer_one_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"app\.db has schema 2, this release of stepflow knows 1: upgrade"):
        pending([ONE], {1: ONE.checksum, 2: "x"}, where="app.db")


def test_one_that_was_made_otherwise_is_refused() -> None:
    with pytest.raises(SchemaError, match="step 1"):
        pending([ONE, TWO], {1: "x"}, where="app.db")
    with pytest.raises(SchemaError, match="step 1"):
        pending([ONE, TWO], {2: TWO.checksum}, where="app.db")


def test_a_checksum_does_not_depend_on_line_ends() -> None:
    windows = Migration(number=1, name="one", text=ONE.text.replace("\n", "\r\n"))

    assert windows.checksum == ONE.checksum
    assert ONE.checksum != TWO.checksum


def test_the_release_s_own_migrations_are_numbered_from_one() -> None:
    assert [migration.number for migration in load_migrations("stepflow.storage.sqlite")] == list(
        range(1, len(MIGRATIONS) + 1)
    )


def test_migrations_are_applied_once_each_statement_by_statement(connection: sqlite3.Connection) -> None:
    bring_forward(connection, ONE)
    bring_forward(connection, ONE, TWO)
    bring_forward(connection, ONE, TWO)

    assert connection.execute("SELECT x FROM a").fetchall() == [("; ",)]
    assert applied(connection) == {1: ONE.checksum, 2: TWO.checksum}


def test_a_migration_that_fails_leaves_nothing_and_goes_on_later(connection: sqlite3.Connection) -> None:
    with pytest.raises(SchemaError, match="nothing of it was kept"):
        bring_forward(connection, ONE, BROKEN)

    assert tables(connection) == {"a", "b"}
    assert not connection.in_transaction
    bring_forward(connection, ONE, TWO)
    assert applied(connection).keys() == {1, 2}


def test_two_that_migrate_at_once_do_not_apply_twice(connection: sqlite3.Connection) -> None:
    class Racing:
        """A connection through which another process migrates just before each transaction."""

        def __init__(self) -> None:
            self.raced = False

        @property
        def in_transaction(self) -> bool:
            return connection.in_transaction

        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            if sql.startswith("BEGIN") and not self.raced:
                self.raced = True
                bring_forward(connection, ONE)
            return connection.execute(sql, *rest)

    bring_forward(Racing(), ONE)  # type: ignore[arg-type]

    assert applied(connection) == {1: ONE.checksum}
