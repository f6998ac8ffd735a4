"""Classes: what dataclasses, Structs, TypedDicts, NamedTuples, attrs classes and enums look like as JSON."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
import typing
from collections.abc import Callable
from types import MemberDescriptorType
from typing import Any, Protocol, TypeAlias

import msgspec

from stepflow.generate.hints import Hint, hints_of
from stepflow.generate.shapes import (
    NUMBER,
    Alias,
    Constant,
    Element,
    Field,
    Record,
    Shape,
    TupleOf,
    union_of,
)

_MISSING = dataclasses.MISSING
_OMITTED_WHEN_EMPTY = (list, dict, set)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a declaration says, but for its name."""

    body: Record | Alias
    documentation: str = ""


class Reading(Protocol):
    """The reader, as far as classes need it."""

    sent: bool

    def read(self, hint: Hint) -> Shape: ...
    def at(self, place: str) -> Any: ...
    def unknown(self, reason: str) -> Shape: ...


Describe: TypeAlias = Callable[[Any, Hint], Description]


def is_a(class_: type, kind: Any) -> bool:
    """``issubclass``, after which checkers go on to see the class as it was."""
    return issubclass(class_, kind)


def describer_of(class_: type) -> Describe | None:
    """What describes such a class; None for one of another kind."""
    describe: Callable[[Reading, Any], Record | Alias]
    if is_a(class_, enum.Enum):
        describe = _enum
    elif is_a(class_, msgspec.Struct):
        describe = _struct
    elif typing.is_typeddict(class_):
        describe = _typed_dict
    elif is_a(class_, tuple) and hasattr(class_, "_fields"):
        describe = _named_tuple
    elif hasattr(class_, "__dataclass_fields__"):
        describe = _dataclass
    elif hasattr(class_, "__attrs_attrs__"):
        describe = _attrs
    else:
        return None
    return lambda reader, _: _described(describe, reader, class_)


def _described(
    describe: Callable[[Reading, Any], Record | Alias], reader: Reading, class_: type
) -> Description:
    try:
        body = describe(reader, class_)
    except (NameError, AttributeError, TypeError) as error:
        body = Alias(shape=reader.unknown(f"its annotations can't be evaluated: {error}"))
    return Description(body=body, documentation=documentation_of(class_))


def documentation_of(class_: Any) -> str:
    """The docstring that its author wrote; not one that was made, nor a base's."""
    written = class_.__dict__.get("__doc__")
    if not isinstance(written, str) or written.startswith(f"{class_.__name__}("):
        return ""
    return inspect.cleandoc(written)


def constant_of(value: Any) -> Constant | None:
    """A value that JSON has; None for another."""
    if value is None or isinstance(value, bool | int | float | str):
        return Constant(text=msgspec.json.encode(value).decode())
    return None


# ------------------------------------------------------------------ the kinds
def _enum(reader: Reading, class_: type[enum.Enum]) -> Alias:
    if issubclass(class_, enum.Flag):
        return Alias(shape=NUMBER)  # any of its members together
    members: list[Shape] = []
    for member in class_:
        with reader.at(member.name):
            members.append(constant_of(member.value) or reader.unknown(f"{member.value!r} has no JSON form"))
    return Alias(shape=union_of(members))


def _struct(reader: Reading, class_: Any) -> Record | Alias:
    config = class_.__struct_config__
    hints = hints_of(class_)
    fields: list[Field] = []
    if config.tag is not None:
        tag = constant_of(config.tag)
        assert tag is not None, "msgspec takes texts and whole numbers as tags"
        fields.append(Field(name=config.tag_field, shape=tag))
    for each in msgspec.structs.fields(class_):
        left_out = config.omit_defaults and (
            each.default is not msgspec.NODEFAULT or each.default_factory in _OMITTED_WHEN_EMPTY
        )
        optional = not each.required if reader.sent else left_out and not config.array_like
        fields.append(_field(reader, each.name, each.encode_name, hints[each.name], optional))
    return _array(fields) if config.array_like else Record(fields=tuple(fields))


def _typed_dict(reader: Reading, class_: Any) -> Record:
    fields: list[Field] = []
    for name, hint in hints_of(class_).items():
        required = name in class_.__required_keys__
        # Where annotations are texts, Python does not see these marks when it makes the class.
        marks = _marks_of(hint.annotation)
        required = (required or "Required" in marks) and "NotRequired" not in marks
        fields.append(_field(reader, name, name, hint, not required))
    return Record(fields=tuple(fields))


def _marks_of(annotation: Any) -> set[str]:
    found: set[str] = set()
    while (origin := typing.get_origin(annotation)) is not None:
        found.add(getattr(origin, "_name", None) or "")
        annotation = typing.get_args(annotation)[0] if typing.get_args(annotation) else None
    return found


def _named_tuple(reader: Reading, class_: Any) -> Alias:
    hints = hints_of(class_)
    fields = [
        _field(
            reader,
            name,
            name,
            hints.get(name, Hint(Any)),
            reader.sent and name in class_._field_defaults,
        )
        for name in class_._fields
    ]
    return _array(fields)


def _dataclass(reader: Reading, class_: Any) -> Record:
    hints = hints_of(class_)
    fields: list[Field] = []
    for each in dataclasses.fields(class_):
        defaulted = each.default is not _MISSING or each.default_factory is not _MISSING
        # msgspec reads what was left out by leaving the default in the class, and writes what is in the object: so it is
        # left out again. Slots have no place for a default but in the object.
        in_class = each.default is not _MISSING and not _is_slot(class_, each.name)
        optional = defaulted if reader.sent else in_class
        fields.append(_field(reader, each.name, each.name, hints[each.name], optional))
    return Record(fields=tuple(fields))


def _is_slot(class_: Any, name: str) -> bool:
    return isinstance(inspect.getattr_static(class_, name, None), MemberDescriptorType)


def _attrs(reader: Reading, class_: Any) -> Record:
    hints = hints_of(class_)
    nothing = sys.modules["attr"].NOTHING
    fields = [
        _field(
            reader,
            each.name,
            each.name,
            hints.get(each.name, Hint(each.type or Any)),
            reader.sent and each.default is not nothing,
        )
        for each in class_.__attrs_attrs__
    ]
    return Record(fields=tuple(fields))


# ------------------------------------------------------------------ fields
def _field(reader: Reading, name: str, wire_name: str, hint: Hint, optional: bool) -> Field:
    with reader.at(name):
        shape = reader.read(hint)
    return Field(
        name=wire_name,
        shape=shape,
        # What is UNSET is not written at all.
        optional=optional or msgspec.UnsetType in typing.get_args(hint.annotation),
        documentation=_documentation_of_field(hint.annotation),
    )


def _documentation_of_field(annotation: Any) -> str:
    """The description that ``Annotated`` carries (msgspec's Meta, pydantic's Field)."""
    for each in getattr(annotation, "__metadata__", ()):
        description = getattr(each, "description", None)
        if isinstance(description, str):
            return description
    return ""


def _array(fields: list[Field]) -> Alias:
    """Fields that travel by position; one may be left out only if all after it may."""
    elements: list[Element] = []
    optional = True
    for each in reversed(fields):
        optional = optional and each.optional
        elements.insert(0, Element(shape=each.shape, name=each.name, optional=optional))
    return Alias(shape=TupleOf(elements=tuple(elements)))
