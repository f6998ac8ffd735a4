"""What a callable is called, whether it makes coroutines, and what type it returns."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

from stepflow._engine.callables import function_reference, is_coroutine_function, result_type

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]  # it is missing on purpose

T = TypeVar("T")
HERE = __name__


@dataclass
class Order:
    id: str


def plain(x: int) -> int:
    return x


async def coroutine(x: int) -> list[Order]:
    return []


class Service:
    async def ship(self, order: Order) -> str:
        return order.id

    def pack(self) -> bytes:
        return b""

    @classmethod
    def make(cls) -> int:
        return 1

    @staticmethod
    async def still() -> bool:
        return True


class Adder:
    async def __call__(self, x: int) -> int:
        return x


class SyncAdder:
    def __call__(self, x: int) -> Order:
        return Order(str(x))


def keeping(function: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> T:
        return function(*args)

    return wrapper


@keeping
def decorated() -> float:
    return 1.0


@keeping
async def decorated_coroutine() -> float:
    return 1.0


def returns_awaitable() -> Awaitable[Order]: ...
def returns_coroutine() -> Coroutine[Any, Any, int]: ...
def returns_bare_awaitable() -> Awaitable: ...  # type: ignore[type-arg]
def unknown() -> Missing: ...
def unknown_parameter(x: Missing) -> Order: ...
def unannotated(): ...  # type: ignore[no-untyped-def]
def generic(x: list[T]) -> T: ...
def never() -> NoReturn: ...
def nothing() -> None: ...


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (plain, f"{HERE}:plain"),
        (Service().ship, f"{HERE}:Service.ship"),
        (Service.make, f"{HERE}:Service.make"),
        (functools.partial(functools.partial(plain, 1)), f"{HERE}:plain"),
        (functools.partial(Service().pack), f"{HERE}:Service.pack"),
        (Adder(), f"{HERE}:Adder"),
        (Order, f"{HERE}:Order"),
        (decorated, f"{HERE}:decorated"),
        (len, "builtins:len"),
        ("x".upper, "builtins:str.upper"),
        (str.upper, "builtins:str.upper"),
        (lambda: 1, f"{HERE}:<lambda>"),
    ],
)
def test_a_callable_is_named_by_what_is_behind_it(target: Any, expected: str) -> None:
    assert function_reference(target) == expected


def test_a_function_that_wraps_itself_is_named_by_its_name() -> None:
    def function() -> None: ...

    function.__wrapped__ = function  # type: ignore[attr-defined]

    assert function_reference(function).endswith("<locals>.function")


def test_a_variable_of_the_enclosing_function_may_have_no_value_yet() -> None:
    def function() -> int:
        return len(later)

    assert result_type(function) is int
    later = ""


@pytest.mark.parametrize(
    "target",
    [
        coroutine,
        Service().ship,
        Service.still,
        Adder(),
        functools.partial(Adder()),
        functools.partial(coroutine, 1),
    ],
)
def test_coroutine_functions_are_seen_through_partials_methods_and_objects(target: Any) -> None:
    assert is_coroutine_function(target)


@pytest.mark.parametrize(
    "target",
    [
        plain,
        Service().pack,
        SyncAdder(),
        Adder,
        len,
        functools.partial(plain),
        lambda: coroutine(1),
        decorated_coroutine,
    ],
)
def test_anything_else_is_no_coroutine_function(target: Any) -> None:
    assert not is_coroutine_function(target)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (plain, int),
        (coroutine, list[Order]),
        (Service().ship, str),
        (Service.make, int),
        (functools.partial(plain, 1), int),
        (Adder(), int),
        (SyncAdder(), Order),
        (Order, Order),
        (functools.partial(Order, "x"), Order),
        (decorated, float),
        (returns_awaitable, Order),
        (returns_coroutine, int),
        (nothing, type(None)),
        (unknown_parameter, Order),
    ],
)
def test_the_type_of_a_result_is_its_annotation(target: Any, expected: Any) -> None:
    assert result_type(target) == expected


@pytest.mark.parametrize(
    "target", [unannotated, generic, never, returns_bare_awaitable, len, lambda: 1, functools.partial(len)]
)
def test_without_a_usable_annotation_a_result_is_any_value(target: Any) -> None:
    assert result_type(target) is Any


def test_an_annotation_that_can_not_be_resolved_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "stepflow"):
        first, second = result_type(unknown), result_type(unknown)

    assert first is second is Any
    (warning,) = [record.getMessage() for record in caplog.records]
    assert f"'Missing' of {HERE}:unknown can't be resolved" in warning
    assert "its results come back as plain JSON values" in warning


def test_a_class_of_the_enclosing_function_is_found_if_the_function_uses_it() -> None:
    @dataclass
    class Local:
        x: int

    def make() -> Local:
        return Local(1)

    assert result_type(make) is Local
