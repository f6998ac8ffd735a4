"""OpenAPI: this API as a document (3.1), with one typed path for each registered workflow."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from stepflow._engine.definition import WorkflowDefinition
from stepflow.codecs.schemas import json_schema, with_clean_texts
from stepflow.wire import problems, records, streams
from stepflow.wire.routes import (
    CANCEL,
    DELETE,
    GET_RUN,
    HEALTH,
    ISSUE_TOKEN,
    LIST_RUNS,
    LIST_STEPS,
    LIST_WORKFLOWS,
    LIVE,
    NOTIFY,
    NOTIFY_ANY,
    OPENAPI,
    PAUSE,
    RESUME,
    RETRY,
    ROUTES,
    STREAM_RUN,
    STREAM_RUNS,
    TRIGGER,
    VERSION,
    Endpoint,
    Route,
)

Schema = dict[str, Any]
_PARAMETER = re.compile(r"\{\*?(\w+)\}")
_LOCAL = "#/$defs/"

_SUMMARIES: Mapping[str, str] = {
    TRIGGER.name: "Start a run; the body is the workflow's input",
    GET_RUN.name: "A run with its last steps; wait= waits until it stands still",
    LIST_STEPS.name: "All steps of a run, page by page",
    STREAM_RUN.name: "What happens to a run, as server-sent events",
    STREAM_RUNS.name: "What happens to several runs, on one connection",
    NOTIFY.name: "Send an event; the body is its payload",
    NOTIFY_ANY.name: "Send an event of any id",
    HEALTH.name: "Whether the server reaches its storage",
    LIVE.name: "Whether the server answers",
    LIST_RUNS.name: "Runs, newest first",
    CANCEL.name: "Ask a run to end",
    PAUSE.name: "Let nothing new start in a run",
    RESUME.name: "Let a paused run go on",
    RETRY.name: "Run a failed or cancelled run again; what succeeded in it is kept",
    DELETE.name: "Forget an ended or paused run",
    ISSUE_TOKEN.name: "A fresh run token",
    LIST_WORKFLOWS.name: "The registered workflows",
    OPENAPI.name: "This document",
}
_ANSWERS: Mapping[str, type[msgspec.Struct]] = {
    TRIGGER.name: records.Triggered,
    GET_RUN.name: records.Run,
    LIST_STEPS.name: records.StepPage,
    NOTIFY.name: records.Notified,
    NOTIFY_ANY.name: records.Notified,
    HEALTH.name: records.Health,
    LIVE.name: records.Health,
    LIST_RUNS.name: records.RunPage,
    CANCEL.name: records.RunState,
    PAUSE.name: records.RunState,
    RESUME.name: records.RunState,
    RETRY.name: records.RunState,
    DELETE.name: records.RunState,
    ISSUE_TOKEN.name: records.RunToken,
    LIST_WORKFLOWS.name: records.WorkflowList,
}
_CONFLICTS = {
    TRIGGER.name,
    NOTIFY.name,
    NOTIFY_ANY.name,
    CANCEL.name,
    PAUSE.name,
    RESUME.name,
    RETRY.name,
    DELETE.name,
}
_TEXT: Schema = {"type": "string"}
_STREAM_MESSAGE: Schema = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": _TEXT,
        "event": _TEXT,
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/StreamEvent"},
        },
    },
}
_TRIGGER_QUERY: Mapping[str, Schema] = {
    "runId": _TEXT,
    "delay": _TEXT,
    "queue": _TEXT,
    "priority": {"type": "integer"},
    "tag": {"type": "array", "items": {"type": "string", "pattern": "^[^:]+:"}},
}
_QUERIES: Mapping[str, Mapping[str, Schema]] = {
    TRIGGER.name: _TRIGGER_QUERY,
    GET_RUN.name: {"wait": _TEXT, "full": {"type": "boolean"}},
    LIST_STEPS.name: {"cursor": _TEXT, "limit": {"type": "integer", "minimum": 1, "maximum": 200}},
    STREAM_RUN.name: {"lastEventId": _TEXT},
    STREAM_RUNS.name: {"runId": {"type": "array", "items": _TEXT, "minItems": 1}, "lastEventId": _TEXT},
    NOTIFY.name: {"runId": _TEXT, "id": _TEXT, "once": {"type": "boolean"}},
    NOTIFY_ANY.name: {"runId": _TEXT, "id": _TEXT, "once": {"type": "boolean"}},
    LIST_RUNS.name: {
        "status": {"type": "array", "items": _TEXT},
        "workflowId": _TEXT,
        "tag": {"type": "array", "items": {"type": "string", "pattern": "^[^:]+:"}},
        "createdAfter": {"type": "string", "format": "date-time"},
        "createdBefore": {"type": "string", "format": "date-time"},
        "queue": _TEXT,
        "parentId": _TEXT,
        "cursor": _TEXT,
        "limit": {"type": "integer", "minimum": 1, "maximum": 500},
    },
    CANCEL.name: {"force": {"type": "boolean"}},
}
_HEADERS: Mapping[str, tuple[str, ...]] = {
    TRIGGER.name: ("Idempotency-Key",),
    STREAM_RUN.name: ("Last-Event-ID",),
    STREAM_RUNS.name: ("Last-Event-ID",),
}


def openapi(definitions: Iterable[WorkflowDefinition]) -> dict[str, Any]:
    """The document. The same workflows give the same text."""
    schemas = _record_schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    for definition in sorted(definitions, key=lambda each: each.id):
        paths[f"/trigger/{definition.id}"] = {"post": _typed_trigger(definition, schemas)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stepflow", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {"Problem": _problem_response()},
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "runToken": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    }


def _record_schemas() -> dict[str, Schema]:
    types: list[Any] = [*records.RECORDS.values(), *streams.EVENT_TYPES]
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas: dict[str, Schema] = with_clean_texts(found)
    schemas["StreamEvent"] = {
        "oneOf": [{"$ref": f"#/components/schemas/{each.__name__}"} for each in streams.EVENT_TYPES],
        "discriminator": {"propertyName": "type"},
    }
    schemas["Problem"] = {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "examples": [kind.type for kind in problems.KINDS]},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
        },
        "additionalProperties": True,
    }
    return schemas


def _problem_response() -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": "Why not", "content": {problems.MEDIA_TYPE: {"schema": schema}}}


def _operation(route: Route) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "summary": _SUMMARIES[route.name],
        "tags": [route.endpoint.value],
        "parameters": _parameters(route),
        "responses": _responses(route),
        "security": _security(route),
    }
    body = _body(route)
    if body is not None:
        operation["requestBody"] = body
    return operation


def _parameters(route: Route) -> list[Schema]:
    found: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in _PARAMETER.findall(route.path)
    ]
    for name, schema in _QUERIES.get(route.name, {}).items():
        found.append({"name": name, "in": "query", "required": "minItems" in schema, "schema": schema})
    for name in _HEADERS.get(route.name, ()):
        found.append({"name": name, "in": "header", "required": False, "schema": _TEXT})
    return found


def _responses(route: Route) -> Schema:
    found: Schema = {"default": {"$ref": "#/components/responses/Problem"}}
    if route.endpoint is Endpoint.RUNS_STREAM:
        found["200"] = {
            "description": "Events, each as the schema says (3.1 has no other place for what a stream's items are)",
            "content": {"text/event-stream": {"schema": _STREAM_MESSAGE}},
        }
        found["204"] = {"description": "The run has ended, and the reader has seen that"}
        return found
    answer = _ANSWERS.get(route.name)
    schema: Schema = (
        {"type": "object"} if answer is None else {"$ref": f"#/components/schemas/{answer.__name__}"}
    )
    found["200"] = {"description": "Done", "content": {"application/json": {"schema": schema}}}
    if route.name == HEALTH.name:
        found["503"] = {**found["200"], "description": "The storage can't be reached"}
    codes = ["400", "401", "403", "404", *(["409"] if route.name in _CONFLICTS else [])]
    found.update({code: {"$ref": "#/components/responses/Problem"} for code in codes})
    return found


def _security(route: Route) -> list[Schema]:
    if route.endpoint is Endpoint.HEALTH:
        return [{}, {"apiKey": []}, {"bearer": []}]
    schemes: list[Schema] = [{"apiKey": []}, {"bearer": []}]
    if route.method == "GET" and route.endpoint in (Endpoint.RUNS, Endpoint.RUNS_STREAM):
        schemes.append({"runToken": []})
    return schemes


def _body(route: Route) -> Schema | None:
    match route.name:
        case TRIGGER.name | NOTIFY.name:
            return {"required": False, "content": {"application/json": {"schema": {}}}}
        case NOTIFY_ANY.name:
            schema = {"$ref": "#/components/schemas/NotifyBody"}
            return {"required": True, "content": {"application/json": {"schema": schema}}}
        case ISSUE_TOKEN.name:
            events = {
                "type": "object",
                "properties": {"events": {"type": "array", "items": _TEXT}, "lifetime": _TEXT},
            }
            return {"required": False, "content": {"application/json": {"schema": events}}}
        case _:
            return None


def _typed_trigger(definition: WorkflowDefinition, schemas: dict[str, Schema]) -> Schema:
    operation = _operation(TRIGGER)
    operation["operationId"] = f"trigger:{definition.id}"
    operation["parameters"] = [each for each in operation["parameters"] if each["in"] != "path"]
    description = inspect.getdoc(definition.function)
    operation["summary"] = f"Start a run of {definition.id}"
    if description:
        operation["description"] = description
    if definition.has_input:
        schema = _adopt(definition, json_schema(definition.types.input), schemas)
        required = not definition.input_optional
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    else:
        del operation["requestBody"]
    return operation


def _adopt(definition: WorkflowDefinition, schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """The schema with its own definitions moved among the document's, under names that no other workflow has."""
    prefix = f"{definition.id}."
    local: Mapping[str, Schema] = schema.get("$defs", {})
    for name, definition_ in local.items():
        schemas[prefix + name] = _renamed(definition_, prefix)
    found: Schema = _renamed({key: value for key, value in schema.items() if key != "$defs"}, prefix)
    return found


def _renamed(node: Any, prefix: str) -> Any:
    if isinstance(node, list):
        return [_renamed(each, prefix) for each in node]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for key, value in node.items():  # pyright: ignore[reportUnknownVariableType]
        if key in ("$ref", "mapping"):
            found[key] = _pointed(value, prefix)
        else:
            found[str(key)] = _renamed(value, prefix)  # pyright: ignore[reportUnknownArgumentType]
    return found


def _pointed(value: Any, prefix: str) -> Any:
    """A reference, or a discriminator's mapping of references, into the document's definitions."""
    if isinstance(value, dict):
        return {key: _pointed(each, prefix) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str) and value.startswith(_LOCAL):
        return f"#/components/schemas/{prefix}{value.removeprefix(_LOCAL)}"
    return value
