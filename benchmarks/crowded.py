"""Crowded: what a claim, a start, a step and a look cost with a million ended and 100,000 sleeping runs in the store, against an empty one."""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from benchmarks.measuring import main, percentile
from stepflow.storage._sql.rows import RUN_COLUMNS
from stepflow.storage.base import Storage
from stepflow.storage.opening import open_storage
from stepflow.storage.writes import Complete, Suspend, Write
from stepflow.testing.storage_contract.building import (
    LONG,
    T0,
    a_run,
    a_worker,
    claim,
    commit,
    create,
    start,
    value,
)
from tests.servers.postgres import execute_here

AT_ONCE: Final = 100
ENDED: Final = "template-ended"
SLEEPING: Final = "template-sleeping"
_STEPS = 3
JOURNAL: Final = ("run_id", "seq", "writer", "write_id", "entries")


# ------------------------------------------------------------------ what is measured
async def costs(storage: Storage, rounds: int, prefix: str) -> Mapping[str, float]:
    """Milliseconds (medians) of what a worker asks for all the time."""
    alone: list[float] = []
    nothing: list[float] = []
    ahead: list[float] = []
    strange: list[float] = []
    strangers_ahead: list[float] = []
    for number in range(rounds):
        await storage.write([create(f"{prefix}a{number}")], now=T0)
        alone.append(await _timed(lambda: claim(storage, limit=1)))
        nothing.append(await _timed(lambda: claim(storage, limit=1)))
        # As a worker of another service does, which shares the queue and knows none of the workflows in it.
        strange.append(await _timed(lambda: claim(storage, limit=1, workflows={"another"})))
        ahead.append(await _timed(lambda: storage.next_due(["default"], now=T0)))
        strangers_ahead.append(
            await _timed(lambda: storage.next_due(["default"], now=T0, workflows={"another"}))
        )
    many: list[float] = []
    starts: list[float] = []
    steps: list[float] = []
    ends: list[float] = []
    for number in range(max(5, rounds // 10)):
        ids = [f"{prefix}b{number}-{place}" for place in range(AT_ONCE)]
        await storage.write([create(run_id) for run_id in ids], now=T0)
        many.append(await _timed(lambda: claim(storage, limit=AT_ONCE)))
        fresh = [f"{prefix}c{number}-{place}" for place in range(AT_ONCE)]
        starts.append(await _written(storage, [start(a_run(run_id)) for run_id in fresh]))
        steps.append(await _written(storage, [commit(run_id, 2) for run_id in fresh]))
        done = Complete(output=value("1"))
        ends.append(await _written(storage, [commit(run_id, 3, transition=done) for run_id in fresh]))
    return {
        "claim_ms": percentile(alone, 50),
        "claim_of_nothing_ms": percentile(nothing, 50),
        "claim_among_strangers_ms": percentile(strange, 50),
        "next_due_ms": percentile(ahead, 50),
        "next_due_among_strangers_ms": percentile(strangers_ahead, 50),
        "claim_100_ms": percentile(many, 50),
        "start_100_ms": percentile(starts, 50),
        "step_100_ms": percentile(steps, 50),
        "end_100_ms": percentile(ends, 50),
    }


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    begin = time.perf_counter()
    await call()
    return (time.perf_counter() - begin) * 1000


async def _written(storage: Storage, batch: Sequence[Write]) -> float:
    return await _timed(lambda: storage.write(batch, now=T0))


# ------------------------------------------------------------------ the crowd
async def make_templates(storage: Storage) -> None:
    """A run that has ended and one that sleeps, made by the storage itself; the crowd is copies of them."""
    for run_id, last in ((ENDED, Complete(output=value("1"))), (SLEEPING, Suspend(wake_at=T0 + LONG))):
        await storage.write([start(a_run(run_id))], now=T0)
        for seq in range(2, 2 + _STEPS):
            await storage.write([commit(run_id, seq)], now=T0)
        await storage.write([commit(run_id, 2 + _STEPS, transition=last)], now=T0)


def copies(prefix: str, template: str, amount: int, numbers: str) -> list[str]:
    """Statements that copy a run, its input and its journal; each copy a second later than the one before."""
    new_id = f"'{template}-' || n.n"
    later = {name: f"r.{name} + n.n * 1000000" for name in ("created_at", "due_at", "started_at", "ended_at")}
    given = {"id": new_id, "created_pos": "-n.n - 1"} | later
    run = ", ".join(given.get(column, f"r.{column}") for column in RUN_COLUMNS)
    rows = f"({numbers.format(amount=amount)}) n"
    tables = (
        ("runs", "id", RUN_COLUMNS, run),
        ("inputs", "run_id", ("run_id", "codec", "input"), f"{new_id}, r.codec, r.input"),
        ("journal", "run_id", JOURNAL, ", ".join([new_id, *(f"r.{column}" for column in JOURNAL[1:])])),
    )
    return [
        f"INSERT INTO {prefix}{table} ({', '.join(columns)}) SELECT {values} "  # noqa: S608 - our columns
        f"FROM {prefix}{table} r, {rows} WHERE r.{key} = '{template}'"
        for table, key, columns, values in tables
    ]


async def fill(url: str, ended: int, sleeping: int) -> None:
    """Copy the templates in the store's own tables, past the storage, and let the database count its rows."""
    if url.startswith("postgresql"):
        schema = url.partition("schema=")[2].partition("&")[0]
        numbers = "SELECT generate_series(1::bigint, {amount}) AS n"
        prefix = f"{schema}."
        statements = [*copies(prefix, ENDED, ended, numbers), *copies(prefix, SLEEPING, sleeping, numbers)]
        await execute_here(url, *statements, "VACUUM ANALYZE", "CHECKPOINT")
        return
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    numbers = (
        "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {amount}) SELECT n FROM s"
    )
    connection.execute("PRAGMA synchronous=OFF")
    for statement in (
        *copies("stepflow_", ENDED, ended, numbers),
        *copies("stepflow_", SLEEPING, sleeping, numbers),
    ):
        connection.execute(statement)
    connection.execute("ANALYZE")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {"ended": arguments.ended, "sleeping": arguments.sleeping}
    async with open_storage(url) as storage:
        await storage.register_worker(a_worker(lease_until=T0 + LONG))
        await make_templates(storage)
        await costs(storage, 10, "warm")
        empty = await costs(storage, arguments.rounds, "empty")
        begin = time.perf_counter()
        await fill(url, arguments.ended, arguments.sleeping)
        figures["filled_in_s"] = round(time.perf_counter() - begin, 1)
    async with open_storage(url) as storage:
        await costs(storage, 10, "warm2")
        crowded = await costs(storage, arguments.rounds, "crowded")
        info = await storage.info(now=T0 + timedelta(seconds=1))
    figures["runs"] = sum(info.runs.values())
    for name, before in empty.items():
        figures[name] = {
            "empty": round(before, 3),
            "crowded": round(crowded[name], 3),
            "ratio": round(crowded[name] / before, 2),
        }
    return figures


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ended", type=int, default=1_000_000)
    parser.add_argument("--sleeping", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=100)


if __name__ == "__main__":
    main("crowded", workload, options)
