"""Connection: as much of SQLite's as the operations need, so that they work on a file and over the wire alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from stepflow.storage._sql.rows import Column

Parameters: TypeAlias = Sequence[Column] | Mapping[str, Column]


class Cursor(Protocol):
    """What a statement answers."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """Executes statements in SQLite's dialect. ``sqlite3.Connection`` is one."""

    def execute(self, sql: str, parameters: Parameters = ..., /) -> Cursor: ...
