"""What is particular to Django: its settings, its command, and servers that do not say when they begin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, sys
import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import AsyncClient, Client, override_settings
from django.urls import include, path
from stepflow import Stepflow, workflow
from stepflow.http import allow_all
from stepflow.auth import AuthResult

@workflow
async def echo(value: object) -> object:
    return value

seen = []

def auth(context):
    seen.append(type(context.extra).__name__)
    return allow_all()(context)

class ReadsBodies:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        seen.append(request.body)
        return self.get_response(request)

shop = Stepflow("sqlite:///django.db", workflows=[echo], worker=False)
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, INSTALLED_APPS=["stepflow.integrations.django"],
    MIDDLEWARE=[__name__ + ".ReadsBodies"],
    STEPFLOW={"APP": __name__ + ":shop", "AUTH": __name__ + ".auth"},
)
urlpatterns = [path("s/", include("stepflow.integrations.django.urls"))]
django.setup()

def told(function):
    try:
        function()
    except ImproperlyConfigured as error:
        print("refused:", error)

async def under_asgi():
    asynchronous = AsyncClient()
    try:
        await asynchronous.get("/s/health")
    except ImproperlyConfigured as error:
        print("refused:", error)
    async with shop:
        answer = await asynchronous.get("/s/runs")
        print("asgi", answer.status_code, len(answer.json()["items"]), seen[-1])


def main():
    client = Client()
    answer = client.post("/s/trigger/echo", {"a": 1}, content_type="application/json")
    run = client.get("/s/runs/" + answer.json()["runId"]).json()
    print("wsgi", answer.status_code, run["input"], seen[0], seen[1])

    with override_settings(STEPFLOW={"APP": "math.pi", "AUTH": allow_all()}):
        told(lambda: client.get("/s/health"))
    with override_settings(STEPFLOW={"APP": shop, "AUHT": allow_all()}):
        told(lambda: client.get("/s/health"))
    with override_settings(STEPFLOW=None):
        told(lambda: client.get("/s/health"))
    asyncio.run(under_asgi())
    shop.sync.close()
"""


def test_settings_bodies_and_both_kinds_of_request(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROGRAM, encoding="utf-8")

    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import project; project.main()"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0] == "wsgi 200 {'a': 1} b'{\"a\": 1}' WSGIRequest"
    assert 'STEPFLOW["APP"] has to be a Stepflow' in lines[1]
    assert 'STEPFLOW["AUHT"] is no option' in lines[2]
    assert "the settings have no STEPFLOW" in lines[3]
    assert "with_stepflow(get_asgi_application())" in lines[4]
    assert lines[5] == "asgi 200 1 ASGIRequest"
