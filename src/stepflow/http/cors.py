"""CORS: which other origins a browser may call from. Off until exact origins are named.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stepflow.errors import DefinitionError
from stepflow.http.messages import Response
from stepflow.wire.routes import VERSION_HEADER

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_ALLOWED_HEADERS = "Authorization, Content-Type, X-API-Key, Idempotency-Key, Last-Event-ID"
_ALLOWED_METHODS = "GET, HEAD, POST, DELETE"
_EXPOSED_HEADERS = f"{VERSION_HEADER}, Retry-After"
_REMEMBERED_FOR = "600"


class Cors:
    """Exact origins, like ``https://example.com``; ``DefinitionError`` for anything that is none (``*``, ``null``, a path)."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        if isinstance(origins, str):
            raise DefinitionError(f"cors={origins!r}: a list of origins, like ['https://example.com']")
        self._origins = frozenset(origins)
        for origin in self._origins:
            if not _ORIGIN.fullmatch(origin):
                raise DefinitionError(
                    f"cors=[{origin!r}]: an origin is scheme, host and perhaps port, in lower case and nothing after it, "
                    "like 'https://example.com'; neither '*' nor 'null'"
                )

    def lists(self, origin: str | None) -> bool:
        return origin is not None and origin in self._origins

    def preflight(self, headers: Mapping[str, str]) -> Response:
        """The answer to a browser that asks first: the same for every path, whoever asks."""
        origin = headers.get("origin")
        if not self.lists(origin):
            return Response(status=204, headers=self._vary())
        return Response(
            status=204,
            headers=(
                *self.headers(headers),
                ("Access-Control-Allow-Methods", _ALLOWED_METHODS),
                ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
                ("Access-Control-Max-Age", _REMEMBERED_FOR),
            ),
        )

    def headers(self, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """What an answer says to the browser of a page from elsewhere."""
        origin = headers.get("origin")
        if origin is None or origin not in self._origins:
            return self._vary()
        return (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", _EXPOSED_HEADERS),
            *self._vary(),
        )

    def _vary(self) -> tuple[tuple[str, str], ...]:
        return (("Vary", "Origin"),) if self._origins else ()


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def same_origin(scheme: str, headers: Mapping[str, str]) -> bool:
    """Whether the page that asks came from this server itself."""
    host = headers.get("host", "").lower()
    secure = "https" if scheme in ("https", "wss") else "http"
    return bool(host) and headers.get("origin") == f"{secure}://{host}"
