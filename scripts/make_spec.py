"""Write ``spec/``: the OpenAPI document and the golden exchanges, out of the server itself.

``python -m scripts.make_spec`` (or ``make spec``) writes them; tests/http/test_spec.py says when they are stale. What changes from one
recording to the next has a placeholder: ``{{time}}``, ``{{token}}``, ``{{cursor}}`` and ``{{secret}}``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from stepflow.app import Stepflow
from stepflow.http.api import Api
from stepflow.http.hosting import registry_of, service_of
from stepflow.http.messages import Request, StreamingResponse
from stepflow.http.openapi import openapi
from stepflow.testing.adapter_contract.program import SECRET, make_app, options
from stepflow.wire.records import encode

SPEC = Path(__file__).parents[1] / "spec"

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_TOKEN = re.compile(r"pat_[A-Za-z0-9_.-]+")
_TRACEBACK = re.compile(r'"traceback":\s*"(?:[^"\\]|\\.)*"')


class Recorder:
    """Asks the API, and keeps what was asked and answered."""

    def __init__(self, app: Stepflow, api: Api) -> None:
        self.exchanges: list[dict[str, Any]] = []
        self._app = app
        self._api = api

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = ...,
        headers: Mapping[str, str] | None = None,
        key: str | None = SECRET,
    ) -> Any:
        """One exchange; the decoded body of its answer, or the messages of its stream."""
        sent = {} if key is None else {"x-api-key": key}
        data = b""
        if body is not ...:
            sent["content-type"] = "application/json"
            data = encode(body)
        sent.update({name.lower(): value for name, value in (headers or {}).items()})
        plain, _, query = path.partition("?")
        answer = await self._api.handle(
            Request(method=method, path=plain, query=query, headers=sent, body=data)
        )
        response: dict[str, Any] = {"status": answer.status}
        response["headers"] = {name.lower(): value for name, value in answer.headers}
        if isinstance(answer, StreamingResponse):
            response["stream"] = [
                {"id": frame.id, "event": frame.event, "data": json.loads(frame.data)}
                async for frame in answer.frames
                if frame is not None
            ]
        elif answer.body:
            response["body"] = json.loads(answer.body)
        request: dict[str, Any] = {"method": method, "path": path, "headers": sent}
        if body is not ...:
            request["body"] = body
        self.exchanges.append({"request": request, "response": response})
        return response.get("body", response.get("stream"))

    async def until(self, run_id: str, status: str, *, waits_for: str | None = None) -> None:
        """Wait, unrecorded, until the run is in this state, and waits for this event if one is named."""
        service = service_of(self._app)
        changed = service.follower.watch(run_id)
        try:
            while True:
                changed.clear()
                run = await service.record(run_id)
                waits = [wait.event_id for wait in run.waits]
                if run.status == status and (waits_for is None or waits_for in waits):
                    return
                await changed.wait()
        finally:
            service.follower.unwatch(run_id, changed)


# ------------------------------------------------------------------ scenarios
async def trigger(record: Recorder) -> None:
    await record.ask("POST", "/trigger/echo?runId=r1&tag=tenant:acme", body={"hello": ["world", None]})
    await record.until("r1", "completed")
    await record.ask("GET", "/runs/r1")
    await record.ask("POST", "/trigger/echo?runId=r1", body={"hello": ["world", None]})
    await record.ask("POST", "/trigger/echo?runId=r1", body="something else")
    await record.ask("POST", "/trigger/ecko", body=1)
    await record.ask("POST", "/trigger/order", body={"id": "a", "lines": [1, "two"]})
    await record.ask("POST", "/trigger/echo", body=1, headers={"Content-Type": "text/plain"})
    await record.ask("POST", "/trigger/echo", body=1, key=None)


async def idempotency(record: Recorder) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first = await record.ask("POST", "/trigger/echo", body=17, headers=headers)
    await record.until(first["runId"], "completed")
    await record.ask("POST", "/trigger/echo", body=17, headers=headers)
    await record.ask("POST", "/trigger/echo", body=18, headers=headers)


async def failure(record: Recorder) -> None:
    await record.ask("POST", "/trigger/fail?runId=r1", body="no luck")
    await record.until("r1", "failed")
    await record.ask("GET", "/runs/r1?wait=30s")
    await record.ask("GET", "/runs/r1/stream?lastEventId=0")
    await record.ask("GET", "/runs/nobody")


async def events(record: Recorder) -> None:
    await record.ask("POST", "/trigger/wait?runId=r1", body="paid/17")
    await record.until("r1", "suspended")
    await record.ask("GET", "/runs/r1")
    await record.ask("POST", "/notify/paid/17?id=n1", body={"amount": 5})
    await record.until("r1", "completed")
    await record.ask("POST", "/notify/paid/17?id=n1", body={"amount": 5})
    await record.ask("POST", "/notify?id=n2", body={"eventId": "other", "payload": None})
    await record.ask("POST", "/notify/other?runId=r1", body=1)
    await record.ask("POST", "/notify/decision?once=true&id=d1", body="yes")
    await record.ask("POST", "/notify/decision?once=true&id=d2", body="no")
    await record.ask("GET", "/runs/r1")


async def stream(record: Recorder) -> None:
    await record.ask("POST", "/trigger/two-waits?runId=r1", body="e")
    await record.until("r1", "suspended", waits_for="e/1")
    await record.ask("POST", "/notify/e/1?id=n1", body=1)
    await record.until("r1", "suspended", waits_for="e/2")
    await record.ask("POST", "/notify/e/2?id=n2", body=2)
    await record.until("r1", "completed")
    whole = await record.ask("GET", "/runs/r1/stream?lastEventId=0")
    await record.ask("GET", "/runs/r1/stream", headers={"Last-Event-ID": whole[2]["id"]})
    await record.ask("GET", "/runs/r1/stream")
    await record.ask("GET", "/runs/r1/stream", headers={"Last-Event-ID": whole[-1]["id"]})
    await record.ask("GET", "/runs/r1/stream", headers={"Last-Event-ID": "x"})


async def several_runs(record: Recorder) -> None:
    for run_id in ("r1", "r2"):
        await record.ask("POST", f"/trigger/echo?runId={run_id}", body=run_id)
        await record.until(run_id, "completed")
    await record.ask("GET", "/stream?runId=r1&runId=r2&lastEventId=0")
    await record.ask("GET", "/stream?runId=r1&runId=r2")
    await record.ask("GET", "/runs?limit=10&status=completed")
    await record.ask("GET", "/runs?cursor=tampered")


async def operations(record: Recorder) -> None:
    await record.ask("POST", "/trigger/wait?runId=r1", body="never")
    await record.until("r1", "suspended")
    await record.ask("POST", "/runs/r1/pause")
    await record.ask("GET", "/runs/r1?wait=30s")
    await record.ask("POST", "/runs/r1/resume")
    await record.until("r1", "suspended")
    await record.ask("POST", "/runs/r1/cancel?force=true")
    await record.ask("GET", "/runs/r1")
    await record.ask("POST", "/runs/r1/pause")
    await record.ask("POST", "/runs/r1/tokens", body={"events": ["never"]})
    await record.ask("DELETE", "/runs/r1")
    await record.ask("DELETE", "/runs/r1")
    await record.ask("GET", "/health")
    await record.ask("GET", "/health", key=None)


SCENARIOS: Mapping[str, Callable[[Recorder], Awaitable[None]]] = {
    "trigger": trigger,
    "idempotency": idempotency,
    "failure": failure,
    "events": events,
    "stream": stream,
    "several-runs": several_runs,
    "operations": operations,
}


# ------------------------------------------------------------------ files
async def recorded(name: str) -> str:
    """A scenario played against a server in this process, as the text of its file."""
    app = make_app()
    async with app:
        api = Api(app, **options())
        recorder = Recorder(app, api)
        await SCENARIOS[name](recorder)
        api.close()
    return _with_placeholders({"name": name, "exchanges": recorder.exchanges})


def _with_placeholders(fixture: Mapping[str, Any]) -> str:
    text = json.dumps(fixture, indent=2, ensure_ascii=False) + "\n"
    text = text.replace(SECRET, "{{secret}}")
    text = _TRACEBACK.sub('"traceback": "{{traceback}}"', text)
    text = _TOKEN.sub("{{token}}", _TIME.sub("{{time}}", text))
    for number, run_id in enumerate(dict.fromkeys(re.findall(r"run_[0-9a-z]{21}", text)), 1):
        text = text.replace(run_id, f"{{{{run{number}}}}}")
    return text


def openapi_text() -> str:
    """The document of the contract's own program."""
    return json.dumps(openapi(registry_of(make_app())), indent=2, ensure_ascii=False) + "\n"


async def files() -> dict[Path, str]:
    """Every file of ``spec/`` that is generated, with what should be in it."""
    found = {SPEC / "openapi.json": openapi_text()}
    for name in SCENARIOS:
        found[SPEC / "fixtures" / f"{name}.json"] = await recorded(name)
    return found


def main() -> None:
    for path, text in asyncio.run(files()).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
