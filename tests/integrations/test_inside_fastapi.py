"""What FastAPI itself knows of the API: its documentation, its dependencies, its lifespan."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request

from stepflow import DefinitionError, Stepflow, workflow
from stepflow.auth import AuthContext, AuthResult
from stepflow.http import allow_all
from stepflow.integrations.fastapi import StepflowApp, stepflow_router


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list["Tree"])


@workflow
async def plant(tree: Tree) -> str:
    """Plant a tree."""
    return tree.name


@workflow
async def double(number: int) -> int:
    return 2 * number


def make(prefix: str = "/stepflow", **options: Any) -> FastAPI:
    app = Stepflow("memory://", workflows=[plant, double], worker=True)
    api = FastAPI()
    api.include_router(stepflow_router(app, **{"auth": allow_all(), **options}), prefix=prefix)

    @api.post("/double/{number}")
    async def start(number: int, app: StepflowApp) -> dict[str, Any]:
        run = await app.trigger(double, number)
        return {"result": await run.result()}

    return api


@asynccontextmanager
async def served(api: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the application, which lives meanwhile as it does under a server."""
    async with api.router.lifespan_context(api) as state:

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await api({**scope, "state": dict(state or {})}, receive, send)

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url="http://test"
        ) as client:
            yield client


def test_the_routes_stand_in_the_application_s_documentation() -> None:
    document = make().openapi()

    trigger = document["paths"]["/stepflow/trigger/double"]["post"]
    assert trigger["requestBody"]["content"]["application/json"]["schema"] == {"type": "integer"}
    assert document["paths"]["/stepflow/trigger/plant"]["post"]["description"] == "Plant a tree."
    assert set(document["paths"]["/stepflow/runs/{runId}"]) == {"get", "delete"}
    assert "/stepflow/notify/{eventId}" in document["paths"]
    assert {"Stepflow key", "Stepflow token"} <= set(document["components"]["securitySchemes"])
    assert not any("rest" in path for path in document["paths"])


def test_what_is_documented_refers_to_nothing_that_is_not_there() -> None:
    document = make().openapi()

    refers = [text for text in json.dumps(document).split('"') if text.startswith("#/components/schemas/")]
    assert {each.rsplit("/", 1)[1] for each in refers} <= set(document["components"].get("schemas", {}))


async def test_endpoints_that_are_switched_off_are_not_documented_and_not_found() -> None:
    api = make(endpoints="internal")

    async with served(api) as client:
        assert [path for path in api.openapi()["paths"] if path.startswith("/stepflow")] == [
            "/stepflow/health",
            "/stepflow/health/live",
        ]
        assert (await client.post("/stepflow/trigger/double", json=1)).status_code == 404
        assert (await client.get("/stepflow/health")).status_code == 200


async def test_the_app_is_a_dependency_and_lives_as_long_as_the_application() -> None:
    api = make()

    for number in (1, 2):  # a second time, too: test clients come and go
        async with served(api) as client:
            assert (await client.post(f"/double/{number}")).json() == {"result": 2 * number}
            assert (await client.post("/stepflow/trigger/double", json=number)).status_code == 200


async def test_without_a_prefix_the_application_keeps_its_other_routes() -> None:
    async with served(make(prefix="")) as client:
        assert (await client.post("/double/3")).json() == {"result": 6}
        assert (await client.get("/health")).json()["status"] == "ok"
        assert (await client.get("/nothing")).json() == {"detail": "Not Found"}


async def test_a_prefix_may_have_parameters_and_routers_may_be_nested() -> None:
    app = Stepflow("memory://", workflows=[double], worker=True)
    inner, api = APIRouter(), FastAPI()
    inner.include_router(stepflow_router(app, auth=allow_all()), prefix="/{tenant}")
    api.include_router(inner, prefix="/tenants")

    async with served(api) as client:
        run_id = (await client.post("/tenants/acme/trigger/double", json=4)).json()["runId"]
        assert (await client.post("/tenants/acme/notify/a/b%2Fc", json=4)).json()["woken"] == 0
        assert (await client.get("/tenants/acme/health")).status_code == 200
        assert run_id


async def test_an_auth_handler_sees_the_framework_s_own_request() -> None:
    seen: list[Any] = []

    def by_request(context: AuthContext) -> AuthResult:
        seen.append(context.extra)
        return AuthResult(kind="custom", subject="ada", runs=None, operations=True)

    async with served(make(auth=by_request)) as client:
        assert (await client.get("/stepflow/runs")).status_code == 200

    [request] = seen
    assert isinstance(request, Request)
    assert request.url.path == "/stepflow/runs"


def test_a_router_without_auth_is_refused_when_it_is_made() -> None:
    with pytest.raises(DefinitionError, match="allow_all"):
        stepflow_router(Stepflow("memory://", workflows=[double]))
