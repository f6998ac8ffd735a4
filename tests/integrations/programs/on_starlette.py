"""The API inside a Starlette application."""

from __future__ import annotations

from starlette.applications import Starlette

from stepflow.integrations.starlette import StepflowMount
from stepflow.testing.adapter_contract import program

mount = StepflowMount("/stepflow", program.app, **program.options())
application = Starlette(routes=[mount], lifespan=mount.lifespan)
