"""Events: those that modules declare, keyed by what their ids can be."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from stepflow import Event, workflow
from stepflow.types import Json
from tests.generate.writing import a_workflow, module_of

FLOW = a_workflow(None, None)


def events(*held: object) -> list[str]:
    """The lines that are written of the events in a module."""
    module = ModuleType("held")
    for number, each in enumerate(held):
        setattr(module, f"name_{number}", each)
    text = module_of(FLOW, modules=[module])
    if "AppEvents" not in text:
        return []
    assert "\n    workflows: AppWorkflows;\n    events: AppEvents;\n" in text
    body = text.split("export interface AppEvents {\n")[1].partition("}\n\ndeclare")[0]
    return [line.strip() for line in body.splitlines()]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event("shipped/{id}", int), "[id: `shipped/${string}`]: number;"),
        (Event("closed", str), "closed: string;"),
        (Event("shop/closed", bool), '"shop/closed": boolean;'),
        (Event("{a}{b}/{c}-x"), "[id: `${string}/${string}-x`]: unknown;"),
        (Event("a`$\\{{/{id}", Json), "[id: `a\\`$\\\\{/${string}`]: unknown;"),
        (Event("${{x}}/{id}", int), "[id: `\\${x}/${string}`]: number;"),
    ],
    ids=str,
)
def test_an_event_is_keyed_by_its_template(event: Event[Any], line: str) -> None:
    assert events(event) == [line]


def test_without_events_none_are_registered() -> None:
    assert events() == []
    assert "    workflows: AppWorkflows;\n  }" in module_of(FLOW)


def test_events_are_sorted_and_each_is_written_once() -> None:
    one, other = Event("b/{id}", int), Event("a", str)

    assert events(one, other, one) == ["a: string;", "[id: `b/${string}`]: number;"]


def test_an_event_of_two_types_takes_both() -> None:
    assert events(Event("a", str), Event("a", int)) == ["a: string | number;"]


def test_a_pattern_takes_what_the_narrower_ones_take() -> None:
    lines = events(Event("order/{id}", int), Event("order/{id}/paid", bool), Event("order/all", str))

    assert lines == [
        "[id: `order/${string}`]: number | boolean | string;",
        "[id: `order/${string}/paid`]: boolean;",
        '"order/all": string;',
    ]


def test_events_of_a_module_that_the_module_holds_are_found() -> None:
    inner = ModuleType("inner")
    inner.shipped = Event("shipped/{id}", int)  # type: ignore[attr-defined]

    assert events(inner) == ["[id: `shipped/${string}`]: number;"]


@workflow
async def here() -> None:
    raise NotImplementedError


def test_events_of_the_workflow_s_module_are_found() -> None:
    assert "hello-from-here" in module_of(here.definition)


hello = Event("hello-from-here")
