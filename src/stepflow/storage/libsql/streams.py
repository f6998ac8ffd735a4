"""Streams: a connection of the server's own to its database, kept between requests.

Everything that a process writes goes over one stream, one request after the other. A server lines up those who want to
write; if a place in that line is left without its connection, nobody gets past it any more (seen with sqld 0.24 when
several processes wrote while the log was moved into the file). The next write on the same stream takes such a place, and
the end of the stream gives it up: so a stream is never thrown away after one use, and never kept idle for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from stepflow.errors import StorageError
from stepflow.storage.libsql import hrana
from stepflow.storage.libsql.connection import Connection, StreamGone, answers, committed
from stepflow.storage.libsql.hrana import CLOSE, Answer, Json, Problem, Reply, Statement

IDLE: Final = 1.0
"""Seconds after which a stream that nobody uses is ended. A server does it itself after some ten."""


class Stream:
    """Begun when it is needed, and anew when it was lost. Used by one caller at a time."""

    def __init__(self, connection: Connection) -> None:
        self.where = connection.where
        self._connection = connection
        self._baton: str | None = None
        self._base_url: str | None = None
        self._used_at = 0.0

    async def execute(self, statement: Statement) -> Answer:
        """One statement, which is a transaction by itself."""
        reply = await self.post([hrana.execute(statement)], whole=True)
        (answer,) = answers(reply, 1, self.where)
        return answer

    async def commit(self, statements: Sequence[Statement]) -> list[Answer] | Problem:
        """Do them all in one transaction of one request, or nothing."""
        reply = await self.post([hrana.transaction(statements)], whole=True)
        return committed(hrana.read_batch(reply.results[0]), before=1)

    async def post(self, requests: Sequence[Json], *, whole: bool) -> Reply:
        """Post on this stream. ``whole`` requests begin and end a transaction, so they may also be the first of a new one."""
        baton, self._baton = self._baton, None
        if baton is not None:
            try:
                return await self._post(requests, baton, again=whole)
            except StreamGone:
                if not whole:
                    raise
        elif not whole:
            raise StreamGone(self.where)
        self._base_url = None
        return await self._post(requests, None, again=True)

    async def _post(self, requests: Sequence[Json], baton: str | None, *, again: bool) -> Reply:
        reply = await self._connection.post(requests, baton=baton, base_url=self._base_url, again=again)
        self._baton, self._base_url = reply.baton, reply.base_url or self._base_url
        self._used_at = asyncio.get_running_loop().time()
        return reply

    def idle_for(self) -> float | None:
        """Seconds since its last use; None if there is no stream."""
        return None if self._baton is None else asyncio.get_running_loop().time() - self._used_at

    async def close(self) -> None:
        """End it, with whatever was begun on it. If that fails, the server does so before long."""
        baton, self._baton = self._baton, None
        if baton is None:
            return
        try:
            await self._connection.post([CLOSE], baton=baton, base_url=self._base_url, again=False)
        except StorageError:
            return
