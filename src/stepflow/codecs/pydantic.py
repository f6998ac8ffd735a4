"""Pydantic models as values; imported only when a program uses pydantic itself, or has a type that needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from stepflow.errors import DefinitionError

# What pydantic writes in place of a SecretStr: a value that can't come back.
_MASK = b'"**********"'

# msgspec writes bytes as base64, and it is msgspec that encodes what is not a model.
_AS_MSGSPEC_WRITES = ConfigDict(val_json_bytes="base64")


def is_model(type_: Any) -> bool:
    """True for a class derived from ``BaseModel``."""
    return isinstance(type_, type) and issubclass(type_, BaseModel)


def dump_model(model: BaseModel) -> bytes:
    """The model as JSON text that ``model_parser`` reads back: without computed fields, names as its own settings say."""
    data = model.model_dump_json(round_trip=True).encode()
    if b"NaN" in data or b"Infinity" in data:
        msgspec.json.decode(data)  # pydantic may be told to write them bare, which is no JSON
    if _MASK in data:
        raise ValueError(
            "pydantic masks secrets when it writes JSON; use str, or give the field a serializer"
        )
    return data


def model_parser(model: type[BaseModel]) -> Callable[[bytes], Any]:
    """Reads a model's JSON text, by alias or by field name; ``ValueError`` without the text's own values."""

    def parse(data: bytes) -> Any:
        try:
            return model.model_validate_json(data, by_alias=True, by_name=True)
        except ValidationError as error:
            raise ValueError(_without_values(error)) from None

    return parse


def adapter_parser(type_: Any) -> Callable[[bytes], Any]:
    """Reads what msgspec has no decoder for (a union of dataclasses, say); ``DefinitionError`` if pydantic has none either."""
    try:
        # As the only member of a tuple, since a dataclass or TypedDict on its own refuses a configuration.
        alone: Any = tuple.__class_getitem__(type_)
        adapter: TypeAdapter[tuple[Any]] = TypeAdapter(alone, config=_AS_MSGSPEC_WRITES)
    except (PydanticUserError, TypeError, NameError) as error:
        raise DefinitionError(str(error).split("\n", 1)[0]) from error

    def parse(data: bytes) -> Any:
        try:
            return adapter.validate_json(b"[%b]" % data, by_alias=True, by_name=True)[0]
        except ValidationError as error:
            raise ValueError(_without_values(error, skip=1)) from None

    return parse


def adapter_schema(type_: Any) -> dict[str, Any]:
    """The JSON Schema of what ``adapter_parser`` and ``model_parser`` read; ``DefinitionError`` if pydantic has none."""
    try:
        return TypeAdapter(type_).json_schema(by_alias=True)
    except (PydanticUserError, TypeError, NameError, ValueError) as error:
        raise DefinitionError(str(error).split("\n", 1)[0]) from error


def _without_values(error: ValidationError, skip: int = 0) -> str:
    """What is wrong and where; the values themselves may be secret."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{each['msg']} - at `{_path(each['loc'][skip:])}`" for each in found[:5]]
    if len(found) > len(lines):
        lines.append(f"and {len(found) - len(lines)} more")
    return "; ".join(lines)


def _path(steps: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
