"""A shop whose types are of every kind: what a page may send it, and what it answers."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
from pydantic import BaseModel, ConfigDict, Field

from stepflow import Event, Stepflow, workflow

T = TypeVar("T")
OrderId = NewType("OrderId", str)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Place(NamedTuple):
    shelf: int
    box: str = "a"


class Label(TypedDict):
    text: str
    size: NotRequired[int]


class Card(msgspec.Struct, tag="card", rename="camel"):
    card_number: str
    holder: str | None = None


class Cash(msgspec.Struct, tag="cash", omit_defaults=True):
    amount: Decimal
    coins: list[int] = []


class Row(msgspec.Struct, array_like=True):
    name: str
    count: int = 0


@attrs.define
class Parcel:
    weight: float
    fragile: bool = False


@dataclass
class Category:
    """A category, and those in it."""

    name: str
    inner: list[Category] = field(default_factory=list["Category"])


@dataclass
class Versions(Generic[T]):
    now: T
    before: list[T] = field(default_factory=list[T])


class Round(BaseModel):
    shape: Literal["round"] = "round"
    radius: float = Field(description="In centimetres.")


class Square(BaseModel):
    shape: Literal["square"] = "square"
    side: float


class Run(BaseModel):
    """Called like something that the client has too."""

    model_config = ConfigDict(extra="forbid")

    at: dt.datetime
    form: Annotated[Round | Square, Field(discriminator="shape")]
    raw: bytes = b""


@dataclass
class Choice:
    """Its default stays in the class."""

    gift: bool = False


@dataclass(slots=True)
class Order:
    """What is ordered.

    A comment's end, */, is no end of this one.
    """

    id: OrderId
    color: Color
    payment: Card | Cash
    place: Place
    label: Label
    row: Row
    parcel: Parcel
    categories: Versions[Category]
    run: Run
    pair: tuple[int, str]
    day: dt.date = dt.date(2024, 2, 29)
    time: dt.time | None = None
    takes: dt.timedelta | None = None
    trace: uuid.UUID | None = None
    picture: bytes = b""
    levels: set[Level] = field(default_factory=set[Level])
    stock: dict[Color, int] = field(default_factory=dict[Color, int])
    by_number: dict[int, list[str | None]] = field(default_factory=dict[int, list[str | None]])
    choice: Choice = field(default_factory=Choice)
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    size: Literal["s", "m", 3] = "s"


class Receipt(TypedDict):
    order: Order
    total: Decimal


shipped = Event("shipped/{id}", Parcel)
returned = Event("shipped/{id}/returned", str)
everything = Event("shipped/all", Label)
closed = Event("closed", Label)


@workflow
async def checkout(order: Order) -> Receipt:
    """Sell what is ordered."""
    raise NotImplementedError


@workflow(id="nightly-report")
async def nightly() -> None:
    raise NotImplementedError


@workflow
async def restock(levels: list[Level] = [Level.LOW]) -> Versions[Category]:  # noqa: B006 - nobody changes it
    raise NotImplementedError


@workflow
async def rest(anything: Any) -> Run:
    raise NotImplementedError


app = Stepflow("memory://", workflows=[checkout, nightly, restock, rest])
