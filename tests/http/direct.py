"""Direct: an API in the test's own process, asked without a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Unpack

from stepflow.app import Stepflow
from stepflow.http import Api, allow_all
from stepflow.http.hosting import service_of
from stepflow.http.messages import Answer, Frame, Request, Response, StreamingResponse
from stepflow.http.options import ApiOptions
from stepflow.testing.adapter_contract import program
from stepflow.wire.records import encode

JSON = "application/json"


@dataclass
class Direct:
    """An open app and its API; ``ask`` gives the whole answer, ``stream`` an open one."""

    app: Stepflow
    api: Api

    async def answer(
        self,
        method: str,
        path: str,
        *,
        json: Any = ...,
        body: bytes | AsyncIterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        sent = {} if json is ... else {"content-type": JSON}
        sent.update(headers or {})
        plain, _, query = path.partition("?")
        content = body if json is ... else encode(json)
        return await self.api.handle(
            Request(method=method, path=plain, query=query, headers=sent, body=content, **more)
        )

    async def ask(self, method: str, path: str, **more: Any) -> Response:
        answer = await self.answer(method, path, **more)
        assert isinstance(answer, Response), "a stream was not expected"
        return answer

    async def stream(self, path: str, **more: Any) -> AsyncGenerator[Frame | None, None]:
        answer = await self.answer("GET", path, **more)
        assert isinstance(answer, StreamingResponse), answer
        return answer.frames

    async def frames(self, path: str, **more: Any) -> list[Frame]:
        """All of a stream that ends."""
        return [frame async for frame in await self.stream(path, **more) if frame is not None]

    async def until(self, run_id: str, status: str, *, waits_for: str | None = None) -> None:
        """Wait until the run is in this state, and waits for this event if one is named."""
        service = service_of(self.app)
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


@asynccontextmanager
async def served(app: Stepflow | None = None, **options: Unpack[ApiOptions]) -> AsyncGenerator[Direct]:
    """The contract's program, open with a worker, for everybody unless ``auth`` is given."""
    if app is None:
        app = Stepflow("memory://", workflows=[program], worker=True)
    options.setdefault("auth", allow_all(details=True))
    api = Api(app, **options)
    async with app:
        try:
            yield Direct(app, api)
        finally:
            api.close()


def body_of(response: Response) -> Any:
    return json.loads(response.body)


def header(response: Answer, name: str) -> str | None:
    return next((value for key, value in response.headers if key.lower() == name), None)


async def next_event(frames: AsyncGenerator[Frame | None, None]) -> tuple[str, dict[str, Any], str | None]:
    """The next event that is not a heartbeat: its name, data and id."""
    async for frame in frames:
        if frame is not None:
            return frame.event, json.loads(frame.data), frame.id
    raise AssertionError("the stream ended")
