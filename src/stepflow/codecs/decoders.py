"""Decoders: the function that reads a JSON text as one type, by msgspec, or by pydantic where it is needed."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import inspect as kinds

from stepflow import types
from stepflow.codecs.faults import type_name
from stepflow.errors import DefinitionError

if TYPE_CHECKING:
    from types import ModuleType

Parse = Callable[[Any], Any]
"""Reads JSON bytes, or a ``msgspec.Raw``; raises ``ValueError`` for what does not fit."""

# Things that are alive and can't be stored, whatever a validator may say of them.
_ALIVE = ("collections.abc", "typing", "types", "asyncio", "threading", "_thread", "io")


def build_decoder(type_: Any) -> Parse:
    """The decoder of an annotation; of a missing one, of ``Any`` and of ``object`` it is JSON as builtins.

    ``DefinitionError`` if values of the type can't be read from JSON by anything at hand.
    """
    if type_ in (inspect.Parameter.empty, Any, object) or type_ is types.Json:
        return msgspec.json.Decoder().decode
    if isinstance(type_, str):
        raise DefinitionError(f"the annotation {type_!r} is text, its class is not known here")
    try:
        customs = set(_custom_types(type_))
        decoder = msgspec.json.Decoder(type_, dec_hook=_decode_custom)
    except (TypeError, NameError, RecursionError) as error:
        return _by_pydantic(type_, str(error))
    pydantic = pydantic_support(customs)
    if pydantic is not None and pydantic.is_model(type_):
        parse: Parse = pydantic.model_parser(type_)
        return lambda data: parse(bytes(data))
    unknown = [each for each in customs if pydantic is None or not pydantic.is_model(each)]
    for each in unknown:
        if each.__module__ in _ALIVE:
            raise DefinitionError(
                f"{_shown(type_)} can't be a stored value: {each.__name__} has no JSON form"
            )
    if unknown:
        return _by_pydantic(type_, f"{type_name(unknown[0])} is a class that msgspec does not know")
    return decoder.decode


def pydantic_support(needed_for: Any = True) -> ModuleType | None:
    """``codecs/pydantic.py`` if the program has loaded pydantic: only then can a value or a type be one of its models."""
    if not needed_for or "pydantic" not in sys.modules:
        return None
    return importlib.import_module("stepflow.codecs.pydantic")


def _decode_custom(type_: type, value: Any) -> Any:
    """Called by msgspec with decoded builtins. Pydantic reads JSON text, in which a date is a text even to a strict model."""
    if type_ is object:
        return value
    support = pydantic_support()
    assert support is not None, "build_decoder lets msgspec decode no class but models"
    return support.model_parser(type_)(msgspec.json.encode(value))


def _custom_types(type_: Any) -> Iterator[type]:
    """The classes anywhere in a type that msgspec leaves to a hook."""
    pending: list[Any] = [kinds.type_info(type_)]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, tuple):
            pending.extend(cast("tuple[object, ...]", node))
        elif isinstance(node, kinds.CustomType):
            if node.cls is not object:
                yield node.cls
        elif isinstance(node, kinds.Type | kinds.Field) and id(node) not in seen:
            seen.add(id(node))  # types may be recursive
            pending.extend(getattr(node, name) for name in node.__struct_fields__)


def _shown(type_: Any) -> str:
    return f"{type_name(type_):.200}"


def _by_pydantic(type_: Any, reason: str) -> Parse:
    if importlib.util.find_spec("pydantic") is None:
        raise DefinitionError(
            f"values of type {_shown(type_)} can't be decoded: {reason}. "
            "Use a tagged msgspec.Struct, a dataclass of plain types, or pip install 'stepflow[pydantic]'"
        )
    support = importlib.import_module("stepflow.codecs.pydantic")
    try:
        parse: Parse = support.adapter_parser(type_)
    except DefinitionError as error:
        raise DefinitionError(
            f"values of type {_shown(type_)} can't be decoded: {reason}; {error}"
        ) from error
    return lambda data: parse(bytes(data))
