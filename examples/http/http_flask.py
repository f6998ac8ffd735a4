"""Orders over HTTP, in a Flask application; workers are processes of their own. Start one of each::

export STEPFLOW_API_KEY=$(stepflow keys create --quiet)
stepflow worker http_flask:shop
gunicorn --workers 2 --threads 8 http_flask:application

curl -X POST localhost:8000/orders/42
curl -H "X-API-Key: $STEPFLOW_API_KEY" "localhost:8000/stepflow/runs/<run>?wait=10s"
"""

from __future__ import annotations

import os

from flask import Flask

from stepflow import Stepflow, sleep, step, workflow
from stepflow.http import any_of, api_key_auth, run_token_auth
from stepflow.integrations.flask import stepflow_blueprint


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

application = Flask(__name__)
application.register_blueprint(stepflow_blueprint(shop, auth=auth), url_prefix="/stepflow")


@application.post("/orders/<int:amount>")
def order(amount: int) -> dict[str, str]:
    run = shop.sync.trigger(checkout, amount)
    return {"run": run.id}
