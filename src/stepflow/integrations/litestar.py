"""Litestar: the API as a plugin, which mounts it, opens the app with the application, and gives it to handlers that ask for ``stepflow``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Unpack
from urllib.parse import unquote

from stepflow.app import Stepflow
from stepflow.errors import MissingExtraError
from stepflow.http.api import Api
from stepflow.http.asgi import living, serve_http, serve_websocket
from stepflow.http.options import ApiOptions

try:
    from litestar import Litestar, Request, WebSocket, asgi
    from litestar.config.app import AppConfig
    from litestar.di import Provide
    from litestar.plugins import InitPlugin
    from litestar.types import Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError("stepflow.integrations.litestar", "litestar") from error


class StepflowPlugin(InitPlugin):
    """``Litestar(plugins=[StepflowPlugin(app, auth=...)])``: the API below ``path``; ``options`` are those of ``stepflow.http.Api``.

    The application's lifespan opens ``app`` if it is not open, with a ``worker`` or without one (None: as its own settings say).
    """

    def __init__(
        self,
        app: Stepflow,
        path: str = "/stepflow",
        *,
        worker: bool | None = None,
        **options: Unpack[ApiOptions],
    ) -> None:
        self._app = app
        self._api = Api(app, **options)
        self._path = path.rstrip("/")
        self._worker = worker

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Called by Litestar."""

        @asgi(self._path or "/", is_mount=True, copy_scope=True)
        async def stepflow(scope: Scope, receive: Receive, send: Send) -> None:
            await self._serve(scope, receive, send)

        app_config.route_handlers.append(stepflow)
        config: Any = app_config  # annotated in part only
        config.lifespan.append(self._live)
        app_config.dependencies.setdefault("stepflow", Provide(lambda: self._app, sync_to_thread=False))
        app_config.signature_types.append(Stepflow)
        return app_config

    @asynccontextmanager
    async def _live(self, _: Litestar) -> AsyncGenerator[None]:
        async with living(self._api, worker=self._worker):
            yield

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        asked = {**scope, "path": _path_of(scope)}
        if scope["type"] == "websocket":
            extra: Any = WebSocket[Any, Any, Any](scope)
            await serve_websocket(self._api, asked, receive, send, base_path=self._path, extra=extra)
        else:
            extra = Request[Any, Any, Any](scope)
            await serve_http(self._api, asked, receive, send, base_path=self._path, extra=extra)


def _path_of(scope: Mapping[str, Any]) -> str:
    """The whole path, decoded once. Litestar has put the rest of it in its place, without what it takes for too many slashes."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raise RuntimeError("the server does not tell raw_path, which the API's ids are read from")
    path = unquote(raw.partition(b"?")[0].decode("latin-1"))
    root: str = scope.get("root_path", "")
    return path if path.startswith(root) else root + path
