"""Declaring workflows: what is accepted, what is refused with which words, and which types are found."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from stepflow.errors import DefinitionError, DeserializationError, InputError
from stepflow.model.payloads import NULL, Payload
from stepflow.primitives import step
from stepflow.retry import Retry
from stepflow.workflows import Workflow, workflow
from tests.fundamentals.driving import decode, encode

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]  # it is missing on purpose


@dataclass
class Order:
    id: str
    total: int = 0


@workflow
async def plain() -> int:
    """Says one."""
    return 1


@workflow
async def survey_customer(customer: str) -> int:
    return len(customer)


@workflow
async def daily(day: str = "today") -> str:
    return day


@workflow
async def maybe(day: str | None = "today") -> str | None:
    return day


@workflow
async def early(order: Later) -> Later:
    return order


@workflow
async def lost(order: Missing) -> None: ...


@workflow
async def lost_result() -> Missing: ...


@workflow
async def untyped(anything=None):  # type: ignore[no-untyped-def]
    return anything


@dataclass
class Later:
    name: str


# ------------------------------------------------------------------ what is kept
def test_a_workflow_keeps_what_python_knows_of_its_function() -> None:
    assert plain.__name__ == "plain"
    assert plain.__doc__ == "Says one."
    assert plain.__module__ == __name__


def test_its_id_is_its_name_in_kebab_case() -> None:
    assert survey_customer.id == "survey-customer"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("etl", "etl"),
        ("nightly_etl", "nightly-etl"),
        ("surveyCustomer", "survey-customer"),
        ("loadHTTPLogs", "load-http-logs"),
        ("_private", "private"),
        ("step_2b", "step-2b"),
    ],
)
def test_ids_are_made_from_names(name: str, expected: str) -> None:
    async def function() -> None: ...

    function.__name__ = name

    assert workflow(function).id == expected


def test_options_are_kept_and_made_exact() -> None:
    @workflow(id="checkout.v2", retry=4, timeout="1h", version="2026-01", queue="slow")
    async def checkout() -> None: ...

    definition = checkout.definition
    assert (definition.id, definition.version, definition.queue) == ("checkout.v2", "2026-01", "slow")
    assert definition.retry == Retry(attempts=4)
    assert definition.timeout == timedelta(hours=1)


def test_without_options_a_workflow_is_tried_once_in_the_default_queue() -> None:
    assert plain.definition.retry.attempts == 1
    assert plain.definition.timeout is None
    assert plain.definition.queue == "default"


async def test_called_directly_it_is_the_plain_function() -> None:
    assert await survey_customer("ada") == 3
    assert await plain() == 1
    assert await daily() == "today"


async def test_a_function_inside_a_function_may_be_a_workflow() -> None:
    @workflow
    async def inner(x: int) -> int:
        return x + 1

    assert await inner(1) == 2
    assert inner.id == "inner"


def test_a_decorated_coroutine_function_may_be_a_workflow() -> None:
    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    @workflow
    @traced
    async def job(order: Order) -> Order:
        return order

    assert job.definition.has_input
    assert job.definition.types.input is Order


# ------------------------------------------------------------------ what is refused
def refused(function: Any, **options: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        (workflow(**options) if options else workflow)(function)
    return str(caught.value)


def test_two_inputs_are_refused_by_name() -> None:
    async def two(a: int, b: int = 2) -> None: ...

    assert "2 inputs (a, b); put them in one dataclass" in refused(two)


def test_a_refusal_names_the_function() -> None:
    async def two(a: int, b: int) -> None: ...

    assert f"{__name__}:test_a_refusal_names_the_function.<locals>.two" in refused(two)


def test_keyword_only_inputs_are_refused() -> None:
    async def keyword(*, a: int) -> None: ...
    async def optional(a: int, *, b: int = 1) -> None: ...

    assert "'a' is not positional" in refused(keyword)
    assert "'b' is not positional" in refused(optional)


def test_variable_inputs_are_refused() -> None:
    async def many(*args: int) -> None: ...
    async def named(**kwargs: int) -> None: ...

    assert "'*args' is not positional" in refused(many)
    assert "'**kwargs' is not positional" in refused(named)


def test_methods_are_refused() -> None:
    class Shop:
        async def close(self) -> None: ...

        @staticmethod
        async def still() -> None: ...

    async def loose(self: Any) -> None: ...

    assert "not a method" in refused(Shop.close)
    assert "not a method" in refused(Shop.still)
    assert "not a method" in refused(Shop.__dict__["still"])
    assert "first parameter is 'self'" in refused(loose)


def test_generators_are_refused() -> None:
    async def stream() -> AsyncIterator[int]:
        yield 1

    def numbers() -> Iterator[int]:
        yield 1

    assert "it yields" in refused(stream)
    assert "it yields" in refused(numbers)


def test_a_plain_def_is_refused() -> None:
    def plain_def() -> None: ...

    assert "`async def`" in refused(plain_def)


@pytest.mark.parametrize("thing", [None, 3, int, functools.partial(int), plain, step(lambda: 1)])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    assert "it decorates a module-level `async def`" in refused(thing)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"id": "a b"}, "malformed"),
        ({"id": ""}, "malformed"),
        ({"queue": "/"}, "queue"),
        ({"timeout": "3 months"}, "60d"),
        ({"timeout": 0}, "longer than 0"),
        ({"retry": 0}, "attempts=0"),
        ({"version": ""}, "version"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], reason: str) -> None:
    async def function() -> None: ...

    assert reason in refused(function, **options)


def test_a_name_that_makes_no_id_is_refused_with_a_hint_at_what_is_wrong() -> None:
    async def function() -> None: ...

    function.__name__ = "größe"

    assert "workflow id 'größe' is malformed" in refused(function)


def test_an_unknown_option_is_refused() -> None:
    async def function() -> None: ...

    with pytest.raises(TypeError):
        workflow(color="red")(function)  # type: ignore[call-overload]


# ------------------------------------------------------------------ types
def test_types_are_the_annotations() -> None:
    types = survey_customer.definition.types

    assert (types.input, types.output) == (str, int)


def test_types_may_be_declared_after_the_workflow() -> None:
    assert early.definition.resolve().input is Later


def test_annotated_types_keep_their_constraints() -> None:
    @workflow
    async def bounded(x: Annotated[int, msgspec.Meta(ge=1)]) -> None: ...

    with pytest.raises(InputError, match=">= 1"):
        bounded.definition.check_input(encode(0), decode)


def test_a_missing_annotation_is_any_value() -> None:
    assert untyped.definition.types.input is Any
    assert untyped.definition.types.output is Any


@pytest.mark.parametrize(("definition", "what"), [(lost, "input 'order'"), (lost_result, "result")])
def test_an_annotation_that_can_not_be_resolved_is_named(definition: Workflow[Any, Any], what: str) -> None:
    with pytest.raises(DefinitionError, match=f"'Missing' of its {what}.*TYPE_CHECKING"):
        definition.definition.resolve()


# ------------------------------------------------------------------ input
def read(target: Workflow[Any, Any], payload: Payload) -> tuple[Any, ...]:
    return target.definition.read_input(payload, decode)


def test_an_input_is_decoded_as_its_type() -> None:
    assert read(early, encode({"name": "x"})) == (Later("x"),)


def test_a_workflow_without_input_is_called_without_one() -> None:
    assert read(plain, NULL) == ()


def test_null_stands_for_the_default_of_an_input_that_can_not_be_null() -> None:
    assert read(daily, NULL) == ()
    assert read(daily, encode("monday")) == ("monday",)


def test_null_is_null_for_an_input_that_may_be() -> None:
    assert read(maybe, NULL) == (None,)
    assert read(untyped, NULL) == (None,)


def test_null_is_null_for_an_optional_type_that_only_pydantic_can_decode() -> None:
    @workflow
    async def choosy(value: list[int] | tuple[str, int] | None = ()) -> None: ...  # type: ignore[assignment]

    @workflow
    async def strict(value: list[int] | tuple[str, int] = ()) -> None: ...  # type: ignore[assignment]

    assert not choosy.definition.types.null_is_default
    assert strict.definition.types.null_is_default


def test_null_does_not_fit_an_input_without_a_default() -> None:
    with pytest.raises(DeserializationError):
        read(survey_customer, NULL)


def test_an_input_that_does_not_fit_is_refused_before_it_is_stored() -> None:
    with pytest.raises(InputError, match="input of workflow 'survey-customer' does not fit"):
        survey_customer.definition.encode_input(3, encode, decode)


def test_an_input_for_a_workflow_without_one_is_refused() -> None:
    with pytest.raises(InputError, match="takes no input"):
        plain.definition.encode_input(3, encode, decode)


async def test_a_definition_starts_the_function_with_its_input() -> None:
    assert await survey_customer.definition.start(encode("four"), decode) == 4
