"""Serving: an app over HTTP in this process, from the first request to the last answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stepflow.app import Stepflow
from stepflow.auth.base import Handler
from stepflow.cli.access import AccessLog
from stepflow.cli.exits import ExitCode, Stop
from stepflow.cli.opening import Session, opened
from stepflow.cli.output import note
from stepflow.cli.signals import Interruption, interruption
from stepflow.hooks import Hook
from stepflow.http.asgi import asgi_app
from stepflow.observability.logging import LoggingHook

if TYPE_CHECKING:
    from stepflow.cli.listening import Listener

_GRACE = timedelta(seconds=30)
"""How long a shutdown waits for answers. Streams and long-polls are told to end, so only a request that hangs takes as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is served, to whom. ``log``: facts and requests are logged."""

    app: Stepflow
    auth: Handler
    worker: bool
    origins: Sequence[str] = ()
    token_secrets: Sequence[str] = ()
    log: bool = True
    rate_limit: str | None = None


async def serve_until_told(
    offer: Offer, bound: socket.socket, ready: Callable[[Session], None], *, tells: bool
) -> bool:
    """Serve on the socket, call ``ready`` once requests are answered, and stop gracefully at the first signal.

    The second signal waits for nothing; returns whether it came. ``tells``: say so when the first one comes.
    """
    hooks: list[Hook] = [LoggingHook()] if offer.log else []
    with interruption() as signals:
        async with opened(offer.app, worker=offer.worker, hooks=hooks) as session:
            served = asgi_app(
                offer.app,
                auth=offer.auth,
                cors=offer.origins,
                run_token_secret=list(offer.token_secrets) or None,
                rate_limit=offer.rate_limit,
            )
            application: Any = AccessLog(served, session.clock) if offer.log else served
            listener: Listener = _server().Listener(application, bound, grace=_GRACE)
            _obey(signals, session, listener, served.api.close, tells=tells)
            if signals.told.is_set():
                listener.stop()  # it came while the app was being opened
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(listener.listen())
                begun = tasks.create_task(listener.ready.wait())
                await asyncio.wait([begun, listening], return_when=asyncio.FIRST_COMPLETED)
                if begun.done():
                    ready(session)
                begun.cancel()
            if signals.hurried:  # the worker was not stopping yet when it was told to hurry
                await session.close_now()
    return signals.hurried


def _obey(
    signals: Interruption,
    session: Session,
    listener: Listener,
    end_streams: Callable[[], None],
    *,
    tells: bool,
) -> None:
    """The first signal ends streams and lets other answers finish; the second waits for neither answers nor steps."""

    def first() -> None:
        if tells:
            note("stopping: answers and running steps may finish (again: stop at once)")
        end_streams()
        listener.stop()

    def hurry() -> None:
        listener.hurry()
        if session.worker is not None:
            session.worker.hurry()

    signals.first = first
    signals.hurry = hurry


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one. ``Stop`` if it can't."""
    bound: socket.socket = _server().bind(host, port)
    return bound


def address_of(bound: socket.socket) -> str:
    """``http://127.0.0.1:8000``."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server() -> Any:
    """The module that needs uvicorn."""
    try:
        return import_module("stepflow.cli.listening")
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        raise Stop(
            ExitCode.USAGE,
            "serving HTTP from the command line needs uvicorn, which is not installed",
            hint="pip install 'stepflow[server]'; any other ASGI server serves stepflow.http.asgi_app(app, ...)",
        ) from None
