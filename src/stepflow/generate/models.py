"""Models: what pydantic models look like as JSON. Read off the models themselves, so that pydantic need not be imported."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepflow.codecs.decoders import pydantic_support
from stepflow.generate.classes import Describe, Description, Reading, documentation_of
from stepflow.generate.hints import Hint
from stepflow.generate.shapes import (
    Alias,
    Field,
    Narrowed,
    Record,
    Shape,
    UnionOf,
    union_of,
)

_SERIALIZERS = ("PlainSerializer", "WrapSerializer")


def is_model(type_: Any) -> bool:
    """True for a class derived from pydantic's ``BaseModel``."""
    support = pydantic_support()
    return support is not None and bool(support.is_model(type_))


def generic_of(class_: Any) -> tuple[Any, Sequence[Any]]:
    """``Page`` and its arguments, for the class that pydantic made of ``Page[Line]``; any other as it is."""
    metadata = getattr(class_, "__pydantic_generic_metadata__", None)
    if not is_model(class_) or not metadata or metadata["origin"] is None:
        return class_, ()
    return metadata["origin"], metadata["args"]


def describer_of(class_: type) -> Describe | None:
    """What describes a model; None for other classes."""
    if not is_model(class_):
        return None
    model, _ = generic_of(class_)
    return lambda reader, _: _model(reader, model)


def _model(reader: Reading, model: Any) -> Description:
    if not model.__pydantic_complete__:
        model.model_rebuild(raise_errors=False)
    documentation = documentation_of(model)
    decorators = model.__pydantic_decorators__
    if not reader.sent and decorators.model_serializers:
        (serializer,) = decorators.model_serializers.values()
        return Description(body=Alias(shape=_written(reader, serializer)), documentation=documentation)
    if model.__pydantic_root_model__:
        root = model.__pydantic_fields__["root"]
        return Description(body=Alias(shape=_of_field(reader, root)), documentation=documentation)
    fields = [
        _field(reader, model, name, info)
        for name, info in model.__pydantic_fields__.items()
        if reader.sent or not info.exclude
    ]
    is_open = model.model_config.get("extra") == "allow"
    return Description(body=Record(fields=tuple(fields), open=is_open), documentation=documentation)


def _field(reader: Reading, model: Any, name: str, info: Any) -> Field:
    serializers = model.__pydantic_decorators__.field_serializers.values()
    serializer = next((each for each in serializers if {name, "*"} & {*each.info.fields}), None)
    with reader.at(name):
        shape = _of_field(reader, info) if reader.sent or serializer is None else _written(reader, serializer)
    return Field(
        name=_wire_name(reader.sent, model, name, info),
        shape=shape,
        optional=reader.sent and not info.is_required(),
        documentation=inspect.cleandoc(info.description or ""),
    )


def _of_field(reader: Reading, info: Any) -> Shape:
    written = None if reader.sent else written_as(reader, info.metadata)
    if written is not None:
        return written
    hint = Hint(info.annotation)
    return narrowed(reader, reader.read(hint), hint, info.discriminator)


def _wire_name(sent: bool, model: Any, name: str, info: Any) -> str:
    """Sent by its alias, as pydantic's own schema has it (the name would be taken too); received as the model writes it."""
    if not sent:
        by_alias = model.model_config.get("serialize_by_alias", False)
        return (info.serialization_alias or name) if by_alias else name
    for alias in (info.validation_alias, *getattr(info.validation_alias, "choices", ()), info.alias):
        if isinstance(alias, str):
            return alias
    return name


def _fields_of(model: Any) -> Mapping[str, Any]:
    return getattr(model, "__pydantic_fields__", {})


# ------------------------------------------------------------------ serializers
def written_as(reader: Reading, metadata: Sequence[Any]) -> Shape | None:
    """What a serializer among an annotation's metadata writes; None if there is none."""
    for each in metadata:
        if type(each).__name__ in _SERIALIZERS:
            return _result(reader, each.func, each.return_type)
    return None


def _written(reader: Reading, decorator: Any) -> Shape:
    return _result(reader, decorator.func, decorator.info.return_type)


def _result(reader: Reading, function: Callable[..., Any], declared: Any) -> Shape:
    annotation = _result_of(function, declared)
    if annotation is inspect.Parameter.empty:
        return reader.unknown("a serializer writes it; annotate what that returns")
    return reader.read(Hint(annotation))


def _result_of(function: Callable[..., Any], declared: Any) -> Any:
    if declared.__class__.__name__ != "PydanticUndefinedType":
        return declared
    try:
        return typing.get_type_hints(function, include_extras=True).get("return", inspect.Parameter.empty)
    except (NameError, TypeError):
        return inspect.Parameter.empty


# ------------------------------------------------------------------ discriminators
def narrowed(reader: Reading, shape: Shape, hint: Hint, discriminator: Any) -> Shape:
    """A union of models with a discriminator: what is sent has to have that field, even where it has a default."""
    if not reader.sent or not isinstance(discriminator, str) or not isinstance(shape, UnionOf):
        return shape
    members: list[Shape] = []
    for each in typing.get_args(hint.annotation):
        member = reader.read(hint.of(each))
        info = _fields_of(each).get(discriminator)
        if info is None or info.is_required():
            members.append(member)
        else:
            field = _wire_name(True, each, discriminator, info)
            members.append(Narrowed(member=member, field=field, value=reader.read(Hint(info.annotation))))
    return union_of(members)
