"""Wire: posts a body and brings back what was answered, over HTTP/1.1 connections that are kept open.

httpx takes 2.7 ms of processor time for a request, which is more than the server takes to write a batch; and all that is
ever sent here are POSTs of JSON to one place. So asyncio's streams carry them (0.15 ms). Where the environment names a
proxy, httpx does it, which knows how to.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

_LONGEST_IDLE = 30.0
"""Seconds. What stood idle for longer may have been forgotten by something on the way."""

_LONGEST_HEAD: Final = 65_536
_HEADERS: Final = {"content-type": "application/json", "user-agent": "stepflow"}


class Response(NamedTuple):
    """An HTTP status and its body."""

    status: int
    body: bytes


class Wire(Protocol):
    """How requests travel to one server."""

    async def post(self, path: str, body: bytes, *, again: bool) -> Response:
        """``OSError`` (``TimeoutError`` is one) if no whole answer came; then it is unknown what was done.

        ``again``: it may be sent a second time, on a fresh connection, if the kept one turns out to be closed.
        """
        ...

    async def close(self) -> None: ...


def headers_of(token: str | None) -> dict[str, str]:
    """What goes with every request."""
    return _HEADERS if token is None else {**_HEADERS, "authorization": f"Bearer {token}"}


def open_wire(address: str, *, token: str | None, connections: int, timeout: float) -> Wire:
    """The way to the server at ``http(s)://host[:port]``. Nothing is connected yet."""
    parts = urlsplit(address)
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
        return ProxiedWire(address, token=token, connections=connections, timeout=timeout)
    return DirectWire(address, token=token, connections=connections, timeout=timeout)


class ProxiedWire:
    """A wire that httpx lays, through the proxy that the environment names."""

    def __init__(self, address: str, *, token: str | None, connections: int, timeout: float) -> None:
        self._client = httpx.AsyncClient(
            base_url=address,
            headers=headers_of(token),
            timeout=httpx.Timeout(timeout, pool=None),
            limits=httpx.Limits(max_connections=connections),
        )

    async def post(self, path: str, body: bytes, *, again: bool) -> Response:
        del again  # httpx looks whether a kept connection is closed before it uses it
        try:
            response = await self._client.post(path, content=body)
        except httpx.TransportError as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        return Response(response.status_code, response.content)

    async def close(self) -> None:
        await self._client.aclose()


class _Link:
    """One connection, and since when it stands idle."""

    __slots__ = ("idle_since", "reader", "used", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.idle_since = 0.0
        self.used = False

    def is_fresh(self, now: float) -> bool:
        """Whether the server seems to be at the other end still."""
        closed = self.reader.at_eof() or self.writer.is_closing()
        return not closed and now - self.idle_since < _LONGEST_IDLE

    def cut(self) -> None:
        self.writer.transport.abort()


class DirectWire:
    """A wire of asyncio's streams."""

    def __init__(self, address: str, *, token: str | None, connections: int, timeout: float) -> None:
        parts = urlsplit(address)
        self._host = parts.hostname or ""
        self._tls = httpx.create_ssl_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._timeout = timeout
        self._room = asyncio.Semaphore(connections)
        self._idle: list[_Link] = []
        lines = [f"host: {parts.netloc}", *(f"{name}: {value}" for name, value in headers_of(token).items())]
        self._headers = "\r\n".join(lines).encode("ascii")

    async def post(self, path: str, body: bytes, *, again: bool) -> Response:
        async with self._room, asyncio.timeout(self._timeout):
            link = self._kept() or await self._connect()
            try:
                return await self._exchange(link, path, body)
            except OSError:
                # A kept connection that the server had closed: as good as certain that it never saw the request.
                if not (again and link.used):
                    raise
            return await self._exchange(await self._connect(), path, body)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for link in idle:
            link.writer.close()
        for link in idle:
            try:
                await link.writer.wait_closed()
            except OSError:
                link.cut()

    def _kept(self) -> _Link | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            link = self._idle.pop()
            if link.is_fresh(now):
                return link
            link.cut()
        return None

    async def _connect(self) -> _Link:
        return _Link(
            *await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=_LONGEST_HEAD)
        )

    async def _exchange(self, link: _Link, path: str, body: bytes) -> Response:
        """Post, and read the answer. A link on which that fails is not used any more."""
        try:
            head = b"POST %b HTTP/1.1\r\n%b\r\ncontent-length: %d\r\n\r\n"
            link.writer.write(head % (path.encode("ascii"), self._headers, len(body)))
            link.writer.write(body)
            await link.writer.drain()
            response, keep = await _read_response(link.reader)
        except (EOFError, ValueError, asyncio.LimitOverrunError) as error:
            link.cut()
            raise ConnectionError(_reason(error)) from error
        except BaseException:
            link.cut()
            raise
        if keep:
            link.used = True
            link.idle_since = asyncio.get_running_loop().time()
            self._idle.append(link)
        else:
            link.writer.close()
        return response


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the connection was closed before the answer came"
    return f"the answer is no HTTP: {error}"


async def _read_response(reader: asyncio.StreamReader) -> tuple[Response, bool]:
    """The response, and whether the connection may be used for another request."""
    status, version = 100, b""
    headers: dict[bytes, bytes] = {}
    while 100 <= status < 200:
        first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        version, _, rest = first.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            raise ValueError(f"it begins with {first[:20]!r}")
        status = int(rest[:3])
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
        }
    keep = version == b"HTTP/1.1" and headers.get(b"connection", b"").lower() != b"close"
    if b"chunked" in headers.get(b"transfer-encoding", b"").lower():
        return Response(status, await _read_chunks(reader)), keep
    if b"content-length" in headers:
        return Response(status, await reader.readexactly(int(headers[b"content-length"]))), keep
    return Response(status, await reader.read()), False


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks: list[bytes] = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        if size == 0:
            break
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # a trailer says nothing to us
    return b"".join(chunks)
