"""Redacting: addresses as logs may show them."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

_CREDENTIAL = re.compile(r"(sf_pub_|sf_|pat_)[A-Za-z0-9_.~-]{8,}")
# Runs that may hold a JWT are found first, and looked at then: a pattern of the whole would read a long run again from each of its places.
_RUN = re.compile(r"(?<![A-Za-z0-9_.-])[A-Za-z0-9_.-]++")
_JWT = "eyJ"
_SHORTEST_HEADER = 8
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
    return _RUN.sub(_without_jwt, _CREDENTIAL.sub(r"\1…", text))


def _without_jwt(run: re.Match[str]) -> str:
    parts = run[0].split(".")
    for number, part in enumerate(parts[:-1]):
        header = part.find(_JWT)
        if header >= 0 and len(part) - header >= _SHORTEST_HEADER:
            return ".".join([*parts[:number], f"{part[:header]}{_JWT}…"])
    return run[0]
