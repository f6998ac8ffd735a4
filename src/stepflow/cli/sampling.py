"""Sampling: a value that a JSON Schema takes, so that the first request of a new app can be copied from the screen."""

from __future__ import annotations

import shlex
from typing import Any, cast

from stepflow._engine.definition import WorkflowDefinition
from stepflow.cli.opening import Session
from stepflow.cli.output import to_json
from stepflow.codecs.schemas import json_schema
from stepflow.errors import InputError
from stepflow.types import Json

_DEEPEST = 8
_TEXTS = ("text", "2026-01-31T12:00:00Z", "1.5")
"""What a text may be: the schema of a ``datetime`` that need not have a time zone says no more than that it is one."""

_PLAIN: dict[str, Json] = {"integer": 1, "number": 1.5, "boolean": True, "null": None}
_FORMATS: dict[str, Json] = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "uuid": "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
    "email": "ada@example.com",
    "uri": "https://example.com",
    "byte": "",
    "decimal": "1.5",
}


def first_request(address: str, session: Session) -> str:
    """A ``curl`` that starts a run of the first workflow whose input can be made up; else one that lists the workflows."""
    for definition in session.service.registry:
        if not definition.has_input:
            return f"curl -X POST {address}/trigger/{definition.id}"
        value = _input_of(definition, session)
        if value is not _NOTHING:
            body = shlex.quote(to_json(cast("Json", value)))
            return f"curl {address}/trigger/{definition.id} -H 'Content-Type: application/json' -d {body}"
    return f"curl {address}/workflows"


_NOTHING = object()


def _input_of(definition: WorkflowDefinition, session: Session) -> object:
    """An input that the workflow itself takes, or ``_NOTHING``."""
    values = session.service.values
    schema = json_schema(definition.types.input)
    for text in _TEXTS:
        value = sample(schema, text=text)
        try:
            definition.encode_input(value, lambda given, what: values.encode(given, what=what), values.decode)
        except InputError:
            continue
        return value
    return _NOTHING


def sample(schema: dict[str, Any], *, text: str = _TEXTS[0]) -> Json:
    """A small value that the schema takes, or nearly: patterns and the like are not looked at."""
    return _Sampler(schema.get("$defs", {}), text).value(schema, _DEEPEST)


class _Sampler:
    """``known`` are the schemas that others refer to; ``text`` is what a text without a format is."""

    def __init__(self, known: dict[str, Any], text: str) -> None:
        self._known = known
        self._plain_text = text

    def value(self, schema: dict[str, Any], deep: int) -> Json:
        if "$ref" in schema:
            named: dict[str, Any] = self._known.get(str(schema["$ref"]).rpartition("/")[2], {})
            return self.value(named, deep - 1) if deep else None
        for name in ("const", "default"):
            if name in schema:
                return cast("Json", schema[name])
        for name in ("examples", "enum"):
            if schema.get(name):
                return cast("Json", schema[name][0])
        for name in ("anyOf", "oneOf", "allOf"):
            if schema.get(name):
                return self.value(schema[name][0], deep)
        match _kind(schema):
            case "object":
                described: dict[str, Any] = schema.get("properties", {})
                wanted: list[str] = schema.get("required", [])
                return {name: self.value(described.get(name, {}), deep) for name in wanted}
            case "array":
                return self._array(schema, deep)
            case "string":
                return self._text(schema)
            case "integer" | "number" as number:
                return _number(schema, _PLAIN[number])
            case plain:
                return _PLAIN.get(plain)

    def _array(self, schema: dict[str, Any], deep: int) -> Json:
        parts: list[Any] = schema.get("prefixItems", [])
        items = [self.value(each, deep) for each in parts]
        described = schema.get("items")
        if isinstance(described, dict) and deep:
            missing = max(schema.get("minItems", 1), 1) - len(items)
            items += [self.value(cast("dict[str, Any]", described), deep - 1)] * max(0, missing)
        return items

    def _text(self, schema: dict[str, Any]) -> Json:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._plain_text.ljust(schema.get("minLength", 0), "x")
        return text[: schema.get("maxLength", len(text))]


def _kind(schema: dict[str, Any]) -> str:
    kind: str | list[str] = schema.get("type", "")
    return kind if isinstance(kind, str) else kind[0]


def _number(schema: dict[str, Any], usual: Json) -> Json:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", float("inf")) - 1)
    assert isinstance(usual, int | float)
    return cast("Json", min(max(usual, least), most))
