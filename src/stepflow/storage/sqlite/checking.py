"""Checking a SQLite file: its pages and indexes by SQLite itself, and what must hold between the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from stepflow.storage._sql.checking import Ask, check_tables
from stepflow.storage.checking import Finding, Kind
from stepflow.types import RunId

LAST_GIVEN: Final = "SELECT last_pos FROM stepflow_sequence"
_NAMED: Final = 20
_INTEGRITY: Final = f"PRAGMA integrity_check({_NAMED})"


async def check(ask: Ask, run_id: RunId | None) -> AsyncIterator[Finding]:
    """What is wrong in the file. SQLite's own check reads all of it and is left out where one run is asked for."""
    if run_id is None:
        async for finding in check_pages(ask):
            yield finding
    async for finding in check_tables(ask, run_id, last_given=LAST_GIVEN):
        yield finding


async def check_pages(ask: Ask) -> AsyncIterator[Finding]:
    """What SQLite says of its pages and indexes, and of the constraints of our tables."""
    for (said,) in await ask(_INTEGRITY, {}):
        if said != "ok":
            yield Finding(what=Kind.DATABASE_DAMAGED, detail=f"SQLite says: {said}")
