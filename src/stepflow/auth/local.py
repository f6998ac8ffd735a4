"""Everybody on this machine, and no web page: what a development server can go by instead of keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from stepflow.auth.base import AuthContext, AuthResult
from stepflow.auth.combining import allow_all

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class _AllowLocal:
    origins: frozenset[str]
    granted: AuthResult

    def __call__(self, context: AuthContext) -> AuthResult:
        host = context.headers.get("host", "")
        if not is_loopback(_name(f"//{host}")):
            return _refused()  # a page whose name was made to point here (DNS rebinding) asks with that name
        origin = context.headers.get("origin")
        if origin is None:
            # Older browsers leave it out of some requests, but tell where they come from.
            site = context.headers.get("sec-fetch-site", "none")
            return self.granted if site in ("none", "same-origin") or context.method == "GET" else _refused()
        own = {f"http://{host}", f"https://{host}"}
        return self.granted if origin in own or origin in self.origins else _refused()


def allow_local(*, origins: Iterable[str] = ()) -> _AllowLocal:
    """Programs on this machine may do everything; so may pages of this server and of ``origins``, and no others.

    It goes by ``Host`` and ``Origin``, which a browser can't forge and everything else can: the server has to listen on loopback only.
    """
    return _AllowLocal(frozenset(origins), allow_all(details=True).granted)


def is_loopback(host: str | None) -> bool:
    """Whether only this machine reaches that host name or address."""
    return host is not None and host.lower() in _LOOPBACK


def _refused() -> AuthResult:
    return AuthResult(kind="anonymous", denial="forbidden")


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:  # half an IPv6 address
        return None
