"""Orders over HTTP, in a Django project of one file, under WSGI or ASGI. Start a server and a worker::

export STEPFLOW_API_KEY=$(stepflow keys create --quiet)
python http_django.py stepflow_worker
gunicorn --workers 2 --threads 8 http_django:application     # or: uvicorn http_django:asynchronous

curl -X POST localhost:8000/orders/42
curl -H "X-API-Key: $STEPFLOW_API_KEY" "localhost:8000/stepflow/runs/<run>?wait=10s"
"""

# Django ships no types.
# pyright: basic

from __future__ import annotations

import os
import sys

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from stepflow import Stepflow, sleep, step, workflow
from stepflow.http import any_of, api_key_auth, run_token_auth


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

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["stepflow.integrations.django"],
    STEPFLOW={"APP": shop, "AUTH": auth, "WORKER": False},
)
django.setup()

from stepflow.integrations.django.asgi import with_stepflow  # noqa: E402 - the settings come first


def order(_: HttpRequest, amount: int) -> JsonResponse:
    run = shop.sync.trigger(checkout, amount)
    return JsonResponse({"run": run.id})


urlpatterns = [
    path("stepflow/", include("stepflow.integrations.django.urls")),
    path("orders/<int:amount>", order),
]
application = get_wsgi_application()
asynchronous = with_stepflow(get_asgi_application())

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
