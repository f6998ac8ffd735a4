"""The API inside a Quart application."""

from __future__ import annotations

from quart import Quart

from stepflow.integrations.quart import stepflow_blueprint
from stepflow.testing.adapter_contract import program

application = Quart(__name__)
application.register_blueprint(stepflow_blueprint(program.app, **program.options()), url_prefix="/stepflow")
