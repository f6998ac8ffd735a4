"""The API inside an aiohttp application, under its own server."""

from __future__ import annotations

import sys

from aiohttp import web

from stepflow.integrations.aiohttp import stepflow_application
from stepflow.testing.adapter_contract import program

application = web.Application()
application.add_subapp("/stepflow", stepflow_application(program.app, **program.options()))
web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
