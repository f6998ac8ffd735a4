"""WSGI: the API for blocking servers. The app is open on a thread of its own; each request waits for it in the server's thread.

https://peps.python.org/pep-3333/
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar, Unpack
from weakref import WeakSet

from stepflow.http.api import Api
from stepflow.http.asgi import below
from stepflow.http.hosting import App, SyncApp, ready_on_a_thread
from stepflow.http.messages import Answer, Request, Response, StreamingResponse
from stepflow.http.options import ApiOptions
from stepflow.http.shutdown import hear_signals

T = TypeVar("T")
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
MAX_STREAMS = 16
"""Each stream holds a thread of the server."""

_READ = 64 * 1024


def wsgi_app(app: SyncApp, *, base_path: str = "", **options: Unpack[ApiOptions]) -> WsgiApp:
    """A WSGI application that serves the API of an app below ``base_path``; ``options`` are those of ``Api``.

    It never starts a worker: have one in a process of its own. Streams hold a thread each, so ``max_streams`` is 16 unless said
    otherwise; ``GET /runs/{id}?wait=30s`` does without. Safe to make before a server forks.
    """
    return WsgiApp(Bridge(app, **options), base_path=base_path)


_bridges: WeakSet[Bridge] = WeakSet()
"""Those of this process: a signal is for all of it."""


def end_streams_at_signals() -> None:
    """End all streams as soon as this process is told to stop; without it, many servers wait for them as long as they wait for anything.

    For the hook that a server calls in the main thread of each of its processes, once its own signal handlers are set. In gunicorn's
    configuration that is ``post_worker_init(worker)``.
    """

    def heard() -> None:
        for bridge in list(_bridges):
            bridge.close()

    hear_signals(heard)


class Bridge:
    """Calls an ``Api`` from blocking code. It is opened at the first request, and again after a fork."""

    def __init__(self, app: SyncApp, **options: Unpack[ApiOptions]) -> None:
        options.setdefault("max_streams", MAX_STREAMS)
        self._app = app
        self._options = options
        self._lock = threading.Lock()
        self._ready: tuple[int, asyncio.AbstractEventLoop, App, Api] | None = None
        self.max_body = Api(app, **options).max_body  # what is wrong with the options is told now
        _bridges.add(self)

    def api(self) -> tuple[asyncio.AbstractEventLoop, Api]:
        """The loop of the app's thread, and the API that lives in it."""
        loop, opened = ready_on_a_thread(self._app)
        with self._lock:
            ready = self._ready
            if ready is None or ready[0] != os.getpid() or ready[2] is not opened:
                ready = self._ready = (os.getpid(), loop, opened, Api(opened, **self._options))
            return ready[1], ready[3]

    def handle(self, request: Request) -> Answer:
        loop, api = self.api()
        return _wait(loop, api.handle(request))

    def stream(self, answer: StreamingResponse) -> Iterator[bytes]:
        """The chunks of a stream; close it, also if the client is gone."""
        loop, _ = self.api()
        return Chunks(loop, answer.chunks())

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        ready = self._ready
        if ready is not None and ready[0] == os.getpid():
            ready[1].call_soon_threadsafe(ready[3].close)


class Chunks(Iterator[bytes]):
    """An asynchronous generator of the app's loop, iterated over in another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chunks: AsyncGenerator[bytes, None]) -> None:
        self._loop = loop
        self._chunks = chunks

    def __next__(self) -> bytes:
        chunk = _wait(self._loop, anext(self._chunks, None))
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Called by the server at the end, whatever ended it."""
        _wait(self._loop, self._chunks.aclose())


def _wait(loop: asyncio.AbstractEventLoop, work: Awaitable[T]) -> T:
    async def done() -> T:
        return await work

    return asyncio.run_coroutine_threadsafe(done(), loop).result()


class WsgiApp:
    """See ``wsgi_app``."""

    def __init__(self, bridge: Bridge, *, base_path: str = "") -> None:
        self.bridge = bridge
        self._base_path = base_path

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = request_of(environ, base_path=self._base_path, max_body=self.bridge.max_body)
        if isinstance(request, Response):
            return self._whole(request, start_response)
        answer = self.bridge.handle(request)
        if isinstance(answer, Response):
            return self._whole(answer, start_response)
        start_response(_status(answer.status), list(answer.headers))
        return self.bridge.stream(answer)

    def _whole(self, response: Response, start_response: StartResponse) -> Iterable[bytes]:
        length = [("Content-Length", str(len(response.body)))] if response.status != 204 else []
        start_response(_status(response.status), [*response.headers, *length])
        return [response.body]


def _status(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"


def request_of(environ: Environ, *, base_path: str, max_body: int) -> Request | Response:
    """The request; or the answer to one that is not below ``base_path``, or whose path is not UTF-8."""
    try:
        path = below(environ.get("PATH_INFO", "").encode("latin-1").decode(), base_path)
    except UnicodeError:
        path = None
    if path is None:
        return Response(status=404)
    headers = {
        name[5:].replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = str(environ[name])
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path,
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        body=read_body(environ, max_body),
        scheme=environ.get("wsgi.url_scheme", "http"),
        extra=environ,
        client=environ.get("REMOTE_ADDR") or None,
    )


def read_body(environ: Environ, max_body: int) -> bytes:
    """The body, or one byte more than it may have. One that is said to be too long is not read at all."""
    stream = environ["wsgi.input"]
    said = str(environ.get("CONTENT_LENGTH") or "")
    if said.isascii() and said.isdigit():
        left = int(said) if len(said) < 16 else max_body + 1
        if left > max_body:
            return b""  # the header is enough to refuse it
    elif environ.get("wsgi.input_terminated") or "chunked" in environ.get("HTTP_TRANSFER_ENCODING", ""):
        left = max_body + 1
    else:
        return b""
    parts: list[bytes] = []
    while left > 0 and (chunk := stream.read(min(left, _READ))):
        parts.append(chunk)
        left -= len(chunk)
    return b"".join(parts)
