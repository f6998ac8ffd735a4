"""Pydantic models as values: alone, inside containers, dataclasses and unions; and never imported for those who have none."""

from __future__ import annotations

import datetime as dt
import pathlib
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
import pytest

pydantic = pytest.importorskip("pydantic")

from pydantic import (  # noqa: E402 - only where it is installed
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass  # noqa: E402

from stepflow.codecs.json import Values  # noqa: E402
from stepflow.errors import DefinitionError, DeserializationError, SerializationError  # noqa: E402
from stepflow.model.payloads import Payload  # noqa: E402

VALUES = Values()
Item = TypeVar("Item")


class Line(BaseModel):
    sku: str
    price: float = 1.0
    raw: bytes = b""


class Order(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    id: int = Field(alias="orderId")
    at: dt.datetime
    lines: tuple[Line, ...] = ()
    kinds: frozenset[str] = frozenset()

    @computed_field
    def total(self) -> float:
        return sum(line.price for line in self.lines)


class Tags(RootModel[list[str]]):
    pass


class Page(BaseModel, Generic[Item]):
    items: list[Item]


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Cash(BaseModel):
    kind: Literal["cash"] = "cash"
    amount: int


@dataclass
class Parcel:
    order: Order
    spare: Line | None = None


@dataclass
class Left:
    left: int
    blob: bytes = b""


@dataclass
class Right:
    right: int
    inner: Left | Line | None = None


@dataclass
class Holder:
    side: Left | Right


@pydantic_dataclass
class Checked:
    count: int
    line: Line
    blob: bytes


class Pair(NamedTuple):
    line: Line
    count: int


class Struct(msgspec.Struct):
    line: Line


LINE = Line(sku="a", price=2.5, raw="é".encode())
ORDER = Order(orderId=1, at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC), lines=(LINE,), kinds=frozenset({"x"}))


def back(value: object, type_: Any) -> Any:
    """The value, stored and read again."""
    return VALUES.decode(VALUES.encode(value, what="a value"), type_)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (LINE, Line),
        (ORDER, Order),
        (Tags(["a", "b"]), Tags),
        (Page[Line](items=[LINE]), Page[Line]),
        ([ORDER, ORDER], list[Order]),
        ({"a": LINE}, dict[str, Line]),
        (None, Line | None),
        (LINE, Line | None),
        (Parcel(ORDER, LINE), Parcel),
        (Pair(LINE, 2), Pair),
        (Struct(LINE), Struct),
        (Checked(1, LINE, b"\xff\x00"), Checked),
        ((Checked(1, LINE, b"\xff"), 1), tuple[Checked, int]),
        (Cash(amount=3), Card | Cash),
        ([Card(number="1"), Cash(amount=3)], list[Annotated[Card | Cash, Field(discriminator="kind")]]),
        (LINE, Line | int),
        (3, Line | int),
        (Left(1, b"\xff\xfe\xfb"), Left | Right),
        (Right(2, Left(1, b"\xff")), Left | Right),
        (Holder(Right(2, LINE)), Holder),
        ([Holder(Left(1, b"\xff\xfe"))], list[Holder]),
        ((LINE, {"a": [1]}), tuple[Line, object]),
        ({"a": [1, None]}, dict[str, object]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_value_comes_back_as_it_was(value: object, type_: Any) -> None:
    found = back(value, type_)

    assert found == value
    assert type(found) is type(value)


def test_a_model_is_delivered_as_builtins_where_no_type_is_named() -> None:
    assert back([LINE], Any) == [{"sku": "a", "price": 2.5, "raw": "é"}]


def test_a_model_is_read_by_its_alias_too() -> None:
    stored = Payload(msgspec.Raw(b'{"orderId":7,"at":"2024-01-01T00:00:00Z"}'))

    assert VALUES.decode(stored, Order).id == 7
    assert VALUES.decode(stored, Order | None).id == 7


def test_a_model_that_asks_for_its_aliases_is_stored_with_them() -> None:
    class Camel(BaseModel):
        model_config = ConfigDict(serialize_by_alias=True)
        order_id: int = Field(alias="orderId")

    assert back(Camel(orderId=1), Any) == {"orderId": 1}
    assert back(Camel(orderId=1), Camel).order_id == 1


def test_what_does_not_fit_a_model_is_told_with_its_place_and_without_its_value() -> None:
    stored = Payload(msgspec.Raw(b'{"items":[{"sku":"a"},{"sku":["hunter2"]}]}'))

    for type_ in (Page[Line], Page[Line] | None, Page[Line] | Tags):
        with pytest.raises(DeserializationError) as caught:
            VALUES.decode(stored, type_)
        assert "items[1].sku" in str(caught.value)
        assert "$[" not in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_many_problems_are_counted() -> None:
    stored = Payload(msgspec.Raw(msgspec.json.encode([{}] * 9)))

    with pytest.raises(DeserializationError, match="and 4 more"):
        VALUES.decode(stored, RootModel[list[Line]])


def test_a_validator_that_refuses_is_heard() -> None:
    class Even(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def check(cls, number: int) -> int:
            if number % 2:
                raise ValueError("must be even")
            return number

    with pytest.raises(DeserializationError, match=r"must be even - at `\$.number`"):
        VALUES.decode(Payload(msgspec.Raw(b'{"number":3}')), Even)


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    price: float


class Account(BaseModel):
    password: SecretStr


class Opaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: object


class Looped(BaseModel):
    next: Any = None


LOOPED = Looped()
LOOPED.next = LOOPED


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([Line(sku="a", price=float("nan"))], r"\$\[0\]\.price is nan"),
        (Parcel(ORDER, Line(sku="a", price=float("inf"))), r"\$\.spare\.price is inf"),
        (Constants(price=float("nan")), r"\$\.price is nan"),
        ({"account": Account(password=SecretStr("hunter2"))}, r"\$\.account"),
        (Line(sku="a", raw=b"\xff"), "utf-8"),
        (Line(sku="\ud800"), r"\$\.sku holds a lone surrogate"),
        (
            [Opaque(thing=threading.Lock())],
            r"\$\[0\]\.thing is a _thread.lock",
        ),
        (LOOPED, r"\$\.next refers back"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_json_can_not_hold_is_refused_with_its_place(value: object, problem: str) -> None:
    with pytest.raises(SerializationError, match=problem) as caught:
        VALUES.encode(value, what="a value")

    assert "hunter2" not in str(caught.value)


def test_a_model_without_a_number_in_doubt_is_stored() -> None:
    assert back(Opaque(thing=[1, None]), Opaque).thing == [1, None]
    assert back(Line(sku="NaN Infinity null"), Line).sku == "NaN Infinity null"


def test_a_class_that_only_pydantic_can_read_is_read_by_it() -> None:
    stored = Payload(msgspec.Raw(b'{"path":"/tmp/x","side":{"right":1}}'))

    @dataclass
    class Job:
        path: pathlib.Path
        side: Left | Right

    Job.__annotations__.update(path=pathlib.Path, side=Left | Right)
    assert VALUES.decode(stored, Job) == Job(pathlib.Path("/tmp/x"), Right(1))


def test_a_class_that_nobody_can_read_is_refused_before_anything_runs() -> None:
    class Custom:
        pass

    for type_ in (Custom, list[Custom], Custom | int, Struct | Custom):
        with pytest.raises(DefinitionError, match="can't be decoded"):
            VALUES.decoder(type_)


def test_without_pydantic_the_error_says_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(
        DefinitionError, match=r"more than one dataclass.*tagged msgspec.Struct.*stepflow\[pydantic\]"
    ):
        Values().decoder(Left | Right)


def test_an_object_inside_of_a_type_is_any_json_without_pydantic_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    values = Values()
    stored = values.encode({"a": [1, None]}, what="a value")

    assert values.decode(stored, dict[str, object]) == {"a": [1, None]}


def test_pydantic_is_not_imported_for_those_who_do_not_use_it() -> None:
    program = (
        "import sys, dataclasses, threading\n"
        "from stepflow.codecs.json import Values\n"
        "from stepflow.errors import SerializationError\n"
        "@dataclasses.dataclass\n"
        "class D:\n    a: int | None\n"
        "values = Values()\n"
        "values.decode(values.encode(D(None), what='x'), D)\n"
        "try:\n    values.encode(threading.Lock(), what='x')\n"
        "except SerializationError: pass\n"
        "print('pydantic' in sys.modules)\n"
    )

    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )

    assert found.stdout.strip() == "False"
