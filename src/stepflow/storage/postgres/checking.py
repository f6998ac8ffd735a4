"""Checking a PostgreSQL schema: what must hold between its tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from stepflow.storage._sql.checking import Ask, check_tables
from stepflow.storage.checking import Finding
from stepflow.storage.postgres.link import Link
from stepflow.types import RunId

_LAST_GIVEN: Final = "SELECT last_value FROM stepflow_positions"


async def check(ask: Ask, run_id: RunId | None) -> AsyncIterator[Finding]:
    """What is wrong between the tables. Their files and indexes are for `amcheck` to look at, which wants a superuser."""
    async for finding in check_tables(ask, run_id, last_given=_LAST_GIVEN):
        yield finding


async def ask(link: Link, sql: str, parameters: Mapping[str, str | int]) -> Sequence[Sequence[Any]]:
    """One query in SQLite's dialect, as PostgreSQL has it."""
    text = sql.replace("stepflow_", "@.").replace(":after", "$1").replace(":limit", "$2")
    rows = await link.fetch(text, *parameters.values())
    return [tuple(row) for row in rows]
