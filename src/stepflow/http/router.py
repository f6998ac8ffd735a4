"""Router: which route a path and a method belong to. The path is decoded already, once, and is not looked at twice."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stepflow.wire.routes import ROUTES, Endpoint, Route

_PARAMETER = re.compile(r"\\\{(\\\*)?(\w+)\\\}")


@dataclass(frozen=True, slots=True)
class Matched:
    route: Route
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """The path is one of ours; these methods are allowed on it."""

    allowed: Sequence[str]


class Router:
    """Knows the routes of the endpoints that are switched on. A path has to match exactly: no slash more, no other case."""

    def __init__(self, endpoints: Collection[Endpoint]) -> None:
        self._routes = [(_pattern(route), route) for route in ROUTES if route.endpoint in endpoints]

    def match(self, method: str, path: str) -> Matched | WrongMethod | None:
        """The route, or why there is none; ``HEAD`` asks for what ``GET`` gives."""
        wanted = "GET" if method == "HEAD" else method
        allowed: list[str] = []
        for pattern, route in self._routes:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if route.method == wanted:
                return Matched(route, found.groupdict())
            allowed.append(route.method)
        return WrongMethod(tuple(allowed)) if allowed else None


def _pattern(route: Route) -> re.Pattern[str]:
    def group(found: re.Match[str]) -> str:
        return f"(?P<{found[2]}>.+)" if found[1] else f"(?P<{found[2]}>[^/]+)"

    return re.compile(_PARAMETER.sub(group, re.escape(route.path)), re.DOTALL)
