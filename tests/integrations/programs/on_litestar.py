"""The API inside a Litestar application."""

from __future__ import annotations

from litestar import Litestar

from stepflow.integrations.litestar import StepflowPlugin
from stepflow.testing.adapter_contract import program

application = Litestar(plugins=[StepflowPlugin(program.app, **program.options())])
