"""The URL of a libSQL storage: a server, and how to talk to it."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, urlsplit

import msgspec

from stepflow.errors import UnknownStorageError

_FORM = "libsql://host[:port][?option=value&…]"
_OPTIONS = ("auth_token", "tls", "connections", "timeout", "poll")
_ALIASES = {"authToken": "auth_token"}
"""What Turso's own clients call it."""
_TOKEN_VARIABLE = "TURSO_AUTH_TOKEN"  # noqa: S105 - a variable's name
_NO = frozenset({"0", "false", "no", "off"})
_YES = frozenset({"1", "true", "yes", "on"})


class LibsqlOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``token`` is sent as a bearer token if there is one.

    ``tls`` False is for a server on this host or in a trusted network. ``connections`` are those kept open at most,
    ``timeout`` is how long one request may take (seconds), ``poll`` how often an idle process looks for the writes
    of others (milliseconds).
    """

    host: str
    port: int | None = None
    token: str | None = None
    tls: bool = True
    connections: int = 8
    timeout: float = 15.0
    poll: int = 100

    def __repr__(self) -> str:
        """Without the token: this may end up in a log."""
        return f"LibsqlOptions({self.url!r})"

    @property
    def address(self) -> str:
        """Where requests go."""
        return f"{'https' if self.tls else 'http'}://{self.place}"

    @property
    def place(self) -> str:
        """Host and port, as people write them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL that opens this storage, without its token."""
        given = [
            f"{name}={value}"
            for name, value, usual in (
                ("tls", int(self.tls), 1),
                ("connections", self.connections, 8),
                ("timeout", f"{self.timeout:g}", "15"),
                ("poll", self.poll, 100),
            )
            if value != usual
        ]
        return f"libsql://{self.place}{'?' if given else ''}{'&'.join(given)}"


def read_url(url: str) -> LibsqlOptions:
    """The options that a URL names; ``UnknownStorageError`` says what is wrong with it, never showing the token.

    Without ``auth_token`` the token is that of the environment (``TURSO_AUTH_TOKEN``), if it has one.
    """
    host, port, query = _place(url)
    given = {_ALIASES.get(name, name): value for name, value in parse_qsl(query, keep_blank_values=True)}
    unknown = sorted(given.keys() - set(_OPTIONS))
    if unknown:
        raise UnknownStorageError(
            f"libsql://{host} has the unknown option {unknown[0]!r}; there are {', '.join(_OPTIONS)}"
        )
    token = given.get("auth_token", os.environ.get(_TOKEN_VARIABLE, "")).strip()
    if any(not "!" <= character <= "~" for character in token):
        raise UnknownStorageError(
            f"the auth_token for libsql://{host} has characters that no token has; "
            "copy it again, whole and without quotes"
        )
    return LibsqlOptions(
        host=host,
        port=port,
        token=token or None,
        tls=_switch("tls", given.get("tls", "1")),
        connections=_number("connections", given.get("connections", "8"), 1, 1_000),
        timeout=_number("timeout", given.get("timeout", "15"), 1, 600),
        poll=_number("poll", given.get("poll", "100"), 1, 3_600_000),
    )


def _place(url: str) -> tuple[str, int | None, str]:
    """The host, the port and the query. What the URL says is shown without what may be secret."""
    shown = url.partition("?")[0].rpartition("@")[2].removeprefix("libsql://")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UnknownStorageError(f"libsql://{shown} is no address ({error}); write {_FORM}") from None
    if not host or parts.path not in ("", "/") or parts.fragment:
        raise UnknownStorageError(f"libsql://{shown} names no server; write {_FORM}")
    if parts.username is not None or parts.password is not None:
        raise UnknownStorageError(
            f"libsql://{shown}: a libSQL server knows no users; give a token as ?auth_token=… or in {_TOKEN_VARIABLE}"
        )
    return host, port, parts.query


def _switch(name: str, value: str) -> bool:
    if value.lower() in _YES | _NO:
        return value.lower() in _YES
    raise UnknownStorageError(f"{name}={value!r} must be 1 or 0")


def _number(name: str, value: str, least: int, most: int) -> int:
    if value.isascii() and value.isdecimal() and least <= int(value) <= most:
        return int(value)
    units = {"timeout": "seconds, ", "poll": "milliseconds, "}.get(name, "")
    raise UnknownStorageError(f"{name}={value!r} must be {units}{least} to {most}")
