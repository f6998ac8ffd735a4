"""Naming: no two types are called alike, none changes its name for another, and the same app gives the same text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NewType

import pytest

from stepflow.generate.naming import name_declarations
from stepflow.generate.shapes import STRING, Alias, Declaration
from tests.generate.writing import a_workflow, module_of


def names(*candidates: Sequence[str], differing: set[str] | None = None) -> list[str]:
    """What declarations are called that may be called so."""
    declarations = [Declaration(key=each[-1], names=each, body=Alias(shape=STRING)) for each in candidates]
    found = name_declarations(declarations, differing or set(), ("AppWorkflows",))
    return [found[each[-1]] for each in candidates]


def test_a_name_that_nobody_else_wants_is_kept() -> None:
    assert names(["Order", "ShopOrder"], ["Line", "ShopLine"]) == ["Order", "Line"]


def test_of_several_that_want_a_name_none_gets_it() -> None:
    assert names(["Order", "ShopOrder"], ["Order", "BillingOrder"], ["Order", "MailOrder"]) == [
        "ShopOrder",
        "BillingOrder",
        "MailOrder",
    ]


def test_the_name_grows_until_it_is_the_only_one() -> None:
    assert names(["A", "XA", "YXA"], ["A", "XA", "ZXA"], ["XA"]) == ["YXA", "ZXA", "XA"]


def test_the_form_that_is_sent_needs_a_name_too() -> None:
    assert names(["Order", "ShopOrder"], ["OrderInput", "ApiOrderInput"], differing={"ShopOrder"}) == [
        "ShopOrder",
        "ApiOrderInput",
    ]


def test_what_the_file_says_itself_is_taken() -> None:
    assert names(["AppWorkflows", "ShopAppWorkflows"]) == ["ShopAppWorkflows"]


@pytest.mark.parametrize(("wanted", "name"), [("Örder", "Örder"), ("2nd", "T2nd"), ("-", "Type")])
def test_a_name_is_an_identifier(wanted: str, name: str) -> None:
    assert names([wanted]) == [name]


def made() -> Any:
    """Another class of the same name and place each time."""

    @dataclasses.dataclass
    class Thing:
        value: int

    return Thing


def test_classes_that_no_name_tells_apart_are_numbered() -> None:
    text = module_of(a_workflow(made(), made()), a_workflow(made(), None, id="other"))

    numbered = [line for line in text.splitlines() if line.startswith("export interface Test")]
    assert len(set(numbered)) == 3


class Outer:
    @dataclasses.dataclass
    class Line:
        value: int


@dataclasses.dataclass
class Line:
    inner: Outer.Line


def test_a_nested_class_is_told_by_what_it_is_nested_in() -> None:
    text = module_of(a_workflow(Line, None))

    assert "export interface OuterLine {" in text
    assert "inner: OuterLine;" in text


def test_the_order_of_workflows_changes_nothing() -> None:
    one, other = a_workflow(Line, str, id="one"), a_workflow(Outer.Line, NewType("Id", str), id="an-other")

    assert module_of(one, other) == module_of(other, one)
