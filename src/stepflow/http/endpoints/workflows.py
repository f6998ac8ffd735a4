"""Workflows: what an app registered, with the JSON Schema of what each takes and gives."""

from __future__ import annotations

import inspect

from stepflow.codecs.schemas import json_schema
from stepflow.http.call import Call
from stepflow.http.messages import Response, json_response
from stepflow.http.openapi import openapi
from stepflow.wire.records import WorkflowInfo, WorkflowList


async def list_workflows(call: Call) -> Response:
    """Sorted by id."""
    definitions = sorted(call.service.registry, key=lambda definition: definition.id)
    return json_response(
        WorkflowList(
            items=[
                WorkflowInfo(
                    id=definition.id,
                    queue=definition.queue,
                    version=definition.version,
                    description=inspect.getdoc(definition.function) or "",
                    input_schema=json_schema(definition.types.input) if definition.has_input else None,
                    output_schema=json_schema(definition.types.output),
                )
                for definition in definitions
            ]
        )
    )


async def describe(call: Call) -> Response:
    """This API as an OpenAPI document."""
    return json_response(openapi(call.service.registry))
