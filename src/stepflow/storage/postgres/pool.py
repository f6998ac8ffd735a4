"""The pool: a bounded number of links, each used by one call at a time, and every call with an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stepflow.errors import NotOpenError, StorageError
from stepflow.storage.postgres.driver import DRIVER_ERRORS, ERRORS, state_of
from stepflow.storage.postgres.errors import translate
from stepflow.storage.postgres.link import Link, open_link
from stepflow.storage.postgres.options import PostgresOptions, place_of

Result = TypeVar("Result")
Work = Callable[[Link], Awaitable[Result]]

_CLOSING = 2.0
"""Seconds that a link has to close in an orderly way."""


class Pool:
    """Links to one server. A link on which anything went wrong is not used again."""

    def __init__(self, options: PostgresOptions, *, plain: bool = False) -> None:
        """``plain``: for users' statements, which the settings for ours would not suit."""
        self._plain = plain
        self._options = options
        self._place = place_of(options.server)
        self._room = asyncio.Semaphore(options.pool_size)
        self._idle: list[Link] = []
        self._closed = False
        self._longest = 1.5 * options.statement_timeout + options.connect_timeout
        """Seconds a call may take in all: the network itself may be what does not answer."""

    async def run(self, work: Work[Result], *, again: bool = False) -> Result:
        """Do the work with a link, and translate what goes wrong. ``again``: it only reads, so a link that turns out to have been
        cut while idle is replaced without a word.
        """
        try:
            async with asyncio.timeout(self._longest):
                async with self._room:
                    return await self._run(work, again=again)
        except TimeoutError as error:
            raise translate(error, self._place) from error

    async def _run(self, work: Work[Result], *, again: bool) -> Result:
        if self._closed:
            raise NotOpenError("the PostgreSQL storage is closed; use it inside `async with`")
        link = await self._take()
        idled = link.used
        try:
            result = await work(link)
        except StorageError:
            link.drop()
            raise
        except ERRORS as error:
            link.drop()
            if again and idled and _is_lost(error):
                self._forget_idle()  # what cut this one has cut the others
                return await self._run(work, again=False)
            raise translate(error, self._place) from error
        except BaseException:
            link.drop()
            raise
        self._give_back(link)
        return result

    # -------------------------------------------------------------- for longer than a call
    async def borrow(self) -> Link:
        """A link of which the caller says when it is done: ``give_back`` or ``give_up``."""
        await self._room.acquire()
        try:
            if self._closed:
                raise NotOpenError("the PostgreSQL storage is closed; use it inside `async with`")
            return await self._take()
        except BaseException:
            self._room.release()
            raise

    def give_back(self, link: Link) -> None:
        """The link may be used by others, if it is in order."""
        self._give_back(link)
        self._room.release()

    def give_up(self, link: Link) -> None:
        """Nobody uses the link any more, and whatever was begun on it is rolled back."""
        link.drop()
        self._room.release()

    async def _take(self) -> Link:
        while self._idle:
            link = self._idle.pop()
            if link.usable:
                return link
            link.drop()
        try:
            return await open_link(self._options, plain=self._plain)
        except ERRORS as error:
            raise translate(error, self._place) from error

    def _give_back(self, link: Link) -> None:
        link.used = True
        if self._closed or not link.usable:
            link.drop()
        else:
            self._idle.append(link)

    def _forget_idle(self) -> None:
        while self._idle:
            self._idle.pop().drop()

    async def close(self) -> None:
        """Let what was begun end (it has an end), then close all links."""
        for _ in range(self._options.pool_size):
            await self._room.acquire()
        self._closed = True
        links, self._idle = self._idle, []
        for link in links:
            await link.close(_CLOSING)
        for _ in range(self._options.pool_size):
            self._room.release()


def _is_lost(error: BaseException) -> bool:
    """Whether the connection went away, and with it all it may have been doing."""
    return state_of(error).startswith(("08", "57P")) or isinstance(error, (*DRIVER_ERRORS, OSError))
