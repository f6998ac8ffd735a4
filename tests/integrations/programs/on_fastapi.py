"""The API inside a FastAPI application."""

from __future__ import annotations

from fastapi import FastAPI

from stepflow.integrations.fastapi import stepflow_router
from stepflow.testing.adapter_contract import program

application = FastAPI()
application.include_router(stepflow_router(program.app, **program.options()), prefix="/stepflow")
