"""ASGI: the app open for as long as Django's server runs, and streams as WebSockets."""

# Django ships no types.
# pyright: basic

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.urls import Resolver404, resolve

from stepflow.http.asgi import AsgiApp, Receive, Scope, Send, below, serve_websocket
from stepflow.integrations.django import configuring
from stepflow.integrations.django.views import answer

Application = Callable[[Any, Any, Any], Awaitable[Any]]


def with_stepflow(application: Application) -> Application:
    """``application = with_stepflow(get_asgi_application())``: what opens and closes the app with the server's lifespan.

    WebSockets on the path of a stream are answered; others are left to ``application``, as everything else is.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await AsgiApp(configuring.api(), worker=configuring.worker())(scope, receive, send)
            return
        path = _stream_path(scope) if scope["type"] == "websocket" else None
        if path is None:
            await application(scope, receive, send)
        else:
            await serve_websocket(configuring.api(), {**scope, "path": path, "root_path": ""}, receive, send)

    return serve


def _stream_path(scope: Scope) -> str | None:
    """The path below the URL patterns, if it leads there."""
    try:
        found = resolve(below(scope["path"], scope.get("root_path", "")) or "/")
    except Resolver404:
        return None
    return f"/{found.kwargs['path']}" if found.func is answer else None
