"""The API as a plain ASGI application, mounted below a path of its own."""

from __future__ import annotations

from stepflow.http import asgi_app
from stepflow.testing.adapter_contract import program

application = asgi_app(program.app, base_path="/api", **program.options())
