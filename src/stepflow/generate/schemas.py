"""Schemas: the shape of a class that only its JSON Schema describes (a path, an address, a URL)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepflow.codecs.decoders import pydantic_support
from stepflow.codecs.schemas import json_schema
from stepflow.generate.classes import constant_of
from stepflow.generate.shapes import BOOLEAN, NULL, NUMBER, STRING, ListOf, Shape, union_of

_TYPES: Mapping[str, Shape] = {
    "string": STRING,
    "integer": NUMBER,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "null": NULL,
}


def shape_of_schema(class_: type) -> Shape | None:
    """The shape of a class that pydantic knows and nobody else; None if its schema says too little, or too much."""
    if pydantic_support() is None:
        return None
    return _shape(json_schema(class_))


def _shape(schema: Mapping[str, Any]) -> Shape | None:
    if "anyOf" in schema:
        members = [_shape(each) for each in schema["anyOf"]]
        known = [each for each in members if each is not None]
        return union_of(known) if len(known) == len(members) else None
    if "enum" in schema or "const" in schema:
        constants = [constant_of(each) for each in schema.get("enum", [schema.get("const")])]
        return union_of([each for each in constants if each is not None]) if all(constants) else None
    if schema.get("type") == "array":
        item = _shape(schema.get("items", {}))
        return None if item is None else ListOf(item=item)
    return _TYPES.get(schema.get("type", ""))
