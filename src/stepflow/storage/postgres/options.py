"""The URL of a PostgreSQL storage: the server's own URL, and options of ours in its query."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from stepflow.durations import parse_duration
from stepflow.errors import DurationError, UnknownStorageError

_FORM = "postgresql://user:password@host:5432/database"
_OURS: Final = ("schema", "pool_size", "statement_timeout", "connect_timeout", "pooler", "listen")
_SERVERS: Final = (
    "host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "passfile", "target_session_attrs",
)  # fmt: skip
"""What the driver reads from a URL as libpq does."""
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_BARE_NUMBER = re.compile(r"[0-9.]+")


class PostgresOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``server`` is the URL for the driver; ``listen`` one that reaches the server without a pooler between.

    Timeouts are in seconds. ``pooler="transaction"``: another connection may serve every transaction.
    """

    server: str
    schema: str = "stepflow"
    pool_size: int = 8
    statement_timeout: float = 10.0
    connect_timeout: float = 5.0
    pooler: Literal["none", "transaction"] = "none"
    listen: str | None = None

    @property
    def direct(self) -> str | None:
        """The URL at which notifications can be heard; None if only a pooler is known."""
        return self.listen or (self.server if self.pooler == "none" else None)

    @property
    def shown(self) -> str:
        """The whole URL without its passwords."""
        given: list[tuple[str, str]] = []
        usual = PostgresOptions(server=self.server)
        for name in ("schema", "pool_size", "pooler"):
            if getattr(self, name) != getattr(usual, name):
                given.append((name, str(getattr(self, name))))
        for name in ("statement_timeout", "connect_timeout"):
            if getattr(self, name) != getattr(usual, name):
                given.append((name, f"{round(getattr(self, name) * 1000)}ms"))
        if self.listen is not None:
            given.append(("listen", without_password(self.listen)))
        url = without_password(self.server)
        return url + ("&" if "?" in url else "?") + urlencode(given) if given else url


def read_url(url: str) -> PostgresOptions:
    """The options that a URL names; ``UnknownStorageError`` says what is wrong with it, without the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UnknownStorageError(f"the PostgreSQL URL can't be read; write {_FORM}") from None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in pairs if name in _OURS}
    theirs = [(name, value) for name, value in pairs if name in _SERVERS]
    for name, _ in pairs:
        if name not in _OURS and name not in _SERVERS:
            raise UnknownStorageError(_unknown(name))
    server = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(theirs), fragment=""))
    return PostgresOptions(
        server=server,
        schema=_schema(ours.get("schema", "stepflow")),
        pool_size=_count("pool_size", ours.get("pool_size", "8")),
        statement_timeout=_seconds("statement_timeout", ours.get("statement_timeout", "10s")),
        connect_timeout=_seconds("connect_timeout", ours.get("connect_timeout", "5s")),
        pooler=_pooler(ours.get("pooler", "none")),
        listen=_listen(ours.get("listen")),
    )


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    user, separator, place = parts.netloc.rpartition("@")
    hidden = user.partition(":")[0] + separator + place
    query = [
        (name, value) for name, value in parse_qsl(parts.query) if name not in ("password", "sslpassword")
    ]
    return urlunsplit(parts._replace(netloc=hidden, query=urlencode(query, quote_via=quote, safe="/:")))


def place_of(url: str) -> str:
    """Host, port and database, for messages."""
    parts = urlsplit(without_password(url))
    return f"{parts.netloc.rpartition('@')[2] or 'localhost'}/{unquote(parts.path.lstrip('/'))}"


def _unknown(name: str) -> str:
    nearest = get_close_matches(name, _OURS, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown option {name!r} in the PostgreSQL URL; {hint}there are {', '.join(_OURS)}, and for the server {', '.join(_SERVERS)}"


def _schema(value: str) -> str:
    # What PostgreSQL would have to quote, or would fold to another name, is refused: nobody finds it again in psql.
    if not _SCHEMA.fullmatch(value) or value.startswith("pg_"):
        raise UnknownStorageError(
            f"schema={value!r:.80} must be a plain lower-case name (letters, digits, _), not one that begins with pg_"
        )
    return value


def _count(name: str, value: str) -> int:
    if value.isascii() and value.isdecimal() and 2 <= int(value) <= 1_000:
        return int(value)
    raise UnknownStorageError(f"{name}={value!r:.80} must be a number from 2 to 1000")


def _seconds(name: str, value: str) -> float:
    try:
        # PostgreSQL's own settings count milliseconds, Stepflow's seconds: a bare number would be misread.
        seconds = 0.0 if _BARE_NUMBER.fullmatch(value) else parse_duration(value).total_seconds()
    except DurationError:
        seconds = 0.0
    if 0.05 <= seconds <= 60:
        return seconds
    raise UnknownStorageError(
        f"{name}={value!r:.80} must be a duration with its unit, 50ms to 60s, as in {name}=10s"
    )


def _pooler(value: str) -> Literal["none", "transaction"]:
    match value:
        case "none":
            return "none"
        case "transaction":
            return "transaction"
        case _:
            raise UnknownStorageError(f"pooler={value!r:.80} must be transaction, or be left out")


def _listen(value: str | None) -> str | None:
    if value is None or value.startswith(("postgresql://", "postgres://")):
        return value
    raise UnknownStorageError(
        f"listen= must be a URL that reaches the server directly, as in listen={_FORM} (percent-encoded)"
    )
