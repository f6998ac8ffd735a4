"""Bulk statements: any number of rows in one statement, so that the interpreter lock is given up once.

``executemany`` takes one step per row; with a busy event loop beside the writer thread that was 50 times slower. The
number of rows is rounded up to a power of two with rows of NULL, which the statement leaves out: so a handful of
statements, prepared once, serve every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from stepflow.storage._sql.connection import Connection
from stepflow.storage._sql.rows import Column

_MOST_PARAMETERS = 32_766
_MOST_ROWS = 1_024


class Bulk:
    """A statement around a list of rows: ``head`` + rows + ``tail``. The first column of a row is never NULL."""

    __slots__ = ("_head", "_most", "_sql", "_tail", "_width")

    def __init__(self, head: str, width: int, tail: str = "") -> None:
        self._head, self._tail, self._width = head, tail, width
        self._sql: dict[int, str] = {}
        fitting = min(_MOST_ROWS, _MOST_PARAMETERS // width)
        self._most = 1 << (fitting.bit_length() - 1)

    def run(self, connection: Connection, rows: Sequence[tuple[Column, ...]]) -> None:
        """Execute the statement for all rows; nothing for none."""
        if len(rows) == 1:
            connection.execute(self.statement(1), rows[0])
            return
        for start in range(0, len(rows), self._most):
            part = rows[start : start + self._most]
            size = 1 << (len(part) - 1).bit_length()
            values = list(chain.from_iterable(part))
            values.extend([None] * ((size - len(part)) * self._width))
            connection.execute(self.statement(size), values)

    def json_statement(self) -> str:
        """The statement for rows that are given as one parameter, a JSON array of arrays; no column may be a blob."""
        columns = ", ".join(f"value ->> {number}" for number in range(self._width))
        return f"{self._head} SELECT {columns} FROM json_each(?) WHERE true {self._tail}"  # noqa: S608 - our columns

    def statement(self, size: int) -> str:
        """The statement for so many rows, whose values are the parameters."""
        sql = self._sql.get(size)
        if sql is None:
            row = f"({', '.join('?' * self._width)})"
            rows = ", ".join([row] * size)
            sql = f"{self._head} SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL {self._tail}"  # noqa: S608 - placeholders only
            self._sql[size] = sql
        return sql


def insert(table: str, columns: Sequence[str], tail: str = "") -> Bulk:
    """``INSERT INTO table (columns)`` of many rows; ``tail`` may be an ``ON CONFLICT`` clause."""
    return Bulk(f"INSERT INTO {table} ({', '.join(columns)})", len(columns), tail)


def delete(table: str, key: Sequence[str]) -> Bulk:
    """``DELETE FROM table`` of the rows with one of many keys."""
    columns = ", ".join(key)
    return Bulk(f"DELETE FROM {table} WHERE ({columns}) IN (", len(key), ")")  # noqa: S608 - our columns
