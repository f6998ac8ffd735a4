"""The API as pages of another origin may read it."""

from __future__ import annotations

from stepflow.http import asgi_app
from stepflow.testing.adapter_contract import program

ORIGIN = "http://localhost:8123"
"""Nothing listens there: the browser is given the page by the test."""

application = asgi_app(program.app, base_path="/api", **{**program.options(), "cors": [ORIGIN]})
