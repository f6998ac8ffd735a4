"""Routes: every path of the API, what may be switched on and off, and how ids are written in a path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from stepflow.errors import InputError

VERSION = "1"
"""The value of the header ``Stepflow-Version``. Changes are additive."""

VERSION_HEADER = "Stepflow-Version"


class Endpoint(StrEnum):
    """What can be switched on and off, and given an auth handler of its own."""

    TRIGGER = "trigger"
    NOTIFY = "notify"
    RUNS = "runs"
    RUNS_STREAM = "runsStream"
    HEALTH = "health"
    OPERATIONS = "operations"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: ``path`` has its parameters in braces; a ``*`` before a name lets it take the rest, slashes included."""

    name: str
    method: str
    path: str
    endpoint: Endpoint

    def url(self, **parameters: str) -> str:
        """The path with these parameters, percent-encoded once."""
        return _PARAMETER.sub(
            lambda found: quote(parameters[found[2]], safe="/" if found[1] else ""), self.path
        )


_PARAMETER = re.compile(r"\{(\*?)(\w+)\}")


def _route(name: str, method: str, path: str, endpoint: Endpoint) -> Route:
    return Route(name=name, method=method, path=path, endpoint=endpoint)


TRIGGER = _route("trigger", "POST", "/trigger/{workflowId}", Endpoint.TRIGGER)
GET_RUN = _route("getRun", "GET", "/runs/{runId}", Endpoint.RUNS)
LIST_STEPS = _route("listSteps", "GET", "/runs/{runId}/steps", Endpoint.RUNS)
STREAM_RUN = _route("streamRun", "GET", "/runs/{runId}/stream", Endpoint.RUNS_STREAM)
STREAM_RUNS = _route("streamRuns", "GET", "/stream", Endpoint.RUNS_STREAM)
NOTIFY = _route("notify", "POST", "/notify/{*eventId}", Endpoint.NOTIFY)
NOTIFY_ANY = _route("notifyAny", "POST", "/notify", Endpoint.NOTIFY)
HEALTH = _route("health", "GET", "/health", Endpoint.HEALTH)
LIVE = _route("live", "GET", "/health/live", Endpoint.HEALTH)
LIST_RUNS = _route("listRuns", "GET", "/runs", Endpoint.OPERATIONS)
CANCEL = _route("cancel", "POST", "/runs/{runId}/cancel", Endpoint.OPERATIONS)
PAUSE = _route("pause", "POST", "/runs/{runId}/pause", Endpoint.OPERATIONS)
RESUME = _route("resume", "POST", "/runs/{runId}/resume", Endpoint.OPERATIONS)
RETRY = _route("retry", "POST", "/runs/{runId}/retry", Endpoint.OPERATIONS)
DELETE = _route("delete", "DELETE", "/runs/{runId}", Endpoint.OPERATIONS)
ISSUE_TOKEN = _route("issueToken", "POST", "/runs/{runId}/tokens", Endpoint.OPERATIONS)
LIST_WORKFLOWS = _route("listWorkflows", "GET", "/workflows", Endpoint.OPERATIONS)
OPENAPI = _route("openapi", "GET", "/openapi.json", Endpoint.OPERATIONS)

ROUTES: Final[tuple[Route, ...]] = (
    TRIGGER,
    GET_RUN,
    LIST_STEPS,
    STREAM_RUN,
    STREAM_RUNS,
    NOTIFY,
    NOTIFY_ANY,
    HEALTH,
    LIVE,
    LIST_RUNS,
    CANCEL,
    PAUSE,
    RESUME,
    RETRY,
    DELETE,
    ISSUE_TOKEN,
    LIST_WORKFLOWS,
    OPENAPI,
)

_ALL = frozenset(Endpoint)
PRESETS: Final[Mapping[str, frozenset[Endpoint]]] = MappingProxyType(
    {
        "all": _ALL,
        "public": _ALL,
        "none": frozenset[Endpoint](),
        "private": _ALL - {Endpoint.TRIGGER, Endpoint.NOTIFY},
        "internal": frozenset({Endpoint.HEALTH}),
    }
)


def enabled_endpoints(chosen: str | Mapping[str, bool]) -> frozenset[Endpoint]:
    """The endpoints of a preset, or of a mapping of names to switches: one that it does not name is on.

    ``InputError`` for a preset or a name that there is not.
    """
    if isinstance(chosen, str):
        if chosen not in PRESETS:
            raise InputError(f"endpoints={chosen!r}: one of {', '.join(PRESETS)}, or a mapping of switches")
        return PRESETS[chosen]
    unknown = sorted(name for name in chosen if name not in _ALL)
    if unknown:
        raise InputError(f"endpoints={{{unknown[0]!r}: …}}: the switches are {', '.join(Endpoint)}")
    return frozenset(endpoint for endpoint in Endpoint if chosen.get(endpoint, True))


# ------------------------------------------------------------------ ids in a path
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str, *, safe: str = "") -> str:
    """Percent-encoded for a path or a query; ``InputError`` for text that is not Unicode (a lone surrogate)."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{text!a:.100} holds a lone surrogate, so it is no text that can be sent"
        ) from error
    kept = _UNRESERVED | frozenset(safe.encode())
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in encoded)
