"""Reading: a Python annotation as a shape, in one direction; the classes that it names become declarations."""

from __future__ import annotations

import collections
import collections.abc
import datetime as dt
import decimal
import enum
import inspect
import types
import typing
import uuid
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stepflow.codecs.faults import type_name
from stepflow.generate import classes, models
from stepflow.generate.hints import Hint, value_of
from stepflow.generate.schemas import shape_of_schema
from stepflow.generate.shapes import (
    BOOLEAN,
    NEVER,
    NULL,
    NUMBER,
    STRING,
    UNKNOWN,
    Alias,
    Declaration,
    Element,
    ListOf,
    MapOf,
    Named,
    Parameter,
    Problem,
    Shape,
    TupleOf,
    union_of,
)
from stepflow.types import Json

_typing: Any = typing
_ANYTHING = (Any, object, inspect.Parameter.empty, msgspec.Raw)
_PLAIN: dict[Any, Shape] = {
    None: NULL,
    type(None): NULL,
    bool: BOOLEAN,
    int: NUMBER,
    float: NUMBER,
    str: STRING,
    _typing.Never: NEVER,
    _typing.NoReturn: NEVER,
}
# What travels as text of a certain form is a string by a name that tells the form.
_TEXTS: dict[Any, tuple[str, str]] = {
    dt.datetime: ("DateTime", 'A date and time (RFC 3339), like `"2024-02-29T12:30:00Z"`.'),
    dt.date: ("CalendarDate", 'A date (RFC 3339), like `"2024-02-29"`.'),
    dt.time: ("TimeOfDay", 'A time of day (RFC 3339), like `"12:30:00"`.'),
    dt.timedelta: ("Duration", 'A duration (ISO 8601), like `"P3DT4H"`.'),
    uuid.UUID: ("Uuid", "A UUID, as text."),
    decimal.Decimal: ("Decimal", 'A decimal number as text, so that no digit is lost, like `"9.90"`.'),
    bytes: ("Base64", "Bytes, as base64."),
}
_BYTES = (bytes, bytearray, memoryview)
# Marks around a type that say nothing of its JSON.
_MARKS = ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar")
_LISTS = (collections.abc.Sequence, collections.abc.Set, collections.abc.Collection)
# Where the containers are whose subclasses elsewhere no codec can make again.
_STANDARD = ("builtins", "collections", "collections.abc", "types")


@dataclass(slots=True)
class _Open:
    """The declaration, or the root, that is being read."""

    parameters: Sequence[Any] = ()
    model: Any = None
    place: str = ""
    problems: list[Problem] = field(default_factory=list[Problem])


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """An annotation that stands by itself: an input, an output, a payload."""

    shape: Shape
    problems: Sequence[Problem]


class Reader:
    """Reads annotations in one direction: ``sent`` to the app, or else received from it. Gathers what they declare."""

    def __init__(self, *, sent: bool) -> None:
        self.sent = sent
        self.declarations: dict[Hashable, Declaration] = {}
        self._begun: set[Hashable] = set()
        self._open = [_Open()]

    def root(self, annotation: Any) -> Root:
        """The shape of an annotation, and what of it no shape expresses."""
        self._open.append(_Open())
        try:
            return Root(shape=self.read(Hint(annotation)), problems=self._open[-1].problems)
        finally:
            self._open.pop()

    @contextmanager
    def at(self, place: str) -> Generator[None]:
        """What is read within stands in this field."""
        before, self._open[-1].place = self._open[-1].place, place
        try:
            yield
        finally:
            self._open[-1].place = before

    def unknown(self, reason: str) -> Shape:
        """For what can't be expressed: noted with its place."""
        here = self._open[-1]
        here.problems.append(Problem(place=here.place, reason=reason))
        return UNKNOWN

    @property
    def model(self) -> Any:
        """The pydantic model whose fields are being read: there, values travel as pydantic writes them."""
        return self._open[-1].model

    # -------------------------------------------------------------- annotations
    def read(self, hint: Hint) -> Shape:
        """The shape of an annotation."""
        annotation = hint.annotation
        origin: Any = typing.get_origin(annotation)
        if annotation is Json or any(annotation is each for each in _ANYTHING):
            return UNKNOWN
        if isinstance(annotation, str | typing.ForwardRef):
            return self.unknown(
                f"{annotation!r} is not known there; declare a recursive type as a class or with `type`"
            )
        if origin is typing.Annotated:
            return self._read_annotated(hint)
        if getattr(origin, "_name", None) in _MARKS:
            return self.read(hint.of(annotation.__args__[0]))
        if origin is typing.Literal:
            return union_of([self._constant(value) for value in typing.get_args(annotation)])
        if origin in (typing.Union, types.UnionType):
            members = [each for each in typing.get_args(annotation) if each is not msgspec.UnsetType]
            return union_of([self.read(hint.of(each)) for each in members])
        if isinstance(annotation, typing.TypeVar):
            return self._read_variable(hint)
        if hasattr(annotation, "__supertype__"):
            return self._read_new_type(annotation)
        if hasattr(origin or annotation, "__value__"):
            return self._read_alias(hint)
        return self._read_class(hint, origin or annotation)

    def _read_class(self, hint: Hint, class_: Any) -> Shape:
        if class_ in _PLAIN:
            return _PLAIN[class_]
        if class_ in _TEXTS or class_ in _BYTES:
            return self._read_text(class_)
        if not isinstance(class_, type):
            return self.unknown(f"{hint.annotation!r} has no JSON form")
        describe = classes.describer_of(class_) or models.describer_of(class_)
        if describe is not None:
            return self._declared(hint, class_, describe)
        if classes.is_a(class_, tuple):
            return self._read_tuple(hint)
        arguments = typing.get_args(hint.annotation)
        if classes.is_a(class_, collections.abc.Mapping) and class_.__module__ in _STANDARD:
            return self._read_mapping(hint, class_, arguments)
        if classes.is_a(class_, _LISTS) and class_.__module__ in _STANDARD:
            return ListOf(item=self.read(hint.of(arguments[0])) if arguments else UNKNOWN)
        return shape_of_schema(class_) or self.unknown(f"{type_name(class_)} has no JSON form that is known")

    def _read_annotated(self, hint: Hint) -> Shape:
        inner, *metadata = typing.get_args(hint.annotation)
        shape = (None if self.sent else models.written_as(self, metadata)) or self.read(hint.of(inner))
        for each in metadata:
            shape = models.narrowed(self, shape, hint.of(inner), getattr(each, "discriminator", None))
        return shape

    def _read_variable(self, hint: Hint) -> Shape:
        variable = hint.annotation
        bound = hint.bindings.get(variable)
        if bound is not None:
            return self.read(bound)
        if variable in self._open[-1].parameters:
            return Parameter(name=variable.__name__)
        return self.read(Hint(_limit_of(variable)))

    def _read_text(self, class_: Any) -> Shape:
        if class_ in _BYTES:
            if self.model is not None:  # pydantic writes bytes as the text that they are in UTF-8
                return STRING
            class_ = bytes
        name, documentation = _TEXTS[class_]
        self.declarations.setdefault(
            class_,
            Declaration(
                key=class_, names=(name, f"Json{name}"), body=Alias(shape=STRING), documentation=documentation
            ),
        )
        return Named(key=class_)

    def _read_tuple(self, hint: Hint) -> Shape:
        arguments = typing.get_args(hint.annotation)
        if not arguments:
            return TupleOf(elements=()) if hint.annotation == tuple[()] else ListOf(item=UNKNOWN)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return ListOf(item=self.read(hint.of(arguments[0])))
        return TupleOf(elements=tuple(Element(shape=self.read(hint.of(each))) for each in arguments))

    def _read_mapping(self, hint: Hint, class_: type, arguments: Sequence[Any]) -> Shape:
        if not arguments:
            return MapOf(key=STRING, value=UNKNOWN)
        if classes.is_a(class_, collections.Counter):
            return MapOf(key=self.read(hint.of(arguments[0])), value=NUMBER)
        return MapOf(key=self.read(hint.of(arguments[0])), value=self.read(hint.of(arguments[1])))

    def _constant(self, value: Any) -> Shape:
        return classes.constant_of(value.value if isinstance(value, enum.Enum) else value) or self.unknown(
            f"{value!r} has no JSON form"
        )

    # -------------------------------------------------------------- names
    def _read_new_type(self, new_type: Any) -> Shape:
        def describe(reader: Reader, _: Hint) -> classes.Description:
            return classes.Description(body=Alias(shape=reader.read(Hint(new_type.__supertype__))))

        return self._declared(Hint(new_type), new_type, describe)

    def _read_alias(self, hint: Hint) -> Shape:
        alias = typing.get_origin(hint.annotation) or hint.annotation

        def describe(reader: Reader, _: Hint) -> classes.Description:
            return classes.Description(body=Alias(shape=reader.read(Hint(value_of(alias)))))

        return self._declared(hint, alias, describe)

    def _declared(
        self, hint: Hint, key: Any, describe: Callable[[Reader, Hint], classes.Description]
    ) -> Shape:
        """The name of what ``describe`` describes, with the arguments that the annotation gives it."""
        origin, given = models.generic_of(key)
        arguments = [*(typing.get_args(hint.annotation) or given)]
        parameters = _parameters_of(origin)
        if origin not in self._begun:
            self._begun.add(origin)  # before it is described, since it may mention itself
            self.declarations[origin] = self._describe(origin, parameters, describe)
        shapes = [self.read(hint.of(each)) for each in arguments[: len(parameters)]]
        for each in parameters[len(shapes) :]:
            # To pydantic `Page[Item]` is `Page` itself, where Item is its own variable.
            is_own = models.is_model(origin) and each in self._open[-1].parameters
            shapes.append(self.read(Hint(each if is_own else _limit_of(each))))
        return Named(key=origin, arguments=tuple(shapes))

    def _describe(
        self,
        key: Any,
        parameters: Sequence[Any],
        describe: Callable[[Reader, Hint], classes.Description],
    ) -> Declaration:
        self._open.append(_Open(parameters=parameters, model=key if models.is_model(key) else None))
        try:
            found = describe(self, Hint(key))
            return Declaration(
                key=key,
                names=_names_of(key),
                body=found.body,
                parameters=tuple(each.__name__ for each in parameters),
                documentation=found.documentation,
                problems=tuple(self._open[-1].problems),
            )
        finally:
            self._open.pop()


def _parameters_of(key: Any) -> list[Any]:
    parameters = getattr(key, "__type_params__", ()) or getattr(key, "__parameters__", ())
    metadata = getattr(key, "__pydantic_generic_metadata__", None)
    if metadata is not None:
        parameters = metadata["parameters"]
    return [each for each in parameters if isinstance(each, typing.TypeVar)]


def _limit_of(variable: Any) -> Any:
    """What a type variable stands for where nobody says it."""
    if variable.__constraints__:
        return _typing.Union[variable.__constraints__]
    return variable.__bound__ or Any


def _names_of(key: Any) -> list[str]:
    """``Line``, ``OrderLine``, ``ShopOrderLine``, ``ExampleShopOrderLine``: what tells a class from others of its name."""
    name = getattr(key, "__qualname__", key.__name__).rpartition("<locals>.")[2]
    parts = [*(getattr(key, "__module__", None) or "").split("."), *name.split(".")]
    nested = len(name.split("."))
    words = ["".join(word[:1].upper() + word[1:] for word in part.split("_")) for part in parts]
    return ["".join(words[-count:]) for count in [1, *range(nested, len(words) + 1)]]
