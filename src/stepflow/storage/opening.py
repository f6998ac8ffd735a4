"""Opening a storage by its URL: the backend is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, cast

from stepflow.errors import MissingExtraError, UnknownStorageError
from stepflow.storage.base import Storage

_POSTGRES = "stepflow.storage.postgres.storage"
_REDIS = "stepflow.storage.redis.storage"
_BACKENDS: Final[Mapping[str, str]] = {
    "memory": "stepflow.storage.memory",
    "sqlite": "stepflow.storage.sqlite.storage",
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
    "libsql": "stepflow.storage.libsql.storage",
}
"""Scheme → the module whose ``open_url`` takes the URL."""

_EXTRAS: Final[Mapping[str, str]] = {"asyncpg": "postgres", "redis": "redis", "httpx": "turso"}
"""Driver → the extra that brings it."""

_ALIASES: Final[Mapping[str, str]] = {
    "valkey": "redis",
    "valkeys": "rediss",
    "turso": "libsql",
    "file": "sqlite",
    "cockroachdb": "postgresql",
    "yugabytedb": "postgresql",
}
"""What others call it: named in the error, not understood, so that one store has one URL."""


def open_storage(url: str) -> Storage:
    """The storage that the URL names. Nothing is connected before ``async with``.

    Raises ``UnknownStorageError`` for a scheme or an option that no backend knows, ``MissingExtraError`` if its driver is not installed.
    """
    scheme, separator, _ = url.partition("://")
    module = _BACKENDS.get(scheme.lower()) if separator else None
    if module is None:
        raise UnknownStorageError(_unknown(url, scheme if separator else url))
    try:
        backend = import_module(module)
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(missing.name or "")
        if extra is None:
            raise
        raise MissingExtraError(f"{scheme}://", extra) from missing
    opener = cast("Callable[[str], Storage]", backend.open_url)
    return opener(f"{scheme.lower()}://{url[len(scheme) + 3 :]}")


def _unknown(url: str, scheme: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - for a mistake only

    given = scheme.lower()
    first = given.partition("+")[0]  # what SQLAlchemy writes: postgresql+asyncpg://
    other = _ALIASES.get(first, first if first in _BACKENDS else "")
    nearest = get_close_matches(given, _BACKENDS, n=1, cutoff=0.5 if not other else 0.9) or [other]
    hint = f"did you mean {nearest[0]}://? " if nearest[0] else ""
    known = ", ".join(f"{name}://" for name in sorted(_BACKENDS))
    # Not the whole URL: it may hold a password.
    shown = f"{scheme}://…" if "://" in url else url if "@" not in url else "…"
    return f"no storage for {shown!r:.100}; {hint}there are {known} (as in sqlite:///app.db)"
