"""Declaring steps: what is kept of the function, what is refused, and how options are written."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stepflow.errors import DefinitionError
from stepflow.primitives import Step, step
from stepflow.workflows import workflow


def price(x: int, *, currency: str = "EUR") -> int:
    """The price."""
    return x


class Tool:
    def __call__(self) -> int:
        return 1


def test_a_step_keeps_what_python_knows_of_its_function() -> None:
    declared = step(price)

    assert (declared.__name__, declared.__doc__, declared.__module__) == ("price", "The price.", __name__)
    assert declared.__wrapped__ is price
    assert repr(declared) == f"<step 'price' {__name__}:price>"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (price, "price"),
        (functools.partial(price, 1), "price"),
        (Tool(), "Tool"),
        (functools.partial(Tool()), "Tool"),
        (int, "int"),
    ],
)
def test_a_step_is_named_after_what_is_behind_it(function: Any, name: str) -> None:
    assert step(function).name == name


def test_a_step_may_be_named_otherwise() -> None:
    assert step(name="cost")(price).name == "cost"


def test_options_without_a_name_are_a_decorator_and_verbs() -> None:
    options = step(retry=3)

    assert isinstance(options(price), Step)
    assert callable(options.run)


def test_options_with_a_name_are_a_decorator_only() -> None:
    assert not hasattr(step(name="cost"), "run")


def test_a_step_stays_itself_as_an_attribute_of_a_class_if_it_is_no_function() -> None:
    class Box:
        tool = step(Tool())

    assert Box().tool is Box.__dict__["tool"]


def test_a_bound_step_is_a_step() -> None:
    class Shop:
        @step(name="sell")
        async def sale(self) -> None: ...

    assert isinstance(Shop().sale, Step)
    assert Shop().sale.name == "sell"
    assert isinstance(Shop.sale, Step)


@pytest.mark.parametrize("thing", [None, 3, "charge", step(price)])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(DefinitionError, match="it decorates a function or a method"):
        step(thing)


def test_a_workflow_is_no_step() -> None:
    @workflow
    async def job() -> None: ...

    with pytest.raises(DefinitionError):
        step(job)


def test_generators_are_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def stream() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, stream):
        with pytest.raises(DefinitionError, match="it yields"):
            step(function)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"color": "red"}, "no option color"),
        ({"name": ""}, "name"),
        ({"retry": 0}, "attempts=0"),
        ({"retry": "3"}, "attempts='3'"),
        ({"timeout": "soon"}, "not a duration"),
        ({"timeout": 0}, "longer than 0"),
        ({"executor": "gpu"}, "'thread', 'process', 'inline' or an Executor"),
        ({"key": 3}, "a text, or a function"),
        ({"at_most_once": True, "retry": 3}, "at most once means one attempt"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        step(**options)


def test_an_executor_of_ones_own_is_accepted() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert step(executor=pool)(price).plan.options.executor is pool


def test_a_call_in_place_of_a_function_is_refused_with_a_hint() -> None:
    async def charge() -> None: ...

    with pytest.raises(DefinitionError, match="pass the function itself, not its call"):
        step.run("charge", charge())  # type: ignore[call-overload]
