"""The access log: one line for each request, with credentials left out of addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Any, TypeAlias

from stepflow.auth.redacting import redacted
from stepflow.cli.output import duration_text
from stepflow.clock import Clock
from stepflow.observability.logging import get_logger, safe_text

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

_log = get_logger("access")


class AccessLog:
    """An ASGI application that hands everything on, and logs each answer when it has ended: a stream, after its last event."""

    def __init__(self, application: Application, clock: Clock) -> None:
        self._application = application
        self._clock = clock

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            match message["type"]:
                case "http.response.start" | "websocket.http.response.start":
                    status = message["status"]
                case "websocket.accept":
                    status = 101
                case "websocket.close":
                    status = status or 403
                case _:
                    pass
            await send(message)

        began = self._clock.monotonic()
        try:
            await self._application(scope, receive, watch)
        finally:
            _log.info("%s", _line(scope, status, self._clock.monotonic() - began))


def _line(scope: Message, status: int, seconds: float) -> str:
    method = scope.get("method", "WS")
    address = redacted(scope["path"], scope["query_string"].decode("latin-1"))
    client = scope.get("client")
    who = client[0] if client else "-"
    took = duration_text(timedelta(seconds=seconds))
    return safe_text(f"{who} {method} {address} {status or 'no answer'} {took}")
