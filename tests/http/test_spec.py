"""The generated files of ``spec/`` are what the server says today."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.make_spec import SCENARIOS, SPEC, openapi_text, recorded

ADVICE = "stale; run `make spec`"


def test_the_openapi_document_is_fresh() -> None:
    assert (SPEC / "openapi.json").read_text(encoding="utf-8") == openapi_text(), ADVICE


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_server_reproduces_the_golden_exchanges(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPFLOW_CONTRACT_STORAGE", "memory://")
    monkeypatch.setenv("STEPFLOW_WORKER", "1")

    found = await recorded(name)

    assert json.loads((SPEC / "fixtures" / f"{name}.json").read_text(encoding="utf-8")) == json.loads(
        found
    ), ADVICE


def test_there_is_no_exchange_that_nothing_records() -> None:
    assert {path.stem for path in (SPEC / "fixtures").glob("*.json")} == set(SCENARIOS)


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = json.loads(openapi_text())

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    def leads_somewhere(reference: str) -> bool:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node.get(part, {})
        return bool(node)

    found = set(references(document))
    assert len(found) > 10
    assert {each for each in found if not leads_somewhere(each)} == set()


def test_each_workflow_has_a_typed_path() -> None:
    paths = json.loads(openapi_text())["paths"]
    body = paths["/trigger/order"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert body == {"$ref": "#/components/schemas/order.Order"}
    assert paths["/trigger/talk"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "integer"
    }
