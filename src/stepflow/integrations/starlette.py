"""Starlette: the API mounted in an application, with the life cycle and the app itself for its own endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Unpack, cast

from stepflow.app import Stepflow
from stepflow.errors import MissingExtraError, NotOpenError
from stepflow.http.api import Api
from stepflow.http.asgi import living, serve_http, serve_websocket
from stepflow.http.options import ApiOptions

try:
    from starlette.requests import HTTPConnection, Request
    from starlette.routing import Mount
    from starlette.types import Receive, Scope, Send
    from starlette.websockets import WebSocket
except ImportError as error:
    raise MissingExtraError("stepflow.integrations.starlette", "starlette") from error

STATE = "stepflow"
"""The name of the app in the state that the lifespan gives to requests."""


class StepflowMount(Mount):
    """One of an application's routes: the API below ``path``; ``options`` are those of ``stepflow.http.Api``.

    ``lifespan`` is the application's, or is entered by it: it opens ``app`` if it is not open, with a ``worker`` or without one
    (None: as its own settings say).
    """

    def __init__(
        self, path: str, app: Stepflow, *, worker: bool | None = None, **options: Unpack[ApiOptions]
    ) -> None:
        self._api = Api(app, **options)
        self._worker = worker
        self._stepflow = app
        super().__init__(path, app=self._serve, name="stepflow")

    @asynccontextmanager
    async def lifespan(self, _: Any = None) -> AsyncGenerator[Mapping[str, Any]]:
        """The app open, and in the state of every request."""
        async with living(self._api, worker=self._worker):
            yield {STATE: self._stepflow}

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            extra: HTTPConnection = WebSocket(scope, receive, send)
            await serve_websocket(self._api, scope, receive, send, extra=extra)
        else:
            await serve_http(self._api, scope, receive, send, extra=Request(scope, receive))


def stepflow_app(connection: HTTPConnection) -> Stepflow:
    """The open app, in an endpoint of the same application."""
    found = getattr(connection.state, STATE, None)
    if found is None:
        raise NotOpenError("use an app in a request before the application's lifespan has opened it")
    return cast("Stepflow", found)
