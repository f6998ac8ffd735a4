"""Flask: the API as a blueprint. Safe to make before a server forks: each process opens the app at its first request."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any, Unpack

from stepflow.app import Stepflow
from stepflow.errors import MissingExtraError
from stepflow.http import wsgi
from stepflow.http.messages import Request, StreamingResponse
from stepflow.http.messages import Response as Answer
from stepflow.http.options import ApiOptions
from stepflow.http.wsgi import Bridge

try:
    from flask import Blueprint, Response, request
except ImportError as error:
    raise MissingExtraError("stepflow.integrations.flask", "flask") from error

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def stepflow_blueprint(app: Stepflow, *, name: str = "stepflow", **options: Unpack[ApiOptions]) -> Blueprint:
    """A blueprint to register with any ``url_prefix``; ``options`` are those of ``stepflow.http.Api``.

    It never starts a worker: have one in a process of its own. Streams hold a thread each, so ``max_streams`` is 16 unless said otherwise.
    """
    bridge = Bridge(app, **options)

    def answer(path: str) -> Response:
        asked = _asked(f"/{path}", bridge.max_body)
        answered = asked if isinstance(asked, Answer) else bridge.handle(asked)
        body: Any = bridge.stream(answered) if isinstance(answered, StreamingResponse) else answered.body
        # Chunks go out as they are; the server closes what they come from, also when the client has left.
        response = Response(body, status=answered.status, direct_passthrough=True)
        response.headers.clear()
        response.headers.extend(answered.headers)
        if not isinstance(answered, StreamingResponse):
            response.content_length = len(answered.body)
        return response

    blueprint = Blueprint(name, __name__)
    blueprint.add_url_rule(
        "/<path:path>",
        endpoint="answer",
        view_func=answer,
        methods=_METHODS,
        provide_automatic_options=False,
        merge_slashes=False,  # a path is what it is: no redirect to another one
    )
    return blueprint


def _asked(path: str, max_body: int) -> Request | Answer:
    """The request below the blueprint. Its body is read without Flask's limits, unless a hook has looked at it before."""
    proxy: Any = request
    itself: Any = proxy._get_current_object()  # also outside of the request's context
    environ = itself.environ
    if "stream" in vars(itself):
        environ = {**environ, "wsgi.input": BytesIO(itself.get_data())}
    asked = wsgi.request_of(environ, base_path="", max_body=max_body)
    return asked if isinstance(asked, Answer) else replace(asked, path=path, extra=itself)
