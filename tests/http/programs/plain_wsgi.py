"""The API as a plain WSGI application, mounted below a path of its own."""

from __future__ import annotations

from stepflow.http import wsgi_app
from stepflow.testing.adapter_contract import program

application = wsgi_app(program.app, base_path="/api", **program.options())
