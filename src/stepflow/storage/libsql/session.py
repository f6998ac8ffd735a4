"""A session: everything that is open while one event loop uses a libSQL storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from stepflow.storage.libsql.connection import Connection
from stepflow.storage.libsql.errors import translate
from stepflow.storage.libsql.hrana import Answer, Problem, Statement
from stepflow.storage.libsql.options import LibsqlOptions
from stepflow.storage.libsql.polling import TurnPoller
from stepflow.storage.libsql.streams import IDLE, Stream
from stepflow.storage.libsql.transactions import Glance, Hold, Moved
from stepflow.storage.libsql.transcript import Missing, Transcript

Result = TypeVar("Result")

_GLANCES = 2
"""So often a transaction is tried without a lock."""


class Session:
    """Runs operations on the server, those that write one after the other."""

    def __init__(self, options: LibsqlOptions, on_change: Callable[[], None]) -> None:
        self.connection = Connection(options)
        self.poller = TurnPoller(self.connection, on_change, idle=options.poll / 1000)
        self._stream = Stream(self.connection)
        self._writing = asyncio.Lock()
        self._resting: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Transcript], Result]) -> Result:
        """Have an operation decide over what it reads, and write what it decided; all of it or nothing.

        The operation may be begun several times over, each time from nothing.
        """
        self.poller.stir()
        async with self._turn_to_write() as stream:
            for _ in range(_GLANCES):
                try:
                    return await self._play(Glance(self.connection, stream), work)
                except Moved:
                    self.poller.moved()
            return await self._play(Hold(stream, writing=True), work)

    async def read(self, work: Callable[[Transcript], Result]) -> Result:
        """Have an operation read what is true at one moment."""
        stream = Stream(self.connection)
        try:
            return await self._play(Glance(self.connection, stream), work)
        except Moved:
            return await self._play(Hold(stream, writing=False), work)

    async def settle(self) -> None:
        """Move the turn: what was sent before and is still on its way can't be carried out any more."""
        async with self._turn_to_write() as stream:
            while True:
                try:
                    await Glance(self.connection, stream).commit(())
                except Moved:
                    self.poller.moved()
                else:
                    return

    async def _play(self, stage: Glance | Hold, work: Callable[[Transcript], Result]) -> Result:
        transcript = Transcript()
        try:
            result = await self._decided(stage, transcript, work)
            if transcript.writes:
                await stage.commit(transcript.writes)
        finally:
            await stage.close()
        if stage.turn is not None:
            self.poller.seen(stage.turn, written=bool(transcript.writes))
        return result

    async def _decided(
        self, stage: Glance | Hold, transcript: Transcript, work: Callable[[Transcript], Result]
    ) -> Result:
        """The operation's result, as soon as it has all the answers that it needs."""
        while True:
            try:
                return work(transcript)
            except Missing:
                transcript.learn(await stage.ask(transcript.take_asked()))

    async def send(self, statements: Sequence[Statement]) -> list[Answer]:
        """Writes that decide for themselves, in one transaction of one request."""
        async with self._turn_to_write() as stream:
            if len(statements) == 1:
                return [await stream.execute(statements[0])]
            done = await stream.commit(statements)
        if isinstance(done, Problem):
            raise translate(done, self.connection.where)
        return done

    async def close(self) -> None:
        await self.poller.close()
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()
            await asyncio.gather(resting, return_exceptions=True)
        await self._stream.close()
        await self.connection.close()

    # -------------------------------------------------------------- the stream that writes
    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncGenerator[Stream]:
        """One write of this process at a time: more would only wait for each other on the server."""
        async with self._writing:
            yield self._stream
            if self._resting is None:
                self._resting = asyncio.get_running_loop().create_task(
                    self._rest(), name="stepflow-libsql-rest"
                )

    async def _rest(self) -> None:
        """End the stream when nobody has written for a while."""
        while True:
            idle = self._stream.idle_for()
            if idle is None:
                break
            if idle < IDLE:
                await asyncio.sleep(IDLE - idle)
                continue
            async with self._writing:
                if (self._stream.idle_for() or 0.0) >= IDLE:
                    await self._stream.close()
        self._resting = None
