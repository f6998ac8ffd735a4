"""The request that ``stepflow dev`` prints: an input that the workflow takes, whatever its type is."""

from __future__ import annotations

import shlex
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, Field

from stepflow import Stepflow, workflow
from stepflow.cli.opening import opened
from stepflow.cli.sampling import first_request, sample
from stepflow.codecs.schemas import json_schema


class Colour(Enum):
    RED = "red"


@dataclass
class Tree:
    name: str
    left: Tree | None = None
    others: list[Tree] = field(default_factory=list)


@dataclass
class Chain:
    following: Chain | None


class Typed(TypedDict):
    name: str
    count: int


class Model(BaseModel):
    name: str = Field(min_length=6)
    age: int = Field(gt=17, lt=99)
    colour: Colour


TYPES: list[Any] = [
    str, int, float, bool, None, bytes, Decimal, datetime, timedelta, uuid.UUID, Colour, Tree, Chain, Typed, Model,
    list[int], dict[str, int], tuple[int, str], tuple[int, ...], set[str], int | None, Literal["a", "b"], list[Tree],
    Annotated[int, msgspec.Meta(ge=10)], Annotated[int, msgspec.Meta(lt=-3)], Annotated[str, msgspec.Meta(max_length=2)],
    Annotated[list[int], msgspec.Meta(min_length=3)],
]  # fmt: skip


@pytest.mark.parametrize("type_", TYPES, ids=str)
async def test_a_request_can_be_made_up_for_every_ordinary_type(type_: Any) -> None:
    async def body(value: Any) -> None: ...

    body.__annotations__["value"] = type_
    app = Stepflow("memory://", workflows=[workflow(id="flow")(body)], worker=False)

    async with opened(app, worker=False) as session:
        request = first_request("http://127.0.0.1:8000", session)

    assert request.startswith(
        "curl http://127.0.0.1:8000/trigger/flow -H 'Content-Type: application/json' -d "
    )
    assert len(shlex.split(request)) == 6


async def test_a_workflow_without_input_needs_no_body() -> None:
    @workflow
    async def plain() -> None: ...

    app = Stepflow("memory://", workflows=[plain], worker=False)

    async with opened(app, worker=False) as session:
        assert first_request("http://x", session) == "curl -X POST http://x/trigger/plain"


async def test_where_no_input_can_be_made_up_the_workflows_are_listed() -> None:
    @workflow
    async def picky(value: Annotated[str, msgspec.Meta(pattern="^[0-9]{5}$")]) -> None: ...

    app = Stepflow("memory://", workflows=[picky], worker=False)

    async with opened(app, worker=False) as session:
        assert first_request("http://x", session) == "curl http://x/workflows"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, None),
        ({"default": 3, "type": "integer"}, 3),
        ({"examples": ["ada"], "type": "string"}, "ada"),
        ({"type": ["integer", "null"]}, 1),
        ({"type": "unknown"}, None),
        ({"$ref": "#/$defs/Missing"}, None),
    ],
)
def test_a_sample_follows_what_the_schema_says(schema: dict[str, Any], value: object) -> None:
    assert sample(schema) == value


def test_a_type_that_holds_itself_has_an_end() -> None:
    assert isinstance(sample(json_schema(list[Tree])), list)
