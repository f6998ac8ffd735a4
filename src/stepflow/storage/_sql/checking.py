"""Checking tables: what must hold between them, as queries that go through a table page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from stepflow.storage.checking import Finding, Kind
from stepflow.types import RunId

_PAGE: Final = 500
Ask: TypeAlias = Callable[[str, Mapping[str, str | int]], Awaitable[Sequence[Sequence[Any]]]]
"""Performs one query, in SQLite's dialect with named parameters, and answers its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One promise. ``sql`` answers a page of ``(key, whether it is broken, a number)`` for the keys after ``:after``."""

    what: Kind
    sql: str
    detail: str
    of_runs: bool = True
    """The keys are ids of runs; else positions."""

    @property
    def start(self) -> str | int:
        return "" if self.of_runs else -(2**62)

    def finding(self, key: str | int, number: int) -> Finding:
        run_id = str(key) if self.of_runs else None
        return Finding(what=self.what, run_id=run_id, detail=self.detail.format(key=key, number=number))


def _of_missing_runs(
    table: str, column: str = "run_id", where: str = "", broken: str = "r.id IS NULL"
) -> str:
    """Each run that a table mentions, with the number of its rows, and whether the run is not as it must be."""
    return f"""
SELECT p.{column}, CASE WHEN {broken} THEN 1 ELSE 0 END, p.n FROM (
    SELECT {column}, count(*) AS n FROM {table} WHERE {column} > :after {where}
    GROUP BY {column} ORDER BY {column} LIMIT :limit
) p LEFT JOIN stepflow_runs r ON r.id = p.{column} ORDER BY p.{column}
"""  # noqa: S608 - the names are ours


PROBES: Final = (
    Probe(
        what=Kind.LEFT_OVER,
        sql=_of_missing_runs("stepflow_journal"),
        detail="{number} rows in the journal, but there is no such run",
    ),
    Probe(
        what=Kind.LEFT_OVER,
        sql=_of_missing_runs("stepflow_inputs"),
        detail="an input, but there is no such run",
    ),
    Probe(
        what=Kind.WAIT_MISMATCH,
        sql=_of_missing_runs("stepflow_waits", broken="r.id IS NULL OR r.ended_at IS NOT NULL"),
        detail="{number} registered waits, but there is no such run or it has ended",
    ),
    Probe(
        what=Kind.LEFT_OVER,
        sql=_of_missing_runs("stepflow_events", where="AND run_id IS NOT NULL"),
        detail="{number} events are addressed to it, but there is no such run",
    ),
    Probe(
        what=Kind.INPUT_MISSING,
        sql="""
SELECT p.id, CASE WHEN i.run_id IS NULL THEN 1 ELSE 0 END, 0 FROM (
    SELECT id FROM stepflow_runs WHERE id > :after ORDER BY id LIMIT :limit
) p LEFT JOIN stepflow_inputs i ON i.run_id = p.id ORDER BY p.id
""",
        detail="its input is not there",
    ),
)

POSITIONS: Final = (
    Probe(
        what=Kind.POSITION_CLASH,
        sql="""
SELECT p.created_pos, CASE WHEN p.n > 1 OR e.pos IS NOT NULL THEN 1 ELSE 0 END, p.n FROM (
    SELECT created_pos, count(*) AS n FROM stepflow_runs WHERE created_pos > :after AND ended_at IS NULL
    GROUP BY created_pos ORDER BY created_pos LIMIT :limit
) p LEFT JOIN stepflow_events e ON e.pos = p.created_pos ORDER BY p.created_pos
""",
        detail="position {key} is taken by {number} unfinished run(s) and perhaps by an event; it must be one's only",
        of_runs=False,
    ),
)

LAST_USED: Final = """
SELECT max(used) FROM (
    SELECT max(pos) AS used FROM stepflow_events
    UNION ALL SELECT max(created_pos) AS used FROM stepflow_runs WHERE ended_at IS NULL
) u
"""

_IDS: Final = "SELECT id FROM stepflow_runs WHERE id > :after ORDER BY id LIMIT :limit"


async def check_tables(ask: Ask, run_id: RunId | None, *, last_given: str) -> AsyncIterator[Finding]:
    """What is wrong between the tables; ``last_given`` asks for the last position that the store gave out."""
    for probe in PROBES if run_id is not None else (*PROBES, *POSITIONS):
        async for finding in _pages(ask, probe, run_id):
            yield finding
    if run_id is not None:
        return
    [(used,)] = await ask(LAST_USED, {})
    [(given,)] = await ask(last_given, {})  # after the other: what is used meanwhile was given before
    if used is not None and used > given:
        detail = (
            f"position {used} is in use, but the sequence stands at {given}: it gives positions a second time"
        )
        yield Finding(what=Kind.POSITION_BEHIND, detail=detail)


async def list_ids(ask: Ask) -> AsyncIterator[RunId]:
    """The ids of all runs, in their order."""
    after = ""
    while True:
        page = await ask(_IDS, {"after": after, "limit": _PAGE})
        for (run_id,) in page:
            yield run_id
        if len(page) < _PAGE:
            return
        after = page[-1][0]


async def _pages(ask: Ask, probe: Probe, run_id: RunId | None) -> AsyncIterator[Finding]:
    after = probe.start
    sql, limit = probe.sql, _PAGE
    if run_id is not None:
        sql, after, limit = sql.replace("> :after", "= :after"), run_id, 1
    while True:
        page = await ask(sql, {"after": after, "limit": limit})
        suspects = [key for key, broken, _ in page if broken]
        for key in suspects:
            # Between two pages a run may begin or go; one statement about it alone sees it whole.
            once_more = probe.sql.replace("> :after", "= :after")
            for found, broken, number in await ask(once_more, {"after": key, "limit": 1}):
                if broken:
                    yield probe.finding(found, number)
        if run_id is not None or len(page) < limit:
            return
        after = page[-1][0]
