"""Orders over HTTP, in a FastAPI application that works on them itself. Start it, and look at /docs::

export STEPFLOW_API_KEY=$(stepflow keys create --quiet)
uvicorn http_fastapi:api

curl -X POST localhost:8000/orders/42
curl -H "X-API-Key: $STEPFLOW_API_KEY" "localhost:8000/stepflow/runs/<run>?wait=10s"
"""

from __future__ import annotations

import os

from fastapi import FastAPI

from stepflow import Stepflow, sleep, step, workflow
from stepflow.http import any_of, api_key_auth, run_token_auth
from stepflow.integrations.fastapi import StepflowApp, stepflow_router


@step
async def charge(amount: int) -> str:
    return f"paid {amount}"


@workflow
async def checkout(amount: int) -> str:
    payment = await charge(amount)  # checkpointed: a crash after this line does not charge again
    await sleep("a moment", "100ms")
    return f"receipt: {payment}"


shop = Stepflow("sqlite:///shop.db", workflows=[checkout])
auth = any_of(api_key_auth(os.environ["STEPFLOW_API_KEY"]), run_token_auth())

api = FastAPI(title="Shop")
api.include_router(stepflow_router(shop, auth=auth), prefix="/stepflow")


@api.post("/orders/{amount}")
async def order(amount: int, app: StepflowApp) -> dict[str, str]:
    run = await app.trigger(checkout, amount)
    return {"run": run.id}
