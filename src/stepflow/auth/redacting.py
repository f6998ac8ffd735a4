"""Redacting: addresses as logs may show them."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

_CREDENTIAL = re.compile(r"(sf_pub_|sf_|pat_)[A-Za-z0-9_.~-]{8,}")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_.-]+")
_SECRET_NAMES = frozenset(
    {"token", "access_token", "api_key", "apikey", "authorization", "x-api-key", "key", "secret", "password"}
)
_DECODINGS = 3


def redacted(path: str, query: str = "") -> str:
    """The path and the query string, with ``…`` in place of every credential, whatever name and encoding it came with."""
    shown = _without_credentials(path)
    if not query:
        return shown
    return f"{shown}?{'&'.join(_redacted_pair(pair) for pair in query.split('&'))}"


def _redacted_pair(pair: str) -> str:
    name, separator, value = pair.partition("=")
    if _decoded(name).lower() in _SECRET_NAMES:
        return f"{name}{separator}…"
    return f"{_redacted_part(name)}{separator}{_redacted_part(value)}"


def _redacted_part(text: str) -> str:
    plain = _decoded(text)
    hidden = _without_credentials(plain)
    return text if hidden == plain else hidden


def _decoded(value: str) -> str:
    """Decoded until nothing is left to decode: something in between may have encoded it once more."""
    for _ in range(_DECODINGS):
        value = unquote_plus(value)
    return value


def _without_credentials(text: str) -> str:
    return _JWT.sub("eyJ…", _CREDENTIAL.sub(r"\1…", text))
