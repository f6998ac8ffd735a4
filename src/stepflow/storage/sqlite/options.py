"""The URL of a SQLite storage: a path, taken literally, and three options."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote

import msgspec

from stepflow.errors import UnknownStorageError

_FORMS = "sqlite:///relative.db, sqlite:////absolute.db or sqlite:///:memory:"
_OPTIONS = ("synchronous", "poll", "busy_timeout")


class SqliteOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` is absolute, or None for a private database in memory.

    ``synchronous``: "full" keeps every acknowledged write through a power loss, "normal" may lose the last ones
    (never through a crash of the process). ``poll`` is how often an idle process looks for the writes of others,
    ``busy_timeout`` how long a write waits for another process, both in milliseconds.
    """

    path: Path | None
    synchronous: Literal["full", "normal"] = "full"
    poll: int = 10
    busy_timeout: int = 5_000


def read_url(url: str) -> SqliteOptions:
    """The options that a URL names; ``UnknownStorageError`` says what is wrong with it.

    ``%3F`` and its like stand for characters that a URL can't hold; nothing else in the path means anything.
    """
    place, _, query = url.partition("?")
    path = unquote(place.removeprefix("sqlite:///"))
    if not place.startswith("sqlite:///") or not path or "\0" in path or path.endswith("/"):
        raise UnknownStorageError(f"{url!r} names no database file; write {_FORMS}")
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(given.keys() - set(_OPTIONS))
    if unknown:
        raise UnknownStorageError(
            f"{url!r} has the unknown option {unknown[0]!r}; there are {', '.join(_OPTIONS)} "
            "(a ? in a file's name is written %3F)"
        )
    return SqliteOptions(
        # Absolute, because the process may change its directory, and so that no name begins with "file:".
        path=None if path == ":memory:" else Path(path).absolute(),
        synchronous=_synchronous(given.get("synchronous", "full")),
        poll=_milliseconds("poll", given.get("poll", "10"), least=1),
        busy_timeout=_milliseconds("busy_timeout", given.get("busy_timeout", "5000"), least=0),
    )


def _synchronous(value: str) -> Literal["full", "normal"]:
    match value.lower():
        case "full":
            return "full"
        case "normal":
            return "normal"
        case _:
            raise UnknownStorageError(f"synchronous={value!r} must be full or normal")


def _milliseconds(name: str, value: str, *, least: int) -> int:
    if value.isascii() and value.isdecimal() and least <= int(value) <= 3_600_000:
        return int(value)
    raise UnknownStorageError(f"{name}={value!r} must be milliseconds, {least} to 3600000")
