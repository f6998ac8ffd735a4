"""Bulk statements over a distance: many rows as one parameter, the large ones by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from stepflow.storage._sql.rows import Column
from stepflow.storage.sqlite.bulk import Bulk

_LARGE = 65_536
"""Characters. JSON text within JSON text is escaped, and may be twice as long: large values are spared that."""

_MOST = 1_048_576
"""Characters of one parameter."""


def statements_of(
    statement: Bulk, rows: Sequence[tuple[Column, ...]]
) -> Iterator[tuple[str, tuple[Column, ...]]]:
    """The statements that put the rows in, in no particular order."""
    some: list[tuple[Column, ...]] = []
    size = 0
    for row in rows:
        length = sum(len(value) for value in row if isinstance(value, str))
        if length > _LARGE:
            yield statement.statement(1), row
            continue
        if size + length > _MOST:
            yield statement.json_statement(), (_json(some),)
            some, size = [], 0
        some.append(row)
        size += length
    if some:
        yield statement.json_statement(), (_json(some),)


def _json(rows: Sequence[tuple[Column, ...]]) -> str:
    return msgspec.json.encode(rows).decode()
