"""aiohttp: the API as an application to add to another one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Unpack
from urllib.parse import unquote

from stepflow.app import Stepflow
from stepflow.errors import MissingExtraError
from stepflow.http.api import Api
from stepflow.http.asgi import below, living
from stepflow.http.messages import Request, Response, StreamingResponse
from stepflow.http.options import ApiOptions

try:
    from aiohttp import web
except ImportError as error:
    raise MissingExtraError("stepflow.integrations.aiohttp", "aiohttp") from error


def stepflow_application(
    app: Stepflow, *, worker: bool | None = None, **options: Unpack[ApiOptions]
) -> web.Application:
    """An application for ``add_subapp("/stepflow", ...)``, or to run alone; ``options`` are those of ``stepflow.http.Api``.

    It opens ``app`` at start-up if it is not open, with a ``worker`` or without one (None: as its own settings say).
    """
    api = Api(app, **options)

    async def life(_: web.Application) -> AsyncGenerator[None]:
        async with living(api, worker=worker):
            yield

    async def close(_: web.Application) -> None:
        api.close()  # the server waits for answers only after this

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = _asked(request)
        if asked is None:
            return web.Response(status=404)
        answered = await api.handle(asked)
        if isinstance(answered, StreamingResponse):
            return await _stream(request, answered)
        return _whole(answered)

    application = web.Application()
    application.cleanup_ctx.append(life)
    application.on_shutdown.append(close)
    application.router.add_route("*", "/{path:(?s:.*)}", answer)
    return application


def _asked(request: web.Request) -> Request | None:
    """The request below the application. Its path is taken as it was sent: aiohttp's own has been tidied up."""
    raw, _, query = request.raw_path.partition("?")
    if not raw.startswith("/"):
        raw = request.rel_url.raw_path  # a proxy was asked, with the whole address
    resource = request.match_info.route.resource
    base = "" if resource is None else resource.canonical.removesuffix("/{path}")
    try:
        path = below(unquote(raw, errors="strict"), base)
    except UnicodeDecodeError:
        path = None
    if path is None:
        return None
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return Request(
        method=request.method,
        path=path,
        query=query.partition("#")[0],
        headers=headers,
        body=request.content.iter_any(),
        scheme=request.scheme,
        extra=request,
        client=request.remote,
    )


def _whole(answered: Response) -> web.Response:
    response = web.Response(body=answered.body or None, status=answered.status)
    response.headers.extend(answered.headers)
    return response


async def _stream(request: web.Request, answered: StreamingResponse) -> web.StreamResponse:
    """Write until the stream ends or the client has left, which the next chunk tells: a heartbeat at the latest."""
    response = web.StreamResponse(status=answered.status)
    response.headers.extend(answered.headers)
    async with aclosing(answered.chunks()) as chunks:
        try:
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionResetError:
            pass  # nobody listens any more
    return response
