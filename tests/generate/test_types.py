"""Types: what each kind of Python type is in TypeScript, as its values travel."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import msgspec
import pytest
from typing_extensions import TypeAliasType

from stepflow.codecs.json import Values
from stepflow.model.payloads import Payload
from tests.generate.writing import declared, received, sent, written

VALUES = Values()
T = TypeVar("T")
Limited = TypeVar("Limited", bound=int)
OrderId = NewType("OrderId", str)
Tree = TypeAliasType("Tree", "dict[str, Tree] | int")


class Color(enum.Enum):
    """What it is painted with."""

    RED = "red"
    GREEN = 'gr"een'


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float


class Spot(NamedTuple):
    x: int
    label: str = ""


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (None, "null"),
        (bool, "boolean"),
        (int, "number"),
        (float, "number"),
        (int | float, "number"),
        (str, "string"),
        (Any, "unknown"),
        (object, "unknown"),
        (msgspec.Raw, "unknown"),
        (int | Any, "unknown"),
        (str | None, "string | null"),
        (Optional[int], "number | null"),  # noqa: UP045 - as older code has it
        (Union[int, str, None], "number | string | null"),  # noqa: UP007 - as older code has it
        (list[int], "number[]"),
        (list[int | None], "(number | null)[]"),
        (list[list[str]], "string[][]"),
        (list, "unknown[]"),
        (set[str], "string[]"),
        (frozenset[str], "string[]"),
        (Sequence[str], "string[]"),
        (AbstractSet[str], "string[]"),
        (tuple[int, ...], "number[]"),
        (tuple, "unknown[]"),
        (tuple[int, str], "[number, string]"),
        (tuple[()], "[]"),
        (dict[str, int], "{ [key: string]: number }"),
        (dict[int, int], "{ [key: number]: number }"),
        (dict[uuid.UUID, str], "{ [key: string]: string }"),
        (dict, "{ [key: string]: unknown }"),
        (Mapping[str, list[int]], "{ [key: string]: number[] }"),
        (dict[Color, int], "{ [key in Color]?: number }"),
        (dict[Literal["a", "b"], int], '{ [key in "a" | "b"]?: number }'),
        (collections.OrderedDict[str, int], "{ [key: string]: number }"),
        (Literal["a", 1, True], '"a" | 1 | true'),
        (Annotated[int, "a note"], "number"),
        (Final[int], "number"),
        (dt.datetime, "DateTime"),
        (dt.date, "CalendarDate"),
        (dt.time, "TimeOfDay"),
        (dt.timedelta, "Duration"),
        (uuid.UUID, "Uuid"),
        (decimal.Decimal, "Decimal"),
        (bytes, "Base64"),
        (bytearray, "Base64"),
        (Color, "Color"),
        (Color | None, "Color | null"),
        (OrderId, "OrderId"),
    ],
    ids=str,
)
def test_a_type_is_written_as_its_values_travel(type_: Any, text: str) -> None:
    assert sent(type_) == received(type_) == text


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Color, '/** What it is painted with. */\nexport type Color = "red" | "gr\\"een";'),
        (Level, "export type Level = 1 | 2;"),
        (Rights, "export type Rights = number;"),
        (OrderId, "export type OrderId = string;"),
        (Point, "export type Point = [x: number, y: number];"),
        (Tree, "export type Tree = { [key: string]: Tree } | number;"),
        (uuid.UUID, "/** A UUID, as text. */\nexport type Uuid = string;"),
        (
            Spot,
            "export type Spot = [x: number, label: string];\n\nexport type SpotInput = [x: number, label?: string];",
        ),
    ],
    ids=str,
)
def test_a_type_with_a_name_keeps_it(type_: Any, text: str) -> None:
    assert declared(type_) == text


def test_an_alias_may_have_parameters() -> None:
    pair = TypeAliasType("pair", tuple[T, T], type_params=(T,))  # type: ignore[valid-type]

    assert declared(pair[int]) == "export type Pair<T> = [T, T];"  # type: ignore[index, unused-ignore]
    assert sent(pair[int]) == "Pair<number>"  # type: ignore[index, unused-ignore]


def test_a_long_union_stands_on_several_lines() -> None:
    words = tuple(f"a-rather-long-word-{number}" for number in range(5))
    long = TypeAliasType("Long", Literal[words])  # type: ignore[valid-type]

    assert declared(long).splitlines()[:2] == ["export type Long =", '  | "a-rather-long-word-0"']


# ------------------------------------------------------------------ dataclasses
@dataclasses.dataclass
class Address:
    street: str
    _note: str | None


@dataclasses.dataclass
class Customer:
    """Who buys.

    Ends with */ and goes on.
    """

    id: uuid.UUID
    home: Address
    tags: set[str] = dataclasses.field(default_factory=set[str])
    manager: Customer | None = dataclasses.field(default_factory=lambda: None)


@dataclasses.dataclass
class Visit:
    who: Customer
    made: int = 0


@dataclasses.dataclass
class Made:
    made: int = 0


@dataclasses.dataclass(slots=True)
class Slotted:
    made: int = 0


@dataclasses.dataclass
class Visitors:
    first: Customer
    by_day: dict[str, list[Customer]]


@dataclasses.dataclass
class Box(Generic[T]):
    content: T
    inner: Box[T] | None


@dataclasses.dataclass
class Boxes(Box[int]):
    more: list[Box[str]]


@dataclasses.dataclass
class Shelf(Generic[T]):
    boxes: dict[str, Box[T]]
    bare: Box  # type: ignore[type-arg]


@dataclasses.dataclass
class Gauge(Generic[Limited]):
    value: Limited


def test_a_class_that_is_the_same_sent_and_received_is_declared_once() -> None:
    assert declared(Address) == "export interface Address {\n  street: string;\n  _note: string | null;\n}"


def test_what_has_a_default_may_be_left_out_when_it_is_sent_and_is_always_received() -> None:
    texts = declared(Customer)

    assert "export interface Address {" in texts, "it has no second form"
    comment = "/**\n * Who buys.\n *\n * Ends with *\\/ and goes on.\n */\n"
    assert (
        f"{comment}export interface Customer {{\n  id: Uuid;\n  home: Address;\n  tags: string[];\n"
        "  manager: Customer | null;\n}" in texts
    )
    assert (
        f"{comment}export interface CustomerInput {{\n  id: Uuid;\n  home: Address;\n  tags?: string[];\n"
        "  manager?: CustomerInput | null;\n}" in texts
    )


def test_a_form_that_nobody_needs_is_not_written() -> None:
    assert "export interface Customer {" not in written(Customer).declarations
    assert "export interface CustomerInput {" not in written(None, Customer).declarations


def test_a_class_differs_if_one_that_it_mentions_does() -> None:
    assert "export interface VisitorsInput {\n  first: CustomerInput;" in declared(Visitors)
    assert "  by_day: { [key: string]: Customer[] };" in declared(Visitors)
    assert (sent(Visit), received(Visit)) == ("VisitInput", "Visit")
    assert "who: CustomerInput;" in declared(Visit)


def test_a_default_that_stays_in_the_class_is_not_written() -> None:
    read = VALUES.decode(Payload(msgspec.Raw(b"{}")), Slotted)
    assert VALUES.text(VALUES.encode(read, what="a value")) == b'{"made":0}'
    assert "made: number;" in written(None, Slotted).declarations

    read = VALUES.decode(Payload(msgspec.Raw(b"{}")), Made)
    assert VALUES.text(VALUES.encode(read, what="a value")) == b"{}"
    assert "made?: number;" in written(None, Made).declarations


def test_a_docstring_that_nobody_wrote_is_no_comment() -> None:
    assert "/**" not in declared(Address)
    assert "/**" not in declared(Point)


def test_a_generic_class_is_generic() -> None:
    assert declared(Box[str]) == "export interface Box<T> {\n  content: T;\n  inner: Box<T> | null;\n}"
    assert sent(Box[list[int]]) == "Box<number[]>"


def test_a_type_variable_that_a_base_bound_is_what_it_was_bound_to() -> None:
    assert (
        "export interface Boxes {\n  content: number;\n  inner: Box<number> | null;\n  more: Box<string>[];\n}"
        in declared(Boxes)
    )


def test_a_generic_class_without_arguments_takes_what_its_variables_allow() -> None:
    assert sent(Gauge) == "Gauge<number>"
    assert (
        "export interface Shelf<T> {\n  boxes: { [key: string]: Box<T> };\n  bare: Box<unknown>;\n}"
        in declared(Shelf[int])
    )


# ------------------------------------------------------------------ other records
class Movie(TypedDict, total=False):
    title: Required[str]
    year: int


class Film(Movie):
    director: str
    seen: NotRequired[bool]


class Pages(TypedDict, Generic[T]):
    items: list[T]


class Cat(msgspec.Struct, tag="cat", frozen=True):
    name: Annotated[str, msgspec.Meta(description="What it hears to.")]


class Kitten(msgspec.Struct, tag="kitten"):
    weeks: int = 1


class Dog(msgspec.Struct, tag="dog", tag_field="kind", rename="camel", omit_defaults=True):
    dog_name: str
    good_boy: bool = True
    age: int | msgspec.UnsetType = msgspec.UNSET
    toys: list[str] = []
    id: str = msgspec.field(default_factory=lambda: "new", name="dog-id")


class Row(msgspec.Struct, array_like=True, tag=True):
    first: int
    second: int = 2


@attrs.define
class Parcel:
    name: str
    weight: float = 1.0
    _secret: int = attrs.field(factory=int)


def test_a_typed_dict_says_itself_what_may_be_missing() -> None:
    assert declared(Movie) == "export interface Movie {\n  title: string;\n  year?: number;\n}"
    assert (
        declared(Film)
        == "export interface Film {\n  title: string;\n  year?: number;\n  director: string;\n  seen?: boolean;\n}"
    )
    assert declared(Pages[int]) == "export interface Pages<T> {\n  items: T[];\n}"


def test_a_struct_travels_with_its_tag_and_its_other_names() -> None:
    assert (
        declared(Cat)
        == 'export interface Cat {\n  type: "cat";\n  /** What it hears to. */\n  name: string;\n}'
    )
    assert sent(list[Cat | Kitten]) == "(Cat | KittenInput)[]"


def test_a_struct_that_omits_defaults_is_received_without_them() -> None:
    fields = '  kind: "dog";\n  dogName: string;\n  goodBoy?: boolean;\n  age?: number;\n  toys?: string[];\n'
    texts = declared(Dog)

    assert f'export interface Dog {{\n{fields}  "dog-id": string;\n}}' in texts
    assert f'export interface DogInput {{\n{fields}  "dog-id"?: string;\n}}' in texts


def test_a_struct_that_is_like_an_array_is_a_tuple() -> None:
    assert 'export type Row = [type: "Row", first: number, second: number];' in declared(Row)
    assert 'export type RowInput = [type: "Row", first: number, second?: number];' in declared(Row)


def test_an_attrs_class_is_an_object() -> None:
    assert "export interface Parcel {\n  name: string;\n  weight: number;\n  _secret: number;\n}" in declared(
        Parcel
    )
    assert (
        "export interface ParcelInput {\n  name: string;\n  weight?: number;\n  _secret?: number;\n}"
        in declared(Parcel)
    )


# ------------------------------------------------------------------ what can't be expressed
class Odd(enum.Enum):
    PAIR = (1, 2)


@dataclasses.dataclass
class Careless:
    fine: int
    odd: list[Odd]


@dataclasses.dataclass
class Worker:
    lock: collections.abc.Callable[[], int]


def test_what_has_no_form_is_unknown_and_told_with_the_workflow_and_the_field() -> None:
    found = written(Careless, Careless)

    assert "export type Odd = unknown;" in found.declarations
    assert found.warnings == [
        "the input of workflow 'flow': Odd.PAIR: (1, 2) has no JSON form; it is `unknown`"
    ], "once is enough, for both directions"


def test_what_the_codec_refuses_is_unknown_as_a_whole() -> None:
    found = written(Worker)

    assert found.input == "unknown"
    assert found.warnings == [
        f"the input of workflow 'flow': {__name__}.Worker can't be a stored value: Callable has no JSON form; it is `unknown`"
    ]


def test_a_result_without_an_annotation_is_unknown_without_a_warning() -> None:
    assert received(Any) == "unknown"
