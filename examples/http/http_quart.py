"""Orders over HTTP, in a Quart application that works on them itself. Start it::

export STEPFLOW_API_KEY=$(stepflow keys create --quiet)
hypercorn http_quart:application

curl -X POST localhost:8000/orders/42
curl -H "X-API-Key: $STEPFLOW_API_KEY" "localhost:8000/stepflow/runs/<run>?wait=10s"
"""

from __future__ import annotations

import os

from quart import Quart

from stepflow import Stepflow, sleep, step, workflow
from stepflow.http import any_of, api_key_auth, run_token_auth
from stepflow.integrations.quart import stepflow_blueprint


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

application = Quart(__name__)
application.register_blueprint(stepflow_blueprint(shop, auth=auth), url_prefix="/stepflow")


@application.post("/orders/<int:amount>")
async def order(amount: int) -> dict[str, str]:
    run = await shop.trigger(checkout, amount)
    return {"run": run.id}
