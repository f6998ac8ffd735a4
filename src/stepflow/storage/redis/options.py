"""The URL of a Redis storage: where the servers are, and how to speak with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from stepflow.durations import parse_duration
from stepflow.errors import DurationError, UnknownStorageError

_KNOWN: Final = ("prefix", "partitions", "timeout", "connections", "replicas", "ca_certs", "verify")
_FORM: Final = (
    "redis://user:password@host:6379/0, rediss://…, redis+cluster://host:port,host:port or rediss+cluster://…"
)


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``nodes`` are the servers to begin with: one, or some of a cluster's.

    ``prefix`` begins every key. ``partitions`` is into how many hash slots the runs are spread (None: what the store has, else
    1 on one server and 16 on a cluster). ``timeout`` is how many seconds a round trip may take, ``connections`` how many are
    open at most to one server, ``replicas`` how many must have received a write before it counts (``WAIT``).
    """

    nodes: tuple[tuple[str, int], ...]
    cluster: bool = False
    tls: bool = False
    username: str | None = None
    password: str | None = None
    db: int = 0
    prefix: str = "stepflow:"
    partitions: int | None = None
    timeout: float = 10.0
    connections: int = 16
    replicas: int = 0
    ca_certs: str | None = None
    verify: bool = True
    shown: str = ""
    """The URL without its password."""


def read_url(url: str) -> RedisOptions:
    """The options that a URL names; ``UnknownStorageError`` says what is wrong with it, and never the password."""
    try:
        parts = urlsplit(url)
        nodes = tuple(_node(place) for place in parts.netloc.rpartition("@")[2].split(","))
    except ValueError as error:
        raise UnknownStorageError(f"a Redis URL has the form {_FORM}") from error
    scheme, _, cluster = parts.scheme.partition("+")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - set(_KNOWN))
    if unknown:
        raise UnknownStorageError(f"{scheme}:// has no option {unknown[0]!r}; there are {', '.join(_KNOWN)}")
    options = RedisOptions(
        nodes=nodes,
        cluster=cluster == "cluster",
        tls=scheme == "rediss",
        username=_credential(parts.netloc, 0),
        password=_credential(parts.netloc, 1),
        db=_database(parts.path),
        shown=_shown(parts.scheme, parts.netloc, parts.path, parts.query),
        **_given(given),
    )
    if options.cluster and options.db:
        raise UnknownStorageError("a Redis Cluster has no databases but 0; leave the number out of the URL")
    if not options.cluster and len(nodes) > 1:
        raise UnknownStorageError(f"{scheme}:// is one server; for several write {scheme}+cluster://")
    return options


def _given(given: Mapping[str, str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    if "prefix" in given:
        read["prefix"] = _prefix(given["prefix"])
    if "timeout" in given:
        read["timeout"] = _seconds(given["timeout"])
    for name, least, most in (("partitions", 1, 1024), ("connections", 1, 1000), ("replicas", 0, 100)):
        if name in given:
            read[name] = _number(name, given[name], least, most)
    if "ca_certs" in given:
        read["ca_certs"] = given["ca_certs"]
    if "verify" in given:
        if given["verify"] not in ("true", "false"):
            raise UnknownStorageError(f"verify={given['verify']!r} must be true or false")
        read["verify"] = given["verify"] == "true"
    return read


def _node(place: str) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    return parts.hostname or "localhost", parts.port or 6379


def _credential(netloc: str, which: int) -> str | None:
    user, at, _ = netloc.rpartition("@")
    return (unquote(user.partition(":")[::2][which]) or None) if at else None


def _database(path: str) -> int:
    number = path.strip("/")
    if not number:
        return 0
    if number.isascii() and number.isdecimal():
        return int(number)
    raise UnknownStorageError(f"the path of a Redis URL is the number of a database, not {number!r}")


def _shown(scheme: str, netloc: str, path: str, query: str) -> str:
    user, at, place = netloc.rpartition("@")
    name = user.partition(":")[0]
    who = f"{name}{at}" if name else ""
    return f"{scheme}://{who}{place}{path.rstrip('/')}{'?' if query else ''}{query}"


def _prefix(value: str) -> str:
    if value and value.isprintable() and not any(character in value for character in "{}*?[] "):
        return value
    raise UnknownStorageError(f"prefix={value!r} must be printable, without spaces and any of {{}}*?[]")


def _number(name: str, value: str, least: int, most: int) -> int:
    if value.isascii() and value.isdecimal() and least <= int(value) <= most:
        return int(value)
    raise UnknownStorageError(f"{name}={value!r} must be a number from {least} to {most}")


def _seconds(value: str) -> float:
    try:
        seconds = parse_duration(value).total_seconds()
    except DurationError as error:
        raise UnknownStorageError(f"timeout={value!r} must be a duration, as in timeout=5s") from error
    if seconds <= 0:
        raise UnknownStorageError(f"timeout={value!r} must be longer than nothing")
    return seconds
