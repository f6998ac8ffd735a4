"""The WebSocket form of streams, and the life cycle, as an ASGI server sees them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from stepflow.app import Stepflow
from stepflow.http import any_of, api_key_auth, asgi_app, run_token_auth
from stepflow.http.asgi import AsgiApp, below
from stepflow.testing.adapter_contract import program

SECRET = "sf_a_secret_of_this_test_0123456789"
FRIEND = "https://friend.example"


def make(**more: Any) -> AsgiApp:
    app = Stepflow("memory://", workflows=[program], worker=True)
    auth = any_of(api_key_auth(SECRET), run_token_auth())
    return asgi_app(app, auth=auth, base_path="/api", cors=[FRIEND], **more)


class Socket:
    """One WebSocket: what the client sends, and what the server sent."""

    def __init__(self, application: AsgiApp, path: str, query: str = "", **headers: str) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        sent = {"host": "api.example", "x-api-key": SECRET, **headers}
        self.scope = {
            "type": "websocket",
            "path": path,
            "root_path": "",
            "scheme": "wss",
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()],
        }
        self.task = asyncio.create_task(application(self.scope, self.incoming.get, self.outgoing.put))

    async def messages(self) -> list[dict[str, Any]]:
        """Everything up to the close."""
        found: list[dict[str, Any]] = []
        while not found or found[-1]["type"] != "websocket.close":
            found.append(await self.outgoing.get())
        await self.task
        return found


async def opened(
    application: AsgiApp, receive: asyncio.Queue[Any], send: asyncio.Queue[Any]
) -> asyncio.Task[None]:
    """Bring the application up, as a server does."""
    task = asyncio.create_task(application({"type": "lifespan"}, receive.get, send.put))
    receive.put_nowait({"type": "lifespan.startup"})
    assert (await send.get())["type"] == "lifespan.startup.complete"
    return task


async def down(task: asyncio.Task[None], receive: asyncio.Queue[Any], send: asyncio.Queue[Any]) -> None:
    receive.put_nowait({"type": "lifespan.shutdown"})
    assert (await send.get())["type"] == "lifespan.shutdown.complete"
    await task


async def with_run(
    application: AsgiApp, workflow: str, input: Any
) -> tuple[asyncio.Task[None], Any, Any, str]:
    receive: asyncio.Queue[Any] = asyncio.Queue()
    send: asyncio.Queue[Any] = asyncio.Queue()
    task = await opened(application, receive, send)
    app = application.api.app
    assert isinstance(app, Stepflow)
    run = await app.trigger(workflow, input)
    return task, receive, send, run.id


async def test_a_run_is_streamed_in_text_frames_to_its_end() -> None:
    application = make()
    *life, run_id = await with_run(application, "talk", 2)

    accept, *frames, close = await Socket(
        application, f"/api/runs/{run_id}/stream", "lastEventId=0"
    ).messages()
    await down(*life)

    told = [json.loads(frame["text"]) for frame in frames]
    assert accept["type"] == "websocket.accept"
    assert close["code"] == 1000
    assert [each["data"]["type"] for each in told] == [each["event"] for each in told]
    assert told[-1]["event"] == "execution:complete"
    assert told[-1]["id"]


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/api/runs/nobody/stream", {}, 4404),
        ("/api/runs/nobody/stream", {"x_api_key": "sf_wrong_key_0123456789"}, 4401),
        ("/api/nothing", {}, 4404),
        ("/api/runs/nobody/stream", {"origin": "https://evil.example"}, 4403),
        ("/elsewhere", {}, 4403),
    ],
)
async def test_a_close_code_says_why_not(path: str, headers: dict[str, str], code: int) -> None:
    application = make()
    *life, _ = await with_run(application, "echo", 1)
    if "x_api_key" in headers:
        headers = {"x-api-key": headers["x_api_key"]}

    close = (await Socket(application, path, **headers).messages())[-1]
    await down(*life)

    assert close["code"] == code


@pytest.mark.parametrize("origin", ["https://api.example", FRIEND])
async def test_a_page_of_a_known_origin_may_open_it(origin: str) -> None:
    application = make()
    *life, run_id = await with_run(application, "echo", 1)

    close = (await Socket(application, f"/api/runs/{run_id}/stream", origin=origin).messages())[-1]
    await down(*life)

    assert close["code"] == 1000


async def test_a_client_that_hangs_up_is_forgotten() -> None:
    application = make()
    *life, run_id = await with_run(application, "wait", "e")
    socket = Socket(application, f"/api/runs/{run_id}/stream")
    assert (await socket.outgoing.get())["type"] == "websocket.accept"
    assert json.loads((await socket.outgoing.get())["text"])["event"] == "run"

    socket.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await socket.task
    left = application.api.open_streams
    await down(*life)

    assert left == 0


async def test_an_app_that_can_not_be_opened_stops_the_server() -> None:
    application = make()
    application.api.app._storage = "sqlite:////no/such/folder/at/all.db"  # type: ignore[attr-defined]
    receive: asyncio.Queue[Any] = asyncio.Queue()
    send: asyncio.Queue[Any] = asyncio.Queue()
    receive.put_nowait({"type": "lifespan.startup"})

    with pytest.raises(Exception, match=r"."):
        await application({"type": "lifespan"}, receive.get, send.put)

    assert (await send.get())["type"] == "lifespan.startup.failed"


async def test_an_app_that_is_open_already_stays_open() -> None:
    application = make()
    app = application.api.app
    receive: asyncio.Queue[Any] = asyncio.Queue()
    send: asyncio.Queue[Any] = asyncio.Queue()
    async with app:
        await down(await opened(application, receive, send), receive, send)
        run = await app.trigger("echo", 1)  # type: ignore[attr-defined]
        assert await run.result() == 1


async def test_a_request_before_the_app_is_open_is_told_to_come_again() -> None:
    application = make()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    scope = {
        "type": "http", "method": "GET", "path": "/api/runs", "query_string": b"", "headers": [], "scheme": "http",
    }  # fmt: skip
    silence: asyncio.Queue[Any] = asyncio.Queue()

    await application(scope, silence.get, sent.put)

    assert (await sent.get())["status"] == 503


def test_a_path_is_below_its_base_or_elsewhere() -> None:
    assert below("/api/runs", "/api") == "/runs"
    assert below("/api", "/api/") == ""
    assert below("/apix/runs", "/api") is None
    assert below("/runs", "") == "/runs"
