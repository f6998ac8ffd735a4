"""Limiting: how many requests one caller may make in a while, counted in a few bytes each and in this process only."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from stepflow.auth.base import AuthResult
from stepflow.errors import DefinitionError

MOST_CALLERS: Final = 10_000
"""Callers that are remembered; of more, those that were silent for longest are forgotten."""

_RATE = re.compile(r"\s*([0-9]{1,9})\s*/\s*(s|m|h)\s*(?:,?\s*burst\s+([0-9]{1,9})\s*)?", re.IGNORECASE)
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_UNNAMED: Final = ("anonymous", "public")
"""Kinds of credentials that tell nobody from anybody: a public key stands in a web page."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many ``requests`` in so many ``seconds``, and at most ``burst`` of them at once. ``text`` is how it was written."""

    requests: int
    seconds: float
    burst: int
    text: str


def parse_rate(given: str) -> RateLimit:
    """``"100/s"``, ``"600/m"``, ``"5000/h"``, ``"600/m, burst 20"``; ``DefinitionError`` for anything else."""
    found = _RATE.fullmatch(given)
    if found is None or int(found[1]) < 1 or found[3] == "0":
        raise DefinitionError(
            f"{given!r:.60} is no rate: write it like '100/s', '600/m' or '5000/h', with ', burst 20' if fewer may come at once"
        )
    requests = int(found[1])
    return RateLimit(requests, _SECONDS[found[2].lower()], int(found[3] or requests), given.strip())


class Limiter:
    """Counts by the generic cell rate algorithm: one instant for each caller says when its next request would be on time.

    https://www.itu.int/rec/T-REC-I.371 (section A.2)
    """

    def __init__(self, limit: RateLimit, *, most: int = MOST_CALLERS) -> None:
        self.limit = limit
        self._interval = limit.seconds / limit.requests
        self._early = self._interval * (limit.burst - 1)
        self._most = most
        self._due: OrderedDict[str, float] = OrderedDict()

    @property
    def callers(self) -> int:
        """How many are remembered."""
        return len(self._due)

    def count(self, caller: str, now: float) -> float:
        """0.0 if the caller may ask now, and it is counted; else for how many seconds it may not. ``now`` never steps back."""
        due = max(self._due.get(caller, now), now)
        wait = due - self._early - now
        if wait > 1e-9:
            return wait
        self._due[caller] = due + self._interval
        self._due.move_to_end(caller)
        if len(self._due) > self._most:
            self._due.popitem(last=False)
        return 0.0


def caller_of(who: AuthResult, address: str | None) -> str:
    """Whom a request is counted for: a credential that tells one caller from others, else the address that it comes from."""
    if who.allowed and who.kind not in _UNNAMED and (who.subject or who.kind == "secret"):
        return who.scope
    return f"from {_network(address)}"


def _network(address: str | None) -> str:
    """An address as one caller has it: of IPv6, its network of 64 bits, in which one machine may have any address it likes."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or "?"  # a socket without addresses: all who come through it are one
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), 64), strict=False))
