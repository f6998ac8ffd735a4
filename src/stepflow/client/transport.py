"""Transport: the little that clients need of HTTP, by httpx: open a request, read its answer, pause. Everything else is decided above."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from stepflow.errors import MissingExtraError

try:
    import httpx
except ImportError as missing:
    raise MissingExtraError("stepflow.client", "client") from missing

_CONNECT = 10.0
"""Seconds that a connection may take to be made, even if the request has longer."""

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent. ``timeout``: seconds that nothing may come for."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout: float


class Unreached(Exception):
    """No answer, or not all of it. ``sent``: the server may have done what was asked."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Answer(Protocol):
    """The head of an answer, whose body is read as it comes."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in lower case."""
        ...

    async def read(self) -> bytes:
        """The next part of the body; empty at its end. ``Unreached`` if the connection breaks."""
        ...

    async def close(self) -> None:
        """Give the connection back, or break it if there is more to read."""
        ...


class Transport(Protocol):
    """What carries requests. The one for blocking clients has coroutines that never wait for a loop."""

    async def open(self, request: Request) -> Answer:
        """The answer's head; ``Unreached``."""
        ...

    async def pause(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


# ------------------------------------------------------------------ asyncio
class AsyncTransport:
    """On the running event loop."""

    def __init__(
        self, http: httpx.AsyncClient | None, sleep: Callable[[float], Awaitable[object]] | None
    ) -> None:
        self._http = http or httpx.AsyncClient(limits=_limits(), timeout=_CONNECT)
        self._owned = http is None
        self._sleep = sleep or asyncio.sleep

    async def open(self, request: Request) -> Answer:
        try:
            return _AsyncAnswer(
                await self._http.send(_request(self._http, request), stream=True, follow_redirects=False)
            )
        except httpx.RequestError as error:
            raise _unreached(error) from error

    async def pause(self, seconds: float) -> None:
        await self._sleep(seconds)

    async def close(self) -> None:
        if self._owned:
            await self._http.aclose()


class _AsyncAnswer:
    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()

    async def read(self) -> bytes:
        try:
            return await anext(self._chunks, b"")
        except httpx.RequestError as error:
            raise _unreached(error) from error

    async def close(self) -> None:
        await self._response.aclose()


# ------------------------------------------------------------------ blocking
class BlockingTransport:
    """On the calling thread."""

    def __init__(self, http: httpx.Client | None, sleep: Callable[[float], object] | None) -> None:
        self._http = http or httpx.Client(limits=_limits(), timeout=_CONNECT)
        self._owned = http is None
        self._sleep = sleep or _sleep

    async def open(self, request: Request) -> Answer:
        try:
            return _BlockingAnswer(
                self._http.send(_request(self._http, request), stream=True, follow_redirects=False)
            )
        except httpx.RequestError as error:
            raise _unreached(error) from error

    async def pause(self, seconds: float) -> None:
        self._sleep(seconds)

    async def close(self) -> None:
        if self._owned:
            self._http.close()


class _BlockingAnswer:
    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._chunks: Iterator[bytes] = response.iter_bytes()

    async def read(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except httpx.RequestError as error:
            raise _unreached(error) from error

    async def close(self) -> None:
        self._response.close()


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


# ------------------------------------------------------------------ httpx
def is_http_url(text: str) -> bool:
    """Whether it is an address that requests can be sent below: no query, no fragment, no password in it."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError):
        return False
    if any(character.isspace() for character in text):
        return False
    return (
        url.scheme in ("http", "https") and bool(url.host) and not (url.query or url.fragment or url.userinfo)
    )


def _limits() -> httpx.Limits:
    # Each stream holds a connection for as long as it lasts; how many there are is the caller's business.
    return httpx.Limits(max_connections=None, max_keepalive_connections=20)


def _request(http: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    timeout = httpx.Timeout(request.timeout, connect=min(_CONNECT, request.timeout))
    return http.build_request(
        request.method, request.url, headers=dict(request.headers), content=request.body, timeout=timeout
    )


def _unreached(error: httpx.RequestError) -> Unreached:
    reason = str(error) or type(error).__name__
    return Unreached(reason, sent=not isinstance(error, _NOT_SENT))
