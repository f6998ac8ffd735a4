"""ASGI: the API for any ASGI server, with its life cycle and its WebSocket form.

https://asgi.readthedocs.io/en/latest/specs/main.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar, Unpack

import msgspec

from stepflow.http.api import Api
from stepflow.http.hosting import App, opened_for
from stepflow.http.messages import Answer, ClientGone, Frame, Request, Response, StreamingResponse
from stepflow.http.options import ApiOptions
from stepflow.http.shutdown import heard_at_once

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

_log = logging.getLogger("stepflow.http")
_CLOSE_CODES = {204: 1000, 401: 4401, 403: 4403, 404: 4404, 503: 1013, 429: 1013, 500: 1011}
_REFUSED = 1008


def asgi_app(
    app: App,
    *,
    base_path: str = "",
    worker: bool | None = None,
    **options: Unpack[ApiOptions],
) -> AsgiApp:
    """An ASGI application that serves the API of an app below ``base_path``; ``options`` are those of ``Api``.

    The server's lifespan opens the app if it is not open, with a ``worker`` or without one (None: as the app's own settings say).
    """
    return AsgiApp(Api(app, **options), base_path=base_path, worker=worker)


class AsgiApp:
    """See ``asgi_app``."""

    def __init__(self, api: Api, *, base_path: str = "", worker: bool | None = None) -> None:
        self.api = api
        self._base_path = base_path.rstrip("/")
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await serve_http(self.api, scope, receive, send, base_path=self._base_path)
            case "websocket":
                await serve_websocket(self.api, scope, receive, send, base_path=self._base_path)
            case "lifespan":
                await self._live(receive, send)
            case other:
                raise ValueError(f"an ASGI scope of type {other!r} is not served here")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(living(self.api, worker=self._worker))
            except Exception as error:
                _log.exception("the app could not be opened")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def living(api: Api, *, worker: bool | None = None) -> AsyncGenerator[None]:
    """The life of a server: the app is open, and streams are ended as soon as the process is told to stop.

    It may begin again after it has ended, also in another event loop.
    """
    async with opened_for(api.app, worker=worker):
        api.open()
        with heard_at_once(api.close):
            try:
                yield
            finally:
                api.close()


# ------------------------------------------------------------------ HTTP
async def serve_http(
    api: Api, scope: Scope, receive: Receive, send: Send, *, base_path: str = "", extra: Any = None
) -> None:
    """Answer one HTTP request. A client that hangs up is not waited for, and its stream is given back.

    ``extra`` is the framework's own request; without one, auth handlers see the scope.
    """
    body = _body(receive)
    request = request_of(scope, body, base_path=base_path, extra=extra)
    if request is None:
        await _write(Response(status=404), send)
        return
    with suppress(ClientGone):
        if request.method in ("GET", "HEAD"):
            # Nothing is read of the body, so that what comes next is the client's hanging up.
            answer = await _unless_gone(api.handle(request), receive)
            if answer is None:
                return
        else:
            answer = await api.handle(request)
        if isinstance(answer, Response):
            await _write(answer, send)
        else:
            await _unless_gone(_stream(answer, send), receive)


def request_of(
    scope: Scope, body: AsyncIterator[bytes] | bytes, *, base_path: str = "", extra: Any = None
) -> Request | None:
    """The request, or None if it is not below ``base_path``. What the server or a framework mounted it under is left out, too."""
    path = below(scope["path"], scope.get("root_path", ""))
    path = None if path is None else below(path, base_path)
    if path is None:
        return None
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(
        method=scope.get("method", "GET"),
        path=path,
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
        scheme=scope.get("scheme", "http"),
        extra=scope if extra is None else extra,
        client=(scope.get("client") or (None,))[0],
    )


def below(path: str, base: str) -> str | None:
    """The path without its base; None if it is elsewhere."""
    base = base.rstrip("/")
    if not base:
        return path
    return path[len(base) :] if path == base or path.startswith(f"{base}/") else None


async def _body(receive: Receive) -> AsyncGenerator[bytes, None]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _write(response: Response, send: Send) -> None:
    length = (("Content-Length", str(len(response.body))),) if response.status != 204 else ()
    await send(_start(response.status, (*response.headers, *length)))
    await send({"type": "http.response.body", "body": response.body})


def _start(status: int, headers: tuple[tuple[str, str], ...]) -> Message:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": raw}


async def _stream(response: StreamingResponse, send: Send) -> bool:
    async with aclosing(response.chunks()) as chunks:
        await send(_start(response.status, response.headers))
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    return True


async def _unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """What the work gives; None, and the work is cancelled, if the client hangs up before."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
        pass  # what else a client says is not listened to


# ------------------------------------------------------------------ WebSocket
async def serve_websocket(
    api: Api, scope: Scope, receive: Receive, send: Send, *, base_path: str = "", extra: Any = None
) -> None:
    """Answer one WebSocket on the path of a stream: text frames ``{"id", "event", "data"}``, then a close code that says why."""
    await receive()
    request = request_of(scope, b"", base_path=base_path, extra=extra)
    if request is None or not api.admits_websocket(request):
        await send({"type": "websocket.close", "code": 4403})
        return
    answer = await _unless_gone(api.handle(request), receive)
    if answer is None:
        return
    await send({"type": "websocket.accept"})
    if isinstance(answer, StreamingResponse):
        code = await _unless_gone(_send_frames(answer, send), receive)
        if code is None:
            return
    else:
        code = _CLOSE_CODES.get(answer.status, _REFUSED)
    await send({"type": "websocket.close", "code": code, "reason": _reason(answer)})


async def _send_frames(response: StreamingResponse, send: Send) -> int:
    code = 1000
    async with aclosing(response.frames) as frames:
        async for frame in frames:
            if frame is not None:
                await send({"type": "websocket.send", "text": _text(frame)})
                code = 4401 if frame.event == "token:expired" else code
    return code


def _text(frame: Frame) -> str:
    return msgspec.json.encode(
        {"id": frame.id, "event": frame.event, "data": msgspec.Raw(frame.data)}
    ).decode()


def _reason(answer: Answer) -> str:
    """The problem's slug: a close frame has room for 123 bytes."""
    if isinstance(answer, StreamingResponse) or not answer.body:
        return ""
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return str(found.get("type", ""))[:100]
