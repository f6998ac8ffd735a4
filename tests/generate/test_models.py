"""Models: pydantic's, with aliases, discriminators, serializers and types that only pydantic knows."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import pathlib
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PlainSerializer,
    RootModel,
    computed_field,
    field_serializer,
    model_serializer,
)
from pydantic.alias_generators import to_camel

from tests.generate.writing import declared, received, sent, written

Item = TypeVar("Item")


class Line(BaseModel):
    """One line of an order."""

    sku: str
    price: float = Field(default=1.0, description="In euros.")
    raw: bytes = b""


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, serialize_by_alias=True)

    order_id: int


class Aliased(BaseModel):
    order_id: int = Field(alias="orderId")


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Cash(BaseModel):
    kind: Literal["cash"]


class Paid(BaseModel):
    by: Annotated[Card | Cash, Field(discriminator="kind")]
    earlier: list[Annotated[Card | Cash, Field(discriminator="kind")]] = []


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next: Page[Item] | None = None


class Holder(BaseModel, Generic[Item]):
    content: Item


class Parts(Holder[Line]):
    spare: Holder[str]


class Tags(RootModel[list[str]]):
    pass


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


class Hidden(BaseModel):
    seen: int
    secret: int = Field(default=1, exclude=True)

    @computed_field
    def twice(self) -> int:
        return self.seen * 2


class Served(BaseModel):
    at: dt.datetime
    size: Annotated[int, PlainSerializer(lambda size: str(size), return_type=str)]
    silent: Annotated[int, PlainSerializer(lambda value: value)] = 1

    @field_serializer("at")
    def _write_at(self, at: dt.datetime) -> float:
        return at.timestamp()


class Whole(BaseModel):
    value: int

    @model_serializer
    def _write(self) -> list[int]:
        return [self.value]


class Places(BaseModel):
    path: pathlib.Path
    url: HttpUrl
    address: ipaddress.IPv4Address | None = None


@dataclasses.dataclass
class Parcel:
    line: Line


def test_a_model_is_an_object_with_its_descriptions() -> None:
    assert (
        "/** One line of an order. */\nexport interface Line {\n  sku: string;\n  /** In euros. */\n  price: number;\n"
        "  raw: string;\n}" in declared(Line)
    )
    assert "  sku: string;\n  /** In euros. */\n  price?: number;\n  raw?: string;" in declared(Line)
    assert "export interface ParcelInput {\n  line: LineInput;\n}" in declared(Parcel)


def test_a_model_is_received_as_it_is_written_and_sent_by_its_aliases() -> None:
    assert declared(Camel) == "export interface Camel {\n  orderId: number;\n}"
    assert declared(Aliased) == (
        "export interface Aliased {\n  order_id: number;\n}\n\nexport interface AliasedInput {\n  orderId: number;\n}"
    )


def test_what_tells_members_of_a_union_apart_has_to_be_sent() -> None:
    by = '(CardInput & { kind: "card" }) | Cash'

    assert f"export interface PaidInput {{\n  by: {by};\n  earlier?: ({by})[];\n}}" in declared(Paid)
    assert "export interface Paid {\n  by: Card | Cash;\n  earlier: (Card | Cash)[];\n}" in declared(Paid)
    assert sent(Card | Cash) == "CardInput | Cash", "without a discriminator they are just tried"


def test_a_generic_model_is_generic() -> None:
    assert received(Page[Line]) == "Page<Line>"
    assert "export interface Page<Item> {\n  items: Item[];\n  next: Page<Item> | null;\n}" in declared(
        Page[int]
    )
    assert "export interface Parts {\n  content: Line;\n  spare: Holder<string>;\n}" in declared(Parts)


def test_a_root_model_is_what_it_holds() -> None:
    assert declared(Tags) == "export type Tags = string[];"


def test_a_model_that_allows_more_says_so() -> None:
    assert "  name: string;\n  [key: string]: unknown;\n}" in declared(Loose)


def test_what_is_not_written_is_not_received() -> None:
    assert "export interface Hidden {\n  seen: number;\n}" in declared(Hidden)
    assert "secret?: number;" in declared(Hidden)


def test_a_serializer_says_what_is_received() -> None:
    found = written(Served, Served)

    assert (
        "export interface Served {\n  at: number;\n  size: string;\n  silent: unknown;\n}"
        in found.declarations
    )
    assert "  at: DateTime;\n  size: number;\n  silent?: number;" in found.declarations
    assert found.warnings == [
        "the output of workflow 'flow': Served.silent: a serializer writes it; annotate what that returns; it is `unknown`"
    ]


def test_a_model_may_be_written_as_something_else() -> None:
    assert "export type Whole = number[];" in declared(Whole)
    assert "export interface WholeInput {\n  value: number;\n}" in declared(Whole)


def test_types_that_only_pydantic_knows_are_what_its_schema_says() -> None:
    assert (
        "export interface Places {\n  path: string;\n  url: string;\n  address: string | null;\n}"
        in declared(Places)
    )


def test_a_class_that_nothing_describes_is_unknown() -> None:
    class Strange:
        pass

    class Holder(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        strange: Strange | None = None
        fine: Any = None

    found = written(None, Holder)

    assert "  strange: unknown;\n  fine: unknown;" in found.declarations
    assert ["Holder.strange: " in each and "Strange has no JSON form" in each for each in found.warnings] == [
        True
    ]
