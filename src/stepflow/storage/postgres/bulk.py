"""Bulk: any number of rows as the parameters of one statement, one array of texts for each column.

Text arrays only: the driver would have to look up how arrays of any other type are sent, once for each new connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from stepflow.storage._sql.rows import Column

_JSON: Final = frozenset({"output", "failure", "input", "entries", "payload"})
_NUMBERS: Final = frozenset(
    [
        "priority",
        "parent_detached",
        "parent_depth",
        "created_at",
        "created_pos",
        "due_at",
        "not_before",
        "attempt",
        "first_seq",
        "cancel",
        "pause",
        "started_at",
        "ended_at",
        "seq",
        "pos",
        "at",
        "after_pos",
        "until_at",
        "place",
    ]
)

_FREE: Final = frozenset({"idempotency_key", "version", "parent_key", "pause_detail", "dedup_id", "name"})
"""Texts that may hold any character."""

Texts = list[str | None]


def cast(column: str, of: str = "v") -> str:
    """The column of an unnested row, as its table wants it."""
    if column in _NUMBERS:
        return f"{of}.{column}::bigint"
    return f"{of}.{column}::json" if column in _JSON else f"{of}.{column}"


def unnest(columns: Sequence[str], *, first: int = 1, of: str = "v") -> str:
    """``unnest(…) AS v (…)``: rows from as many parameters as there are columns, counted from ``first``."""
    arrays = ", ".join(f"${number}::text[]" for number in range(first, first + len(columns)))
    return f"unnest({arrays}) AS {of} ({', '.join(columns)})"


def insert(table: str, columns: Sequence[str], tail: str = "", *, first: int = 1) -> str:
    """Insert rows; ``tail`` may be an ``ON CONFLICT`` clause."""
    values = ", ".join(cast(column) for column in columns)
    rows = unnest(columns, first=first)
    return f"INSERT INTO @.{table} ({', '.join(columns)}) SELECT {values} FROM {rows} {tail}"  # noqa: S608 - our columns


def update(table: str, columns: Sequence[str], *, first: int = 1) -> str:
    """Update rows by their key, which is the first of the columns."""
    key, *rest = columns
    changes = ", ".join(f"{column} = {cast(column)}" for column in rest)
    return f"UPDATE @.{table} AS t SET {changes} FROM {unnest(columns, first=first)} WHERE t.{key} = v.{key}"  # noqa: S608 - our columns


def delete(table: str, columns: Sequence[str], *, first: int = 1) -> str:
    """Delete the rows with one of many keys."""
    same = " AND ".join(f"t.{column} = v.{column}" for column in columns)
    return f"DELETE FROM @.{table} AS t USING {unnest(columns, first=first)} WHERE {same}"  # noqa: S608 - our columns


def arrays(rows: Iterable[Sequence[Column]], columns: Sequence[str]) -> Sequence[Texts]:
    """The rows turned into columns of texts."""
    turned = list(zip(*rows, strict=True))
    if not turned:
        return [[] for _ in columns]
    return [_texts(values, column) for column, values in zip(columns, turned, strict=True)]


def _texts(values: Sequence[Column], column: str) -> Texts:
    if column in _FREE:
        return [None if value is None else storable(str(value)) for value in values]
    if column in _NUMBERS:
        return [None if value is None else str(value) for value in values]
    return list(values)  # type: ignore[arg-type]  # texts already


def pairs(values: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """A mapping as two arrays."""
    return list(values), [str(value) for value in values.values()]


# ------------------------------------------------------------------ NUL
_ESCAPE: Final = "\ue000"
"""A character that nobody uses: followed by 0 it stands for NUL, followed by 1 for itself."""


def storable(text: str) -> str:
    """The text without NUL, the one character that PostgreSQL's texts can't hold."""
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")


def restored(text: str) -> str:
    """The inverse of ``storable``."""
    if _ESCAPE not in text:
        return text
    return text.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)


def restored_or_none(text: str | None) -> str | None:
    return None if text is None else restored(text)
