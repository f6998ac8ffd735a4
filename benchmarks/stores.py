"""Stores for the benchmarks: an empty one of each kind on a server of its own, set up as in production, and its raw commit.

Durable means durable: SQLite with ``synchronous=FULL``, PostgreSQL with fsync, sqld as it comes (``synchronous=NORMAL``), Redis with an
AOF that is synced every second (``redis``) or with every reply (``redis-always``). All of it lies on a disk: ``STEPFLOW_BENCH_DIR``, else
``/var/tmp``. The variables that name running servers for the tests name them here, too.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.servers.postgres import VARIABLE as POSTGRES_VARIABLE
from tests.servers.postgres import PostgresServer, connected, execute
from tests.servers.redis import redis_binary, redis_server
from tests.servers.running import free_port
from tests.servers.sqld import URL_VARIABLE as LIBSQL_VARIABLE
from tests.servers.sqld import Sqld, erase, unpack
from tests.servers.sqld import execute as execute_libsql

STORES: Final = ("memory", "sqlite", "postgres", "redis", "redis-always", "libsql")
REDIS_VARIABLE: Final = "STEPFLOW_TEST_REDIS_URL"
RAW_COMMITS: Final = 300
SCHEMA: Final = "stepflow_bench"
VALUE: Final = "x" * 200

RawCommit = Callable[[], float]
"""Measures a durable one-row commit of the same database from this process: the median, in milliseconds; 0 where there is none."""


@contextmanager
def fresh_store(store: str) -> Iterator[tuple[str, RawCommit]]:
    """The URL of an empty store, and what measures its raw commit."""
    with disk() as folder:
        match store:
            case "memory":
                yield "memory://", lambda: 0.0
            case "sqlite":
                yield f"sqlite:///{folder / 'bench.db'}", lambda: sqlite_raw_ms(folder)
            case "postgres":
                with postgres() as url:
                    yield url, lambda: postgres_raw_ms(url)
            case "redis" | "redis-always":
                with redis(folder, always=store == "redis-always") as url:
                    yield url, lambda: redis_raw_ms(url)
            case _:
                with libsql(folder) as url:
                    yield url, lambda: libsql_raw_ms(url)


@contextmanager
def disk() -> Iterator[Path]:
    """A folder on a disk, which servers may use as well; gone afterwards."""
    given = os.environ.get("STEPFLOW_BENCH_DIR")
    base = given or ("/var/tmp" if Path("/var/tmp").is_dir() else None)
    former, tempfile.tempdir = tempfile.tempdir, base
    try:
        with tempfile.TemporaryDirectory(prefix="stepflow-bench-") as path:
            yield Path(path)
    finally:
        tempfile.tempdir = former


# ------------------------------------------------------------------ servers
@contextmanager
def postgres(*, schema: str = SCHEMA) -> Iterator[str]:
    given = os.environ.get(POSTGRES_VARIABLE)
    server = None if given else PostgresServer(durable=True, shared_buffers="256MB")
    base = server.url if server is not None else str(given)
    try:
        execute(base, f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        yield f"{base}{'&' if '?' in base else '?'}schema={schema}"
    finally:
        if server is not None:
            server.stop()


@contextmanager
def redis(folder: Path, *, always: bool) -> Iterator[str]:
    given = os.environ.get(REDIS_VARIABLE)
    if given:
        yield f"{given}{'&' if '?' in given else '?'}prefix=bench{os.getpid()}:"
        return
    port = free_port()
    how = "always" if always else "everysec"
    server = redis_server(redis_binary(), folder / "redis", port, "--appendonly", "yes", "--appendfsync", how)
    server.start()
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.stop()


@contextmanager
def libsql(folder: Path) -> Iterator[str]:
    given = os.environ.get(LIBSQL_VARIABLE)
    if given:
        erase(given)
        yield given
        return
    (folder / "unpacked").mkdir()
    (folder / "sqld").mkdir()
    server = Sqld(unpack(folder / "unpacked"), folder / "sqld")
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


# ------------------------------------------------------------------ raw commits
def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def sqlite_raw_ms(folder: Path) -> float:
    """WAL, ``synchronous=FULL``."""
    for former in folder.glob("raw.db*"):
        former.unlink()
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY, value TEXT)")

    def commit(number: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO raw VALUES (?, ?)", (number, VALUE))
        connection.execute("COMMIT")

    raw = _median_ms(commit)
    connection.close()
    return raw


def postgres_raw_ms(url: str) -> float:
    """A prepared insert over the same driver."""

    async def measure() -> float:
        times: list[float] = []
        async with connected(url) as connection:
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS public.raw (id bigint PRIMARY KEY, value text)"
            )
            await connection.execute("TRUNCATE public.raw")
            insert: Any = await connection.prepare("INSERT INTO public.raw VALUES ($1, $2)")
            for number in range(RAW_COMMITS):
                begin = time.perf_counter()
                await insert.fetch(number, VALUE)
                times.append(time.perf_counter() - begin)
            await connection.execute("DROP TABLE public.raw")
        return percentile(times, 50) * 1000

    return asyncio.run(measure())


def redis_raw_ms(url: str) -> float:
    """One SET and its reply."""
    from redis import Redis  # noqa: PLC0415 - an extra that only this store needs

    parts = urlsplit(url)
    client = Redis(host=parts.hostname or "127.0.0.1", port=parts.port or 6379, password=parts.password)
    raw = _median_ms(lambda number: client.set(f"raw{number}", VALUE))
    client.delete(*(f"raw{number}" for number in range(RAW_COMMITS)))
    client.close()
    return raw


def libsql_raw_ms(url: str) -> float:
    """One insert as one request."""
    execute_libsql(
        url,
        "CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, value TEXT)",
        "DELETE FROM raw",
    )
    insert = "INSERT INTO raw VALUES ({}, '{}')"
    return _median_ms(lambda number: execute_libsql(url, insert.format(number, VALUE)))


def _median_ms(commit: Callable[[int], object]) -> float:
    times: list[float] = []
    for number in range(RAW_COMMITS):
        begin = time.perf_counter()
        commit(number)
        times.append(time.perf_counter() - begin)
    return percentile(times, 50) * 1000
