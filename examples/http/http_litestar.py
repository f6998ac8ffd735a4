"""Orders over HTTP, in a Litestar application that works on them itself. Start it::

export STEPFLOW_API_KEY=$(stepflow keys create --quiet)
uvicorn http_litestar:application

curl -X POST localhost:8000/orders/42
curl -H "X-API-Key: $STEPFLOW_API_KEY" "localhost:8000/stepflow/runs/<run>?wait=10s"
"""

from __future__ import annotations

import os

from litestar import Litestar, post

from stepflow import Stepflow, sleep, step, workflow
from stepflow.http import any_of, api_key_auth, run_token_auth
from stepflow.integrations.litestar import StepflowPlugin


@step
async def charge(amount: int) -> str:
    return f"paid {amount}"


@workflow
async def checkout(amount: int) -> str:
    payment = await charge(amount)  # checkpointed: a crash after this line does not charge again
    await sleep("a moment", "100ms")
    return f"receipt: {payment}"


@post("/orders/{amount:int}")
async def order(amount: int, stepflow: Stepflow) -> dict[str, str]:  # the plugin gives the open app
    run = await stepflow.trigger(checkout, amount)
    return {"run": run.id}


shop = Stepflow("sqlite:///shop.db", workflows=[checkout])
auth = any_of(api_key_auth(os.environ["STEPFLOW_API_KEY"]), run_token_auth())

application = Litestar([order], plugins=[StepflowPlugin(shop, "/stepflow", auth=auth)])
