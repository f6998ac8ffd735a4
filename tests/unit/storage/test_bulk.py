"""Bulk statements: any number of rows, the same as one by one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from stepflow.storage._sql.rows import Column
from stepflow.storage.sqlite.bulk import Bulk, delete, insert


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (a TEXT, b INTEGER, c TEXT, PRIMARY KEY (a, b))")
    yield connection
    connection.close()


def rows(count: int) -> list[tuple[Column, ...]]:
    return [(f"k{n % 7}", n, None if n % 3 else "x\0ü") for n in range(count)]


def stored(connection: sqlite3.Connection) -> list[tuple[Column, ...]]:
    return connection.execute("SELECT a, b, c FROM t ORDER BY b").fetchall()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 1023, 1024, 1025, 3000])
def test_any_number_of_rows_goes_in(connection: sqlite3.Connection, count: int) -> None:
    insert("t", ("a", "b", "c")).run(connection, rows(count))

    assert stored(connection) == rows(count)


def test_a_clause_for_conflicts_applies_to_each_row(connection: sqlite3.Connection) -> None:
    upsert = insert("t", ("a", "b", "c"), "ON CONFLICT (a, b) DO UPDATE SET c = excluded.c")
    upsert.run(connection, [("k", 1, "old"), ("k", 2, "old")])

    upsert.run(connection, [("k", 2, "new"), ("k", 3, "new"), ("k", 3, "newer")])

    assert stored(connection) == [("k", 1, "old"), ("k", 2, "new"), ("k", 3, "newer")]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_rows_are_deleted_by_their_keys(connection: sqlite3.Connection, count: int) -> None:
    insert("t", ("a", "b", "c")).run(connection, rows(8))

    delete("t", ("a", "b")).run(connection, [(f"k{n}", n) for n in range(count)])

    assert stored(connection) == rows(8)[count:]


def test_wide_rows_stay_within_the_number_of_parameters(connection: sqlite3.Connection) -> None:
    columns = [f"c{n}" for n in range(40)]
    connection.execute(f"CREATE TABLE wide ({', '.join(columns)})")

    insert("wide", columns).run(connection, [tuple(range(n, n + 40)) for n in range(1, 1025)])

    assert connection.execute("SELECT count(*), max(c39) FROM wide").fetchall() == [(1024, 1063)]


def test_a_batch_takes_one_statement(connection: sqlite3.Connection) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)

    insert("t", ("a", "b", "c")).run(connection, rows(1000))

    assert len(statements) == 1
    assert isinstance(insert("t", ("a",)), Bulk)
