"""The golden exchanges of ``spec/fixtures``, played to both clients: they ask what is recorded, and understand the answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest

from stepflow.client import AsyncStepflowClient, StepflowClient
from stepflow.testing.adapter_contract import program
from stepflow.wire import records
from stepflow.wire.problems import BY_TYPE, problem_of
from stepflow.wire.sse import encode_message
from stepflow.wire.streams import encode_positions, event_name, parse_cursor
from tests.client.running import Blocking

FIXTURES = Path(__file__).parents[2] / "spec" / "fixtures"
TIME = "2026-01-31T12:00:00Z"
CURSOR = encode_positions({"r1": parse_cursor("1.0"), "r2": parse_cursor("1.1")})
OURS_NEVER = "no client of ours sends this"


def exchanges() -> Iterator[Any]:
    for path in sorted(FIXTURES.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        for name, value in (
            ("time", TIME),
            ("secret", program.SECRET),
            ("cursor", CURSOR),
            ("token", "pat_x.y"),
        ):
            text = text.replace(f"{{{{{name}}}}}", value)
        text = re.sub(r"\{\{run(\d)\}\}", r"run_\1", text)
        for number, exchange in enumerate(json.loads(text)["exchanges"]):
            yield pytest.param(exchange, id=f"{path.stem}-{number}")


class Asked:
    """What a request means, however it is written: an id may travel in the path or in the body, a cursor in a header or in the query."""

    def __init__(self, method: str, target: str, headers: Any, body: Any) -> None:
        url = urlsplit(target)
        query = parse_qsl(url.query, keep_blank_values=True)
        self.method, self.path = method, unquote(url.path)
        self.cursor = headers.get("last-event-id") or dict(query).get("lastEventId")
        self.query = sorted(pair for pair in query if pair[0] != "lastEventId")
        self.body = body
        self.key = headers.get("x-api-key")
        self.idempotency_key = headers.get("idempotency-key")
        if self.path == "/notify" and isinstance(body, dict):
            self.path, self.body = f"/notify/{body['eventId']}", body["payload"]


def call(client: Any, asked: Asked) -> Any:
    """The client's own way to ask it."""
    query = dict(asked.query)
    tags = dict(value.split(":") for name, value in asked.query if name == "tag")
    parts = asked.path.strip("/").split("/")
    match asked.method, parts:
        case "POST", ["trigger", workflow]:
            key = asked.idempotency_key
            return client.trigger(workflow, asked.body, id=query.get("runId"), idempotency_key=key, tags=tags)
        case "POST", ["notify", *event]:
            once = query.get("once") == "true"
            options = {"run_id": query.get("runId"), "id": query.get("id"), "once": once}
            return client.notify("/".join(event), asked.body, **options)
        case "GET", ["runs", run_id] if "wait" in query:
            return client.wait(run_id)
        case "GET", ["runs", run_id]:
            return client.get_run(run_id)
        case "GET", ["runs", run_id, "stream"]:
            return list(client.stream(run_id, after=asked.cursor))
        case "GET", ["stream"]:
            runs = [value for name, value in asked.query if name == "runId"]
            return list(client.subscribe(*runs, after=asked.cursor))
        case "GET", ["runs"]:
            limit = int(query.get("limit", 50))
            return client.list_runs(status=query.get("status"), cursor=query.get("cursor"), limit=limit)
        case "POST", ["runs", run_id, "tokens"]:
            return client.new_token(run_id, events=asked.body["events"])
        case "POST", ["runs", run_id, "cancel"]:
            return client.cancel(run_id, force=query.get("force") == "true")
        case "POST", ["runs", run_id, operation]:
            return getattr(client, operation)(run_id)
        case "DELETE", ["runs", run_id]:
            return client.delete(run_id)
        case "GET", ["health"]:
            return client.health()
        case _:
            raise AssertionError(f"{asked.method} {asked.path}: the clients do not know this")


def response(recorded: Any) -> httpx.Response:
    if "stream" in recorded:
        body = b"retry: 1000\n\n" + b"".join(
            encode_message(event=each["event"], data=records.encode(each["data"]), id=each["id"])
            for each in recorded["stream"]
        )
    else:
        body = records.encode(recorded["body"]) if "body" in recorded else b""
    return httpx.Response(recorded["status"], headers=recorded["headers"], content=body)


def understood(value: Any) -> Any:
    """A value of the client's as the JSON that it was."""
    return json.loads(records.encode(value))


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("exchange", list(exchanges()))
def test_a_golden_exchange_is_reproduced(exchange: Any, kind: str) -> None:
    request, recorded = exchange["request"], exchange["response"]
    if request["headers"].get("content-type", "application/json") != "application/json":
        pytest.skip(OURS_NEVER)
    wanted = Asked(request["method"], request["path"], request["headers"], request.get("body"))
    got: list[Asked] = []

    def answer(sent: httpx.Request) -> httpx.Response:
        body = json.loads(sent.content) if sent.content else None
        target = sent.url.raw_path.decode().removeprefix("/base")
        got.append(Asked(sent.method, target, sent.headers, body))
        return response(recorded)

    with asyncio.Runner() as runner:
        http: Any = (httpx.Client if kind == "sync" else httpx.AsyncClient)(
            transport=httpx.MockTransport(answer)
        )
        options: dict[str, Any] = {"http_client": http, "api_key": wanted.key, "retry": 1, "patience": 0.001}
        client: Any = (
            StepflowClient("http://h/base", **options)
            if kind == "sync"
            else Blocking(AsyncStepflowClient("http://h/base", **options), runner)
        )
        try:
            value = call(client, wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is held against what was recorded
            value = error

    asked = got[0]
    own_key = (asked.idempotency_key or "").startswith("client-")
    limits = [("limit", "50")] if asked.path == "/runs" and "limit" not in dict(wanted.query) else []
    asked.query = [
        pair for pair in asked.query if "id" in dict(wanted.query) or pair[0] != "id"
    ]  # or our own
    assert (asked.method, asked.path, asked.cursor, asked.key) == (
        wanted.method,
        wanted.path,
        wanted.cursor,
        wanted.key,
    )
    assert asked.query == sorted([*wanted.query, *limits])
    assert asked.body == wanted.body
    assert own_key or asked.idempotency_key == wanted.idempotency_key
    check(
        value,
        recorded,
        triggers=wanted.path.startswith("/trigger/"),
        notifies=wanted.path.startswith("/notify/"),
    )


def check(value: Any, recorded: Any, *, triggers: bool, notifies: bool) -> None:
    """The client has understood the answer."""
    if recorded["status"] >= 400:
        body = recorded["body"]
        assert type(value) is BY_TYPE[body["type"]].raises, value
        told = json.loads(problem_of(value).encode())
        body = {**body, "detail": body["detail"] or told["detail"]}
        assert {**told, "type": body["type"], "title": body["title"]} | {"retryAfter": None} == body | {
            "retryAfter": None
        }
    elif "stream" in recorded or recorded["status"] == 204:
        events = [(event_name(each), understood(each)) for each in value]
        assert events == [(each["event"], each["data"]) for each in recorded.get("stream", ())]
    elif triggers:
        body = recorded["body"]
        assert (value.id, value.created, value.token) == (
            body["runId"],
            body["created"],
            body["publicAccessToken"],
        )
    elif notifies:
        assert value == recorded["body"]["woken"]
    else:
        assert understood(value) == recorded["body"]
