"""Documenting: the API's operations, each complete in itself, for frameworks that describe an application in a document of their own."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from stepflow.http.hosting import App, registry_of
from stepflow.http.openapi import openapi
from stepflow.wire.routes import ROUTES, Endpoint

Schema = dict[str, Any]
_SCHEMAS = "#/components/schemas/"
_RESPONSES = "#/components/responses/"
_REST = re.compile(r"\{\*(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """``path`` has its parameters in braces, those that take slashes as ``{name:path}``; ``description`` is OpenAPI's, without references."""

    name: str
    method: str
    path: str
    description: Schema


def operations(app: App, endpoints: Collection[Endpoint]) -> Iterator[Operation]:
    """The operations of these endpoints: first one trigger for each workflow that is registered by now, then the general ones."""
    registry = registry_of(app)
    document = openapi(registry)
    plain = _Plain(document["components"])
    if Endpoint.TRIGGER in endpoints:
        for definition in registry:
            path = f"/trigger/{definition.id}"
            found = plain.operation(document["paths"][path]["post"])
            yield Operation(name=f"trigger {definition.id}", method="POST", path=path, description=found)
    for route in ROUTES:
        if route.endpoint in endpoints:
            described = document["paths"][route.path.replace("*", "")][route.method.lower()]
            yield Operation(
                name=route.name,
                method=route.method,
                path=_REST.sub(r"{\1:path}", route.path),
                description=plain.operation(described),
            )


class _Plain:
    """Puts what is referred to where it is referred from. A schema that holds itself is left open there."""

    def __init__(self, components: Mapping[str, Mapping[str, Schema]]) -> None:
        self._schemas = components["schemas"]
        self._responses = components["responses"]

    def operation(self, described: Schema) -> Schema:
        # Ids and security schemes are the framework's own: it knows what else the application has.
        kept = {
            name: each for name, each in described.items() if name not in ("operationId", "security", "tags")
        }
        found: Schema = self._resolved(kept, ())
        return found

    def _resolved(self, node: Any, within: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            items: list[Any] = node  # pyright: ignore[reportUnknownVariableType]
            return [self._resolved(each, within) for each in items]
        if not isinstance(node, dict):
            return node
        members = cast("Schema", node)
        target = members.get("$ref")
        if not isinstance(target, str):
            return {
                name: self._resolved(each, within)
                for name, each in members.items()
                if not _is_hint(name, each)
            }
        if target in within:
            return {}
        if target.startswith(_RESPONSES):
            return self._resolved(self._responses[target.removeprefix(_RESPONSES)], (*within, target))
        return self._resolved(self._schemas[target.removeprefix(_SCHEMAS)], (*within, target))


def _is_hint(name: str, value: Any) -> bool:
    """A discriminator's mapping points at schemas that are not there any more."""
    return name == "discriminator" and isinstance(value, dict) and "propertyName" in value
