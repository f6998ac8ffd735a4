"""Listening: uvicorn as this command line runs it. Imported only by commands that serve; uvicorn is an extra."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import uvicorn

from stepflow.cli.exits import ExitCode, Stop

_BACKLOG = 2048


class Listener(uvicorn.Server):
    """A server on a socket that is bound already. Signals are the command's business: ``stop`` lets answers end, ``hurry`` does not."""

    def __init__(self, application: Any, bound: socket.socket, *, grace: timedelta) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                backlog=_BACKLOG,
                timeout_graceful_shutdown=max(1, round(grace.total_seconds())),
            )
        )
        self.ready = asyncio.Event()
        self._bound = bound

    async def listen(self) -> None:
        """Serve until ``stop``; returns when every answer has ended, or the grace is over."""
        await self.serve(sockets=[self._bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def stop(self) -> None:
        self.should_exit = True

    def hurry(self) -> None:
        self.should_exit = self.force_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one. ``Stop`` if it can't."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise _no_address(host) from error
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _no_address(host) from error
        raise Stop(
            ExitCode.USAGE,
            f"can't listen on {host}, port {port}: {error.strerror}",
            hint="another program may have it; --port takes another one, 0 any that is free",
        ) from error
    return bound


def _no_address(host: str) -> Stop:
    return Stop(
        ExitCode.USAGE,
        f"--host {host} is no address of this machine",
        hint="127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses",
    )
