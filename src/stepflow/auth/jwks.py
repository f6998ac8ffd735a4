"""JWK sets (RFC 7517): the public keys of an identity provider, fetched when needed, kept, and rotated by the provider."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from stepflow.errors import DefinitionError

_log = logging.getLogger("stepflow.auth")

_TIMEOUT = 5.0
_LARGEST = 1_048_576
_MOST_KEYS = 100
_PAUSE = timedelta(seconds=30)
"""Between two requests, whatever the tokens say: nobody can make this server ask in a loop."""


class JwksKeys:
    """The provider's keys by their id. One request at a time, in a thread; callers on any event loop may share it."""

    __slots__ = ("_asked", "_by_id", "_fetch", "_fetched", "_lifetime", "_lock", "_prepare")

    def __init__(
        self,
        fetch: Callable[[], bytes],
        prepare: Callable[[Mapping[str, Any]], Any],
        *,
        lifetime: timedelta,
    ) -> None:
        self._fetch = fetch
        self._prepare = prepare
        self._lifetime = lifetime
        self._by_id: Mapping[str, Any] = {}
        self._fetched: datetime | None = None
        self._asked: datetime | None = None
        self._lock = threading.Lock()

    async def for_id(self, key_id: object, now: datetime) -> Sequence[Any]:
        """The keys that may have signed: that of this id, or every one if the token names none.

        ``ConnectionError`` if the provider could not be asked, and never could before.
        """
        if self._should_ask(key_id, now):
            await asyncio.to_thread(self._ask, key_id, now)
        if self._fetched is None:
            raise ConnectionError("the keys of the identity provider could not be fetched")
        if key_id is None:
            return list(self._by_id.values())
        key = self._by_id.get(key_id) if isinstance(key_id, str) else None
        return [] if key is None else [key]

    def _should_ask(self, key_id: object, now: datetime) -> bool:
        if self._asked is not None and now - self._asked < _PAUSE:
            return False
        if self._fetched is None or now - self._fetched >= self._lifetime:
            return True
        return isinstance(key_id, str) and key_id not in self._by_id

    def _ask(self, key_id: object, now: datetime) -> None:
        with self._lock:
            if not self._should_ask(key_id, now):
                return  # whoever held the lock has asked
            try:
                found = read_keys(self._fetch(), self._prepare)
            except (OSError, ValueError, RecursionError) as error:
                _log.warning("the keys of the identity provider could not be fetched: %s", error)
            else:
                self._by_id = found
                self._fetched = now
            finally:
                self._asked = now


def read_keys(data: bytes, prepare: Callable[[Mapping[str, Any]], Any]) -> Mapping[str, Any]:
    """The keys of a JWK set that can be used, by id (one without an id by its place); ``ValueError`` for what is no set."""
    decoded: object = json.loads(data)
    keys = cast("dict[str, object]", decoded).get("keys") if isinstance(decoded, dict) else None
    if not isinstance(keys, list):
        raise ValueError("it is no JWK set")  # noqa: TRY004 - of what the provider sent, not of an argument
    found: dict[str, Any] = {}
    for place, published in enumerate(cast("list[object]", keys)[:_MOST_KEYS]):
        if isinstance(published, dict):
            key = cast("dict[str, Any]", published)
            prepared = prepare(key)
            if prepared is not None:
                found[str(key.get("kid", f"#{place}"))] = prepared
    return found


class _NoRedirects(HTTPRedirectHandler):
    """Keys come from the address that was configured, and from no other that it may point to."""

    def redirect_request(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


def fetch_from(url: str) -> Callable[[], bytes]:
    """What asks for the set over HTTPS (plain HTTP on this machine only), without redirects, for 5 s and 1 MiB at most."""
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise DefinitionError(f"jwks() fetches keys over https only, not from {parts.scheme or 'no'}://")
    opener = build_opener(_NoRedirects)

    def fetch() -> bytes:
        request = Request(url, headers={"Accept": "application/json", "User-Agent": "stepflow"})
        with opener.open(request, timeout=_TIMEOUT) as response:
            data: bytes = response.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise URLError(f"more than {_LARGEST:,} bytes")
        return data

    return fetch
