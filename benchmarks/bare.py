"""Bare: the group commit of W1 without an engine around it: the most that this machine's Python and database could reach.

Each lane "records a step" and waits until its row is durable, then the next one; all lanes share their commits, two batches at a time. No
workflow runs, nothing is encoded, no run is created, claimed or ended. W1 as a share of this is a figure that machines can be compared by.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import main
from tests.servers.postgres import connected

Row = tuple[str, int, str]
Commit = Callable[[Sequence[Row]], Awaitable[object]]
VALUE = '[{"type":"step-completed","value":1}]'
_CREATE = "CREATE TABLE bare (run_id {text} NOT NULL, seq bigint NOT NULL, entries {text} NOT NULL, PRIMARY KEY (run_id, seq))"


class Group:
    """Rows of all lanes, written together."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._flights = 0

    def record(self, row: Row) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()
        self._waiting.append((row, durable))
        if len(self._waiting) == 1 and self._flights < 2:
            self._flights += 1
            loop.create_task(self._fly())  # noqa: RUF006 - it is awaited by the futures it resolves
        return durable

    async def _fly(self) -> None:
        await asyncio.sleep(0)
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._commit([row for row, _ in batch])
            for _, durable in batch:
                durable.set_result(None)
            await asyncio.sleep(0)
        self._flights -= 1


@asynccontextmanager
async def committing(store: str, url: str) -> AsyncIterator[Commit]:
    """What makes a batch durable."""
    if store == "memory":
        yield lambda rows: asyncio.sleep(0, rows)
    elif store == "sqlite":
        connection = sqlite3.connect(
            Path(url.removeprefix("sqlite:///")).with_name("bare.db"),
            isolation_level=None,
            check_same_thread=False,
        )
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        connection.execute(_CREATE.format(text="TEXT") + " WITHOUT ROWID")

        def write(rows: Sequence[Row]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO bare VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")

        lock = asyncio.Lock()

        async def on_a_thread(rows: Sequence[Row]) -> None:
            async with lock:
                await asyncio.to_thread(write, rows)

        yield on_a_thread
        connection.close()
    else:
        async with connected(url) as first, connected(url) as second:
            await first.execute("DROP TABLE IF EXISTS bare")
            await first.execute(_CREATE.format(text="text"))
            idle = [first, second]

            async def in_one_statement(rows: Sequence[Row]) -> None:
                link = idle.pop()
                runs, seqs, entries = zip(*rows, strict=True)
                await link.fetch(
                    "INSERT INTO bare SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])",
                    runs,
                    seqs,
                    entries,
                )
                idle.append(link)

            yield in_one_statement


async def workload(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    async with committing(arguments.store, url) as commit:
        group = Group(commit)

        async def lane(number: int) -> None:
            for seq in range(arguments.steps):
                await group.record((f"run-{number:06}", seq, VALUE))

        begin = time.perf_counter()
        await asyncio.gather(*map(lane, range(arguments.in_flight)))
        seconds = time.perf_counter() - begin
    steps = arguments.in_flight * arguments.steps
    return {"in_flight": arguments.in_flight, "steps": steps, "steps_per_s": round(steps / seconds)}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--in-flight", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=50, help="of each lane")


if __name__ == "__main__":
    main("bare", workload, options)
