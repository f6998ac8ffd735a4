"""Shapes: what a value looks like as JSON, without a word of Python or of the language that it is written for.

A shape has one direction: what may be *sent* to an app, or what is *received* from it. A defaulted field is optional in the
one and always there in the other.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

Kind: TypeAlias = Literal["string", "number", "boolean", "null", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Any JSON at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One of JSON's plain types; ``never`` has no values."""

    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One value, as its JSON text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """An array of any length."""

    item: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One place of a tuple. Only the last ones may be left out; a place without a name is known by its position."""

    shape: Shape
    name: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TupleOf:
    """An array with a type for each place."""

    elements: Sequence[Element]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf:
    """An object whose keys are data."""

    key: Shape
    value: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class UnionOf:
    """One of several; two or more, none of them a union or unknown, each once."""

    members: Sequence[Shape]


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    """A member of a union that is told apart by a field, which therefore has to be there."""

    member: Shape
    field: str
    value: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """The type parameter of the declaration around it."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What is declared under ``key``, with arguments for its parameters."""

    key: Hashable
    arguments: Sequence[Shape] = ()


Shape: TypeAlias = (
    Unknown | Scalar | Constant | ListOf | TupleOf | MapOf | UnionOf | Narrowed | Parameter | Named
)

UNKNOWN = Unknown()
STRING, NUMBER, BOOLEAN = Scalar(kind="string"), Scalar(kind="number"), Scalar(kind="boolean")
NULL, NEVER = Scalar(kind="null"), Scalar(kind="never")


# ------------------------------------------------------------------ declarations
@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A member of a record; ``optional`` means that it may be missing, not that it may be null."""

    name: str
    shape: Shape
    optional: bool = False
    documentation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An object with known fields; an ``open`` one may have others too."""

    fields: Sequence[Field]
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Another name of a shape."""

    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A part that no shape expresses, so that it is unknown. ``place`` is a field, or empty for the whole."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A shape with a name. ``names`` are what it may be called: the shortest first, each later one less ambiguous."""

    key: Hashable
    names: Sequence[str]
    body: Record | Alias
    parameters: Sequence[str] = ()
    documentation: str = ""
    problems: Sequence[Problem] = ()


def union_of(shapes: Sequence[Shape]) -> Shape:
    """The union of shapes: nested ones flattened, duplicates once; unknown swallows the others."""
    members: dict[Shape, None] = {}
    for shape in shapes:
        if isinstance(shape, Unknown):
            return UNKNOWN
        members.update(dict.fromkeys(shape.members if isinstance(shape, UnionOf) else (shape,)))
    if len(members) > 1:
        members.pop(NEVER, None)
    return next(iter(members), NEVER) if len(members) < 2 else UnionOf(members=tuple(members))


def parts_of(shape: Shape | Record | Alias) -> Iterator[Shape]:
    """The shapes directly inside another, or inside a declaration's body."""
    match shape:
        case Unknown() | Scalar() | Constant() | Parameter():
            return
        case ListOf(item=inner) | Alias(shape=inner):
            yield inner
        case TupleOf(elements=elements):
            yield from (element.shape for element in elements)
        case MapOf(key=key, value=value):
            yield from (key, value)
        case UnionOf(members=several) | Named(arguments=several):
            yield from several
        case Narrowed(member=member, value=value):
            yield from (member, value)
        case Record(fields=fields):
            yield from (field.shape for field in fields)
        case never:
            assert_never(never)


def names_in(shape: Shape | Record | Alias) -> Iterator[Named]:
    """Every declaration that a shape or a body mentions, in order, also twice."""
    if isinstance(shape, Named):
        yield shape
    for part in parts_of(shape):
        yield from names_in(part)
