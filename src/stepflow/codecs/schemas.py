"""Schemas: the JSON Schema (2020-12) of an annotation, by whatever decodes it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any

import msgspec

from stepflow import types
from stepflow.errors import DefinitionError


def json_schema(type_: Any) -> dict[str, Any]:
    """The schema of the values that the annotation takes. One that nothing can describe, and a missing one, takes anything: ``{}``."""
    if type_ in (inspect.Parameter.empty, Any, object) or type_ is types.Json:
        return {}
    try:
        return with_clean_texts(msgspec.json.schema(type_, schema_hook=_custom))
    except (TypeError, NameError, RecursionError, NotImplementedError):
        return _by_pydantic(type_)


def with_clean_texts(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with descriptions that came from docstrings without their indentation, which msgspec before 0.23 leaves in."""
    return {name: _cleaned(name, value) for name, value in schema.items()}


def _cleaned(name: str, value: types.Json) -> types.Json:
    if isinstance(value, dict):
        return {inner: _cleaned(inner, each) for inner, each in value.items()}
    if isinstance(value, list):
        return [_cleaned("", each) for each in value]
    return inspect.cleandoc(value) if name == "description" and isinstance(value, str) else value


def _custom(type_: type) -> dict[str, Any]:
    """Called by msgspec for the classes that it does not know: models, inside of types that it does."""
    if type_ is object:
        return {}
    return _by_pydantic(type_, required=True)


def _by_pydantic(type_: Any, *, required: bool = False) -> dict[str, Any]:
    if importlib.util.find_spec("pydantic") is not None:
        support = importlib.import_module("stepflow.codecs.pydantic")
        try:
            found: dict[str, Any] = support.adapter_schema(type_)
            return found
        except DefinitionError:
            pass  # it describes nothing, which is what the schema says then
    if required:
        raise NotImplementedError
    return {}
