"""Values: what comes back is what was given; what can't come back is refused, with the place where it stands."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import json
import math
import threading
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow import types
from stepflow.codecs.decoders import build_decoder
from stepflow.codecs.json import DEFAULT_LIMIT, Values
from stepflow.errors import (
    DefinitionError,
    DeserializationError,
    PayloadTooLargeError,
    SerializationError,
)
from stepflow.model.payloads import NULL, Payload

VALUES = Values()
Item = TypeVar("Item")


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float


class Movie(TypedDict, total=False):
    title: str
    year: int


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    street: str
    _note: str | None = None


@dataclasses.dataclass
class Customer:
    id: uuid.UUID
    born: dt.date
    home: Address
    tags: set[str] = dataclasses.field(default_factory=set[str])
    manager: Customer | None = None


@dataclasses.dataclass
class Box(Generic[Item]):
    content: Item


class Cat(msgspec.Struct, tag="cat", frozen=True):
    name: str


class Dog(msgspec.Struct, tag="dog", frozen=True):
    name: str


class Text(str):
    __slots__ = ()


class Count(int):
    pass


class Ratio(float):
    pass


@dataclasses.dataclass
class Envelope:
    sender: str
    content: object
    notes: dict[str, object] = dataclasses.field(default_factory=dict[str, object])


ALICE = Customer(uuid.UUID(int=1), dt.date(2000, 2, 29), Address("Main St", "ring twice"), {"a", "b"})


def back(value: object, type_: Any) -> Any:
    """The value, stored and read again."""
    return VALUES.decode(VALUES.encode(value, what="a value"), type_)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (None, None),
        (True, bool),
        (2**63, int),
        (-(2**200), int),
        (10**4000, int),
        (0.1 + 0.2, float),
        (5e-324, float),
        (1.7976931348623157e308, float),
        ("\u0000 \U0001f600 \u2028 \x1b \x7f", str),
        (b"\x00\xff", bytes),
        (bytearray(b"ab"), bytearray),
        (dt.datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=dt.UTC), dt.datetime),
        (dt.datetime(2024, 2, 29, 1, 2, 3), dt.datetime),  # noqa: DTZ001 - naive on purpose
        (dt.time(1, 2, 3, 4), dt.time),
        (dt.timedelta(days=-3, microseconds=7), dt.timedelta),
        (decimal.Decimal("1.10"), decimal.Decimal),
        (decimal.Decimal("NaN"), decimal.Decimal | None),
        (uuid.UUID(int=5), uuid.UUID),
        (Color.RED, Color),
        (Level.LOW, Level),
        (Rights.READ | Rights.WRITE, Rights),
        (Point(1, 2.5), Point),
        ({"title": "Up"}, Movie),
        (ALICE, Customer),
        (dataclasses.replace(ALICE, manager=ALICE), Customer),
        (Box(Box("x")), Box[Box[str]]),
        ([Cat("Tom"), Dog("Rex")], list[Cat | Dog]),
        ((1, "a"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ({1, 2}, set[int]),
        (frozenset({"a"}), frozenset[str]),
        ({1: {"a": None}}, dict[int, dict[str, int | None]]),
        ({uuid.UUID(int=7): 1}, dict[uuid.UUID, int]),
        (5, int | str | None),
        ("b", Literal["a", "b"]),
        ([1], Sequence[int]),
        ({"a": 1}, Mapping[str, int]),
        ([1, "a", None, {"b": [2.5]}], Any),
        ([1], object),
        ([1, "a", None, {"b": [2.5]}], list[object]),
        ({"a": [1], "b": None}, dict[str, object]),
        ({"a": [{"b": 1}]}, Mapping[str, Sequence[object]]),
        ((1, {"a": 1}), tuple[int, object]),
        ([None, 1], list[object | None]),
        (Envelope("Al", [1, "a"], {"seen": True}), Envelope),
        ({"a": [1]}, types.Json),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_value_comes_back_as_it_was(value: object, type_: Any) -> None:
    assert repr(back(value, type_)) == repr(value) or back(value, type_) == value


def test_without_an_annotation_json_builtins_are_delivered() -> None:
    found = back(ALICE, inspect.Parameter.empty)

    assert found["born"] == "2000-02-29"
    assert found["home"] == {"street": "Main St", "_note": "ring twice"}


@pytest.mark.parametrize(("value", "plain"), [(Text("a"), "a"), (Count(3), 3), (Ratio(0.5), 0.5)])
def test_subclasses_of_text_and_numbers_are_stored_as_what_they_are(value: object, plain: object) -> None:
    assert back([value], Any) == [plain]


def test_mappings_of_the_standard_library_are_objects() -> None:
    assert back([OrderedDict(b=1, a=2), defaultdict(list, c=[3])], Any) == [{"b": 1, "a": 2}, {"c": [3]}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON)
def test_any_json_comes_back_exactly_and_is_json_to_others(value: Any) -> None:
    payload = VALUES.encode(value, what="a value")

    assert VALUES.json(payload) == value
    assert json.loads(bytes(payload.data)) == value


@settings(deadline=None)
@given(
    st.builds(
        Customer,
        st.uuids(),
        st.dates(),
        st.builds(Address, st.text(), st.none() | st.text()),
        st.sets(st.text()),
    )
)
def test_any_dataclass_comes_back_exactly(customer: Customer) -> None:
    assert back(customer, Customer) == customer


# ------------------------------------------------------------------ refused when encoded
def cycle() -> list[Any]:
    looped: list[Any] = [1, {}]
    looped[1]["again"] = looped
    return looped


def nested(levels: int) -> Any:
    """0 in so many lists."""
    inner: Any = 0
    for _ in range(levels):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (threading.Lock(), r"\$ is a _thread.lock"),
        ({"items": [1, {"lock": threading.Lock()}]}, r"\$\.items\[1\]\.lock is a _thread.lock"),
        (Box(Box(iter([1]))), r"\$\.content\.content is a list_iterator"),
        (Cat(name=Color), r"\$\.name is a enum.EnumType"),  # type: ignore[arg-type]
        ((n for n in [1]), r"\$ is a generator"),
        ([Customer], r"\$\[0\] is a type"),
        ({"odd key": [math.nan]}, r"\$\['odd key'\]\[0\] is nan"),
        (math.inf, r"\$ is inf"),
        ([None, -math.inf], r"\$\[1\] is -inf"),
        ([2**100, math.nan], r"\$\[1\] is nan"),
        (Box(Ratio("nan")), r"\$\.content is nan"),
        ("\ud800", r"\$ holds a lone surrogate"),
        (["ok", {"a": "\udfff"}], r"\$\[1\]\.a holds a lone surrogate"),
        ({"a": {"\ud800": 1}}, r"\$\.a has a key with a lone surrogate"),
        ([{(1, 2): 3}], r"\$\[0\] has a key of type tuple"),
        (cycle(), r"\$\[1\]\.again refers back"),
        (nested(101), r"is nested deeper than 100 levels"),
        (nested(100_000), r"is nested deeper than 100 levels"),
        (10**5000, r"\$ is a int .*4300 digits"),
        ([msgspec.UNSET], r"\$\[0\] is a msgspec.UnsetType"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_json_can_not_hold_is_refused_with_its_place(value: object, problem: str) -> None:
    with pytest.raises(
        SerializationError, match=rf"the result of step 'charge' can't be stored: .*{problem}"
    ):
        VALUES.encode(value, what="the result of step 'charge'")


def test_a_hundred_levels_are_not_too_deep() -> None:
    assert back(nested(100), Any) == nested(100)


def test_brackets_in_text_are_no_levels() -> None:
    value = ["[{" * 200, {'\\"[[': "]"}, "\\"] * 3

    assert back(value, Any) == value


def test_shared_parts_are_no_cycle() -> None:
    shared = [1.5, None]

    assert back([shared, [shared]], Any) == [[1.5, None], [[1.5, None]]]


def test_the_search_for_a_fault_ends_at_the_first_one() -> None:
    many: list[Any] = [threading.Lock()]
    for _ in range(60):
        many = [many, many]

    with pytest.raises(SerializationError, match=r"\$\[0\].*is a _thread.lock"):
        VALUES.encode(many, what="a value")


def test_what_is_shared_or_deep_but_sound_is_passed_over_in_the_search() -> None:
    shared = [1]

    with pytest.raises(SerializationError, match=r"\$\[3\] is a _thread.lock"):
        VALUES.encode([shared, shared, nested(99), threading.Lock()], what="a value")


def test_a_long_path_is_shortened() -> None:
    deep: Any = threading.Lock()
    for _ in range(90):
        deep = {"level": deep}

    with pytest.raises(SerializationError) as caught:
        VALUES.encode(deep, what="a value")

    assert "…" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_value_whose_own_code_fails_is_refused_with_what_it_said() -> None:
    class Odd(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return 1

        def __iter__(self) -> Iterator[str]:
            return iter("a")

        def __len__(self) -> int:
            return 1

    with pytest.raises(SerializationError, match=r"\$\[0\] is a .*Odd; use builtins"):
        VALUES.encode([Odd()], what="a value")


def test_the_limit_is_exact() -> None:
    assert VALUES.encode("x" * (DEFAULT_LIMIT - 2), what="a value").size == DEFAULT_LIMIT
    with pytest.raises(PayloadTooLargeError) as caught:
        VALUES.encode("x" * (DEFAULT_LIMIT - 1), what="the input")

    assert (caught.value.what, caught.value.size, caught.value.limit) == (
        "the input",
        DEFAULT_LIMIT + 1,
        DEFAULT_LIMIT,
    )


def test_a_limit_of_its_own_wins() -> None:
    with pytest.raises(PayloadTooLargeError):
        VALUES.encode("xxx", what="a value", limit=4)
    assert Values(limit=1).encode("xxx", what="a value", limit=5).size == 5


# ------------------------------------------------------------------ refused when decoded
@pytest.mark.parametrize(
    ("text", "type_", "problem"),
    [
        (b'{"a":1}', int, "as int: Expected `int`, got `object`"),
        (b'{"content":{"content":1}}', Box[Box[str]], r"Expected `str`, got `int` - at `\$.content.content`"),
        (b'{"id":"x"}', Customer, r"Customer: Invalid UUID - at `\$.id`"),
        (b"[1", Any, "truncated"),
        (b"\xff", str, "malformed"),
        (b"[" * 100_000, Any, "recursion"),
        (b'{"type":"cow"}', Cat | Dog, "Invalid value 'cow'"),
    ],
    ids=lambda each: f"{each!r:.40}",
)
def test_what_does_not_fit_is_refused_with_its_place(text: bytes, type_: Any, problem: str) -> None:
    decode = VALUES.decoder(type_, what="the result of step 'charge'")

    with pytest.raises(
        DeserializationError, match=rf"the result of step 'charge' can't be decoded .*{problem}"
    ):
        decode(Payload(msgspec.Raw(text)))


def test_a_class_that_refuses_what_was_stored_is_heard() -> None:
    @dataclasses.dataclass
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise LookupError("odd")

    with pytest.raises(DeserializationError, match="Even: odd"):
        VALUES.decode(Payload(msgspec.Raw(b'{"number":3}')), Even)


def test_an_error_does_not_show_what_was_stored() -> None:
    with pytest.raises(DeserializationError) as caught:
        VALUES.decode(Payload(msgspec.Raw(b'{"content":"hunter2"}')), Box[int])

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("type_", "problem"),
    [
        (Callable[[int], int], "Callable has no JSON form"),
        (Iterator[int], "Iterator has no JSON form"),
        (list[threading.Thread], "Thread has no JSON form"),
        ("Customer", "its class is not known here"),
    ],
)
def test_a_type_that_can_not_be_stored_is_refused_before_anything_runs(type_: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        VALUES.decoder(type_)


def test_a_decoder_is_made_once_for_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def counted(type_: Any) -> Any:
        made.append(type_)
        return build_decoder(type_)

    monkeypatch.setattr("stepflow.codecs.json.build_decoder", counted)
    values = Values()

    assert [values.decode(NULL, int | None), values.decode(NULL, int | None)] == [None, None]
    assert made == [int | None]


def test_an_annotation_that_can_not_be_hashed_works_too() -> None:
    assert VALUES.decode(Payload(msgspec.Raw(b"3")), Annotated[int, ["a note"]]) == 3


def test_the_json_text_of_a_value_can_be_compared_whatever_its_codec() -> None:
    one, other = VALUES.encode([1], what="a value"), VALUES.encode([2], what="a value")

    assert VALUES.same(one, VALUES.encode([1], what="a value"))
    assert not VALUES.same(one, other)
