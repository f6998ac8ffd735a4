"""Quart: the API as a blueprint, streams as WebSockets included."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Unpack

from stepflow.app import Stepflow
from stepflow.errors import MissingExtraError
from stepflow.http.api import Api
from stepflow.http.asgi import Message, Scope, living, request_of, serve_websocket
from stepflow.http.messages import StreamingResponse
from stepflow.http.options import ApiOptions

try:
    from quart import Blueprint, Response, request, websocket
except ImportError as error:
    raise MissingExtraError("stepflow.integrations.quart", "quart") from error

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def stepflow_blueprint(
    app: Stepflow, *, name: str = "stepflow", worker: bool | None = None, **options: Unpack[ApiOptions]
) -> Blueprint:
    """A blueprint to register with any ``url_prefix``; ``options`` are those of ``stepflow.http.Api``.

    ``app`` is opened while the application serves if it is not open, with a ``worker`` or without one (None: as its own settings say).
    """
    api = Api(app, **options)
    blueprint = Blueprint(name, __name__)

    async def live() -> AsyncGenerator[None, None]:
        async with living(api, worker=worker):
            yield

    async def answer(path: str) -> Response:
        asked = request_of(_at(request.scope, path), request.body, extra=_itself(request))
        if asked is None:
            return Response(status=404)
        answered = await api.handle(asked)
        if isinstance(answered, StreamingResponse):
            response = Response(answered.chunks(), status=answered.status)
            response.timeout = None  # it ends when the run does
            response.headers.clear()
        else:
            response = Response(answered.body, status=answered.status)
            response.headers.clear()
            response.content_length = len(answered.body)
        response.headers.extend(answered.headers)
        return response

    async def stream(path: str) -> None:
        await serve_websocket(api, _at(websocket.scope, path), _Receiver(), _send, extra=_itself(websocket))

    blueprint.while_app_serving(live)
    # A path is what it is: slashes are not merged, which would redirect to another one.
    blueprint.add_url_rule(
        "/<path:path>",
        "answer",
        answer,
        methods=_METHODS,
        provide_automatic_options=False,
        merge_slashes=False,
    )
    blueprint.add_websocket("/<path:path>", "stream", stream, merge_slashes=False)
    return blueprint


class _Receiver:
    """What the client says, as ASGI tells it; when it hangs up, Quart cancels whoever listens."""

    def __init__(self) -> None:
        self._connected = False

    async def __call__(self) -> Message:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        await websocket.receive()
        return {"type": "websocket.receive"}


async def _send(message: Message) -> None:
    to: Any = websocket  # annotated in part only
    match message["type"]:
        case "websocket.accept":
            await to.accept()
        case "websocket.send":
            await to.send(message["text"])
        case _:
            await to.close(message["code"], message.get("reason", ""))


def _at(scope: Any, path: str) -> Scope:
    return {**scope, "path": f"/{path}", "root_path": ""}


def _itself(proxy: Any) -> Any:
    """The request that a proxy stands for, also outside of its context."""
    return proxy._get_current_object()
