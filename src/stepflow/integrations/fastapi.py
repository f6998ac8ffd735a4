"""FastAPI: the API as a router whose routes stand in the application's own documentation, and the app as a dependency."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Unpack, cast

from stepflow.app import Stepflow
from stepflow.errors import MissingExtraError
from stepflow.http.api import Api
from stepflow.http.asgi import living, serve_http, serve_websocket
from stepflow.http.options import ApiOptions
from stepflow.integrations.documenting import Operation, operations
from stepflow.wire.routes import ROUTES, Endpoint, enabled_endpoints

try:
    from fastapi import APIRouter, Depends, Request, Response
    from fastapi.security import APIKeyHeader, HTTPBearer
    from starlette.types import Receive, Scope, Send
    from starlette.websockets import WebSocket

    from stepflow.integrations.starlette import STATE, stepflow_app
except ImportError as error:
    raise MissingExtraError("stepflow.integrations.fastapi", "fastapi") from error

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_NOUNS = sorted({route.path.split("/")[1] for route in ROUTES})
_PATHS = [*(f"/{noun}" for noun in _NOUNS), *(f"/{noun}/{{rest:path}}" for noun in _NOUNS)]
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def stepflow_router(app: Stepflow, *, worker: bool | None = None, **options: Unpack[ApiOptions]) -> APIRouter:
    """A router to ``include_router`` with any prefix; ``options`` are those of ``stepflow.http.Api``.

    The application's lifespan opens ``app`` if it is not open, with a ``worker`` or without one (None: as its own settings say).
    Workflows that are registered by now have a typed path in the documentation. Everything below ``/runs``, ``/trigger`` and the like is the router's own.
    """
    api = Api(app, **options)
    enabled = enabled_endpoints(options.get("endpoints", "all"))

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncGenerator[Mapping[str, Any]]:
        async with living(api, worker=worker):
            yield {STATE: app}

    router = APIRouter(lifespan=lifespan)
    for operation in operations(app, enabled):
        _document(router, api, operation)
    for path in _PATHS:
        _add(router, api, path)
    if Endpoint.RUNS_STREAM in enabled:
        for path in ("/runs/{runId}/stream", "/stream"):
            router.add_websocket_route(path, _websocket(api, path))
    return router


StepflowApp = Annotated[Stepflow, Depends(stepflow_app)]
"""``async def endpoint(app: StepflowApp)``: the app, opened by the application's lifespan."""


class _Answer(Response):
    """Written by the API itself, which also hears when the client leaves."""

    media_type = None

    def __init__(self, api: Api, path: str, request: Request) -> None:
        super().__init__()
        self._api = api
        self._path = path
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await serve_http(self._api, _at(scope, self._path), receive, send, extra=self._request)


def _document(router: APIRouter, api: Api, operation: Operation) -> None:
    """Add a route that the documentation tells about, with the two ways to say who asks."""
    schemes: list[Callable[..., Any]] = [
        APIKeyHeader(name="X-API-Key", scheme_name="Stepflow key", auto_error=False),
        HTTPBearer(scheme_name="Stepflow token", auto_error=False),
    ]
    router.add_api_route(
        operation.path,
        _endpoint(api, operation.path),
        methods=[operation.method],
        name=f"stepflow {operation.name}",
        response_class=Response,
        response_model=None,
        dependencies=[Depends(scheme) for scheme in schemes],
        openapi_extra=operation.description,
        tags=["stepflow"],
    )


def _add(router: APIRouter, api: Api, path: str) -> None:
    """Whatever else is asked for on a path of ours is answered as everywhere: wrong methods, preflights, malformed ids."""
    router.add_api_route(
        path, _endpoint(api, path), methods=_METHODS, response_model=None, include_in_schema=False
    )


def _endpoint(api: Api, path: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return _Answer(api, _filled(path, request.path_params), request)

    return answer


def _websocket(api: Api, path: str) -> Callable[[WebSocket], Awaitable[None]]:
    async def answer(websocket: WebSocket) -> None:
        scope = _at(websocket.scope, _filled(path, websocket.path_params))
        await serve_websocket(api, scope, websocket.receive, cast("Any", websocket.send), extra=websocket)

    return answer


def _filled(path: str, parameters: Mapping[str, Any]) -> str:
    """The path below the router, whatever it was included with. What stands for a parameter was decoded with the whole path, once."""
    return _PARAMETER.sub(lambda found: str(parameters[found[1]]), path)


def _at(scope: Scope, path: str) -> Scope:
    return {**scope, "path": path, "root_path": ""}
