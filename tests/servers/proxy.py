"""A TCP proxy that makes faults: cuts a request before, in the middle of or after it reached the server, goes silent, deaf, refuses.

It runs on the test's own loop. A fault is arranged for the next request that holds certain bytes::

    async with FaultProxy(server_port) as proxy:
        proxy.cut(Cut.AFTER, b"COMMIT")  # the server does it, and the client never learns
        ...
        assert proxy.struck == 1
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class Cut(StrEnum):
    """Where the connection breaks."""

    BEFORE = "before"
    """Nothing of the request reaches the server."""
    MIDDLE = "middle"
    """Half of it does."""
    AFTER = "after"
    """The server has done it, and its answer is lost."""


class FaultProxy:
    """Passes everything on to ``127.0.0.1:target``, but for the faults that are arranged."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._cuts: list[_Arranged] = []
        self._deaf_after: bytes | None = None
        self._answer_sizes: list[int] = []
        self._pairs: set[_Pair] = set()
        self._silent = asyncio.Event()
        self._refusing = False
        self._news = asyncio.Event()
        self.struck = 0
        """How many cuts were made."""
        self.accepted = 0
        """How many connections came."""
        self.deafened = 0
        """How many of them hear nothing that is pushed to them."""

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._pairs)

    @property
    def port(self) -> int:
        assert self._server is not None, "use it inside `async with`"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        while self._pairs:
            await asyncio.gather(*(pair.ended.wait() for pair in self._pairs))

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until a condition on ``struck``, ``accepted`` and ``open`` holds."""
        while not reached():
            self._news.clear()
            await self._news.wait()

    # -------------------------------------------------------------- faults
    def cut(self, where: Cut, when: bytes = b"", *, after: int = 0) -> None:
        """Break the connection of the next request that holds these bytes, once; let ``after`` of them pass before."""
        self._cuts.append(_Arranged(where, when, after))

    def cut_answers(self, *sizes: int) -> None:
        """Of the next connections, let so many bytes of all answers pass, and break each there; those after them are whole."""
        self._answer_sizes.extend(sizes)

    def deafen(self, when: bytes) -> None:
        """Whoever asks this hears the answer, and nothing more on that connection: what is pushed to him is lost."""
        self._deaf_after = when

    def cut_all(self) -> None:
        """Break every connection there is now."""
        for pair in list(self._pairs):
            pair.abort()

    def refuse(self) -> None:
        """An outage: break every connection, and let none in, until ``heal``."""
        self._refusing = True
        self.cut_all()

    def go_silent(self) -> None:
        """Half-open: connections stay, new ones are accepted, and nothing comes through any more, until ``heal``."""
        self._silent.set()

    def heal(self) -> None:
        """Be an ordinary proxy again. What was swallowed in silence is lost, so those connections are broken."""
        if self._silent.is_set():
            self._silent.clear()
            self.cut_all()
        self._refusing = False
        self._deaf_after = None
        self._cuts.clear()

    # -------------------------------------------------------------- passing on
    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._news.set()
        if self._refusing:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        most = self._answer_sizes.pop(0) if self._answer_sizes else None
        pair = _Pair((reader, writer), there, self, most)
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)
            pair.ended.set()
            self._news.set()

    @property
    def silent(self) -> bool:
        return self._silent.is_set()

    def was_struck(self) -> None:
        """A connection was cut where it was arranged."""
        self.struck += 1
        self._news.set()

    def deafens(self, request: bytes) -> bool:
        if self._deaf_after is None or self._deaf_after not in request:
            return False
        self.deafened += 1
        self._news.set()
        return True

    def cut_for(self, request: bytes) -> Cut | None:
        """What is to become of a request; arranged faults strike once."""
        for arranged in self._cuts:
            if arranged.when not in request:
                continue
            if arranged.after > 0:
                arranged.after -= 1
                continue
            self._cuts.remove(arranged)
            self.was_struck()
            return arranged.where
        return None


@dataclass(slots=True)
class _Arranged:
    """A cut that is still to be made."""

    where: Cut
    when: bytes
    after: int


class _Pair:
    """A client's connection and ours to the server."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        proxy: FaultProxy,
        most: int | None,
    ) -> None:
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._proxy = proxy
        self._answer_is_lost = False
        self._answers_to_pass: int | None = None
        self._left = most
        self.ended = asyncio.Event()

    def abort(self) -> None:
        """Break both sides at once, without a goodbye."""
        self._to_client.transport.abort()
        self._to_server.transport.abort()

    async def run(self) -> None:
        """Pass on until either side ends."""
        requests = asyncio.ensure_future(self._requests())
        answers = asyncio.ensure_future(self._answers())
        try:
            await asyncio.wait({requests, answers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.abort()
            for task in (requests, answers):
                task.cancel()
            await asyncio.gather(requests, answers, return_exceptions=True)

    async def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._from_client.read(_CHUNK):
                if self._proxy.silent:
                    continue
                if self._proxy.deafens(data):
                    self._answers_to_pass = 1
                cut = self._proxy.cut_for(data)
                if cut is Cut.BEFORE:
                    return
                self._to_server.write(data[: len(data) // 2] if cut is Cut.MIDDLE else data)
                await self._to_server.drain()
                if cut is Cut.MIDDLE:
                    return
                self._answer_is_lost = self._answer_is_lost or cut is Cut.AFTER

    async def _answers(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._from_server.read(_CHUNK):
                if self._answer_is_lost:
                    return
                if self._answers_to_pass is not None:
                    self._answers_to_pass -= 1
                if self._proxy.silent or (self._answers_to_pass or 0) < 0:
                    continue
                if self._left is not None:
                    data, self._left = data[: self._left], self._left - len(data)
                self._to_client.write(data)
                await self._to_client.drain()
                if self._left is not None and self._left <= 0:
                    self._proxy.was_struck()
                    return
