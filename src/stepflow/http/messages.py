"""Messages: requests and responses of our own, which every framework's can be made into and out of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepflow.wire import records
from stepflow.wire.problems import MEDIA_TYPE as PROBLEM
from stepflow.wire.problems import Problem
from stepflow.wire.sse import HEARTBEAT, encode_message

JSON = "application/json"
Headers = tuple[tuple[str, str], ...]


class ClientGone(Exception):
    """Whoever asked has hung up: there is nobody to answer. Raised by the iterator of a body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, below the base path of the API.

    ``path`` was percent-decoded exactly once; ``query`` is the query string as it was sent. Names of ``headers`` are lower-case; one
    that came several times has its values joined by ``", "``. ``body`` is not read before it has to be. ``extra`` is the framework's own request, for
    auth handlers. ``scheme`` is http or https, as the client sees it. ``client`` is the address that it comes from, as far as the server tells.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | AsyncIterable[bytes] = b""
    scheme: str = "http"
    extra: Any = None
    client: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        return replace(self, headers=(*self.headers, *headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event of a stream; ``id`` is where to go on from, if it has one."""

    event: str
    data: bytes
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingResponse:
    """An answer that goes on: write ``chunks()`` as they come, and close them whatever happens.

    ``frames`` are what the chunks are made of (None: a heartbeat), for what is not written as server-sent events; use one or the other.
    """

    status: int
    headers: Headers = ()
    frames: AsyncGenerator[Frame | None, None]
    retry: int = 1000

    def with_headers(self, *headers: tuple[str, str]) -> StreamingResponse:
        return replace(self, headers=(*self.headers, *headers))

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the stream; the first ones at once, so that whoever waits for them sees that it is open."""
        try:
            yield b"retry: %d\n\n" % self.retry
            async for frame in self.frames:
                if frame is None:
                    yield HEARTBEAT
                else:
                    yield encode_message(event=frame.event, data=frame.data, id=frame.id)
        finally:
            await self.frames.aclose()


Answer = Response | StreamingResponse


def json_response(record: object, status: int = 200) -> Response:
    """A record as it travels."""
    body = records.encode(record)
    return Response(status=status, headers=(("Content-Type", JSON),), body=body)


def problem_response(problem: Problem, *headers: tuple[str, str]) -> Response:
    """An error as its document. Those that are worth another try say when."""
    retry_after: Sequence[tuple[str, str]] = ()
    if problem.status in (408, 429, 503):
        seconds = problem.data.get("retryAfter", 1)
        retry_after = [("Retry-After", str(max(1, int(seconds))))]
    return Response(
        status=problem.status,
        headers=(("Content-Type", PROBLEM), *retry_after, *headers),
        body=problem.encode(),
    )
