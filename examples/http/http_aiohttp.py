"""Orders over HTTP, in an aiohttp application that works on them itself. Start it::

export STEPFLOW_API_KEY=$(stepflow keys create --quiet)
python -m aiohttp.web -H localhost -P 8000 http_aiohttp:application

curl -X POST localhost:8000/orders/42
curl -H "X-API-Key: $STEPFLOW_API_KEY" "localhost:8000/stepflow/runs/<run>?wait=10s"
"""

from __future__ import annotations

import os

from aiohttp import web

from stepflow import Stepflow, sleep, step, workflow
from stepflow.http import any_of, api_key_auth, run_token_auth
from stepflow.integrations.aiohttp import stepflow_application


@step
async def charge(amount: int) -> str:
    return f"paid {amount}"


@workflow
async def checkout(amount: int) -> str:
    payment = await charge(amount)  # checkpointed: a crash after this line does not charge again
    await sleep("a moment", "100ms")
    return f"receipt: {payment}"


shop = Stepflow("sqlite:///shop.db", workflows=[checkout])


async def order(request: web.Request) -> web.Response:
    run = await shop.trigger(checkout, int(request.match_info["amount"]))
    return web.json_response({"run": run.id})


def application(_: list[str]) -> web.Application:
    """Called by ``python -m aiohttp.web`` with what else the command line says."""
    auth = any_of(api_key_auth(os.environ["STEPFLOW_API_KEY"]), run_token_auth())
    found = web.Application()
    found.add_subapp("/stepflow", stepflow_application(shop, auth=auth))
    found.router.add_post(r"/orders/{amount:\d+}", order)
    return found
