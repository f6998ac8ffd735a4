"""attrs classes as values."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stepflow.codecs.json import Values
from stepflow.errors import SerializationError

attrs = pytest.importorskip("attrs")

VALUES = Values()


@attrs.define
class Inner:
    number: float


@attrs.frozen
class Outer:
    name: str
    inner: Inner | None = None


def back(value: object, type_: Any) -> Any:
    """The value, stored and read again."""
    return VALUES.decode(VALUES.encode(value, what="a value"), type_)


def test_an_attrs_value_comes_back_as_it_was() -> None:
    assert back([Outer("a", Inner(1.5))], list[Outer]) == [Outer("a", Inner(1.5))]


def test_a_fault_inside_an_attrs_value_is_found() -> None:
    with pytest.raises(SerializationError, match=r"\$\.inner\.number is nan"):
        VALUES.encode(Outer("a", Inner(math.nan)), what="a value")
