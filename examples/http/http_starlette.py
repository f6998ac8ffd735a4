"""Orders over HTTP, in a Starlette application that works on them itself. Start it::

export STEPFLOW_API_KEY=$(stepflow keys create --quiet)
hypercorn http_starlette:application

curl -X POST localhost:8000/orders/42
curl -H "X-API-Key: $STEPFLOW_API_KEY" "localhost:8000/stepflow/runs/<run>?wait=10s"
"""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from stepflow import Stepflow, sleep, step, workflow
from stepflow.http import any_of, api_key_auth, run_token_auth
from stepflow.integrations.starlette import StepflowMount, stepflow_app


@step
async def charge(amount: int) -> str:
    return f"paid {amount}"


@workflow
async def checkout(amount: int) -> str:
    payment = await charge(amount)  # checkpointed: a crash after this line does not charge again
    await sleep("a moment", "100ms")
    return f"receipt: {payment}"


async def order(request: Request) -> JSONResponse:
    run = await stepflow_app(request).trigger(checkout, int(request.path_params["amount"]))
    return JSONResponse({"run": run.id})


shop = Stepflow("sqlite:///shop.db", workflows=[checkout])
auth = any_of(api_key_auth(os.environ["STEPFLOW_API_KEY"]), run_token_auth())

mount = StepflowMount("/stepflow", shop, auth=auth)
application = Starlette(
    routes=[mount, Route("/orders/{amount:int}", order, methods=["POST"])], lifespan=mount.lifespan
)
